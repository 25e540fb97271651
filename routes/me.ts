import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { Routes } from '../monitoring/dashboard/endpoint'
import type { Identity } from '../monitoring/dashboard/session'
import { iso, isoOf, Theme, timezone, username } from '../monitoring/dashboard/shapes'
import * as accounts from '../services/accounts'
import * as profile from '../services/profile'

export const routes = new Routes('me')

const Me = z
  .object({
    id: z.string(),
    username: z.string(),
    handle: z.string(),
    role: z.string().describe('With a key, the role of the key'),
    actions: z.array(z.string()).describe('What this request may do: with a key, what the key may'),
    instance_admin: z.boolean().describe('With a key never'),
    organisation: z.object({ id: z.string(), name: z.string() }),
    theme: Theme,
    timezone: z.string().nullable(),
    created_at: iso,
    via: z.enum(['session', 'basic', 'key']),
    key: z.object({ id: z.string(), name: z.string() }).nullable(),
  })
  .meta({ id: 'Me' })

async function me(ctx: Context, identity: Identity | null): Promise<z.input<typeof Me>> {
  const member = await accounts.findMember(ctx, ctx.actor.id, ctx.org)
  if (!member || !identity) throw new Error('Somebody who is nobody')
  const { id, username, handle, org_id, org_name, theme, timezone, created_at } = member
  const { role, rights, instance_admin } = identity.principal
  return {
    ...{ id, username, handle, role, actions: [...rights.actions], instance_admin },
    organisation: { id: org_id, name: org_name },
    ...{ theme, timezone, created_at: isoOf(created_at) },
    via: identity.key ? 'key' : identity.session === null ? 'basic' : 'session',
    key: identity.key && { id: identity.key.id, name: identity.key.name },
  }
}

routes.endpoint('GET /api/me', { summary: 'Who asks, and what they may', permission: 'anyone', response: Me }, ({ ctx, identity }) =>
  me(ctx, identity),
)

routes.endpoint(
  'PATCH /api/me',
  {
    summary: 'Change one’s own name, time zone and theme',
    permission: 'self',
    body: z.strictObject({
      username: username.optional(),
      theme: Theme.optional(),
      timezone: timezone.nullish().describe('null: like the console'),
    }),
    response: Me,
  },
  async ({ ctx, body, identity }) => {
    await profile.change(ctx, body)
    return me(ctx, identity)
  },
)

routes.endpoint(
  'POST /api/me/password',
  {
    summary: 'Change one’s own password',
    description: 'Asks for the current one, and ends every other session.',
    permission: 'self',
    // No text(): only a digest of it is stored, so every sign may stand in it.
    body: z.strictObject({ current: z.string().max(2000), password: z.string().max(1024) }),
    response: z.object({ ended: z.int().describe('How many other sessions were ended') }),
    errors: [429],
  },
  ({ ctx, body, identity }) => profile.changePassword(ctx, { ...body, repeat: body.password, session: identity?.session ?? null }),
)
