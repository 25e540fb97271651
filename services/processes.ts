import { z } from 'zod'
import { home, type Context } from '../monitoring/context'
import { cursorOf, placeOf } from '../monitoring/cursor'
import { Conflict, Forbidden, NotFound, Unavailable } from '../monitoring/errors'
import { may, type Action } from '../monitoring/permissions'
import type { Pm2Event, Pm2State } from '../monitoring/probes/pm2'
import { recordAct } from './audit'
import * as events from './events'
import { observe, type Reading } from './metrics'
import { deleteProcesses, findProcesses, listProcesses, saveProcesses, type ProcessRow } from './processes/queries'

export const processActions = ['restart', 'reload', 'stop', 'start'] as const
export type ProcessAction = (typeof processActions)[number]

/** A process that PM2 keeps, as people see it. */
export interface Process extends ProcessRow {
  state: 'ok' | 'warn' | 'err' | 'run' | 'idle'
  word: string
  /** Ended by itself with an error in the last ten minutes. */
  crashes_10m: number
  /** This console. */
  own: boolean
}

const words: Readonly<Record<string, readonly [Process['state'], string]>> = {
  online: ['ok', 'Online'],
  stopped: ['idle', 'Stopped'],
  stopping: ['run', 'Stopping'],
  launching: ['run', 'Starting'],
  errored: ['err', 'Errored'],
  'waiting restart': ['warn', 'Waiting to restart'],
  'one-launch-status': ['idle', 'Ran once'],
}

const tenMinutes = 600_000
const rewriteAfterMs = 15_000
const beat = 2000

/** Where the list comes from, and how old it is. */
export interface ProcessList {
  items: Process[]
  state: 'ok' | 'no-daemon' | 'unreachable' | 'waiting'
  /** What to do, or what went wrong. */
  hint: string | null
  at: number | null
  /** Milliseconds between two looks at PM2. */
  beat: number
}

export async function list(ctx: Context): Promise<ProcessList> {
  // PM2 belongs to the machine, and the machine to one organisation.
  if (ctx.org !== home) return { items: [], state: 'ok', hint: null, at: null, beat }
  const latest = ctx.platform.probes.pm2?.latest
  const [rows, crashes] = await Promise.all([
    listProcesses(ctx),
    events.countBySubject(ctx, 'process.crashed', 'pm2', ctx.now() - tenMinutes),
  ])
  const items = rows.map((row) => asProcess(ctx, row, crashes))
  if (!latest) return { items, state: 'waiting', hint: null, at: null, beat }
  if (latest.state === 'ok') return { items, state: 'ok', hint: null, at: latest.at, beat }
  return { items, state: latest.state, hint: latest.state === 'no-daemon' ? latest.hint : latest.reason, at: latest.at, beat }
}

const Place = z.tuple([z.string(), z.int()])

/** One page of them, and where the next one begins. */
export async function listPage(
  ctx: Context,
  { limit, cursor }: { limit: number; cursor?: string | undefined },
): Promise<ProcessList & { next: string | null }> {
  const [host, pm_id] = cursor === undefined ? ['', -1] : placeOf(Place, cursor)
  const all = await list(ctx)
  const rest = all.items.filter((one) => (one.host === host ? one.pm_id > pm_id : one.host > host))
  const items = rest.slice(0, limit)
  const last = items.at(-1)
  return { ...all, items, next: rest.length > limit && last ? cursorOf([last.host, last.pm_id]) : null }
}

function asProcess(ctx: Context, row: ProcessRow, crashes: ReadonlyMap<string, number>): Process {
  // The probe of this machine knows nothing of what runs on another.
  const latest = isHere(ctx, row) ? ctx.platform.probes.pm2?.latest : undefined
  const now = latest?.state === 'ok' ? latest.processes.find(({ pm_id }) => pm_id === row.pm_id) : undefined
  const gone = latest?.state === 'no-daemon'
  const [state, word] = gone ? (['idle', 'Gone'] as const) : (words[row.status] ?? (['idle', row.status] as const))
  return {
    ...row,
    // Stored every few seconds only; the probe in this process knows better.
    ...(now ? { cpu: now.cpu, memory: now.memory } : {}),
    ...(gone ? { cpu: null, memory: null, pid: null, started_at: null } : {}),
    state,
    word,
    crashes_10m: crashes.get(row.name) ?? 0,
    own: isHere(ctx, row) && row.pid === process.pid,
  }
}

const isHere = (ctx: Context, { host }: ProcessRow): boolean => host === ctx.platform.config.hostName

/** By id, or by a name that only one has. */
export async function find(ctx: Context, reference: string): Promise<Process> {
  const rows = await findProcesses(ctx, reference)
  const [row] = rows
  if (!row) throw new NotFound(`PM2 has no process “${reference}”.`)
  if (rows.length > 1)
    throw new Conflict(`${rows.length} processes are called “${reference}”. Name one by its id: ${rows.map(({ id }) => id).join(', ')}.`)
  const crashes = await events.countBySubject(ctx, 'process.crashed', 'pm2', ctx.now() - tenMinutes)
  return asProcess(ctx, row, crashes)
}

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

