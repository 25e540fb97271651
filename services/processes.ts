import type { Context } from '../monitoring/context'
import { Conflict, Forbidden, Unavailable } from '../monitoring/errors'
import { may, type Action } from '../monitoring/permissions'
import type { Pm2Environment } from '../monitoring/probes/pm2'
import { recordAct, recordUse } from './audit'
import * as events from './events'
import { find, isHere, latestOf, type Process } from './processes/list'
import { readLogFile, type LogPart, type Stream } from './processes/log'
import { takeState } from './processes/state'

export { find, findGroup, groupsOf, isJob, list, listPage, type Group, type Process, type ProcessList } from './processes/list'
export { streams, type LogPart, type Stream } from './processes/log'
export { countsOf, history, turnsOf, type Counts, type History, type Range, type Turn } from './processes/past'
export { takeEvent, takeState } from './processes/state'
export { cronInWords, verdictOf, type Verdict } from './processes/words'

export const processActions = ['restart', 'reload', 'stop', 'start'] as const
export type ProcessAction = (typeof processActions)[number]

export const mayAct = (ctx: Pick<Context, 'actor'>, action: ProcessAction): boolean => may(ctx.actor, permissionFor(action))

export type Rights = Readonly<Record<ProcessAction, boolean>>

/** What the actor may do, for the buttons. */
export const rights = (ctx: Pick<Context, 'actor'>): Rights => ({
  restart: mayAct(ctx, 'restart'),
  reload: mayAct(ctx, 'reload'),
  stop: mayAct(ctx, 'stop'),
  start: mayAct(ctx, 'start'),
})

export const permissionFor = (action: ProcessAction): Action => `processes.${action}`

function onlyHere(ctx: Context, target: Process, what: string): void {
  if (!isHere(ctx, target)) throw new Conflict(`${target.name} runs on ${target.host}, and this console can only ${what} its own machine.`)
}

/** Restarts, reloads, stops or starts one process, and tells who did it. Answers when PM2 has done it. */
export async function act(ctx: Context, reference: string, action: ProcessAction): Promise<Process> {
  if (!mayAct(ctx, action)) throw new Forbidden(`Your role does not allow to ${action} a process.`)
  const target = await find(ctx, reference)
  onlyHere(ctx, target, 'act on')
  if (action === 'start' && target.status === 'online') throw new Conflict(`${target.name} runs already.`)
  if (action === 'stop' && target.status === 'stopped') throw new Conflict(`${target.name} is stopped already.`)
  const pm2 = running(ctx)
  // Before the deed: a restart of this very console would not come back to write it.
  await ctx.transaction(async (ctx) => {
    await recordAct(ctx, { action: `processes.${action}`, topic: 'processes', subject: target.id, data: { name: target.name } })
    await events.record(ctx, {
      type: `process.${action}`,
      source: 'console',
      subject: target.name,
      host: target.host,
      severity: 'notice',
      data: { by: ctx.actor.name, pm_id: target.pm_id },
    })
  })
  try {
    await pm2.act(action, target.pm_id, target.name)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    await events.report(ctx, [
      {
        type: 'process.action_failed',
        source: 'console',
        subject: target.name,
        host: target.host,
        severity: 'error',
        data: { action, reason },
      },
    ])
    throw new Unavailable('PM2', `PM2 could not ${action} ${target.name}: ${reason}`)
  }
  await takeState(ctx, await pm2.refresh())
  return await find(ctx, target.id)
}

function running(ctx: Context) {
  const { pm2 } = ctx.platform.probes
  if (!pm2 || pm2.latest?.state !== 'ok')
    throw new Unavailable('PM2', pm2?.latest?.state === 'no-daemon' ? pm2.latest.hint : 'PM2 does not answer at the moment.')
  return pm2
}

/** What it was started with: asked of PM2 now, and masked before it comes here. That somebody looked is written down. */
export async function environment(ctx: Context, reference: string): Promise<Pm2Environment> {
  if (!may(ctx.actor, 'processes.environment')) throw new Forbidden('Your role does not allow to see the environment of a process.')
  const target = await find(ctx, reference)
  onlyHere(ctx, target, 'look into')
  const pm2 = running(ctx)
  const found = await pm2.environment(target.pm_id, target.name).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Unavailable('PM2', `The environment of ${target.name} cannot be read: ${reason}`)
  })
  await ctx.transaction((ctx) => recordUse(ctx, { action: 'processes.environment', subject: target.id, name: target.name }))
  return found
}

const mostLines = 200

/** The end of one of its two logs; with `after`, what has come since. */
export async function readLog(
  ctx: Context,
  reference: string,
  { stream, after }: { stream: Stream; after?: string | undefined },
): Promise<LogPart> {
  if (!may(ctx.actor, 'processes.logs')) throw new Forbidden('Your role does not allow to read what a process writes.')
  const target = await find(ctx, reference)
  onlyHere(ctx, target, 'read logs of')
  const now = latestOf(ctx, target)
  const path = stream === 'out' ? (now?.out_log ?? target.details?.out_log) : (now?.err_log ?? target.details?.err_log)
  if (!path || path === '/dev/null' || path === 'NULL')
    return {
      ...{ path: path ?? null, state: 'none', hint: path ? 'PM2 was told to keep nothing of it.' : 'PM2 does not say where it is.' },
      ...{ lines: [], unfinished: null, next: '', turn: null, turn_at: 0, left_out: 0, size: null, changed_at: null },
    }
  return { path, ...(await readLogFile(path, { after: after === '' ? undefined : after, most: mostLines })) }
}
