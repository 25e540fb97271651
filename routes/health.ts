import { z } from 'zod'
import { replace, Routes } from '../monitoring/dashboard/endpoint'
import * as health from '../services/health'
import { iso } from '../monitoring/dashboard/shapes'
import { declarePages } from './health/pages'
import { declareSeries } from './health/series'

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

declareSeries(routes)
declarePages(routes)

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
