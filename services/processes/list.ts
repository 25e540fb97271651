import { z } from 'zod'
import { home, type Context } from '../../monitoring/context'
import { cursorOf, placeOf } from '../../monitoring/cursor'
import { Conflict, NotFound } from '../../monitoring/errors'
import type { Pm2Details, Pm2Process } from '../../monitoring/probes/pm2'
import * as events from '../events'
import { findProcesses, listProcesses, type ProcessRow } from './queries'

/** A process that PM2 keeps, as people see it. */
export interface Process extends Omit<ProcessRow, 'details'> {
  state: 'ok' | 'warn' | 'err' | 'run' | 'idle'
  word: string
  /** Ended by itself with an error in the last ten minutes. */
  crashes_10m: number
  /** This console. */
  own: boolean
  /** A job: it ends by itself, and PM2 starts it by the clock or not at all. */
  job: boolean
  details: Pm2Details | null
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
  const [rows, crashes] = await Promise.all([listProcesses(ctx), crashesOf(ctx, tenMinutes)])
  const items = rows.map((row) => asProcess(ctx, row, crashes))
  if (!latest) return { items, state: 'waiting', hint: null, at: null, beat }
  if (latest.state === 'ok') return { items, state: 'ok', hint: null, at: latest.at, beat }
  return { items, state: latest.state, hint: latest.state === 'no-daemon' ? latest.hint : latest.reason, at: latest.at, beat }
}

/** How often each crashed, by name, in the time until now. */
export const crashesOf = (ctx: Context, span: number): Promise<Map<string, number>> =>
  events.countBySubject(ctx, 'process.crashed', 'pm2', ctx.now() - span)

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

/** What PM2 says now of a row of this machine. */
export const latestOf = (ctx: Context, row: Pick<ProcessRow, 'host' | 'pm_id'>): Pm2Process | undefined => {
  const latest = isHere(ctx, row) ? ctx.platform.probes.pm2?.latest : undefined
  return latest?.state === 'ok' ? latest.processes.find(({ pm_id }) => pm_id === row.pm_id) : undefined
}

function asProcess(ctx: Context, row: ProcessRow, crashes: ReadonlyMap<string, number>): Process {
  // The probe of this machine knows nothing of what runs on another.
  const latest = isHere(ctx, row) ? ctx.platform.probes.pm2?.latest : undefined
  const now = latestOf(ctx, row)
  const gone = latest?.state === 'no-daemon'
  const details = now?.details ?? detailsOf(row.details)
  const job = isJob(details)
  const [state, word] = gone ? (['idle', 'Gone'] as const) : wordsOf(row.status, job, details)
  return {
    ...row,
    // Stored every few seconds only; the probe in this process knows better.
    ...(now ? { cpu: now.cpu, memory: now.memory } : {}),
    ...(gone ? { cpu: null, memory: null, pid: null, started_at: null } : {}),
    ...{ details, job, state, word },
    crashes_10m: crashes.get(row.name) ?? 0,
    own: isHere(ctx, row) && row.pid === process.pid,
  }
}

/** It ends by itself, and PM2 starts it by the clock or not at all. */
export const isJob = (details: Pm2Details | null): boolean => details !== null && (details.cron !== null || !details.autorestart)

function wordsOf(status: string, job: boolean, details: Pm2Details | null): readonly [Process['state'], string] {
  if (status !== 'stopped' || !job) return words[status] ?? ['idle', status]
  return details?.exit_code ? ['warn', `Last run failed (exit code ${details.exit_code})`] : ['idle', 'Stopped between runs']
}

const detailsOf = (text: string | null): Pm2Details | null => (text === null ? null : (JSON.parse(text) as Pm2Details))

export const isHere = (ctx: Context, { host }: Pick<ProcessRow, 'host'>): boolean => host === ctx.platform.config.hostName

/** By id, or by a name that only one has. */
export async function find(ctx: Context, reference: string): Promise<Process> {
  const rows = await findProcesses(ctx, reference)
  const [row] = rows
  if (!row) throw new NotFound(`PM2 has no process “${reference}”.`)
  if (rows.length > 1)
    throw new Conflict(`${rows.length} processes are called “${reference}”. Name one by its id: ${rows.map(({ id }) => id).join(', ')}.`)
  return asProcess(ctx, row, await crashesOf(ctx, tenMinutes))
}

/** Those of one name, as one. */
export interface Group {
  name: string
  items: Process[]
  online: number
  /** Added up. */
  cpu: number | null
  memory: number | null
  restarts: number
  crashes_10m: number
}

const sum = (values: readonly (number | null)[]): number | null => {
  const known = values.filter((value) => value !== null)
  return known.length === 0 ? null : known.reduce((total, value) => total + value, 0)
}

export function groupsOf(items: readonly Process[]): Group[] {
  const byName = new Map<string, Process[]>()
  for (const one of items) byName.set(one.name, [...(byName.get(one.name) ?? []), one])
  return [...byName].map(([name, some]) => ({
    name,
    items: some,
    online: some.filter(({ status }) => status === 'online').length,
    cpu: sum(some.map(({ cpu }) => cpu)),
    memory: sum(some.map(({ memory }) => memory)),
    restarts: some.reduce((total, { restarts }) => total + restarts, 0),
    crashes_10m: some[0]?.crashes_10m ?? 0,
  }))
}

export async function findGroup(ctx: Context, name: string): Promise<Group> {
  const group = groupsOf((await list(ctx)).items.filter((one) => one.name === name))[0]
  if (!group) throw new NotFound(`PM2 has no process “${name}”.`)
  return group
}