/** Restarts, reloads, stops or starts one process, and tells who did it. Answers when PM2 has done it. */
export async function act(ctx: Context, reference: string, action: ProcessAction): Promise<Process> {
  if (!mayAct(ctx, action)) throw new Forbidden(`Your role does not allow to ${action} a process.`)
  const target = await find(ctx, reference)
  if (!isHere(ctx, target)) throw new Conflict(`${target.name} runs on ${target.host}, and this console can only act on its own machine.`)
  if (action === 'start' && target.status === 'online') throw new Conflict(`${target.name} runs already.`)
  if (action === 'stop' && target.status === 'stopped') throw new Conflict(`${target.name} is stopped already.`)
  const { pm2 } = ctx.platform.probes
  if (!pm2 || pm2.latest?.state !== 'ok')
    throw new Unavailable('PM2', pm2?.latest?.state === 'no-daemon' ? pm2.latest.hint : 'PM2 does not answer at the moment.')
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

const statesOf = (ctx: Context) => ctx.platform.keep('pm2 states', () => ({ seen: '', writtenAt: 0, state: '', last: Promise.resolve() }))

/** Takes what PM2 says: figures into the series, changes of state into rows that open pages follow. */
export function takeState(ctx: Context, state: Pm2State): Promise<void> {
  const memory = statesOf(ctx)
  // One after the other: two at once would both find the same rows to write.
  memory.last = memory.last.catch(() => undefined).then(() => takeStateNow(ctx, state))
  return memory.last
}

async function takeStateNow(ctx: Context, state: Pm2State): Promise<void> {
  const host = ctx.platform.config.hostName
  const memory = statesOf(ctx)
  if (state.state !== memory.state) {
    const before = memory.state
    await ctx.transaction(async (ctx) => {
      ctx.changed('processes', 'list')
      if (before === '') return
      const severity = state.state === 'ok' ? 'notice' : 'error'
      const data = state.state === 'unreachable' ? { reason: state.reason } : undefined
      await events.record(ctx, {
        type: `pm2.${state.state === 'ok' ? 'back' : state.state}`,
        source: 'pm2',
        subject: 'pm2',
        host,
        severity,
        data,
      })
    })
    memory.state = state.state
  }
  if (state.state !== 'ok') return
  observe(ctx, host, state.at, [
    ...state.processes.flatMap((one): Reading[] => [
      { name: 'process.cpu', subject: one.name, value: one.cpu },
      { name: 'process.memory', subject: one.name, value: one.memory },
    ]),
    { name: 'processes.down', value: state.processes.filter(({ status }) => status === 'errored' || status === 'waiting restart').length },
  ])
  const rows = state.processes.map((one): ProcessRow => ({
    id: `${host}:${one.pm_id}`,
    host,
    pm_id: one.pm_id,
    name: one.name,
    status: one.status,
    mode: one.mode,
    pid: one.pid,
    cpu: one.cpu,
    memory: one.memory,
    port: one.port,
    restarts: one.restarts,
    started_at: one.started_at,
    seen_at: state.at,
  }))
  const seen = JSON.stringify(rows.map(({ id, name, status, pid, restarts }) => [id, name, status, pid, restarts]))
  if (seen === memory.seen && state.at - memory.writtenAt < rewriteAfterMs) return
  const stored = await listProcesses(ctx)
  const known = new Set(rows.map(({ id }) => id))
  // A machine that was renamed leaves rows that nobody keeps up to date any more.
  const gone = stored.filter((row) => (row.host === host ? !known.has(row.id) : row.seen_at < state.at - tenMinutes))
  await ctx.transaction(async (ctx) => {
    await saveProcesses(ctx, rows)
    await deleteProcesses(
      ctx,
      gone.map(({ id }) => id),
    )
    if (seen === memory.seen) return
    const before = new Map(stored.map((row) => [row.id, row]))
    const added = rows.some(({ id }) => !before.has(id))
    if (added || gone.length > 0) ctx.changed('processes', 'list')
    else for (const row of rows) if (differs(row, before.get(row.id))) ctx.changed('processes', row.id)
  })
  memory.seen = seen
  memory.writtenAt = state.at
}

const differs = (row: ProcessRow, before: ProcessRow | undefined): boolean =>
  row.status !== before?.status || row.pid !== before.pid || row.restarts !== before.restarts || row.name !== before.name

/** Takes what PM2's bus tells: a crash is an exit that nobody asked for. */
export async function takeEvent(ctx: Context, event: Pm2Event): Promise<void> {
  const kind = kindOf(event)
  if (!kind) return
  const [type, severity] = kind
  await events.report(ctx, [
    {
      type,
      severity,
      // The old and the new console of a reload hear the same, and tell it once.
      id: `pm2 ${ctx.platform.config.hostName} ${event.pm_id} ${event.event} ${event.at}`,
      source: 'pm2',
      subject: event.name,
      host: ctx.platform.config.hostName,
      at: event.at,
      data: {
        pm_id: event.pm_id,
        ...(event.exit_code === null ? {} : { exit_code: event.exit_code }),
        ...(event.signal ? { signal: event.signal } : {}),
      },
    },
  ])
}

function kindOf(event: Pm2Event): readonly [string, events.Severity] | null {
  switch (event.event) {
    case 'exit':
      return event.manually
        ? ['process.exited', 'info']
        : event.exit_code === 0
          ? ['process.exited', 'notice']
          : ['process.crashed', 'error']
    case 'online':
      return ['process.online', 'info']
    case 'restart overlimit':
      return ['process.gave_up', 'critical']
    default:
      return null
  }
}
