import type { Context } from '../../monitoring/context'
import { asError } from '../../monitoring/errors'
import { dueOf, expire } from './heartbeats'
import { holderOf, isGone } from './holder'
import { enter, fits, laneOf, memoryOf, type Entry } from './memory'
import { lookAtRow } from './probing'
import { changedSince, dropLease, findCheck, inheritLease, listRunning, newestSeq, takeLease, type CheckRow } from './queries'
import { findingOf, flushSteady, takeFinding } from './results'
import { firstDue, nextDue, pauseAfter } from './rhythm'

const second = 1000
const leaseMs = 10 * second
const renewMs = 3 * second
const askMs = second
const flushMs = 5 * second
/** Every commit rings; looking ten times a second is enough. */
const breathMs = 100
/** A clock that moves on by so much more or less than time does was set. */
const jumpMs = 3 * second

/** Brings what is in memory up to date with what changed in the database, by whichever console. */
async function sync(ctx: Context): Promise<void> {
  const memory = memoryOf(ctx)
  if (memory.seq === null) {
    const seq = await newestSeq(ctx)
    for (const row of await listRunning(ctx)) place(ctx, row)
    memory.seq = seq
    return
  }
  for (let more = true; more;) {
    const changed = await changedSince(ctx, memory.seq)
    if (changed.ids.length > 0) {
      const rows = new Map((await listRunning(ctx, changed.ids)).map((row) => [row.id, row]))
      for (const id of changed.ids) {
        const row = rows.get(id)
        if (row) place(ctx, row)
        else memory.entries.delete(id)
      }
    }
    memory.seq = changed.seq
    more = changed.more
  }
}

function place(ctx: Context, row: CheckRow): void {
  const { entries } = memoryOf(ctx)
  const known = entries.get(row.id)
  if (known?.row.changed_at === row.changed_at) {
    known.row = row
    if (row.kind === 'heartbeat' && row.checked_at !== known.pinged) {
      Object.assign(known, { base: row.checked_at ?? ctx.now(), pinged: row.checked_at })
      known.due = dueOf(ctx, known)
    }
    return
  }
  // Whoever changed or resumed it begins a new period.
  const base = Math.max(row.checked_at ?? 0, row.changed_at)
  const entry: Entry = { row, base, pinged: row.checked_at, due: ctx.now(), lane: laneOf(row) }
  entry.due = row.kind === 'heartbeat' ? dueOf(ctx, entry) : firstDue(ctx, row)
  entries.set(row.id, entry)
}

/** Looks at one check, unless somebody does already. */
function look(ctx: Context, entry: Entry): Promise<void> {
  const { running } = memoryOf(ctx)
  const already = running.get(entry.row.id)
  if (already) return already.then(() => undefined)
  const leave = enter(ctx, entry)
  const work = lookNow({ ...ctx, org: entry.row.org_id }, entry)
    .catch((error: unknown) => {
      ctx.log.error({ err: asError(error), check: entry.row.id }, 'what a check found could not be stored')
    })
    .finally(() => {
      leave()
      running.delete(entry.row.id)
    })
  running.set(entry.row.id, work)
  return work
}

async function lookNow(ctx: Context, entry: Entry): Promise<void> {
  const { stopping, entries } = memoryOf(ctx)
  const { row } = entry
  const began = entry.due
  try {
    if (row.kind === 'heartbeat') {
      await expire(ctx, entry)
      return
    }
    const outcome = await lookAtRow(ctx, row)
    // What was broken off says nothing of the target.
    if (stopping.signal.aborted) return
    const after = (await takeFinding(ctx, row, findingOf(ctx.now(), outcome))) ?? (await findCheck(ctx, row.id))
    if (after) entry.row = { ...entry.row, state: after.state, failures: after.failures }
    else entries.delete(row.id)
  } finally {
    // Also where it could not be stored: it is tried again, and not at once.
    if (row.kind !== 'heartbeat' || entry.due === began)
      entry.due = row.kind === 'heartbeat' ? ctx.now() + 10 * second : nextDue(ctx, entry)
  }
}

/** What is due; first what has waited for the greatest part of its interval, so that the quick ones keep their rhythm. */
function due(ctx: Context): Entry[] {
  const { entries, running } = memoryOf(ctx)
  const now = ctx.now()
  const lateness = ({ row, due }: Entry) => (now - due) / pauseAfter(row)
  return [...entries.values()]
    .filter((entry) => entry.due <= now && !running.has(entry.row.id))
    .sort((a, b) => lateness(b) - lateness(a) || a.due - b.due)
}

