import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { Routes, redirect, view, type Answer } from '../monitoring/dashboard/endpoint'
import { errorsOf, iso, isoOf, isoToMoment, limit, several, text, type Errors } from '../monitoring/dashboard/shapes'
import { Forbidden, type Invalid } from '../monitoring/errors'
import { plural } from '../monitoring/markup'
import { may, permissions, type Action } from '../monitoring/permissions'
import * as keys from '../services/keys'
import * as roles from '../services/roles'

interface Choice {
  value: string
  label: string
}

interface Typed {
  name: string
  role: string
  scopes: readonly string[]
  expires: string
  addresses: string
  limit: string
}

declare module '../views/views' {
  interface Views {
    'keys/index': {
      keys: readonly keys.Key[]
      filter: Filter
      may: { make: boolean; all: boolean }
      /** Where the next page is. */
      next: string | null
    }
    'keys/new': {
      roles: readonly { id: string; name: string; does: string }[]
      actions: readonly { action: Action; group: string; does: string; least: string }[]
      values: Typed
      errors: Errors
      expiryChoices: readonly Choice[]
    }
    'keys/made': { name: string; key: string; expires_at: number | null; curl: string; overlap: { old: string; until: number } | null }
    'keys/rotate': { key: keys.Key; choices: readonly Choice[]; errors: Errors }
  }
}

export const routes = new Routes('keys')

// ---- API

const shape = {
  id: z.string(),
  name: z.string(),
  start: z.string().describe('The part of the key that is no secret'),
  owner: z.object({ id: z.string(), name: z.string() }),
  role: z.string().describe('viewer, operator, admin, or the id of a role of the organisation'),
  role_name: z.string(),
  scopes: z.array(z.string()).nullable().describe('Actions to which the role is narrowed down; null: all that it may'),
  addresses: z.array(z.string()).nullable().describe('Addresses and networks from which it may be used; null: from anywhere'),
  limit_per_minute: z.int().nullable().describe('Requests in 60 s, of all kinds together; null: as many as everybody'),
  created_at: iso,
  expires_at: iso.nullable().describe('null: never'),
  revoked_at: iso.nullable(),
  used_at: iso.nullable().describe('To the minute'),
  used_address: z.string().nullable(),
  state: z.enum(keys.keyStates),
  replaced_by: z.string().nullable().describe('The id of the key that it was rotated into'),
}
const ApiKey = z.object(shape).meta({ id: 'ApiKey' })
const NewApiKey = z
  .object({ ...shape, key: z.string().describe('The key itself. It is shown this once, and stored nowhere') })
  .meta({ id: 'NewApiKey' })

function asJson({ mine: _mine, may: _may, role, ...key }: keys.Key): z.input<typeof ApiKey> {
  return {
    ...key,
    role: role.id,
    role_name: role.name,
    created_at: isoOf(key.created_at),
    expires_at: isoOf(key.expires_at),
    revoked_at: isoOf(key.revoked_at),
    used_at: isoOf(key.used_at),
  }
}

const filters = {
  q: text(100).optional().describe('Part of its name, or of its owner’s'),
  state: z.enum(keys.keyStates).optional(),
  sort: z.enum(keys.keySorts).default('created'),
  order: z.enum(['asc', 'desc']).default('desc'),
  cursor: text(200).optional().describe('`next` of the page before'),
}

routes.endpoint(
  'GET /api/keys',
  {
    summary: 'List API keys',
    description: 'Your own, or with `whose=all` those of everybody in the organisation, which needs `keys.manage`.',
    permission: 'keys.make',
    query: z.strictObject({ ...filters, whose: z.enum(['mine', 'all']).default('mine'), limit: limit.default(50) }),
    response: z.object({ items: z.array(ApiKey), next: z.string().nullable() }),
  },
  async ({ ctx, query: { whose, ...query } }) => {
    const { items, next } = await keys.list(ctx, { ...query, owner: whose === 'mine' ? ctx.actor.id : undefined })
    return { items: items.map(asJson), next }
  },
)

const Name = text(100).refine((name) => name.trim() !== '', 'Give it a name of 1 to 100 characters.')
const Password = z.string().max(2000)

/** By Basic the password has come with the request; in a session it may have been typed long ago. */
const proofOf = (session: string | null, password: string | undefined): keys.Proof => (password === undefined ? { session } : { password })

