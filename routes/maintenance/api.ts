import { z } from 'zod'
import type { Routes } from '../../monitoring/dashboard/endpoint'
import { iso, isoOf, isoToMoment, limit, name, text, timezone } from '../../monitoring/dashboard/shapes'
import * as maintenance from '../../services/maintenance'

const Covers = z.union([
  z.strictObject({ all: z.literal(true) }),
  z.strictObject({ checks: z.array(text(100)).max(500).default([]), tags: z.array(text(40)).max(50).default([]) }),
])

const Window = z
  .object({
    id: z.string(),
    name: z.string(),
    starts_at: iso.describe('Of its first time'),
    ends_at: iso,
    repeats: z.enum(maintenance.repetitions).describe('At the same time of day in its zone'),
    timezone: z.string(),
    covers: Covers,
    state: z.enum(maintenance.windowStates),
    next: z.object({ from: iso, to: iso }).nullable().describe('The time that is now, or comes next'),
    created_at: iso,
  })
  .meta({ id: 'Maintenance' })

const asJson = ({ starts_at, ends_at, created_at, next, ...one }: maintenance.Window): z.input<typeof Window> => ({
  ...one,
  ...{ starts_at: isoOf(starts_at), ends_at: isoOf(ends_at), created_at: isoOf(created_at) },
  next: next && { from: isoOf(next.from), to: isoOf(next.to) },
})

const Body = z.strictObject({
  name: name(100).min(1, 'Give it a name.'),
  starts_at: isoToMoment,
  ends_at: isoToMoment,
  repeats: z.enum(maintenance.repetitions).default('never'),
  timezone: timezone.optional().describe('Absent: the organisation’s'),
  covers: Covers.describe('All checks, or these and those with one of these tags'),
})

export function declareApi(routes: Routes): void {
  routes.endpoint(
    'GET /api/maintenance',
    {
      summary: 'Maintenance that is now, planned or over',
      permission: 'checks.read',
      query: z.strictObject({
        q: text(100).optional().describe('Part of the name'),
        state: z.enum(maintenance.windowStates).optional(),
        limit: limit.default(100),
        cursor: text(200).optional().describe('`next` of the page before'),
      }),
      response: z.object({ items: z.array(Window), next: z.string().nullable() }),
    },
    async ({ ctx, query }) => {
      const { items, next } = await maintenance.list(ctx, query)
      return { items: items.map(asJson), next }
    },
  )

  routes.endpoint(
    'POST /api/maintenance',
    {
      summary: 'Plan maintenance',
      description:
        'While it lasts, what fails opens no incident, and no look counts for uptime. Open incidents of what still fails then end.',
      permission: 'maintenance.change',
      status: 201,
      body: Body,
      response: Window,
      errors: [409],
    },
    async ({ ctx, body }) => asJson(await maintenance.plan(ctx, body)),
  )

  routes.endpoint(
    'GET /api/maintenance/:id',
    { summary: 'One maintenance', permission: 'checks.read', response: Window, errors: [404] },
    async ({ ctx, params }) => asJson(await maintenance.find(ctx, params['id'] ?? '')),
  )

  routes.endpoint(
    'PUT /api/maintenance/:id',
    {
      summary: 'Change maintenance that is not over',
      permission: 'maintenance.change',
      body: Body,
      response: Window,
      errors: [404, 409],
    },
    async ({ ctx, params, body }) => asJson(await maintenance.change(ctx, params['id'] ?? '', body)),
  )

  routes.endpoint(
    'POST /api/maintenance/:id/cancel',
    {
      summary: 'Cancel maintenance, or end it now',
      description: 'With all times that would come. Doing it again changes nothing.',
      permission: 'maintenance.change',
      response: Window,
      errors: [404, 409],
    },
    async ({ ctx, params }) => asJson(await maintenance.cancel(ctx, params['id'] ?? '')),
  )
}
