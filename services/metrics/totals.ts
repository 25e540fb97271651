import type { Context } from '../../monitoring/context'
import { dayStartOf } from './days'
import { addHistogram, type Histogram } from './histogram'
import { day, hostOf, kept, quarter, type MetricName } from './names'
import { listSpans, sumSpans } from './queries'

/** What a series comes to over a range. */
export interface Total {
  count: number
  sum: number
  min: number
  max: number
  histogram: Histogram | null
}

export interface TotalsQuery {
  name: MetricName
  host?: string | undefined
  /** Whose; absent: all. */
  subjects?: readonly string[] | undefined
  from: number
  to: number
  /** Also how often each duration occurred, for `percentilesOf`: for a few subjects only. */
  histograms?: boolean
}

/**
 * Totals per subject, of whole quarters of an hour (the one of `from` and the one of `to` included) and, where those
 * are not kept any more, whole days. A subject without readings is not in the answer.
 */
export async function totals(ctx: Context, query: TotalsQuery): Promise<Map<string, Total>> {
  const { name, subjects, histograms = false } = query
  const host = hostOf(ctx, name, query.host)
  const found = new Map<string, Total>()
  const add = (subject: string, { count, sum, min, max, histogram }: Total) => {
    const total = found.get(subject)
    if (!total) return void found.set(subject, { count, sum, min, max, histogram: histogram && new Map<number, number>(histogram) })
    total.count += count
    total.sum += sum
    total.min = Math.min(total.min, min)
    total.max = Math.max(total.max, max)
    if (histogram) addHistogram((total.histogram ??= new Map<number, number>()), histogram)
  }
  for (const part of partsOf(ctx, query.from, query.to)) {
    const filter = { host, name, subjects, ...part }
    if (histograms) for (const span of await listSpans(ctx, filter)) add(span.subject, span)
    else for (const row of await sumSpans(ctx, filter)) add(row.subject, { ...row, histogram: null })
  }
  return found
}

/** Days where they are whole or nothing finer is kept, quarters at the ends. */
function partsOf(ctx: Context, from: number, to: number): { step: number; from: number; to: number }[] {
  const zone = ctx.platform.config.timezone
  const startOf = (at: number) => dayStartOf(at, zone)
  // The middle of a day that begins a day later is in it, whether that one has 23 hours or 25.
  const nextDay = (at: number) => startOf(startOf(at) + day + day / 2)
  const first = from - (from % quarter)
  const last = to % quarter === 0 ? to : to - (to % quarter) + quarter
  const isKept = first > ctx.now() - kept.quarter
  const days = { step: day, from: isKept && first !== startOf(first) ? nextDay(first) : startOf(first), to: startOf(last) }
  if (days.from >= days.to) return [{ step: quarter, from: first, to: last }]
  return [...(first < days.from ? [{ step: quarter, from: first, to: days.from }] : []), days, { step: quarter, from: days.to, to: last }]
}
