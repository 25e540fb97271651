import type { Context } from '../../monitoring/context'
import { dayStartOf } from './days'
import { day, hostOf, kept, minute, quarter, type MetricName } from './names'
import { listSubjects, listTrend, sumSpans, type TrendRow } from './queries'

/** The moments of a chart: the start of each of its spans. */
export interface Grid {
  readonly from: number
  readonly to: number
  readonly step: number
  readonly times: readonly number[]
}

/** How long spans are for a range, and from which tier they are added up. */
const choices = [
  { upTo: 3 * 60 * minute, step: minute, tier: minute },
  { upTo: 12 * 60 * minute, step: 5 * minute, tier: minute },
  { upTo: 2 * day, step: quarter, tier: quarter },
  { upTo: 8 * day, step: 4 * quarter, tier: quarter },
  { upTo: 35 * day, step: 16 * quarter, tier: quarter },
  { upTo: Infinity, step: day, tier: day },
] as const

const tierOf = (step: number): number => (step >= day ? day : step >= quarter ? quarter : minute)
const keptOf = (tier: number): number => (tier === day ? kept.day : tier === quarter ? kept.quarter : kept.minute)

/** The spans of a range: 60 to 210 of them, of what is still kept. */
export function gridOf(ctx: Context, from: number, to: number, coarser = 0): Grid {
  const age = ctx.now() - from
  const fitting = choices.filter(({ upTo, tier }) => to - from <= upTo && age <= keptOf(tier))
  const { step } = fitting[Math.min(coarser, fitting.length - 1)] ?? { step: day }
  const zone = ctx.platform.config.timezone
  const times: number[] = []
  if (step === day)
    // The middle of the next day is in it, whether this one has 23 hours or 25.
    for (let at = dayStartOf(from, zone); at < to; at = dayStartOf(at + day + day / 2, zone)) times.push(at)
  else for (let at = from - (from % step); at < to; at += step) times.push(at)
  return { from: times[0] ?? from, to, step, times }
}

/** The same number of spans right before. */
export function gridBefore(ctx: Context, grid: Grid): Grid {
  const { from, step, times } = grid
  if (step !== day) {
    const shift = times.length * step
    return { from: from - shift, to: from, step, times: times.map((at) => at - shift) }
  }
  const zone = ctx.platform.config.timezone
  const before: number[] = []
  for (let at = from; before.length < times.length;) before.unshift((at = dayStartOf(at - day / 2, zone)))
  return { from: before[0] ?? from, to: from, step, times: before }
}

export interface Trend {
  subject: string
  /** One for each moment of the grid; null: nothing was measured. */
  spans: (TrendRow | null)[]
}

/** Every subject of a series over a grid. */
export async function trend(
  ctx: Context,
  { name, subjects, grid }: { name: MetricName; subjects?: readonly string[] | undefined; grid: Grid },
): Promise<Trend[]> {
  const { from, to, step, times } = grid
  // Days that were written in another zone begin up to half a day before the first one of this one.
  const since = step === day ? from - day / 2 : from
  const rows = await listTrend(ctx, { host: hostOf(ctx, name), name, subjects, step: tierOf(step), from: since, to }, step)
  const places = new Map(times.map((at, index) => [at, index]))
  const found = new Map<string, Trend>()
  for (const row of rows) {
    const place = places.get(row.at) ?? (step === day ? dayWithin(times, Math.min(row.at + day / 2, to - 1)) : undefined)
    if (place === undefined) continue
    let one = found.get(row.subject)
    if (!one) found.set(row.subject, (one = { subject: row.subject, spans: times.map(() => null) }))
    const known = one.spans[place]
    one.spans[place] = known ? together(known, row) : row
  }
  return [...found.values()]
}

/** Which of these days a moment lies in. */
function dayWithin(times: readonly number[], at: number): number | undefined {
  const place = times.findLastIndex((start) => start <= at)
  return place < 0 ? undefined : place
}

const together = (one: TrendRow, other: TrendRow): TrendRow => ({
  ...{ subject: one.subject, at: one.at, count: one.count + other.count, sum: one.sum + other.sum },
  ...{ min: Math.min(one.min, other.min), max: Math.max(one.max, other.max) },
})

/** The subjects whose averages over a range are the highest. */
export async function highest(ctx: Context, name: MetricName, { from, to }: Grid, most: number): Promise<string[]> {
  const tier = to - from > 2 * day ? day : quarter
  const start = tier === day ? dayStartOf(from, ctx.platform.config.timezone) : from - (from % quarter)
  const rows = await sumSpans(ctx, { host: hostOf(ctx, name), name, step: tier, from: start, to })
  return rows
    .sort((a, b) => b.sum / b.count - a.sum / a.count)
    .slice(0, most)
    .map(({ subject }) => subject)
}

export const subjectsOf = (ctx: Context, name: MetricName): Promise<string[]> => listSubjects(ctx, { host: hostOf(ctx, name), name })
