import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { redirect, Routes, view, type Answer } from '../monitoring/dashboard/endpoint'
import { iso, limit, text } from '../monitoring/dashboard/shapes'
import { duration, plural } from '../monitoring/markup'
import { covers, may } from '../monitoring/permissions'
import * as audit from '../services/audit'
import * as invites from '../services/invites'
import * as keys from '../services/keys'
import * as organisations from '../services/organisations'
import * as resets from '../services/resets'
import * as roles from '../services/roles'
import * as sessions from '../services/sessions'
import * as users from '../services/users'

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
      errors: Readonly<Record<string, string>>
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
      errors: Readonly<Record<string, string>>
    }
  }
}

export const routes = new Routes('users')

const asPerson = (ctx: Context, row: users.PersonRow): Person => {
  const why = users.whyNot(ctx, row, 'role')
  return {
    ...{ id: row.id, username: row.username, role: { id: row.role_id, name: row.role }, you: row.id === ctx.actor.id },
    state: row.disabled_at === null ? 'active' : 'disabled',
    ...{ instance_admin: row.instance_admin, created_at: row.created_at, seen_at: row.seen_at, sessions: row.sessions, keys: row.keys },
    manage: { may: why === null, why },
  }
}

// ---- The API

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
    sessions: z.int().describe('Open sessions'),
    keys: z.int().describe('Working API keys in this organisation'),
  })
  .meta({ id: 'User' })

const isoOf = (at: number): string => new Date(at).toISOString()

const asJson = (row: users.PersonRow): z.input<typeof User> => ({
  ...{ id: row.id, username: row.username, handle: row.handle, role: row.role_id, role_name: row.role },
  state: row.disabled_at === null ? 'active' : 'disabled',
  ...{ instance_admin: row.instance_admin, created_at: isoOf(row.created_at), seen_at: row.seen_at === null ? null : isoOf(row.seen_at) },
  ...{ sessions: row.sessions, keys: row.keys },
})

const Filter = {
  q: text(100).optional().describe('Part of the name'),
  role: text(100).optional(),
  state: z.enum(['active', 'disabled']).optional(),
  sort: z.enum(['name', 'role', 'seen', 'created']).default('name'),
  order: z.enum(['asc', 'desc']).default('asc'),
}

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
    summary: 'End every session of a person',
    permission: 'users.manage',
    response: z.object({ ended: z.int() }),
    errors: [404],
  },
  ({ ctx, params }) => users.signOut(ctx, params['id'] ?? ''),
)

// ---- The pages

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

