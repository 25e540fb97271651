import type { Context } from '../../monitoring/context'
import { day, hostOf, quarter, type MetricName } from './names'
import { listCounts, listSubjects } from './queries'

/** The last day of one subject in quarters of an hour, oldest first; the last one is the quarter that runs. */
export interface Recent {
  counts: Float64Array
  sums: Float64Array
}

export interface LastDay {
  /** Start of the first quarter. */
  from: number
  step: number
  subjects: ReadonlyMap<string, Recent>
}

const length = day / quarter + 1

interface Memory {
  from: number
  /** Read up to here, and when. */
  until: number
  at: number
  subjects: Map<string, Recent>
  reading: Promise<void> | null
}

const freshFor = 1000
/** Subjects that are read at a time: about 5 ms. */
const piece = 50

const memoryOf = (ctx: Context, name: MetricName): Memory =>
  ctx.platform.keep(`last day of ${name} in ${ctx.org}`, () => ({ from: 0, until: 0, at: -Infinity, subjects: new Map(), reading: null }))

export function forgetLastDay(ctx: Context, name: MetricName, subject: string): void {
  memoryOf(ctx, name).subjects.delete(subject)
}

/**
 * The last 24 hours of every subject of a series: a list of 500 checks asks for all of them at each look, which is
 * 48,000 rows, so they are read once and then only what is new.
 */
export async function lastDay(ctx: Context, name: MetricName): Promise<LastDay> {
  const memory = memoryOf(ctx, name)
  const now = ctx.now()
  if (Math.abs(now - memory.at) >= freshFor)
    await (memory.reading ??= bringUpToDate(ctx, memory, name, now).finally(() => {
      memory.reading = null
    }))
  return { from: memory.from, step: quarter, subjects: memory.subjects }
}

async function bringUpToDate(ctx: Context, memory: Memory, name: MetricName, now: number): Promise<void> {
  const last = now - (now % quarter)
  const from = last - (length - 1) * quarter
  const moved = Math.round((from - memory.from) / quarter)
  // A clock that was set back, and the first time: from the beginning.
  if (moved < 0 || moved >= length) {
    memory.subjects = new Map()
    memory.until = from
  } else if (moved > 0)
    for (const [subject, { counts, sums }] of memory.subjects) {
      counts.copyWithin(0, moved).fill(0, length - moved)
      sums.copyWithin(0, moved).fill(0, length - moved)
      if (counts.every((count) => count === 0)) memory.subjects.delete(subject)
    }
  memory.from = from
  // What ended a quarter ago may have been written late: the one before the last is read again.
  const since = Math.max(from, memory.until - quarter)
  const series = { host: hostOf(ctx, name), name }
  const take = async (subjects?: readonly string[]) => {
    for (const { subject, at, count, sum } of await listCounts(ctx, {
      ...series,
      subjects,
      step: quarter,
      from: since,
      to: last + quarter,
    })) {
      let one = memory.subjects.get(subject)
      if (!one) memory.subjects.set(subject, (one = { counts: new Float64Array(length), sums: new Float64Array(length) }))
      const index = Math.round((at - from) / quarter)
      one.counts[index] = count
      one.sums[index] = sum
    }
  }
  if (last - since <= 2 * quarter) await take()
  else {
    // The first time it is much, and others want to be answered meanwhile.
    const all = await listSubjects(ctx, series)
    for (let done = 0; done < all.length; done += piece) {
      if (done > 0) await new Promise((resolve) => setImmediate(resolve))
      await take(all.slice(done, done + piece))
    }
  }
  memory.until = last
  memory.at = now
}