routes.endpoint(
  'POST /api/keys',
  {
    summary: 'Make an API key',
    description:
      'Answers the key once. It may no more than you, now and later. Send your `password` too when you signed in more than five minutes ago. A key cannot make keys.',
    permission: 'keys.make',
    status: 201,
    body: z.strictObject({
      name: Name,
      role: text(100).describe('viewer, operator, admin, or the id of a role of the organisation'),
      expires_at: isoToMoment.nullish().describe('Absent or null: never'),
      scopes: z.array(text(100)).min(1).max(100).nullish().describe('Only these actions of what the role may'),
      addresses: z
        .array(text(100))
        .min(1)
        .max(keys.mostAddresses)
        .nullish()
        .describe('Only from these addresses and networks, like 10.0.0.0/8'),
      limit_per_minute: z.int().min(1).max(keys.mostPerMinute).nullish().describe('More than everybody has needs `keys.manage`'),
      password: Password.optional(),
    }),
    response: NewApiKey,
    errors: [409],
  },
  async ({ ctx, body: { password, expires_at = null, scopes = null, addresses = null, limit_per_minute = null, ...body }, identity }) => {
    const input = { ...body, expires_at, scopes, addresses, limit_per_minute }
    const { row, key } = await keys.make(ctx, input, proofOf(identity?.session ?? null, password))
    return { ...asJson(row), key }
  },
)

routes.endpoint(
  'GET /api/keys/:id',
  { summary: 'One API key', description: 'A key can see itself.', permission: 'anyone', response: ApiKey, errors: [404] },
  async ({ ctx, params }) => asJson(await keys.find(ctx, params['id'] ?? '')),
)

routes.endpoint(
  'DELETE /api/keys/:id',
  {
    summary: 'Revoke an API key',
    description:
      'Your own; others’ with `keys.manage`. A key can revoke itself. It is refused from then on, and its sockets end. Keys that it made by rotating itself end with it.',
    permission: 'anyone',
    response: ApiKey,
    errors: [404],
  },
  async ({ ctx, params }) => asJson(await keys.revoke(ctx, params['id'] ?? '')),
)

routes.endpoint(
  'POST /api/keys/:id/rotate',
  {
    summary: 'Make a new API key in place of one',
    description:
      'The new one may the same, and lives as long as the old one was made to. The old one goes on working for the overlap. A key can rotate itself: the new one then ends when the old one would have.',
    permission: 'anyone',
    status: 201,
    body: z
      .strictObject({
        overlap_minutes: z.int().min(0).max(keys.longestOverlap).default(60),
        password: Password.optional(),
      })
      .prefault({}),
    response: NewApiKey,
    errors: [404, 409],
  },
  async ({ ctx, params, body: { overlap_minutes, password }, identity }) => {
    const { row, key } = await keys.rotate(ctx, params['id'] ?? '', overlap_minutes, proofOf(identity?.session ?? null, password))
    return { ...asJson(row), key }
  },
)

// ---- Pages

const Query = z.object({
  q: filters.q.default(''),
  state: z.enum(['', ...keys.keyStates]).default(''),
  whose: z.enum(['mine', 'all']).default('mine'),
  sort: filters.sort,
  order: filters.order,
})
type Filter = z.output<typeof Query>

routes.page('/keys', { permission: 'keys.make', query: Query.extend({ cursor: filters.cursor }) }, async ({ ctx, query }) => {
  const { cursor, ...filter } = query
  const { items, next } = await keys.list(ctx, {
    q: filter.q.trim() || undefined,
    state: filter.state || undefined,
    owner: filter.whose === 'mine' ? ctx.actor.id : undefined,
    ...{ sort: filter.sort, order: filter.order, cursor, limit: 50 },
  })
  const more = next === null ? null : `/keys?${new URLSearchParams({ ...filter, cursor: next }).toString()}`
  return view(
    'keys/index',
    { keys: items, filter, may: { make: keys.mayMake(ctx), all: may(ctx.actor, 'keys.manage') }, next: more },
    { title: 'API keys', live: [] },
  )
})

const day = 86_400_000
const expiryChoices = [
  { value: '7', label: 'in 7 days' },
  { value: '30', label: 'in 30 days' },
  { value: '90', label: 'in 90 days' },
  { value: '365', label: 'in a year' },
  { value: 'never', label: 'never' },
] as const

async function form(ctx: Context, values: Typed, error?: Invalid): Promise<Answer> {
  const given = (await roles.list(ctx)).filter(({ rights }) => [...rights.actions].every((action) => may(ctx.actor, action)))
  const actions = roles.composable.filter((action) => may(ctx.actor, action))
  return view(
    'keys/new',
    {
      roles: given.map((role) => ({ id: role.id, name: role.name, does: roles.sentenceOf(role) })),
      actions: actions.map((action) => ({ action, group: action.split('.')[0] ?? '', ...permissions[action] })),
      values,
      errors: errorsOf(error, { expires_at: 'expires', limit_per_minute: 'limit' }),
      expiryChoices,
    },
    { title: 'Make an API key' },
  )
}

routes.page('/keys/new', { permission: 'keys.make' }, ({ ctx }) =>
  form(ctx, { name: '', role: 'viewer', scopes: [], expires: '90', addresses: '', limit: '' }),
)

const Words = text(10_000)
  .default('')
  .transform((words) => words.split(/[\s,;]+/).filter(Boolean))

