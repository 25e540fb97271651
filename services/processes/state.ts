import type { Context } from '../../monitoring/context'
import type { Pm2Event, Pm2State } from '../../monitoring/probes/pm2'
import * as events from '../events'
import { observe, type Reading } from '../metrics'
import { deleteProcesses, listProcesses, saveProcesses, type ProcessRow } from './queries'

const tenMinutes = 600_000
const rewriteAfterMs = 15_000

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
      ctx.changed('processes.pages', 'list')
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
    details: one.details ? JSON.stringify(one.details) : null,
  }))
  const seen = JSON.stringify(rows.map(({ id, name, status, pid, restarts, details }) => [id, name, status, pid, restarts, details]))
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
    const other = rows.filter((row) => differs(row, before.get(row.id)))
    if (added || gone.length > 0) ctx.changed('processes', 'list')
    else for (const row of other) ctx.changed('processes', row.id)
    if (added || gone.length > 0 || other.length > 0) ctx.changed('processes.pages', 'list')
  })
  memory.seen = seen
  memory.writtenAt = state.at
}

const differs = (row: ProcessRow, before: ProcessRow | undefined): boolean =>
  row.status !== before?.status ||
  row.pid !== before.pid ||
  row.restarts !== before.restarts ||
  row.name !== before.name ||
  row.details !== before.details

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
