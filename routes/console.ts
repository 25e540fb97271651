import { z } from 'zod'
import { home } from '../monitoring/context'
import { redirect, replace, Routes, view } from '../monitoring/dashboard/endpoint'
import { iso } from '../monitoring/dashboard/shapes'
import { bytes } from '../monitoring/markup'
import { may } from '../monitoring/permissions'
import * as consoleService from '../services/console'

declare module '../views/views' {
  interface Views {
    'console/index': {
      health: consoleService.ConsoleHealth
      charts: readonly consoleService.ConsoleChart[]
      may: { clean: boolean; health: boolean }
    }
    'console/_now': { health: consoleService.ConsoleHealth }
  }
}

export const routes = new Routes('console')

routes.page('/console', { permission: 'console.read' }, async ({ ctx }) =>
  view(
    'console/index',
    {
      health: await consoleService.health(ctx),
      charts: await consoleService.charts(ctx),
      may: { clean: may(ctx.actor, 'console.clean'), health: may(ctx.actor, 'health.read') },
    },
    { title: 'Console', live: ['console.now'] },
  ),
)

routes.page('/console/tidy', { permission: 'console.clean' }, async ({ ctx }) => {
  const { database } = await consoleService.health(ctx)
  return view(
    'shared/confirm',
    {
      title: 'Give unused space back to the disk?',
      consequences: [
        `The database takes ${bytes(database.bytes)}, its write-ahead log ${bytes(database.wal)}.`,
        'Nothing that is stored is deleted: only pages that nothing uses are given back.',
        'The console goes on answering; on a large database it takes a minute.',
      ],
      ...{ action: '/console/tidy', back: '/console', keep: 'Leave it as it is', button: 'Give the space back' },
      ...{ danger: false, password: false, errors: {} },
    },
    { title: 'Give space back' },
  )
})

routes.action('/console/tidy', { permission: 'console.clean' }, async ({ ctx }) => {
  const freed = await consoleService.tidy(ctx)
  return redirect('/console', {
    kind: 'ok',
    text: freed > 0 ? `${bytes(freed)} given back to the disk.` : 'There was nothing to give back.',
  })
})

const Size = z.number().nullable()
const Milliseconds = z.number().nullable()

const Report = z.object({
  at: iso,
  version: z.string(),
  node: z.string(),
  started_at: iso,
  findings: z
    .array(z.object({ state: z.enum(['warn', 'err']), title: z.string(), detail: z.string() }))
    .describe('What is wrong, the worst first'),
  database: z.object({
    kind: z.enum(['SQLite', 'PostgreSQL']),
    bytes: z.number(),
    wal_bytes: Size,
    free_bytes: Size.describe('On the disk of the data folder'),
    tables: z.array(z.object({ name: z.string(), bytes: z.number(), rows: Size.describe('About; null: not counted') })),
    tables_at: iso.nullable().describe('Measured at most every ten minutes; null: not yet'),
  }),
  process: z.object({
    rss_bytes: z.number(),
    heap_bytes: z.number(),
    heap_limit_bytes: z.number(),
    cpu_percent: Milliseconds,
    loop_delay_p50_ms: Milliseconds,
    loop_delay_p99_ms: Milliseconds,
    ingest_lag_p50_ms: Milliseconds.describe('null: no events in the last 5 s'),
    ingest_lag_p99_ms: Milliseconds,
  }),
  sockets: z.int(),
  queues: z.array(z.object({ name: z.string(), length: z.int() })),
  chores: z.array(
    z.object({
      ...{ name: z.string(), every_ms: z.number(), ended_at: iso.nullable(), took_ms: Milliseconds },
      ...{ runs: z.int(), failures: z.int(), failure: z.string().nullable() },
    }),
  ),
  troubles: z.array(z.object({ at: iso, level: z.enum(['warning', 'error', 'fatal']), text: z.string(), cause: z.string().nullable() })),
})

const moment = (at: number): string => new Date(at).toISOString()
const momentOrNull = (at: number | null): string | null => (at === null ? null : moment(at))

routes.endpoint(
  'GET /api/console',
  {
    summary: 'How the console itself is',
    description: 'Database, process, queues, chores, and the last warnings and errors of its log. For Prometheus there is GET /metrics.',
    permission: 'console.read',
    response: Report,
    errors: [403],
  },
  async ({ ctx }) => {
    const { at, version, node, startedAt, findings, database, process, sockets, queues, chores, troubles } =
      await consoleService.health(ctx)
    const { measured } = process
    return {
      ...{ at: moment(at), version, node, started_at: moment(startedAt), findings: [...findings], sockets },
      database: {
        ...{ kind: database.kind, bytes: database.bytes, wal_bytes: database.wal, free_bytes: database.free },
        ...{ tables: [...database.tables], tables_at: momentOrNull(database.tablesAt) },
      },
      process: {
        ...{
          rss_bytes: process.rss,
          heap_bytes: process.heap,
          heap_limit_bytes: process.heapLimit,
          cpu_percent: measured?.cpuPercent ?? null,
        },
        ...{ loop_delay_p50_ms: measured?.loopP50 ?? null, loop_delay_p99_ms: measured?.loopP99 ?? null },
        ...{ ingest_lag_p50_ms: measured?.lagP50 ?? null, ingest_lag_p99_ms: measured?.lagP99 ?? null },
      },
      queues: queues.map(({ name, length }) => ({ name, length })),
      chores: chores.map(({ name, everyMs, endedAt, tookMs, runs, failures, failure }) => ({
        ...{ name, every_ms: everyMs, ended_at: momentOrNull(endedAt), took_ms: tookMs, runs, failures, failure },
      })),
      troubles: troubles.map((one) => ({ ...one, at: moment(one.at) })),
    }
  },
)

routes.live('console.now', {
  permission: 'console.read',
  transient: true,
  // Whoever works in another organisation may follow it, and has nothing to see.
  paint: async (ctx, _subjects, render) =>
    ctx.org === home ? replace('console_now', render('console/_now', { health: await consoleService.health(ctx) })) : '',
})
