import type { Context } from '../../monitoring/context'
import { dayStartOf, forgetSubject, percentilesOf, series, totals } from '../metrics'
import { periods, type History, type Mark, type Percentiles, type Period, type Uptime } from './check'

const minute = 60_000
const quarter = 15 * minute
const halfHour = 30 * minute
const hour = 60 * minute
const day = 24 * hour

const lengths: Readonly<Record<Period, number>> = { '24h': day, '7d': 7 * day, '30d': 30 * day, '90d': 90 * day }
/** Of a mark in the strip and a point in the chart. */
const steps: Readonly<Record<Period, number>> = { '24h': halfHour, '7d': 3 * hour, '30d': 12 * hour, '90d': day }

/** Whole half hours, quarters or days, the one that is now included: what a page says and what its bars show is the same. */
function rangeOf(ctx: Context, period: Period): { from: number; to: number } {
  const now = ctx.now()
  const grain = period === '24h' ? halfHour : quarter
  const to = now - (now % grain) + grain
  if (period === '90d') return { from: dayStartOf(now - lengths[period] + day, ctx.platform.config.timezone), to }
  return { from: to - lengths[period], to }
}

const uptimeOf = (period: Period, probes: number, up: number): Uptime => ({
  ...{ period, probes, up },
  percent: probes === 0 ? null : (up / probes) * 100,
})

export async function uptimesOf(ctx: Context, id: string): Promise<Uptime[]> {
  return await Promise.all(
    periods.map(async (period) => {
      const found = (await totals(ctx, { name: 'check.up', subjects: [id], ...rangeOf(ctx, period) })).get(id)
      return uptimeOf(period, found?.count ?? 0, found?.sum ?? 0)
    }),
  )
}

export async function percentilesFor(ctx: Context, id: string, period: Period): Promise<Percentiles> {
  const found = (await totals(ctx, { name: 'check.duration', subjects: [id], histograms: true, ...rangeOf(ctx, period) })).get(id)
  const [p50 = null, p95 = null, p99 = null] = percentilesOf(found ? [found] : [], [50, 95, 99])
  return { p50, p95, p99, count: found?.count ?? 0 }
}

export async function historyOf(ctx: Context, id: string, period: Period): Promise<History> {
  const { from, to } = rangeOf(ctx, period)
  const step = steps[period]
  const query = { subject: id, from, to, step }
  const [[ups], [maintained], [durations]] = await Promise.all([
    series(ctx, { name: 'check.up', ...query }),
    series(ctx, { name: 'check.maintenance', ...query }),
    series(ctx, { name: 'check.duration', ...query }),
  ])
  const strip = new Map<number, History['strip'][number]>()
  const markAt = (at: number) => {
    let mark = strip.get(at)
    if (!mark) strip.set(at, (mark = { at, up: 0, down: 0, maintenance: 0, probes: 0 }))
    return mark
  }
  for (let at = firstOf(ctx, from, step); at < to; at = nextOf(ctx, at, step)) markAt(at)
  for (const { at, average, count } of ups?.points ?? []) {
    const mark = markAt(at)
    const up = Math.round(average * count)
    Object.assign(mark, { up: mark.up + up, down: mark.down + count - up, probes: mark.probes + count })
  }
  for (const { at, count } of maintained?.points ?? []) markAt(at).maintenance += count
  return {
    ...{ step, from, to },
    strip: [...strip.values()].sort((a, b) => a.at - b.at),
    durations: (durations?.points ?? []).map((point) => {
      const [p50 = null, p95 = null, p99 = null] = percentilesOf([point], [50, 95, 99])
      return { at: point.at, p50, p95, p99, average: point.average, max: point.max, count: point.count }
    }),
  }
}

const firstOf = (ctx: Context, from: number, step: number): number =>
  step === day ? dayStartOf(from, ctx.platform.config.timezone) : from - (from % step)
/** Days have 23 to 25 hours. */
const nextOf = (ctx: Context, at: number, step: number): number =>
  step === day ? dayStartOf(at + day + day / 2, ctx.platform.config.timezone) : at + step

/** Some of many failed: a look is worth while. */
export const markOf = (up: number, probes: number, maintenance: number): Mark =>
  probes === 0 ? (maintenance > 0 ? 'idle' : 'none') : up === probes ? 'ok' : up * 2 < probes ? 'err' : 'warn'

// ---- The last 24 hours of all checks at once

interface Half {
  /** By check: probes, of which up, and in maintenance. */
  readonly checks: Map<string, readonly [probes: number, up: number, maintenance: number]>
  /** Nothing is added to it any more. */
  readonly isWhole: boolean
}

/** Readings are written within seconds; after this, a half hour stays as it is. */
const settledAfter = 2 * minute

const halvesOf = (ctx: Context) => ctx.platform.keep(`checks: half hours of ${ctx.org}`, () => new Map<number, Half>())

/** Of a check that is gone, or tells of something else from now on. */
export async function forgetPast(ctx: Context, id: string): Promise<void> {
  const forget = () => {
    for (const { checks } of halvesOf(ctx).values()) checks.delete(id)
  }
  forget()
  await forgetSubject(ctx, ['check.up', 'check.maintenance', 'check.duration'], id)
  forget()
}

/**
 * The list shows 24 hours of up to 2,000 checks. Half hours that are over do not change, so each is added up once;
 * one by one, so that no request waits for all of them.
 */
export async function lastDay(ctx: Context): Promise<{ uptimeOf: (id: string) => Uptime; stripOf: (id: string) => Mark[] }> {
  const memory = halvesOf(ctx)
  const { from, to } = rangeOf(ctx, '24h')
  const all: Half[] = []
  for (let at = from; at < to; at += halfHour) {
    let half = memory.get(at)
    if (!half?.isWhole) {
      half = await addUp(ctx, at)
      memory.set(at, half)
    }
    all.push(half)
  }
  for (const at of memory.keys()) if (at < from || at >= to) memory.delete(at)
  return {
    uptimeOf(id) {
      let [probes, up] = [0, 0]
      for (const { checks } of all) {
        const [more = 0, good = 0] = checks.get(id) ?? []
        probes += more
        up += good
      }
      return uptimeOf('24h', probes, up)
    },
    stripOf: (id) =>
      all.map(({ checks }) => {
        const [probes = 0, up = 0, maintenance = 0] = checks.get(id) ?? []
        return markOf(up, probes, maintenance)
      }),
  }
}

async function addUp(ctx: Context, from: number): Promise<Half> {
  const to = from + halfHour
  const isWhole = ctx.now() > to + settledAfter
  const [ups, maintained] = await Promise.all([
    totals(ctx, { name: 'check.up', from, to }),
    totals(ctx, { name: 'check.maintenance', from, to }),
  ])
  const checks = new Map<string, readonly [number, number, number]>()
  for (const [id, { count, sum }] of ups) checks.set(id, [count, sum, maintained.get(id)?.count ?? 0])
  for (const [id, { count }] of maintained) if (!checks.has(id)) checks.set(id, [0, 0, count])
  await new Promise((resolve) => setImmediate(resolve))
  return { checks, isWhole }
}
