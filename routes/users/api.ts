import { z } from 'zod'
import type { Routes } from '../../monitoring/dashboard/endpoint'
import { iso, isoOf, limit, text } from '../../monitoring/dashboard/shapes'
import * as resets from '../../services/resets'
import * as sessions from '../../services/sessions'
import * as users from '../../services/users'

const User = z
  .object({
    id: z.string(),
    username: z.string(),
    handle: z.string().describe('The name in their API keys, which never changes'),
    role: z.string().describe('viewer, operator, admin, or the id of a role of the organisation'),
    role_name: z.string(),
    state: z.enum(['active', 'disabled']),
    instance_admin: z.boolean().describe('Administers the installation itself'),
    created_at: iso,
    seen_at: iso.nullable().describe('When a session of theirs was used last, to the minute'),
    sessions: z.int().describe('Open sessions that work in this organisation; for an instance admin all of them'),
    keys: z.int().describe('Working API keys in this organisation'),
  })
  .meta({ id: 'User' })

const asJson = (row: users.PersonRow): z.input<typeof User> => ({
  ...{ id: row.id, username: row.username, handle: row.handle, role: row.role_id, role_name: row.role },
  state: row.disabled_at === null ? 'active' : 'disabled',
  ...{ instance_admin: row.instance_admin, created_at: isoOf(row.created_at), seen_at: isoOf(row.seen_at) },
  ...{ sessions: row.sessions, keys: row.keys },
})

export const Filter = {
  q: text(100).optional().describe('Part of the name'),
  role: text(100).optional(),
  state: z.enum(['active', 'disabled']).optional(),
  sort: z.enum(['name', 'role', 'seen', 'created']).default('name'),
  order: z.enum(['asc', 'desc']).default('asc'),
}

export function declareApi(routes: Routes): void {
  routes.endpoint(
    'GET /api/users',
    {
      summary: 'The people of the organisation',
      permission: 'users.read',
      query: z.strictObject({ ...Filter, limit: limit.default(100), cursor: text(200).optional().describe('`next` of the page before') }),
      response: z.object({ items: z.array(User), next: z.string().nullable() }),
    },
    async ({ ctx, query }) => {
      const { items, next } = await users.list(ctx, query)
      return { items: items.map(asJson), next }
    },
  )

  routes.endpoint(
    'GET /api/users/:id',
    { summary: 'One person', permission: 'users.read', response: User, errors: [404] },
    async ({ ctx, params }) => asJson(await users.find(ctx, params['id'] ?? '')),
  )

  routes.endpoint(
    'PATCH /api/users/:id',
    {
      summary: 'Change what a person may do',
      description:
        'Their open pages and programs have it within a second. An organisation keeps at least one admin, the installation at least one instance admin (409).',
      permission: 'users.manage',
      body: z
        .strictObject({ role: text(100).min(1).optional(), instance_admin: z.boolean().optional().describe('Only by an instance admin') })
        .refine((body) => Object.values(body).some((value) => value !== undefined), 'Name what to change.'),
      response: User,
      errors: [404, 409],
    },
    async ({ ctx, params, body }) => {
      const id = params['id'] ?? ''
      // Both or neither.
      await ctx.transaction(async (ctx) => {
        if (body.instance_admin !== undefined) await users.setInstanceAdmin(ctx, id, body.instance_admin)
        if (body.role !== undefined) await users.setRole(ctx, id, body.role)
      })
      sessions.forget(ctx, id)
      return asJson(await users.find(ctx, id))
    },
  )

  routes.endpoint(
    'DELETE /api/users/:id',
    {
      summary: 'Remove a person from the organisation',
      description: 'Their sessions, sockets and keys here end. What they did stays in the audit trail. The last admin cannot go (409).',
      permission: 'users.manage',
      response: z.object({ removed: z.literal(true) }),
      errors: [404, 409],
    },
    async ({ ctx, params }) => {
      await users.remove(ctx, params['id'] ?? '')
      return { removed: true as const }
    },
  )

  routes.endpoint(
    'POST /api/users/:id/disable',
    {
      summary: 'Shut an account',
      description: 'Ends its sessions, sockets and keys within seconds. Doing it again changes nothing. The last admin stays (409).',
      permission: 'users.manage',
      response: User,
      errors: [404, 409],
    },
    async ({ ctx, params }) => asJson(await users.disable(ctx, params['id'] ?? '')),
  )

  routes.endpoint(
    'POST /api/users/:id/enable',
    { summary: 'Open an account again', permission: 'users.manage', response: User, errors: [404] },
    async ({ ctx, params }) => asJson(await users.enable(ctx, params['id'] ?? '')),
  )

  routes.endpoint(
    'POST /api/users/:id/reset',
    {
      summary: 'Make a link for a new password',
      description: 'It works once, for 15 minutes, and voids the one before. The answer is the only place where it stands.',
      permission: 'users.manage',
      response: z.object({ link: z.url(), expires_at: iso }),
      status: 201,
      errors: [404],
    },
    async ({ ctx, params, origin }) => {
      const { token, expires_at } = await resets.make(ctx, params['id'] ?? '')
      return { link: `${origin}/reset?token=${token}`, expires_at: isoOf(expires_at) }
    },
  )

  routes.endpoint(
    'POST /api/users/:id/sign-out',
    {
      summary: 'End the sessions of a person',
      description: 'Those that work in this organisation; by an instance admin all of them. HTTP Basic and API keys are not touched.',
      permission: 'users.manage',
      response: z.object({ ended: z.int() }),
      errors: [404],
    },
    ({ ctx, params }) => users.signOut(ctx, params['id'] ?? ''),
  )
}
