import { z } from 'zod'
import type { Routes } from '../../monitoring/dashboard/endpoint'
import { iso, isoOf } from '../../monitoring/dashboard/shapes'
import * as checks from '../../services/checks'
import { Figure } from './json'

const Period = z.enum(checks.periods).default('24h')

/** How a check was, and how long its answers took. */
export function declarePast(routes: Routes): void {
  routes.endpoint(
    'GET /api/checks/:id/uptime',
    {
      summary: 'How much of the last 24 hours, 7, 30 and 90 days a check was up',
      permission: 'checks.read',
      response: z.object({ items: z.array(z.object({ period: z.enum(checks.periods), ...Figure })) }),
      errors: [404],
    },
    async ({ ctx, params }) => ({ items: await checks.uptimes(ctx, params['id'] ?? '') }),
  )

  const ms = z.number().nullable()
  routes.endpoint(
    'GET /api/checks/:id/history',
    {
      summary: 'What a check was found to be, and how long its answers took',
      permission: 'checks.read',
      query: z.strictObject({ range: Period }),
      response: z.object({
        step_s: z.int(),
        strip: z.array(z.object({ at: iso, up: z.int(), down: z.int(), maintenance: z.int(), probes: z.int() })),
        durations_ms: z.array(z.object({ at: iso, p50: ms, p95: ms, p99: ms, average: z.number(), max: z.number(), count: z.int() })),
        percentiles_ms: z.object({ p50: ms, p95: ms, p99: ms, count: z.int() }),
      }),
      errors: [404],
    },
    async ({ ctx, params, query: { range } }) => {
      const id = params['id'] ?? ''
      const [{ step, strip, durations }, percentiles] = await Promise.all([
        checks.history(ctx, id, { range }),
        checks.percentiles(ctx, id, range),
      ])
      return {
        step_s: step / 1000,
        strip: strip.map(({ at, ...rest }) => ({ at: isoOf(at), ...rest })),
        durations_ms: durations.map(({ at, ...rest }) => ({ at: isoOf(at), ...rest })),
        percentiles_ms: percentiles,
      }
    },
  )
}
