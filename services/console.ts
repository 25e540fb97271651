import { statfsSync, statSync } from 'node:fs'
import { getHeapStatistics } from 'node:v8'
import { home, type Context } from '../monitoring/context'
import { measureTables, type TableSize } from '../monitoring/db/sizes'
import { tidy as tidyStore } from '../monitoring/db/tidy'
import { asError, Conflict, Forbidden, Unavailable } from '../monitoring/errors'
import { onTrouble, troublesOf, type Trouble } from '../monitoring/log'
import type { ChoreState } from '../monitoring/chores'
import { may } from '../monitoring/permissions'
import type { Ring } from '../monitoring/ring'
import { eventsAfter, newestEvent, postgresBytes, postgresSizes } from './console/queries'
import { memoryOf, takeMeasure, type Measured } from './console/gauges'
import { recordAct } from './audit'
import { flowOf } from './events'
import * as metrics from './metrics'
import { textOf } from './console/prometheus'
import { judge, type Finding } from './console/verdict'

export { chartsOf as charts, type ConsoleChart } from './console/charts'
export { watch, type Measured } from './console/gauges'
export type { Finding } from './console/verdict'

/** The console as it is now. */
export interface ConsoleHealth {
  readonly at: number
  readonly version: string
  readonly node: string
  readonly startedAt: number
  readonly database: {
    readonly kind: 'SQLite' | 'PostgreSQL'
    readonly bytes: number
    /** null on PostgreSQL. */
    readonly wal: number | null
    readonly free: number | null
    readonly tables: readonly TableSize[]
    readonly tablesAt: number | null
    readonly tablesFailed: string | null
  }
  readonly process: { readonly rss: number; readonly heap: number; readonly heapLimit: number; readonly measured: Measured | null }
  readonly sockets: number
  readonly queues: readonly { readonly name: string; readonly what: string; readonly length: number }[]
  readonly chores: readonly ChoreState[]
  readonly troubles: readonly Trouble[]
  readonly findings: readonly Finding[]
}

/** It belongs to the organisation that owns the machine, as the database does. */
function mayRead(ctx: Context): void {
  if (ctx.org !== home) throw new Forbidden('The console’s own health belongs to the organisation that owns this machine.')
}

export async function health(ctx: Context): Promise<ConsoleHealth> {
  mayRead(ctx)
  const { platform } = ctx
  const memory = memoryOf(ctx)
  void measureSizes(ctx)
  const { rss, heapUsed } = process.memoryUsage()
  const sizes = memory.sizes
  const state = {
    at: ctx.now(),
    version: platform.version,
    node: process.version,
    startedAt: platform.startedAt,
    database: {
      ...(await databaseOf(ctx)),
      tables: sizes?.tables ?? [],
      tablesAt: sizes?.at ?? null,
      tablesFailed: sizes?.failed ?? null,
    },
    process: { rss, heap: heapUsed, heapLimit: getHeapStatistics().heap_size_limit, measured: memory.last },
    sockets: memory.watched?.sockets() ?? 0,
    queues: queuesOf(ctx),
    chores: memory.watched?.chores() ?? [],
    troubles: troublesOf(ctx.log),
  }
  return { ...state, findings: judge(state) }
}

const fileSize = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0

async function databaseOf(ctx: Context): Promise<Pick<ConsoleHealth['database'], 'kind' | 'bytes' | 'wal' | 'free'>> {
  const { store, config } = ctx.platform
  const { bsize, bavail } = statfsSync(config.dataDir)
  return store.file === null
    ? { kind: 'PostgreSQL', bytes: await postgresBytes(ctx), wal: null, free: null }
    : { kind: 'SQLite', bytes: fileSize(store.file), wal: fileSize(`${store.file}-wal`), free: bsize * bavail }
}

const queuesOf = (ctx: Context): ConsoleHealth['queues'] => [
  { name: 'Events', what: 'callers that wait for their events to be stored', length: flowOf(ctx).waiting },
  { name: 'Figures', what: 'series that are written with the next ten seconds', length: metrics.pendingCount(ctx) },
]

