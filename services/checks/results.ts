import { home, type Context } from '../../monitoring/context'
import { duration } from '../../monitoring/markup'
import type { Outcome } from '../../monitoring/probes/checks/probe'
import * as events from '../events'
import * as incidents from '../incidents'
import { active } from '../maintenance'
import { observe } from '../metrics'
import * as snapshots from '../snapshots'
import { masked } from './looks'
import { inBackground, memoryOf } from './memory'
import { findCheck, markResult, saveSteady, type CheckRow } from './queries'
import { afterProbe, type Standing, type Step } from './state'

const longestMessage = 500

export interface Finding {
  readonly at: number
  readonly ok: boolean
  readonly message: string
  readonly duration: number | null
  readonly certificate_at: number | null
}

export const findingOf = (at: number, { ok, message, warning, duration, certificate_at = null }: Outcome): Finding => ({
  ...{ at, ok, duration, certificate_at },
  message: masked((ok && warning ? warning : message).replaceAll('\0', '\uFFFD').toWellFormed()).slice(0, longestMessage),
})

const isRunning = (row: CheckRow): row is CheckRow & Standing =>
  row.state === 'new' || row.state === 'up' || row.state === 'late' || row.state === 'down'

/** Takes what a probe of this check found, unless it was changed, paused or deleted meanwhile. Answers the check as it is then. */
export async function takeFinding(ctx: Context, probed: CheckRow, found: Finding): Promise<CheckRow | null> {
  const row = await findCheck(ctx, probed.id)
  if (row?.changed_at !== probed.changed_at || !isRunning(row)) return null
  const maintenance = (await active(ctx, row, found.at)) !== null
  const step = afterProbe(row, found.ok, { retries: row.retries, maintenance })
  const { message, duration, certificate_at } = found
  const news = { message, duration, certificate_at, checked_at: found.at }
  const isSteady = step.flip === null && step.state === row.state && step.failures === row.failures
  const { failing } = memoryOf(ctx)
  // After a restart, the failure before this one is what is still known of the run.
  const since = row.failures === 0 ? found.at : (failing.get(row.id) ?? row.checked_at ?? found.at)
  if (step.state === 'down' || step.failures === 0) failing.delete(row.id)
  else failing.set(row.id, since)
  if (isSteady) memoryOf(ctx).steady.set(row.id, { id: row.id, changed_at: row.changed_at, ...news })
  else if (!(await store(ctx, row, step, { ...news, at: found.at, since }))) return null
  count(ctx, row.id, step, found)
  ctx.platform.publish('checks.now', ctx.org, row.id)
  return { ...row, ...step, ...news }
}

/** The series that uptimes and charts are read from. */
export function count(
  ctx: Context,
  id: string,
  { counts }: Pick<Step, 'counts'>,
  { at, ok, duration }: Pick<Finding, 'at' | 'ok' | 'duration'>,
): void {
  const value = ok ? 1 : 0
  observe(ctx, ctx.platform.config.hostName, at, [
    { name: counts === 'uptime' ? 'check.up' : 'check.maintenance', subject: id, value },
    // How long a failure took says nothing of the response time.
    { name: 'check.duration', subject: id, value: ok ? duration : null },
  ])
}

type News = Pick<CheckRow, 'message' | 'duration' | 'certificate_at' | 'checked_at'>

/** One transaction: the check, its incident, the event, and what open pages are told. False: somebody else was first. */
export async function store(
  ctx: Context,
  row: CheckRow,
  step: Step,
  { at, since = at, ...news }: Partial<News> & { at: number; /** The first of the failures that made it down. */ since?: number },
): Promise<boolean> {
  const told = await ctx.transaction(async (ctx) => {
    const { state, failures, flip } = step
    const set = { state, failures, ...news, ...(state === row.state ? {} : { state_at: at }) }
    if (!(await markResult(ctx, row, set))) return null
    const incident = await tellFlip(ctx, row, flip, { message: news.message ?? row.message ?? '', at, since })
    ctx.changed('checks', row.id)
    return { incident }
  })
  if (!told) return false
  // What was found before is older than what stands there now.
  memoryOf(ctx).steady.delete(row.id)
  const { incident } = told
  // The machine as it was at that moment, without delaying the red tile.
  if (incident !== null && ctx.org === home)
    inBackground(
      ctx,
      snapshots.take(ctx, { incident }).catch(() => null),
    )
  return true
}

async function tellFlip(
  ctx: Context,
  { id, name }: CheckRow,
  flip: Step['flip'],
  { message, at, since }: { message: string; at: number; since: number },
): Promise<string | null> {
  if (flip === null) return null
  const event = { source: 'console', subject: name, at }
  ctx.changed('health', 'verdict')
  if (flip === 'down') {
    const incident = await incidents.begin(ctx, { check_id: id, title: `${name} is down`, cause: message, at: Math.min(since, at) })
    await events.record(ctx, { type: 'check.down', severity: 'error', ...event, data: { check: id, incident, cause: message } })
    return incident
  }
  const ended = await incidents.end(ctx, id, flip === 'up' ? 'recovered' : 'maintenance', at)
  // Of a heartbeat that was only late, there is nothing to tell.
  if (!ended) return null
  if (flip === 'up') {
    const data = { check: id, incident: ended.id, lasted_ms: ended.lasted_ms, lasted: duration(ended.lasted_ms) }
    await events.record(ctx, { type: 'check.up', severity: 'notice', ...event, data })
  } else await events.record(ctx, { type: 'check.maintenance', severity: 'info', ...event, data: { check: id, incident: ended.id } })
  return null
}

/** Writes what was found and changes no state, of all checks at once. What could not be written stays for the next time. */
export async function flushSteady(ctx: Context): Promise<void> {
  const { steady } = memoryOf(ctx)
  const results = [...steady.values()]
  for (let done = 0; done < results.length; done += 200) {
    // Whatever moved a check on while others were written has taken its result out.
    const piece = results.slice(done, done + 200).filter((one) => steady.get(one.id) === one)
    if (piece.length === 0) continue
    await ctx.transaction((ctx) => saveSteady(ctx, piece))
    for (const one of piece) if (steady.get(one.id) === one) steady.delete(one.id)
  }
}
