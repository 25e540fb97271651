import { systemActor, type Context } from '../../monitoring/context'
import { Conflict, NotFound, TooMany } from '../../monitoring/errors'
import { duration } from '../../monitoring/markup'
import { active } from '../maintenance'
import type { SpecOf } from './kinds'
import { memoryOf, type Entry } from './memory'
import { toldBy } from './present'
import { findByToken, findCheck, markResult, type CheckRow } from './queries'
import { count, findingOf, store } from './results'
import { hashOf } from './seal'
import { afterProbe, afterWaiting, expectation, type Standing } from './state'

export const pingKinds = ['success', 'start', 'fail'] as const
export type PingKind = (typeof pingKinds)[number]

const minute = 60_000
/** More often than once a second for a whole minute is no job that reports. */
const mostPings = 60
/** After a start of the console, whoever could not ping meanwhile has this long. */
const patience = 10 * minute

/** Whoever has the token, and nobody else, can say this. Answers after the commit. */
export async function ping(
  ctx: Context,
  token: string,
  kind: PingKind,
  { message, duration_ms }: { message?: string | undefined; duration_ms?: number | undefined } = {},
): Promise<void> {
  const known = /^[\w-]{43}$/.test(token) ? await findByToken(ctx, hashOf(token)) : undefined
  if (!known) throw new NotFound('No heartbeat has this address. It may have been deleted.')
  throttle(ctx, known.id)
  const within: Context = { ...ctx, org: known.org_id, actor: systemActor }
  const now = ctx.now()
  const { begun } = memoryOf(ctx)
  if (kind === 'start') {
    begun.set(known.id, now)
    return
  }
  const since = begun.get(known.id)
  begun.delete(known.id)
  const ok = kind === 'success'
  const said = message?.trim() ? message.trim() : ok ? 'It pinged' : 'The job says that it failed'
  const took = duration_ms ?? (since === undefined ? null : Math.max(0, now - since))
  const found = findingOf(now, { ok, message: said, duration: took })
  // Somebody else may have moved the check on in between: its state now decides.
  for (let attempt = 0; attempt < 5; attempt++) {
    const row = await findCheck(within, known.id)
    if (!row || row.state === 'paused' || row.state === 'unset') return
    const maintenance = (await active(within, row, now)) !== null
    const step = afterProbe({ ...row, state: row.state }, ok, { retries: 0, maintenance })
    const news = { message: found.message, duration: took, checked_at: now }
    const isSteady = step.flip === null && step.state === row.state && step.failures === row.failures
    const done = isSteady
      ? await within.transaction((ctx) => markResult(ctx, row, news))
      : await store(within, row, step, { ...news, at: now })
    if (!done) continue
    count(within, row.id, step, found)
    hear(ctx, { ...row, ...step, ...news }, now)
    ctx.platform.publish('checks.now', row.org_id, row.id)
    return
  }
  throw new Conflict('The check is being changed at this moment. Ping again.')
}

function throttle(ctx: Context, id: string): void {
  const counted = ctx.platform.keep('checks.pings', () => ({ minute: 0, pings: new Map<string, number>() }))
  const now = Math.floor(ctx.now() / minute)
  if (counted.minute !== now) {
    counted.minute = now
    counted.pings.clear()
  }
  const pings = (counted.pings.get(id) ?? 0) + 1
  counted.pings.set(id, pings)
  if (pings > mostPings) throw new TooMany(`A heartbeat takes ${mostPings} pings a minute.`, 60)
}

/** The engine of this process need not look it up. */
function hear(ctx: Context, row: CheckRow, now: number): void {
  const entry = memoryOf(ctx).entries.get(row.id)
  if (!entry) return
  Object.assign(entry, { row, base: now, pinged: now })
  entry.due = dueOf(ctx, entry)
  memoryOf(ctx).wake()
}

const specOf = (row: CheckRow): SpecOf<'heartbeat'> => {
  const check = toldBy(row)
  return check.kind === 'heartbeat' ? check.spec : { period_s: row.interval_s, grace_s: 0 }
}

function expected(ctx: Context, { row, base }: Entry) {
  const spec = specOf(row)
  const period = spec.period_s * 1000
  return { ...expectation(Math.max(base, ctx.platform.startedAt + Math.min(period, patience) - period), spec), period }
}

/** When it has to be looked at, if nobody pings. */
export function dueOf(ctx: Context, entry: Entry): number {
  const { state } = entry.row
  if (state === 'new' && entry.pinged === null) return Infinity
  const { late_at, down_at, period } = expected(ctx, entry)
  if (state === 'up') return late_at
  return state === 'late' || state === 'new' ? down_at : Math.max(down_at, ctx.now()) + period
}

/** Nobody has pinged until it was due. */
export async function expire(ctx: Context, entry: Entry): Promise<void> {
  const row = await findCheck(ctx, entry.row.id)
  const now = ctx.now()
  if (!row || row.state === 'paused' || row.state === 'unset') {
    memoryOf(ctx).entries.delete(entry.row.id)
    return
  }
  if (row.checked_at !== entry.pinged) Object.assign(entry, { base: row.checked_at ?? now, pinged: row.checked_at })
  entry.row = row
  const { late_at, down_at, period } = expected(ctx, entry)
  const standing: Standing = { state: row.state, failures: row.failures }
  const window = await active(ctx, row, now)
  const maintenance = window !== null
  const step = afterWaiting(standing, now, entry.pinged === null ? null : { late_at, down_at }, maintenance)
  const missed = { at: now, ok: false, duration: null }
  if (step) {
    const grace = down_at - late_at
    const message = `No ping within ${duration(period)}${step.state === 'down' && grace > 0 ? ` and ${duration(grace)} of grace` : ''}`
    const { checked_at, duration: took } = row
    if (await store(ctx, row, step, { at: now, message, checked_at, duration: took })) {
      entry.row = { ...row, ...step, message }
      if (step.flip === 'down') count(ctx, row.id, step, missed)
    }
  } else if (row.state === 'down' && now >= down_at) count(ctx, row.id, { counts: maintenance ? 'maintenance' : 'uptime' }, missed)
  if (!window) entry.due = dueOf(ctx, entry)
  else {
    // Looked at again and again, because it may be ended early; a whole period begins with its end.
    entry.due = Math.min(now + Math.min(period, minute), Math.max(window.ends_at, now + 1))
    entry.base = Math.max(entry.base, entry.due)
  }
}
