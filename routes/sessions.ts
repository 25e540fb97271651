import { z } from 'zod'
import { Routes } from '../monitoring/dashboard/endpoint'
import { iso, isoOf } from '../monitoring/dashboard/shapes'
import * as sessions from '../services/sessions'

export const routes = new Routes('sessions')

const Session = z
  .object({
    id: z.string().describe('Not the one in the cookie'),
    device: z.string(),
    user_agent: z.string().nullable(),
    address: z.string().nullable(),
    created_at: iso,
    seen_at: iso.describe('To the minute'),
    expires_at: iso,
    current: z.boolean().describe('The one that asks'),
  })
  .meta({ id: 'Session' })

const asJson = ({ created_at, seen_at, expires_at, ...one }: sessions.Session): z.input<typeof Session> => ({
  ...one,
  ...{ created_at: isoOf(created_at), seen_at: isoOf(seen_at), expires_at: isoOf(expires_at) },
})

const List = z.object({ items: z.array(Session), next: z.null() })

routes.endpoint(
  'GET /api/sessions',
  { summary: 'One’s own open sessions', permission: 'self', response: List },
  async ({ ctx, identity }) => ({
    items: (await sessions.list(ctx, ctx.actor.id, identity?.session ?? null)).map(asJson),
    next: null,
  }),
)

routes.endpoint(
  'DELETE /api/sessions',
  {
    summary: 'End all of one’s other sessions',
    description: 'The one that asks stays; with Basic, all end.',
    permission: 'self',
    response: z.object({ ended: z.int() }),
  },
  async ({ ctx, identity }) => ({ ended: await sessions.endAll(ctx, ctx.actor.id, identity?.session ?? null, ctx.actor.name) }),
)

routes.endpoint(
  'DELETE /api/sessions/:id',
  {
    summary: 'End one of one’s own sessions',
    description: 'Its sockets are closed within seconds.',
    permission: 'self',
    response: z.object({ ended: z.literal(1) }),
    errors: [404],
  },
  async ({ ctx, params }) => {
    await sessions.endOne(ctx, ctx.actor.id, params['id'] ?? '')
    return { ended: 1 as const }
  },
)
