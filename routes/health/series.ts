import { stringify } from 'csv-stringify/sync'
import { z } from 'zod'
import { Download } from '../../monitoring/dashboard/download'
import type { Routes } from '../../monitoring/dashboard/endpoint'
import { iso, isoToMoment, text } from '../../monitoring/dashboard/shapes'
import * as metrics from '../../services/metrics'
import { ranges, steps } from './range'

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
  step: z.enum(['1m', '5m', '15m', '1h', '4h', '1d']).optional().describe('Time per point. Absent: what gives 60 to 200 points'),
  format: z.enum(['json', 'csv'], 'Choose json or csv.').default('json').describe('csv: a download with one line per point'),
})

const Series = z.object({
  name: z.string(),
  host: z.string(),
  subject: z.string(),
  unit: z.string(),
  step_s: z.number(),
  points: z.array(
    z.object({
      at: iso,
      average: z.number(),
      min: z.number(),
      max: z.number(),
      last: z.number(),
      count: z.int(),
      p50: z.number().optional().describe('Of durations only, as the two below: at most 5 % off'),
      p95: z.number().optional(),
      p99: z.number().optional(),
    }),
  ),
})

const columns = ['at', 'name', 'host', 'subject', 'unit', 'average', 'min', 'max', 'last', 'count', 'p50', 'p95', 'p99']

// A series at a time, so that a long one is not held twice.
// eslint-disable-next-line @typescript-eslint/require-await
async function* csvOf(items: readonly z.input<typeof Series>[]): AsyncGenerator<string> {
  yield stringify([columns])
  for (const { points, ...series } of items)
    yield stringify(
      points.map((point) => ({ ...series, ...point })),
      { columns, escape_formulas: true },
    )
}

export function declareSeries(routes: Routes): void {
  routes.endpoint(
    'GET /api/metrics',
    {
      summary: 'Series of what is measured',
      description: 'Averages, extremes and last values per span. A span in which nothing was measured is left out.',
      permission: 'metrics.read',
      query: SeriesQuery,
      errors: [422],
      alsoAs: ['text/csv'],
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
        points: points.map(metrics.asJson),
      }))
      if (query.format === 'csv')
        return new Download(
          `${query.name.join('-').slice(0, 60)}-${new Date(to).toISOString().slice(0, 10)}.csv`,
          'text/csv; charset=utf-8',
          csvOf(items),
        )
      return { items, next: null }
    },
  )
}
