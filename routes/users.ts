import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { redirect, Routes, view, type Answer } from '../monitoring/dashboard/endpoint'
import { errorsOf, text, type Errors } from '../monitoring/dashboard/shapes'
import { covers, may } from '../monitoring/permissions'
import * as audit from '../services/audit'
import * as invites from '../services/invites'
import * as keys from '../services/keys'
import * as organisations from '../services/organisations'
import * as roles from '../services/roles'
import type * as sessions from '../services/sessions'
import * as users from '../services/users'
import { declareApi, Filter } from './users/api'
import { declareDeeds } from './users/deeds'

interface Choice {
  id: string
  name: string
}

interface Person {
  id: string
  username: string
  role: Choice
  state: 'active' | 'disabled'
  you: boolean
  instance_admin: boolean
  created_at: number
  seen_at: number | null
  sessions: number
  keys: number
  manage: { may: boolean; why: string | null }
}

declare module '../views/views' {
  interface Views {
    'users/index': {
      people: readonly Person[]
      invites: readonly invites.Invite[]
      filter: {
        q: string
        role: string
        state: '' | 'active' | 'disabled'
        sort: 'name' | 'role' | 'seen' | 'created'
        order: 'asc' | 'desc'
      }
      /** Where the list goes on. */
      next: string | null
      roles: readonly Choice[]
      may: { invite: boolean; roles: boolean }
    }
    'users/show': {
      person: Person & {
        handle: string
        timezone: string | null
        password_changed_at: number
        /** Only for whoever administers the installation, and null while there is only one. */
        organisations: readonly string[] | null
        /** In how many others. */
        elsewhere: number
      }
      roles: readonly (Choice & { may: boolean; does: string })[]
      sessions: readonly sessions.Session[]
      keys: readonly keys.Key[]
      acts: readonly audit.Entry[]
      errors: Errors
      may: { role: boolean; disable: boolean; reset: boolean; remove: boolean; sessions: boolean; instance: boolean }
      /** Why nothing may be done to them. */
      why: string | null
    }
    /** A link that lets one person in, shown once. */
    'users/link': { title: string; text: string; link: string; expires_at: number; back: { href: string; label: string } }
    'shared/confirm': {
      title: string
      consequences: readonly string[]
      /** Where the form goes. */
      action: string
      /** What it sends along. */
      fields?: Readonly<Record<string, string>>
      button: string
      keep: string
      back: string
      danger: boolean
      /** Asks for the own password. */
      password: boolean
      errors: Errors
    }
  }
}

export const routes = new Routes('users')

declareApi(routes)

const asPerson = (ctx: Context, row: users.PersonRow): Person => {
  const why = users.whyNot(ctx, row, 'role')
  return {
    ...{ id: row.id, username: row.username, role: { id: row.role_id, name: row.role }, you: row.id === ctx.actor.id },
    state: row.disabled_at === null ? 'active' : 'disabled',
    ...{ instance_admin: row.instance_admin, created_at: row.created_at, seen_at: row.seen_at, sessions: row.sessions, keys: row.keys },
    manage: { may: why === null, why },
  }
}

/** What they show changes with all of these; each page follows what its viewer may. */
const followed = ['users', 'invites', 'roles']

routes.page(
  '/users',
  {
    permission: 'users.read',
    query: z.object({
      q: text(100).catch('').default(''),
      role: text(100).catch('').default(''),
      state: z.enum(['', 'active', 'disabled']).catch('').default(''),
      sort: Filter.sort.catch('name'),
      order: Filter.order.catch('asc'),
      cursor: text(200).optional(),
    }),
  },
  async ({ ctx, query: { cursor, ...filter } }) => {
    const { q, role, state, sort, order } = filter
    const mayInvite = may(ctx.actor, 'users.invite')
    const [people, open, all] = await Promise.all([
      users.list(ctx, { q: q || undefined, role: role || undefined, state: state || undefined, sort, order, limit: 100, cursor }),
      mayInvite && !cursor ? invites.list(ctx) : [],
      roles.list(ctx),
    ])
    const next = people.next && `/users?${new URLSearchParams({ ...filter, cursor: people.next }).toString()}`
    return view(
      'users/index',
      {
        people: people.items.map((row) => asPerson(ctx, row)),
        invites: open,
        filter,
        next,
        roles: all.map(({ id, name }) => ({ id, name })),
        may: { invite: mayInvite, roles: may(ctx.actor, 'roles.read') },
      },
      { title: 'People', live: followed },
    )
  },
)

/** Their names are nobody's business who administers one of them only. */
const organisationsOf = async (ctx: Context, id: string): Promise<string[] | null> =>
  (await organisations.areSeveral(ctx)) ? (await organisations.listOf(ctx, id)).map(({ name }) => name) : null

async function show(ctx: Context, id: string, errors: Errors = {}): Promise<Answer> {
  const row = await users.find(ctx, id)
  const allowed = (deed: users.Deed) => users.whyNot(ctx, row, deed) === null
  const administers = may(ctx.actor, 'accounts.manage')
  const [all, open, theirKeys, acts, belongsTo] = await Promise.all([
    roles.list(ctx),
    users.sessionsOf(ctx, id),
    may(ctx.actor, 'keys.manage') ? keys.list(ctx, { owner: id, limit: 100 }) : { items: [] },
    may(ctx.actor, 'audit.read') ? audit.list(ctx, { filter: { person: id }, limit: 20, cursor: undefined }) : { items: [] },
    administers ? organisationsOf(ctx, id) : null,
  ])
  return view(
    'users/show',
    {
      person: {
        ...asPerson(ctx, row),
        ...{ handle: row.handle, timezone: row.timezone, password_changed_at: row.password_changed_at },
        organisations: belongsTo,
        elsewhere: row.elsewhere,
      },
      roles: all.map((role) => ({
        ...{ id: role.id, name: role.name, does: roles.sentenceOf(role) },
        may: covers(ctx.actor.rights, role.rights),
      })),
      sessions: open,
      keys: theirKeys.items,
      acts: acts.items.map(audit.present),
      errors,
      may: {
        ...{ role: allowed('role'), disable: allowed('disable'), reset: allowed('reset') && row.disabled_at === null },
        ...{ remove: allowed('remove'), sessions: allowed('sessions') && row.sessions > 0 },
        instance: administers,
      },
      why: users.whyNot(ctx, row, 'role') ?? users.whyNot(ctx, row, 'disable'),
    },
    { title: row.username, live: followed },
  )
}

routes.page('/users/:id', { permission: 'users.read' }, ({ ctx, params }) => show(ctx, params['id'] ?? ''))

routes.action(
  '/users/:id/role',
  {
    permission: 'users.manage',
    body: z.object({ role: text(100).min(1, 'Choose a role.') }),
    again: ({ ctx, params, error }) => show(ctx, params['id'] ?? '', errorsOf(error)),
  },
  async ({ ctx, params, body }) => {
    const { username, role } = await users.setRole(ctx, params['id'] ?? '', body.role)
    return redirect(`/users/${params['id'] ?? ''}`, { kind: 'ok', text: `${username} is ${role} now.` })
  },
)

declareDeeds(routes)

routes.live('users', {
  permission: 'users.read',
  // What is shown depends on who looks: each page fetches its own.
  paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>'),
})
