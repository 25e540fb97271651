import { stringify } from 'csv-stringify/sync'
import { z } from 'zod'
import { Download } from '../../monitoring/dashboard/download'
import type { Routes } from '../../monitoring/dashboard/endpoint'
import { iso, isoOf, limit, text } from '../../monitoring/dashboard/shapes'
import * as processes from '../../services/processes'

const Process = z
  .object({
    id: z.string().describe('host:pm_id'),
    host: z.string(),
    name: z.string(),
    pm_id: z.int(),
    pid: z.int().nullable(),
    status: z.string().describe("PM2's own word: online, stopped, errored, launching, stopping, waiting restart"),
    mode: z.enum(['fork', 'cluster']),
    cpu_percent: z.number().nullable().describe('Of one core'),
    memory_bytes: z.number().nullable(),
    port: z.int().nullable(),
    restarts: z.int().describe("PM2's counter: crashes, cron and people together"),
    crashes_10m: z.int().describe('Ended by itself with an error in the last ten minutes'),
    job: z.boolean().describe('Ends by itself: started by cron, or not started again'),
    cron: z.string().nullable().describe('When PM2 starts it again'),
    exit_code: z.int().nullable().describe('Of the last run'),
    started_at: iso.nullable(),
    seen_at: iso,
  })
  .meta({ id: 'Process' })

export const asJson = (one: processes.Process): z.input<typeof Process> => ({
  ...{ id: one.id, host: one.host, name: one.name, pm_id: one.pm_id, pid: one.pid, status: one.status, mode: one.mode },
  ...{ cpu_percent: one.cpu, memory_bytes: one.memory, port: one.port, restarts: one.restarts, crashes_10m: one.crashes_10m },
  ...{ job: one.job, cron: one.details?.cron ?? null, exit_code: one.details?.exit_code ?? null },
  started_at: isoOf(one.started_at),
  seen_at: isoOf(one.seen_at),
})

const doing = { restart: 'Restart', reload: 'Reload', stop: 'Stop', start: 'Start' } as const
export const Range = z.enum(['1h', '24h', '7d', '30d'])

export function declareApi(routes: Routes): void {
  routes.endpoint(
    'GET /api/processes',
    {
      summary: 'The processes that PM2 keeps',
      permission: 'processes.read',
      query: z.strictObject({ limit: limit.default(500), cursor: text(700).optional().describe('`next` of the page before') }),
      response: z.object({
        items: z.array(Process),
        next: z.string().nullable(),
        state: z
          .enum(['ok', 'no-daemon', 'unreachable', 'waiting'])
          .describe('Whether PM2 answers; if not, the items are what it said last'),
        hint: z.string().nullable(),
        at: iso.nullable(),
      }),
    },
    async ({ ctx, query }) => {
      const { items, next, state, hint, at } = await processes.listPage(ctx, query)
      return { items: items.map(asJson), next, state, hint, at: isoOf(at) }
    },
  )

  routes.endpoint(
    'GET /api/processes/:id',
    {
      summary: 'One process',
      description: 'The process is named by its id, or by a name that only one has.',
      permission: 'processes.read',
      response: Process,
      errors: [404, 409],
    },
    async ({ ctx, params }) => asJson(await processes.find(ctx, params['id'] ?? '')),
  )

  for (const action of processes.processActions)
    routes.endpoint(
      `POST /api/processes/:id/${action}`,
      {
        summary: `${doing[action]} one process`,
        description: 'The process is named by its id, or by a name that only one has. Answers when PM2 has done it.',
        permission: processes.permissionFor(action),
        response: Process,
        errors: [404, 409, 503],
      },
      async ({ ctx, params }) => asJson(await processes.act(ctx, params['id'] ?? '', action)),
    )

  declareHistory(routes)
  declareInside(routes)
}

const figure = z.number().nullable()

function declareHistory(routes: Routes): void {
  routes.endpoint(
    'GET /api/processes/:id/history',
    {
      summary: 'What one process used over time',
      description:
        'Processes of one name share their history: the figures are those of one of them, on average. Nothing was measured: null.',
      permission: 'processes.read',
      query: z.strictObject({ range: Range.default('24h'), format: z.enum(['json', 'csv']).default('json') }),
      response: z.object({
        name: z.string(),
        range: Range,
        series: z.array(
          z.object({
            name: z.enum(['cpu', 'memory']),
            unit: z.string().describe('% of one core, or bytes'),
            step_s: z.number(),
            points: z.array(z.object({ at: iso, average: figure, min: figure, max: figure })),
          }),
        ),
      }),
      alsoAs: ['text/csv'],
      errors: [404, 409],
    },
    async ({ ctx, params, query: { range, format } }) => {
      const { name } = await processes.find(ctx, params['id'] ?? '')
      const series = (await processes.history(ctx, name, range)).map(({ name, unit, step, spans }) => ({
        ...{ name, unit, step_s: step / 1000 },
        points: spans.map(({ at, ...figures }) => ({ at: isoOf(at), ...figures })),
      }))
      if (format === 'json') return { name, range, series }
      const rows = series.flatMap(({ name, unit, points }) =>
        points.map(({ at, average, min, max }) => [at, name, unit, average, min, max]),
      )
      const columns = ['at', 'series', 'unit', 'average', 'min', 'max']
      return new Download(`process-${range}.csv`, 'text/csv; charset=utf-8', onePart(stringify([columns, ...rows])))
    },
  )
}

// eslint-disable-next-line @typescript-eslint/require-await -- a download is made of parts
async function* onePart(part: string): AsyncGenerator<string> {
  yield part
}

function declareInside(routes: Routes): void {
  routes.endpoint(
    'GET /api/processes/:id/environment',
    {
      summary: 'The environment of one process, secrets masked',
      description: 'Asked of PM2 now. Values are hidden by how they are called and by how they look. That it was read is written down.',
      permission: 'processes.environment',
      response: z.object({
        variables: z.array(z.object({ name: z.string(), value: z.string(), masked: z.boolean() })),
        left_out: z.int().describe('Beyond 500 of them'),
      }),
      errors: [404, 409, 503],
    },
    ({ ctx, params }) => processes.environment(ctx, params['id'] ?? ''),
  )

  routes.endpoint(
    'GET /api/processes/:id/log',
    {
      summary: 'The end of a log of one process, and what has come since',
      description:
        'The last 200 lines; with `after`, what has come since, also across a rotation. Control characters are written out, secrets masked. At most 256 kB at once.',
      permission: 'processes.logs',
      query: z.strictObject({
        stream: z.enum(processes.streams).default('out'),
        after: text(200).optional().describe('`next` of the part before'),
      }),
      response: z.object({
        path: z.string().nullable(),
        state: z.enum(['ok', 'missing', 'refused', 'none']),
        hint: z.string().nullable(),
        lines: z.array(z.string()),
        unfinished: z.string().nullable().describe('What is written of the last line so far'),
        next: z.string(),
        turn: z.enum(['rotated', 'truncated', 'replaced']).nullable().describe('What has happened to the file since the part before'),
        turn_at: z.int().describe('How many of the lines are from before that'),
        left_out_bytes: z.number().describe('What came faster than it is read'),
        size_bytes: z.number().nullable(),
        changed_at: iso.nullable(),
      }),
      errors: [404, 409, 422],
    },
    async ({ ctx, params, query }) => {
      const { left_out, size, changed_at, ...part } = await processes.readLog(ctx, params['id'] ?? '', query)
      return { ...part, left_out_bytes: left_out, size_bytes: size, changed_at: isoOf(changed_at) }
    },
  )
}
