import type { Context } from '../monitoring/context'
import { Invalid } from '../monitoring/errors'
import { dayStartOf } from './metrics/days'
import { addHistogram, histogramOf, percentilesOf, type Histogram } from './metrics/histogram'
import { day, hostOf, minute, quarter, tiers, units, withHistogram, type MetricName } from './metrics/names'
import { addSpans, deleteSpansBefore, deleteSpansOf, listSpans, type Span } from './metrics/queries'
import { forgetLastDay } from './metrics/recent'

export { dayStartOf } from './metrics/days'
export { percentilesOf, type Histogram } from './metrics/histogram'
export { metricNames, type MetricName } from './metrics/names'
export { lastDay } from './metrics/recent'
export { gridBefore, gridOf, highest, subjectsOf, trend, type Grid, type Trend } from './metrics/trend'
export { totals } from './metrics/totals'

export interface Reading {
  name: MetricName
  subject?: string
  value: number | null
}

type Spans = Map<string, Span>

/** What was observed and is not written yet, of each organisation. */
const allPending = (ctx: Context): Map<string, Spans> => ctx.platform.keep('metrics', () => new Map<string, Spans>())

function pendingOf(ctx: Context): Spans {
  const all = allPending(ctx)
  let pending = all.get(ctx.org)
  if (!pending) all.set(ctx.org, (pending = new Map<string, Span>()))
  return pending
}

function merge(spans: Spans, span: Span): void {
  const key = `${span.step} ${span.at} ${span.host} ${span.name} ${span.subject}`
  const known = spans.get(key)
  if (!known) spans.set(key, { ...span, histogram: span.histogram && new Map<number, number>(span.histogram) })
  else {
    known.count += span.count
    known.sum += span.sum
    known.last = span.last
    if (span.min < known.min) known.min = span.min
    if (span.max > known.max) known.max = span.max
    if (span.histogram) addHistogram((known.histogram ??= new Map<number, number>()), span.histogram)
  }
}

/**
 * Takes readings into memory; `flush` writes them, every ten seconds, and only then readers see them. A missing
 * reading is a gap, not a zero.
 */
export function observe(ctx: Context, host: string, at: number, readings: readonly Reading[]): void {
  const pending = pendingOf(ctx)
  for (const { name, subject = '', value } of readings)
    if (value !== null && Number.isFinite(value))
      merge(pending, {
        host: hostOf(ctx, name, host),
        name,
        subject,
        step: minute,
        at: at - (at % minute),
        count: 1,
        sum: value,
        min: value,
        max: value,
        last: value,
        histogram: withHistogram.has(name) ? histogramOf(value) : null,
      })
}

/** What 500 checks observe in twenty minutes, a machine alone in a day: beyond it, what cannot be written is given up. */
const mostPending = 20_000

/** Rows per statement: about 2 ms. */
const piece = 200
const breath = () => new Promise((resolve) => setImmediate(resolve))

/** How many spans wait to be written. */
export const pendingCount = (ctx: Context): number => [...allPending(ctx).values()].reduce((sum, { size }) => sum + size, 0)

/** Writes what was observed into the three tiers, of each organisation. What could not be written stays for the next time. */
export async function flush(ctx: Context): Promise<void> {
  for (const org of allPending(ctx).keys()) await flushOne({ ...ctx, org })
}

async function flushOne(ctx: Context): Promise<void> {
  const pending = pendingOf(ctx)
  const minutes = [...pending.values()]
  if (minutes.length === 0) return
  pending.clear()
  const written: Spans = new Map()
  for (const span of minutes) {
    merge(written, span)
    merge(written, { ...span, step: quarter, at: span.at - (span.at % quarter) })
    merge(written, { ...span, step: day, at: dayStartOf(span.at, ctx.platform.config.timezone) })
  }
  const clock = ctx.platform.keep(`charts of ${ctx.org}`, () => ({ minute: 0 }))
  const now = Math.floor(ctx.now() / minute)
  try {
    await ctx.transaction(async (ctx) => {
      const rows = [...written.values()]
      for (let done = 0; done < rows.length; done += piece) {
        // In pieces, so that no request waits for hundreds of series.
        if (done > 0) await breath()
        await addSpans(ctx, rows.slice(done, done + piece))
      }
      // Charts get a point a minute; the figures of this second have a topic of their own.
      if (now === clock.minute) return
      ctx.changed('metrics', 'charts')
      ctx.changed('history', 'charts')
    })
    clock.minute = now
  } catch (error) {
    // Before what came in meanwhile, so that the last value stays the newest.
    const newer = [...pending.values()]
    pending.clear()
    for (const span of [...minutes, ...newer]) if (pending.size < mostPending) merge(pending, span)
    throw error
  }
}