async function show(ctx: Context, id: string, errors: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const row = await users.find(ctx, id)
  const allowed = (deed: users.Deed) => users.whyNot(ctx, row, deed) === null
  const administers = may(ctx.actor, 'accounts.manage')
  const [all, open, theirKeys, acts, belongsTo] = await Promise.all([
    roles.list(ctx),
    sessions.list(ctx, id, null),
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
    again: ({ ctx, params, error }) =>
      show(ctx, params['id'] ?? '', Object.fromEntries(error.fields.map((one) => [one.field, one.message]))),
  },
  async ({ ctx, params, body }) => {
    const { username, role } = await users.setRole(ctx, params['id'] ?? '', body.role)
    return redirect(`/users/${params['id'] ?? ''}`, { kind: 'ok', text: `${username} is ${role} now.` })
  },
)

/** What an admin does to a person after being asked: the question, and how it is done. */
interface Deed {
  readonly deed: users.Deed
  readonly title: (name: string) => string
  readonly consequences: (person: users.PersonRow) => readonly string[]
  readonly button: string
  readonly keep: string
  readonly danger: boolean
  readonly done: (name: string) => string
  readonly act: (ctx: Context, id: string) => Promise<unknown>
}

const deeds: Readonly<Record<string, Deed>> = {
  disable: {
    deed: 'disable',
    title: (name) => `Disable ${name}?`,
    consequences: ({ username, sessions, keys }) => [
      `${username} is signed out everywhere within seconds: ${plural(sessions, 'session ends', 'sessions end')}.`,
      keys > 0
        ? `${plural(keys, 'API key does', 'API keys do')} not work until the account is enabled again.`
        : 'There are no API keys of theirs.',
      'What they did stays in the audit trail, and the account can be enabled again.',
    ],
    ...{ button: 'Disable the account', keep: 'Leave it open', danger: true },
    done: (name) => `${name} is disabled.`,
    act: users.disable,
  },
  enable: {
    deed: 'disable',
    title: (name) => `Enable ${name} again?`,
    consequences: ({ username, role, keys }) => [
      `${username} can sign in again with the old password, as ${role}.`,
      keys > 0 ? `${plural(keys, 'API key works', 'API keys work')} again.` : 'There are no API keys of theirs.',
    ],
    ...{ button: 'Enable the account', keep: 'Leave it disabled', danger: false },
    done: (name) => `${name} can sign in again.`,
    act: users.enable,
  },
  remove: {
    deed: 'remove',
    title: (name) => `Remove ${name}?`,
    consequences: ({ username, elsewhere, keys }) => [
      elsewhere > 0
        ? `${username} loses what they may do here, and keeps ${plural(elsewhere, 'other organisation', 'other organisations')}.`
        : `${username} is signed out everywhere within seconds and cannot sign in any more.`,
      keys > 0 ? `${plural(keys, 'API key stops', 'API keys stop')} working here.` : 'There are no API keys of theirs here.',
      'What they did stays in the audit trail. A new invitation lets them in again.',
    ],
    ...{ button: 'Remove from here', keep: 'Keep them', danger: true },
    done: (name) => `${name} was removed.`,
    act: users.remove,
  },
  'sign-out': {
    deed: 'sessions',
    title: (name) => `Sign ${name} out everywhere?`,
    consequences: ({ sessions }) => [
      `${plural(sessions, 'session ends', 'sessions end')} within seconds, with ${sessions === 1 ? 'its' : 'their'} open pages.`,
      'They can sign in again with their password. API keys are not touched.',
    ],
    ...{ button: 'End the sessions', keep: 'Leave them open', danger: true },
    done: (name) => `${name} was signed out.`,
    act: users.signOut,
  },
}

for (const [name, { deed, title, consequences, button, keep, danger, done, act }] of Object.entries(deeds)) {
  routes.page(`/users/:id/${name}`, { permission: 'users.manage' }, async ({ ctx, params }) => {
    const person = await users.find(ctx, params['id'] ?? '')
    users.insist(ctx, person, deed)
    const back = `/users/${person.id}`
    return view(
      'shared/confirm',
      {
        ...{ title: title(person.username), consequences: consequences(person), action: `${back}/${name}` },
        ...{ button, keep, back, danger, password: false, errors: {} },
      },
      { title: title(person.username) },
    )
  })

  routes.action(`/users/:id/${name}`, { permission: 'users.manage' }, async ({ ctx, params }) => {
    const { id, username } = await users.find(ctx, params['id'] ?? '')
    await act(ctx, id)
    return redirect(name === 'remove' ? '/users' : `/users/${id}`, { kind: 'ok', text: done(username) })
  })
}

routes.page('/users/:id/instance-admin', { permission: 'accounts.manage' }, async ({ ctx, params }) => {
  const { id, username, instance_admin } = await users.find(ctx, params['id'] ?? '')
  const title = instance_admin ? `Take the installation from ${username}?` : `Make ${username} an instance admin?`
  return view(
    'shared/confirm',
    {
      title,
      consequences: instance_admin
        ? [
            `${username} can no longer make organisations or join them, nor disable accounts of several organisations.`,
            'Their role here stays.',
          ]
        : [`${username} can make organisations and join any of them, and disable or reset every account.`, 'Their role here stays.'],
      ...{
        action: `/users/${id}/instance-admin`,
        fields: { become: instance_admin ? 'nothing' : 'instance-admin' },
        button: instance_admin ? 'Take it away' : 'Make an instance admin',
      },
      ...{ keep: 'Leave it', back: `/users/${id}`, danger: instance_admin, password: false, errors: {} },
    },
    { title },
  )
})

routes.action(
  '/users/:id/instance-admin',
  // What they become, not that it changes: sent twice, it is the same.
  { permission: 'accounts.manage', body: z.object({ become: z.enum(['instance-admin', 'nothing']) }) },
  async ({ ctx, params, body }) => {
    const { id, username, instance_admin } = await users.setInstanceAdmin(ctx, params['id'] ?? '', body.become === 'instance-admin')
    return redirect(`/users/${id}`, {
      kind: 'ok',
      text: instance_admin ? `${username} is an instance admin now.` : `${username} is no instance admin any more.`,
    })
  },
)

routes.page('/users/:id/reset', { permission: 'users.manage' }, async ({ ctx, params }) => {
  const person = await users.find(ctx, params['id'] ?? '')
  users.insist(ctx, person, 'reset')
  const title = `A new password for ${person.username}?`
  return view(
    'shared/confirm',
    {
      title,
      consequences: [
        'You get a link to hand on. It works once, for 15 minutes, and voids the one before.',
        'With the new password, every session of theirs ends. Until then nothing changes.',
      ],
      ...{ action: `/users/${person.id}/reset`, button: 'Make the link', keep: 'Not now', back: `/users/${person.id}` },
      ...{ danger: false, password: false, errors: {} },
    },
    { title },
  )
})

routes.action('/users/:id/reset', { permission: 'users.manage' }, async ({ ctx, params, origin }) => {
  const id = params['id'] ?? ''
  const { token, expires_at, username } = await resets.make(ctx, id)
  return view(
    'users/link',
    {
      title: `A link for ${username}`,
      text: `Give it to ${username} and to nobody else: whoever opens it within ${duration(expires_at - ctx.now())} chooses the password. It works once.`,
      link: `${origin}/reset?token=${token}`,
      expires_at,
      back: { href: `/users/${id}`, label: `Back to ${username}` },
    },
    { title: `A link for ${username}` },
  )
})

routes.live('users', {
  permission: 'users.read',
  // What is shown depends on who looks: each page fetches its own.
  paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>'),
})
