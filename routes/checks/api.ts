import { z } from 'zod'
import { cursorOf, placeOf } from '../../monitoring/cursor'
import type { Routes } from '../../monitoring/dashboard/endpoint'
import { iso, isoOf, limit, text } from '../../monitoring/dashboard/shapes'
import * as checks from '../../services/checks'
import { declareFacts } from './facts'
import { ApiCheck, asJson, Changed, Filter, Given, listed, ListedCheck } from './json'
import { declarePast } from './past'
import { declarePushes } from './push'

const Outcome = z
  .object({
    ok: z.boolean(),
    message: z.string(),
    duration_ms: z.number().nullable(),
    certificate_at: iso.nullable(),
    warning: z.string().nullable(),
    details: z.record(z.string(), z.union([z.string(), z.number(), z.null()])),
  })
  .meta({ id: 'CheckOutcome' })

const Ids = z.array(text(100)).min(1).max(500)
const Place = z.tuple([z.int().nonnegative()])

export function declareApi(routes: Routes): void {
  routes.endpoint(
    'GET /api/checks',
    {
      summary: 'The checks, what is down first',
      permission: 'checks.read',
      query: z.strictObject({ ...Filter, limit: limit.default(100), cursor: text(200).optional().describe('`next` of the page before') }),
      response: z.object({
        items: z.array(ListedCheck),
        next: z.string().nullable(),
        counts: z
          .object({ up: z.int(), down: z.int(), warn: z.int(), paused: z.int(), unset: z.int() })
          .describe('Of all, whatever the filter'),
        tags: z.array(z.string()),
      }),
    },
    async ({ ctx, query: { limit, cursor, ...filter } }) => {
      const [offset] = cursor === undefined ? [0] : placeOf(Place, cursor)
      const { items, counts, tags } = await checks.list(ctx, filter)
      const next = items.length > offset + limit ? cursorOf([offset + limit]) : null
      return { items: items.slice(offset, offset + limit).map((check) => listed(ctx, check)), next, counts, tags }
    },
  )

  routes.endpoint(
    'POST /api/checks',
    {
      summary: 'Make a check',
      description:
        'It is looked at within a second. A heartbeat answers the address to ping. `spec` and its wrong fields are named like `spec.url`.',
      permission: 'checks.change',
      status: 201,
      body: Given,
      response: ApiCheck,
      errors: [409],
    },
    async ({ ctx, body, origin }) => asJson(ctx, await checks.create(ctx, body), origin),
  )

  routes.endpoint(
    'POST /api/checks/test',
    {
      summary: 'Look once, without storing anything',
      description: 'With `id`, dots stand for the secrets that are kept of that check.',
      permission: 'checks.change',
      body: Given.extend({ id: text(100).optional() }),
      response: Outcome,
      errors: [404],
    },
    async ({ ctx, body: { id, ...body } }) => {
      const { ok, message, duration, certificate_at = null, warning = null, details = {} } = await checks.test(ctx, body, id)
      return { ok, message, duration_ms: duration, certificate_at: isoOf(certificate_at), warning, details }
    },
  )

  routes.endpoint(
    'POST /api/checks/bulk',
    {
      summary: 'Pause, resume, delete or tag many checks',
      description:
        'Those that are not there, or are so already, are left as they are. Pausing and resuming by itself needs `checks.run` only: see each check’s own endpoints.',
      permission: 'checks.change',
      body: z
        .strictObject({ ids: Ids, action: z.enum(['pause', 'resume', 'delete', 'tag', 'untag']), tag: text(40).optional() })
        .refine(({ action, tag }) => (action === 'tag' || action === 'untag') === (tag !== undefined), {
          path: ['tag'],
          message: 'Give a tag with “tag” and “untag”, and only with these.',
        }),
      response: z.object({ changed: z.int() }),
      errors: [409],
    },
    ({ ctx, body: { ids, action, tag = '' } }) =>
      checks.bulk(ctx, ids, action === 'tag' ? { tag } : action === 'untag' ? { untag: tag } : action),
  )

  declareFacts(routes)

  routes.endpoint(
    'GET /api/checks/:id',
    { summary: 'One check', permission: 'checks.read', response: ApiCheck, errors: [404] },
    async ({ ctx, params, origin }) => asJson(ctx, await checks.find(ctx, params['id'] ?? ''), origin),
  )

  routes.endpoint(
    'PATCH /api/checks/:id',
    {
      summary: 'Change a check',
      description:
        'What is left out stays; `spec` is given whole, with dots for the secrets that stay. Secrets are kept for the same address only. It is looked at within a second.',
      permission: 'checks.change',
      body: Changed,
      response: ApiCheck,
      errors: [404, 409],
    },
    async ({ ctx, params, body, origin }) => {
      const { id, name, kind, spec } = await checks.find(ctx, params['id'] ?? '')
      return asJson(
        ctx,
        await checks.update(ctx, id, { ...body, name: body.name ?? name, kind: body.kind ?? kind, spec: body.spec ?? spec }),
        origin,
      )
    },
  )

  routes.endpoint(
    'DELETE /api/checks/:id',
    {
      summary: 'Delete a check',
      description: 'Its incidents stay. A built-in dependency is not configured any more afterwards.',
      permission: 'checks.change',
      response: z.object({ deleted: z.literal(true) }),
      errors: [404],
    },
    async ({ ctx, params }) => {
      await checks.remove(ctx, params['id'] ?? '')
      return { deleted: true as const }
    },
  )

  routes.endpoint(
    'POST /api/checks/:id/clone',
    {
      summary: 'Copy a check',
      description: 'A heartbeat gets an address of its own.',
      permission: 'checks.change',
      status: 201,
      response: ApiCheck,
      errors: [404, 409],
    },
    async ({ ctx, params, origin }) => asJson(ctx, await checks.clone(ctx, params['id'] ?? ''), origin),
  )

  routes.endpoint(
    'POST /api/checks/:id/run',
    {
      summary: 'Look at it now',
      description: 'Answers what was found, which counts like any other look.',
      permission: 'checks.run',
      response: ApiCheck,
      errors: [404, 409],
    },
    async ({ ctx, params, origin }) => asJson(ctx, await checks.run(ctx, params['id'] ?? ''), origin),
  )

  for (const deed of ['pause', 'resume'] as const)
    routes.endpoint(
      `POST /api/checks/:id/${deed}`,
      {
        summary: deed === 'pause' ? 'Pause a check' : 'Resume a check',
        description:
          deed === 'pause'
            ? 'Its open incident ends. Doing it again changes nothing.'
            : 'It is looked at within a second. Doing it again changes nothing.',
        permission: 'checks.run',
        response: ApiCheck,
        errors: [404],
      },
      async ({ ctx, params, origin }) => {
        const { id } = await checks.find(ctx, params['id'] ?? '')
        await checks[deed](ctx, [id])
        return asJson(ctx, await checks.find(ctx, id), origin)
      },
    )

  declarePast(routes)
  declarePushes(routes)
}