/** Looks at everything that is due by the console's clock, and answers when that is done. */
export async function runDue(ctx: Context): Promise<void> {
  await sync(ctx)
  const { running } = memoryOf(ctx)
  const begun = new Set<Promise<void>>()
  for (let waiting = due(ctx); waiting.length > 0;) {
    waiting = waiting.filter((entry) => {
      // Somebody else may have looked while this one waited.
      if (entry.due > ctx.now()) return false
      if (!fits(ctx, entry)) return true
      begun.add(look(ctx, entry))
      return false
    })
    if (waiting.length > 0) await Promise.race(running.values())
  }
  await Promise.all(begun)
  await Promise.all(memoryOf(ctx).background)
}

/** Looks at checks as they become due, as long as this console is the one that does. */
export function start(ctx: Context): { stop(): Promise<void> } {
  const { store, log } = ctx.platform
  const memory = memoryOf(ctx)
  const holder = holderOf(ctx)
  let timer: NodeJS.Timeout | undefined
  let ticking: Promise<void> | null = null
  let again = false
  let stopped = false
  let held = -Infinity
  let asked = -Infinity
  let flushed = performance.now()
  let clock = { wall: ctx.now(), mono: performance.now() }

  /** Time goes on as it does, whatever the clock is set to: everything that is due moves with it. */
  function followClock(): void {
    const now = { wall: ctx.now(), mono: performance.now() }
    const jump = now.wall - clock.wall - (now.mono - clock.mono)
    clock = now
    if (Math.abs(jump) < jumpMs) return
    log.warn({ jump_ms: Math.round(jump) }, 'the clock of this machine was set; checks go on in their rhythm')
    for (const entry of memory.entries.values()) {
      entry.due += jump
      entry.base += jump
    }
  }

  async function isOurs(): Promise<boolean> {
    const now = performance.now()
    if (now - asked >= (now - held < leaseMs ? renewMs : askMs)) {
      asked = now
      // A file has one console, but for the moment of a reload: whoever was killed is not waited for.
      const isOurs =
        (await takeLease(ctx, holder, leaseMs)) || (store.dialect.name === 'sqlite' && (await inheritLease(ctx, holder, isGone)))
      held = isOurs ? now : -Infinity
    }
    return now - held < leaseMs
  }

  async function tick(): Promise<void> {
    followClock()
    if (performance.now() - flushed >= flushMs) {
      flushed = performance.now()
      await flushSteady(ctx)
    }
    if (!(await isOurs())) {
      // Whoever runs them now knows better what is due.
      memory.seq = null
      memory.entries.clear()
      return
    }
    await sync(ctx)
    for (const entry of due(ctx)) if (fits(ctx, entry)) void look(ctx, entry).then(wake)
  }

  function wake(): void {
    if (stopped) return
    if (ticking) {
      again = true
      return
    }
    clearTimeout(timer)
    again = false
    ticking = tick()
      .catch((error: unknown) => {
        if (!stopped) log.error({ err: asError(error) }, 'checks could not be looked after; it is tried again')
      })
      .finally(() => {
        ticking = null
        if (stopped) return
        const now = ctx.now()
        // What is being looked at wakes us when it is done.
        const waiting = [...memory.entries.values()].filter((entry) => !memory.running.has(entry.row.id) && fits(ctx, entry))
        const next = waiting.reduce((soonest, entry) => Math.min(soonest, entry.due - now), second)
        timer = setTimeout(wake, Math.max(again ? breathMs : 20, next > 0 ? Math.min(next, again ? breathMs : next) : 0)).unref()
      })
  }

  memory.wake = wake
  const quiet = store.bell.onRing(wake)
  wake()
  return {
    async stop() {
      stopped = true
      quiet()
      clearTimeout(timer)
      memory.wake = () => undefined
      memory.stopping.abort()
      await ticking
      await Promise.all([...memory.running.values(), ...memory.background])
      try {
        await flushSteady(ctx)
        if (held > -Infinity) await dropLease(ctx, holder)
      } catch (error) {
        log.error({ err: asError(error) }, 'the last results of checks could not be written')
      }
    },
  }
}