const sizesFor = 600_000

/** Takes seconds on a large database, in a thread of its own; whoever asks sees what was measured before. */
function measureSizes(ctx: Context): Promise<void> {
  const memory = memoryOf(ctx)
  if (memory.sizes && ctx.now() - memory.sizes.at < sizesFor) return Promise.resolve()
  memory.measuring ??= measure(ctx).finally(() => (memory.measuring = null))
  return memory.measuring
}

async function measure(ctx: Context): Promise<void> {
  const memory = memoryOf(ctx)
  const { file } = ctx.platform.store
  try {
    const tables = file === null ? await postgresSizes(ctx) : await measureTables(file)
    memory.sizes = { at: ctx.now(), tables, failed: null }
  } catch (error) {
    memory.sizes = { at: ctx.now(), tables: memory.sizes?.tables ?? [], failed: asError(error).message }
  }
}

/** A chore: how the console was since the last time, as figures over time. */
export function observe(ctx: Context): Promise<void> {
  const memory = memoryOf(ctx)
  const flow = flowOf(ctx)
  const took = flow.took.splice(0)
  const at = ctx.now()
  const { cpuPercent, loopP99 } = takeMeasure(memory, at, took)
  const { file } = ctx.platform.store
  metrics.observe({ ...ctx, org: home }, ctx.platform.config.hostName, at, [
    { name: 'console.cpu', value: cpuPercent },
    { name: 'console.loop_delay', value: loopP99 },
    { name: 'console.sockets', value: memory.watched?.sockets() ?? null },
    { name: 'console.queue', value: flow.waiting + metrics.pendingCount(ctx) },
    { name: 'console.db', value: file === null ? null : fileSize(file) },
    { name: 'console.wal', value: file === null ? null : fileSize(`${file}-wal`) },
    ...took.map((value) => ({ name: 'console.ingest_lag' as const, value })),
  ])
  ctx.platform.publish('console.now', home, 'now')
  return Promise.resolve()
}

/** Gives pages that nothing uses back to the disk, and the write-ahead log's space. Answers the bytes. */
export async function tidy(ctx: Context): Promise<number> {
  mayRead(ctx)
  if (!may(ctx.actor, 'console.clean')) throw new Forbidden()
  const { store } = ctx.platform
  const { file } = store
  if (file === null) throw new Conflict('PostgreSQL gives space back by itself: there is nothing to do here.')
  const before = fileSize(file) + fileSize(`${file}-wal`)
  await ctx.transaction((ctx) => recordAct(ctx, { action: 'console.tidy', topic: 'console', subject: 'database', data: { bytes: before } }))
  try {
    await tidyStore(store, { whole: true })
  } catch (error) {
    ctx.log.warn({ err: asError(error) }, 'no space could be given back')
    throw new Unavailable('The database', 'It was too busy to give space back. Nothing was lost; try again later.')
  }
  memoryOf(ctx).sizes = null
  return Math.max(0, before - fileSize(file) - fileSize(`${file}-wal`))
}

const mostCopied = 500

/** A chore: copies the newest events into the file that is read when there is no database to ask. */
export async function keepAside(ctx: Context, ring: Ring): Promise<void> {
  const memory = memoryOf(ctx)
  memory.copied ??= Math.max(0, (await newestEvent(ctx)) - 50)
  const events = await eventsAfter(ctx, memory.copied, mostCopied)
  for (const { at, severity, source, type, subject } of events)
    ring.add({ at, severity, source, text: subject === null ? type : `${type} · ${subject}` })
  memory.copied = events.at(-1)?.seq ?? memory.copied
}

/** What goes wrong is in the file too, at once. */
export const keepTroublesAside = (ctx: Pick<Context, 'log'>, ring: Ring): (() => void) =>
  onTrouble(ctx.log, ({ at, level, text, cause }) => {
    ring.add({ at, severity: level, source: 'console', text: cause === null ? text : `${text}: ${cause}` })
  })

/** For Prometheus. */
export const scrape = (ctx: Context): Promise<{ type: string; text: string }> => textOf(ctx, health)
