import { z } from 'zod'
import { replace, Routes } from '../monitoring/dashboard/endpoint'
import * as health from '../services/health'
import * as metrics from '../services/metrics'
import { iso, isoToMoment, text } from '../monitoring/dashboard/shapes'

declare module '../views/views' {
  interface Views {
    'overview/_verdict': { verdict: health.Verdict }
    'overview/_needs': { needs: readonly health.Problem[] }
    'overview/_tile': { tile: health.Tile }
    'overview/_now': { tile: Omit<health.Tile, 'history'> }
    'overview/_chart': { chart: health.Chart }
  }
}

export const routes = new Routes('health')

const State = z.enum(['ok', 'warn', 'err'])
const Percent = z.number().nullable().describe('0 to 100; null: not measured yet')

const Report = z.object({
  status: State,
  title: z.string(),
  detail: z.string(),
  host: z.string(),
  at: iso.nullable().describe('When the machine was measured'),
  problems: z.array(z.object({ key: z.string(), state: State, title: z.string(), detail: z.string(), since: iso.nullable() })),
  cpu: z.object({ percent: Percent, cores: z.array(Percent), load: z.tuple([z.number(), z.number(), z.number()]) }).nullable(),
  memory: z.object({ total_bytes: z.number(), used_bytes: z.number(), available_bytes: z.number(), percent: z.number() }).nullable(),
  swap: z.object({ total_bytes: z.number(), used_bytes: z.number(), percent: Percent }).nullable(),
  disks: z.array(
    z.object({ mount: z.string(), total_bytes: z.number(), used_bytes: z.number(), free_bytes: z.number(), percent: z.number() }),
  ),
  network: z.array(z.object({ name: z.string(), rx_bytes_per_s: z.number(), tx_bytes_per_s: z.number() })),
  uptime_s: z.number().nullable().describe('Of the machine, in seconds'),
  processes: z.object({
    state: z.enum(['ok', 'no-daemon', 'unreachable', 'waiting']),
    at: iso.nullable(),
    online: z.int(),
    total: z.int(),
  }),
})

routes.endpoint(
  'GET /api/health',
  {
    summary: 'How this machine is',
    description: 'The verdict, what needs a person, and the last sample of the machine. Measured each second.',
    permission: 'health.read',
    response: Report,
    fast: true,
    shared: 250,
  },
  ({ ctx }) => health.report(ctx),
)

const ranges = { '1h': 3_600_000, '24h': 86_400_000, '7d': 7 * 86_400_000, '30d': 30 * 86_400_000 } as const
const steps = { '1m': 60_000, '5m': 300_000, '15m': 900_000, '1h': 3_600_000, '1d': 86_400_000 } as const

const SeriesQuery = z.strictObject({
  name: z
    .string()
    .optional()
    .transform((given, check): metrics.MetricName[] => {
      const names = given?.split(',') ?? ['cpu.percent', 'memory.percent', 'disk.percent']
      const wrong = names.find((name) => !metrics.metricNames.includes(name as metrics.MetricName))
      if (wrong !== undefined)
        check.addIssue({
          code: 'custom',
          message: `There is no metric “${wrong.slice(0, 50)}”; there are ${metrics.metricNames.join(', ')}`,
        })
      return [...new Set(names)] as metrics.MetricName[]
    })
    .describe('Names, separated by commas. Absent: cpu.percent, memory.percent, disk.percent'),
  subject: text(300).optional().describe('Which one of several: a mount, an interface, a process'),
  host: text(300).optional().describe('Absent: the machine of the console'),
  range: z.enum(['1h', '24h', '7d', '30d']).optional().describe('Until now. Absent: 1h'),
  from: isoToMoment.optional().describe('Instead of a range'),
  to: isoToMoment.optional(),
  step: z.enum(['1m', '5m', '15m', '1h', '1d']).optional().describe('Time per point. Absent: what gives 60 to 200 points'),
})

const Series = z.object({
  name: z.string(),
  host: z.string(),
  subject: z.string(),
  unit: z.string(),
  step_s: z.number(),
  points: z.array(z.object({ at: iso, average: z.number(), min: z.number(), max: z.number(), last: z.number(), count: z.int() })),
})

routes.endpoint(
  'GET /api/metrics',
  {
    summary: 'Series of what is measured',
    description: 'Averages, extremes and last values per span. A span in which nothing was measured is left out.',
    permission: 'metrics.read',
    query: SeriesQuery,
    errors: [422],
    response: z.object({ items: z.array(Series), next: z.null() }),
  },
  async ({ ctx, query }) => {
    const to = query.to ?? ctx.now()
    const from = query.from ?? to - ranges[query.range ?? '1h']
    const found = await metrics.seriesOf(ctx, query.name, {
      host: query.host,
      subject: query.subject,
      from,
      to,
      step: query.step ? steps[query.step] : undefined,
    })
    const items = found.map(({ step, points, ...series }) => ({
      ...series,
      step_s: step / 1000,
      points: points.map(({ at, ...point }) => ({ at: new Date(at).toISOString(), ...point })),
    }))
    return { items, next: null }
  },
)

/** What changes with a problem: the verdict, what needs somebody, the foot of the sidebar, and how the day was. */
routes.live('health', {
  permission: 'health.read',
  async paint(ctx, _subjects, render) {
    const needs = await health.problems(ctx)
    const parts = [
      replace('verdict', render('overview/_verdict', { verdict: await health.verdict(ctx, needs) })),
      replace('needs', render('overview/_needs', { needs })),
      replace('health', render('shared/_health', { health: await health.summary(ctx) })),
    ]
    return parts.join('')
  },
  data: async (ctx) => [await health.report(ctx)],
})

/** The figures of this second; not worth keeping. */
routes.live('health.now', {
  transient: true,
  permission: 'health.read',
  paint: async (ctx, _subjects, render) =>
    (await health.tilesNow(ctx)).map((tile) => replace(`now_${tile.id}`, render('overview/_now', { tile }))).join(''),
  data: async (ctx) => [await health.report(ctx)],
})

/** Once a minute: a new point in the charts, the marks of the day, and the figures in the verdict. */
routes.live('metrics', {
  permission: 'metrics.read',
  async paint(ctx, _subjects, render) {
    const charts = await health.charts(ctx)
    const tiles = await health.tiles(ctx)
    const verdict = replace('verdict', render('overview/_verdict', { verdict: await health.verdict(ctx) }))
    return [
      verdict,
      ...tiles.map((tile) => replace(`tile_${tile.id}`, render('overview/_tile', { tile }))),
      ...charts.map((chart) => replace(`chart_${chart.id}`, render('overview/_chart', { chart }))),
    ].join('')
  },
})
