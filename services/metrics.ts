import type { Context } from '../monitoring/context'
import { Invalid } from '../monitoring/errors'
import { addSpans, deleteSpansBefore, listSpans, type Span } from './metrics/queries'
import { dayStartOf } from './metrics/days'

const minute = 60_000
const quarter = 15 * minute
const day = 24 * 60 * minute

/** How long each tier is kept: fine spans for the recent past, days for ever so long. */
const kept = [
  { step: minute, for: 3 * day },
  { step: quarter, for: 60 * day },
  { step: day, for: 5 * 365 * day },
] as const

/** What is measured, and in which unit. */
export const units = {
  'cpu.percent': '%',
  'cpu.core': '%',
  'cpu.load': '',
  'memory.percent': '%',
  'memory.used': 'bytes',
  'swap.percent': '%',
  'disk.percent': '%',
  'disk.used': 'bytes',
  'disk.read': 'bytes/s',
  'disk.write': 'bytes/s',
  'network.rx': 'bytes/s',
  'network.tx': 'bytes/s',
  'process.cpu': '%',
  'process.memory': 'bytes',
  'processes.down': 'processes',
  'console.rss': 'bytes',
  'console.loop_delay': 'ms',
} as const
export type MetricName = keyof typeof units
export const metricNames = Object.keys(units) as [MetricName, ...MetricName[]]

export interface Reading {
  name: MetricName
  subject?: string
  value: number | null
}

type Spans = Map<string, Span>

const pendingOf = (ctx: Context): Spans => ctx.platform.keep(`metrics of ${ctx.org}`, () => new Map<string, Span>())

function merge(spans: Spans, span: Span): void {
  const key = `${span.step} ${span.at} ${span.host} ${span.name} ${span.subject}`
  const known = spans.get(key)
  if (!known) spans.set(key, { ...span })
  else {
    known.count += span.count
    known.sum += span.sum
    known.last = span.last
    if (span.min < known.min) known.min = span.min
    if (span.max > known.max) known.max = span.max
  }
}

/** Takes readings into memory; `flush` writes them. A missing reading is a gap, not a zero. */
export function observe(ctx: Context, host: string, at: number, readings: readonly Reading[]): void {
  const pending = pendingOf(ctx)
  for (const { name, subject = '', value } of readings)
    if (value !== null && Number.isFinite(value))
      merge(pending, {
        host,
        name,
        subject,
        step: minute,
        at: at - (at % minute),
        count: 1,
        sum: value,
        min: value,
        max: value,
        last: value,
      })
}

/** What a machine with many series observes in an hour: beyond it, what cannot be written is given up. */
const mostPending = 20_000

/** Writes what was observed into the three tiers, in one transaction. What could not be written stays for the next time. */
export async function flush(ctx: Context): Promise<void> {
  const pending = pendingOf(ctx)
  const minutes = [...pending.values()]
  if (minutes.length === 0) return
  pending.clear()
  const tiers: Spans = new Map()
  for (const span of minutes) {
    merge(tiers, span)
    merge(tiers, { ...span, step: quarter, at: span.at - (span.at % quarter) })
    merge(tiers, { ...span, step: day, at: dayStartOf(span.at, ctx.platform.config.timezone) })
  }
  const clock = ctx.platform.keep(`charts of ${ctx.org}`, () => ({ minute: 0 }))
  const now = Math.floor(ctx.now() / minute)
  try {
    await ctx.transaction(async (ctx) => {
      await addSpans(ctx, [...tiers.values()])
      // Charts get a point a minute; the figures of this second have a topic of their own.
      if (now !== clock.minute) ctx.changed('metrics', 'charts')
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
  const { name, host = ctx.platform.config.hostName, subject, from, to } = query
  if (from >= to) throw new Invalid([{ field: 'from', message: 'This must be before the end of the range.' }])
  const step = query.step ?? Math.max(stepFor(to - from), finestKept(ctx.now() - from))
  if ((to - from) / step > mostPoints)
    throw new Invalid([{ field: 'step', message: `This gives more than ${mostPoints} points: take a longer step or a shorter range.` }])
  const tier = step % day === 0 ? day : step % quarter === 0 ? quarter : minute
  const start = tier === day ? dayStartOf(from, ctx.platform.config.timezone) : from - (from % step)
  const spans = await listSpans(ctx, { host, name, subject, step: tier, from: start, to })
  const found = new Map<string, Series>()
  for (const span of spans) {
    let one = found.get(span.subject)
    if (!one) found.set(span.subject, (one = { name, host, subject: span.subject, unit: units[name], step, points: [] }))
    const at = tier === day ? span.at : span.at - (span.at % step)
    const { count, min, max, last } = span
    const point = one.points.at(-1)
    if (point?.at !== at) one.points.push({ at, average: span.sum / count, min, max, last, count })
    else {
      point.average = (point.average * point.count + span.sum) / (point.count + count)
      point.count += count
      point.min = Math.min(point.min, min)
      point.max = Math.max(point.max, max)
      point.last = last
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
const finestKept = (age: number): number => kept.find((tier) => age <= tier.for)?.step ?? day

/** Drops what is older than its tier keeps, in pieces: a chore, off the request path. */
export async function prune(ctx: Context): Promise<void> {
  for (const tier of kept) {
    for (;;) {
      const gone = await ctx.transaction((ctx) => deleteSpansBefore(ctx, tier.step, ctx.now() - tier.for, 500))
      if (gone < 500) break
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}
