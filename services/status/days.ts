import type { Context } from '../../monitoring/context'
import { markOf, type Mark } from '../checks'
import { dayStartOf, gridOf, trend } from '../metrics'

const hour = 3_600_000
const day = 24 * hour
const shownDays = 90
/** What could not be written at once is written later; after this, a day stays as it is. */
const settledAfter = hour
/** Checks that are read at a time: 90 days of them in a few milliseconds, so that no request waits for all of them. */
const piece = 20

interface Count {
  probes: number
  up: number
  maintenance: number
}

/** The days that are over, by start and check: they do not change, so they are read once. */
export interface Days {
  ids: readonly string[]
  readonly over: Map<number, ReadonlyMap<string, Count>>
}

export const newDays = (): Days => ({ ids: [], over: new Map() })

export interface Past {
  uptime_90d: { percent: number | null; probes: number }
  /** 90 days, the oldest first. */
  strip: Mark[]
}

/** 90 days of each of these checks, today included. */
export async function pastOf(ctx: Context, memory: Days, ids: readonly string[]): Promise<(id: string) => Past> {
  const now = ctx.now()
  const isOver = (at: number): boolean => at + day + 2 * hour + settledAfter <= now
  const from = dayStartOf(now - (shownDays - 1) * day, ctx.platform.config.timezone)
  // Up to the end of this moment.
  const { times } = gridOf(ctx, from, now + 1)
  if (memory.ids.join() !== ids.join()) memory.over.clear()
  memory.ids = ids
  for (const at of memory.over.keys()) if (!times.includes(at) || !isOver(at)) memory.over.delete(at)
  const first = times.findIndex((at) => !memory.over.has(at))
  const read = first < 0 ? new Map<number, Map<string, Count>>() : await readDays(ctx, ids, times.slice(first), now + 1)
  for (const [at, counts] of read) if (isOver(at)) memory.over.set(at, counts)
  const all = times.slice(-shownDays).map((at) => read.get(at) ?? memory.over.get(at))
  return (id) => {
    const strip = all.map((counts) => counts?.get(id) ?? { probes: 0, up: 0, maintenance: 0 })
    const probes = strip.reduce((sum, one) => sum + one.probes, 0)
    const up = strip.reduce((sum, one) => sum + one.up, 0)
    return {
      uptime_90d: { percent: probes === 0 ? null : (up / probes) * 100, probes },
      strip: strip.map((one) => markOf(one.up, one.probes, one.maintenance)),
    }
  }
}

async function readDays(ctx: Context, ids: readonly string[], times: readonly number[], to: number) {
  const read = new Map(times.map((at) => [at, new Map<string, Count>()]))
  const grid = { from: times[0] ?? to, to, step: day, times }
  const add = async (name: 'check.up' | 'check.maintenance', subjects: readonly string[], take: (one: Count, row: Row) => void) => {
    for (const { subject, spans } of await trend(ctx, { name, subjects, grid }))
      for (const [index, row] of spans.entries()) {
        const counts = read.get(times[index] ?? 0)
        if (!row || !counts) continue
        const one = counts.get(subject) ?? { probes: 0, up: 0, maintenance: 0 }
        take(one, row)
        counts.set(subject, one)
      }
  }
  for (let done = 0; done < ids.length; done += piece) {
    if (done > 0) await new Promise((resolve) => setImmediate(resolve))
    const some = ids.slice(done, done + piece)
    await add('check.up', some, (one, { count, sum }) => Object.assign(one, { probes: count, up: sum }))
    await add('check.maintenance', some, (one, { count }) => Object.assign(one, { maintenance: count }))
  }
  return read
}

interface Row {
  count: number
  sum: number
}