routes.action(
  '/keys/new',
  {
    permission: 'keys.make',
    body: z.object({
      name: Name,
      role: text(100).default(''),
      scopes: several(text(100)),
      expires: z.enum(
        expiryChoices.map(({ value }) => value),
        'Choose one of these.',
      ),
      addresses: Words,
      limit: z
        .string()
        .trim()
        .regex(/^\d{0,6}$/, `This is not a number from 1 to ${keys.mostPerMinute.toLocaleString('en')}.`)
        .default(''),
      password: Password,
    }),
    again: ({ ctx, typed, chosen, error }) =>
      form(
        ctx,
        {
          name: typed['name'] ?? '',
          role: typed['role'] ?? '',
          scopes: chosen['scopes'] ?? [],
          expires: typed['expires'] ?? '90',
          addresses: typed['addresses'] ?? '',
          limit: typed['limit'] ?? '',
        },
        error,
      ),
  },
  async ({ ctx, body: { name, role, scopes, expires, addresses, limit, password }, origin }) => {
    const made = await keys.make(
      ctx,
      {
        ...{ name, role },
        scopes: scopes.length > 0 ? scopes : null,
        addresses: addresses.length > 0 ? addresses : null,
        limit_per_minute: limit === '' ? null : Number(limit),
        expires_at: expires === 'never' ? null : ctx.now() + Number(expires) * day,
      },
      { password },
    )
    return shownOnce(made, origin, null)
  },
)

const shownOnce = (
  { row: { name, expires_at }, key }: { row: keys.Key; key: string },
  origin: string,
  overlap: { old: string; until: number } | null,
): Answer =>
  view(
    'keys/made',
    { name, key, expires_at, curl: `curl -H 'Authorization: Bearer ${key}' ${origin}/api/me`, overlap },
    { title: 'The key is made' },
  )

const overlaps = [
  { value: '0', label: 'moment: it ends now' },
  { value: '60', label: 'hour' },
  { value: '1440', label: 'day' },
  { value: String(keys.longestOverlap), label: 'week' },
] as const

async function rotation(ctx: Context, id: string, error?: Invalid): Promise<Answer> {
  const key = await keys.find(ctx, id)
  if (!key.may.rotate) throw new Forbidden('Only its owner can rotate a key, while it works.')
  return view('keys/rotate', { key, choices: overlaps, errors: errorsOf(error) }, { title: `Rotate ${key.name}` })
}

routes.page('/keys/:id/rotate', { permission: 'keys.make' }, ({ ctx, params }) => rotation(ctx, params['id'] ?? ''))

routes.action(
  '/keys/:id/rotate',
  {
    permission: 'keys.make',
    body: z.object({
      overlap: z.enum(
        overlaps.map(({ value }) => value),
        'Choose one of these.',
      ),
      password: Password,
    }),
    again: ({ ctx, params, error }) => rotation(ctx, params['id'] ?? '', error),
  },
  async ({ ctx, params, body: { overlap, password }, origin }) => {
    const id = params['id'] ?? ''
    const made = await keys.rotate(ctx, id, Number(overlap), { password })
    const old = await keys.find(ctx, id)
    const until = old.state === 'active' ? old.expires_at : null
    return shownOnce(made, origin, until === null ? null : { old: old.start, until })
  },
)

routes.page('/keys/:id/revoke', { permission: 'keys.make' }, async ({ ctx, params }) => {
  const key = await keys.find(ctx, params['id'] ?? '')
  const others = await keys.countEndingWith(ctx, key.id)
  return view(
    'shared/confirm',
    {
      title: `Revoke ${key.name}?`,
      consequences: [
        'It is refused from now on, and its open sockets end. It cannot be brought back.',
        ...(others === 0 ? [] : [`It rotated itself: ${plural(others, 'key that it made ends', 'keys that it made end')} with it.`]),
        key.mine ? `Its start is ${key.start}…` : `It is ${key.owner.name}’s, and starts with ${key.start}…`,
        key.used_at === null
          ? 'It was never used.'
          : `It was last used ${plural(Math.max(0, Math.floor((ctx.now() - key.used_at) / day)), 'day', 'days')} ago${key.used_address === null ? '' : `, from ${key.used_address}`}.`,
      ],
      action: `/keys/${encodeURIComponent(key.id)}/revoke`,
      button: `Revoke ${key.name}`,
      keep: 'Keep it',
      back: '/keys',
      ...{ danger: true, password: false, errors: {} },
    },
    { title: `Revoke ${key.name}` },
  )
})

routes.action('/keys/:id/revoke', { permission: 'keys.make' }, async ({ ctx, params }) => {
  const { name, mine } = await keys.revoke(ctx, params['id'] ?? '')
  return redirect(mine ? '/keys' : '/keys?whose=all', { kind: 'ok', text: `${name} was revoked.` })
})