/** A point of a series: figures of one span. */
export interface Point {
  at: number
  average: number
  min: number
  max: number
  last: number
  count: number
  histogram: Histogram | null
}

/** A point as the API shows it. */
export function asJson({ at, histogram, ...point }: Point) {
  const [p50, p95, p99] = histogram ? percentilesOf([{ ...point, histogram }], [50, 95, 99]) : []
  return { at: new Date(at).toISOString(), ...point, ...(p50 == null || p95 == null || p99 == null ? {} : { p50, p95, p99 }) }
}

export interface Series {
  name: MetricName
  host: string
  subject: string
  unit: string
  /** Milliseconds per point. */
  step: number
  points: Point[]
}

export interface SeriesQuery {
  name: MetricName
  host?: string | undefined
  subject?: string | undefined
  from: number
  to: number
  /** Milliseconds per point; absent: what gives 60 to 200 points, of what is still kept. */
  step?: number | undefined
}

const mostPoints = 2000

/** Reads a series from the coarsest tier that can give the step that was asked for. */
export async function series(ctx: Context, query: SeriesQuery): Promise<Series[]> {
  const { name, subject, from, to } = query
  const host = hostOf(ctx, name, query.host)
  if (from >= to) throw new Invalid([{ field: 'from', message: 'This must be before the end of the range.' }])
  const step = query.step ?? Math.max(stepFor(to - from), finestKept(ctx.now() - from))
  if ((to - from) / step > mostPoints)
    throw new Invalid([{ field: 'step', message: `This gives more than ${mostPoints} points: take a longer step or a shorter range.` }])
  const tier = step % day === 0 ? day : step % quarter === 0 ? quarter : minute
  const start = tier === day ? dayStartOf(from, ctx.platform.config.timezone) : from - (from % step)
  const spans = await listSpans(ctx, { host, name, subjects: subject === undefined ? undefined : [subject], step: tier, from: start, to })
  const found = new Map<string, Series>()
  for (const span of spans) {
    let one = found.get(span.subject)
    if (!one) found.set(span.subject, (one = { name, host, subject: span.subject, unit: units[name], step, points: [] }))
    const at = tier === day ? span.at : span.at - (span.at % step)
    const { count, min, max, last, histogram } = span
    const point = one.points.at(-1)
    if (point?.at !== at) one.points.push({ at, average: span.sum / count, min, max, last, count, histogram })
    else {
      point.average = (point.average * point.count + span.sum) / (point.count + count)
      point.count += count
      point.min = Math.min(point.min, min)
      point.max = Math.max(point.max, max)
      point.last = last
      if (histogram) addHistogram((point.histogram ??= new Map<number, number>()), histogram)
    }
  }
  return [...found.values()].sort((a, b) => (a.subject < b.subject ? -1 : 1))
}

/** Several series at once, each whole. */
export async function seriesOf(ctx: Context, names: readonly MetricName[], query: Omit<SeriesQuery, 'name'>): Promise<Series[]> {
  return (await Promise.all(names.map((name) => series(ctx, { name, ...query })))).flat()
}

const stepFor = (range: number): number =>
  range <= 3 * 60 * minute ? minute : range <= 2 * day ? quarter : range <= 14 * day ? 4 * quarter : day

/** The finest step of which there is still something so long ago. */
const finestKept = (age: number): number => tiers.find((tier) => age <= tier.for)?.step ?? day

/** Drops what is older than its tier keeps, in pieces: a chore, off the request path. */
export async function prune(ctx: Context): Promise<void> {
  for (const tier of tiers) {
    for (;;) {
      const gone = await ctx.transaction((ctx) => deleteSpansBefore(ctx, tier.step, ctx.now() - tier.for, 500))
      if (gone < 500) break
      await breath()
    }
  }
}

/** What was measured of something that is not there any more, in pieces; also what waits to be written. */
export async function forgetSubject(ctx: Context, names: readonly MetricName[], subject: string): Promise<void> {
  const pending = pendingOf(ctx)
  for (const [key, span] of pending) if (span.subject === subject && names.includes(span.name as MetricName)) pending.delete(key)
  for (const name of names) {
    forgetLastDay(ctx, name, subject)
    while ((await ctx.transaction((ctx) => deleteSpansOf(ctx, hostOf(ctx, name), name, subject, 500))) === 500) await breath()
    // Whoever read meanwhile may have found it once more.
    forgetLastDay(ctx, name, subject)
  }
}
