import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { redirect, Routes, view, type Answer } from '../monitoring/dashboard/endpoint'
import { errorsOf, iso, isoOf, name, text, username } from '../monitoring/dashboard/shapes'
import type { Identity } from '../monitoring/dashboard/session'
import { plural } from '../monitoring/markup'
import { covers } from '../monitoring/permissions'
import { Conflict, type Invalid } from '../monitoring/errors'
import * as invites from '../services/invites'
import * as organisations from '../services/organisations'
import * as roles from '../services/roles'

declare module '../views/views' {
  interface Views {
    'users/invite': {
      roles: readonly { id: string; name: string; does: string }[]
      values: { name: string; role: string; days: string }
      errors: Readonly<Record<string, string>>
      dayChoices: readonly { value: string; label: string }[]
    }
    'invites/accept': {
      state: invites.Opened['state']
      /** null while there is only one. */
      organisation: string | null
      role: string
      by: string
      token: string
      /** Who is signed in already. */
      you: string | null
      errors: Readonly<Record<string, string>>
      values: { username: string }
    }
  }
}

export const routes = new Routes('invites')

const Invite = z
  .object({
    id: z.string(),
    name: z.string().nullable().describe('Whom it is for, as whoever made it wrote'),
    role: z.string(),
    role_name: z.string(),
    created_by: z.string(),
    created_at: iso,
    expires_at: iso,
    expired: z.boolean(),
  })
  .meta({ id: 'Invite' })

const asJson = ({ role, created_at, expires_at, ...invite }: invites.Invite): z.input<typeof Invite> => ({
  ...invite,
  ...{ role: role.id, role_name: role.name, created_at: isoOf(created_at), expires_at: isoOf(expires_at) },
})

routes.endpoint(
  'GET /api/invites',
  {
    summary: 'Invitations that nobody has used yet',
    permission: 'users.invite',
    response: z.object({ items: z.array(Invite), next: z.null() }),
  },
  async ({ ctx }) => ({ items: (await invites.list(ctx)).map(asJson), next: null }),
)

routes.endpoint(
  'POST /api/invites',
  {
    summary: 'Invite a person',
    description: 'Answers a link that lets one person in, once. The answer is the only place where it stands.',
    permission: 'users.invite',
    body: z.strictObject({
      role: text(100).min(1).describe('viewer, operator, admin, or the id of a role of the organisation; not more than one’s own'),
      name: name(100).nullish().describe('Whom it is for'),
      days: z.int().min(1).max(30).default(7).describe('How long it is valid'),
    }),
    response: Invite.extend({ link: z.url() }),
    status: 201,
  },
  async ({ ctx, body, origin }) => {
    const { invite, token } = await invites.make(ctx, {
      role: body.role,
      name: body.name === '' ? null : (body.name ?? null),
      days: body.days,
    })
    return { ...asJson(invite), link: `${origin}/invite?token=${token}` }
  },
)

routes.endpoint(
  'DELETE /api/invites/:id',
  { summary: 'Withdraw an invitation', permission: 'users.invite', response: Invite, errors: [404, 409] },
  async ({ ctx, params }) => asJson(await invites.withdraw(ctx, params['id'] ?? '')),
)

const dayChoices = [
  { value: '1', label: '1 day' },
  { value: '7', label: '7 days' },
  { value: '30', label: '30 days' },
]

async function form(ctx: Context, typed: Readonly<Record<string, string>> = {}, error?: Invalid): Promise<Answer> {
  const all = (await roles.list(ctx)).filter(({ rights }) => covers(ctx.actor.rights, rights))
  return view(
    'users/invite',
    {
      roles: all.map((role) => ({ id: role.id, name: role.name, does: roles.sentenceOf(role) })),
      values: { name: typed['name'] ?? '', role: typed['role'] ?? 'viewer', days: typed['days'] ?? '7' },
      errors: errorsOf(error),
      dayChoices,
    },
    { title: 'Invite a person' },
  )
}

routes.page('/users/invite', { permission: 'users.invite' }, ({ ctx }) => form(ctx))

routes.action(
  '/users/invite',
  {
    permission: 'users.invite',
    body: z.object({
      name: name(100).default(''),
      role: text(100).min(1, 'Choose a role.'),
      days: z.enum(['1', '7', '30'], 'Choose one of the three.').transform(Number),
    }),
    again: ({ ctx, typed, error }) => form(ctx, typed, error),
  },
  async ({ ctx, body, origin }) => {
    const { invite, token } = await invites.make(ctx, { ...body, name: body.name || null })
    return view(
      'users/link',
      {
        title: invite.name ? `An invitation for ${invite.name}` : 'The invitation',
        text: `Whoever opens it within ${plural(body.days, 'day', 'days')} becomes ${invite.role.name} here. It works once.`,
        link: `${origin}/invite?token=${token}`,
        expires_at: invite.expires_at,
        back: { href: '/users', label: 'Back to the people' },
      },
      { title: 'Invite a person' },
    )
  },
)

routes.page('/invites/:id/withdraw', { permission: 'users.invite' }, async ({ ctx, params }) => {
  const { id, name } = await invites.find(ctx, params['id'] ?? '')
  const title = name ? `Withdraw the invitation for ${name}?` : 'Withdraw this invitation?'
  return view(
    'shared/confirm',
    {
      title,
      consequences: ['The link stops working at once. You can make another one at any time.'],
      ...{
        action: `/invites/${id}/withdraw`,
        button: 'Withdraw it',
        keep: 'Keep it',
        back: '/users',
        danger: true,
        password: false,
        errors: {},
      },
    },
    { title },
  )
})

routes.action('/invites/:id/withdraw', { permission: 'users.invite' }, async ({ ctx, params }) => {
  await invites.withdraw(ctx, params['id'] ?? '')
  return redirect('/users', { kind: 'ok', text: 'The invitation was withdrawn.' })
})

routes.live('invites', {
  permission: 'users.invite',
  // They stand on the page of the people, which shows everybody something else: each fetches its own.
  paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>'),
})

// ---- For whoever has the link

const token = z.string().max(200)

async function accept(
  { ctx, identity }: { ctx: Context; identity: Identity | null },
  typed: Readonly<Record<string, string>>,
  error?: Invalid,
): Promise<Answer> {
  const opened = await invites.open(ctx, typed['token'] ?? '')
  return view(
    'invites/accept',
    {
      ...{ state: opened.state, role: opened.role, by: opened.by },
      organisation: (await organisations.areSeveral(ctx)) ? opened.organisation : null,
      token: typed['token'] ?? '',
      you: identity?.principal.username ?? null,
      errors: errorsOf(error),
      values: { username: typed['username'] ?? '' },
    },
    { title: 'You are invited', status: error ? 422 : opened.state === 'open' ? 200 : opened.state === 'invalid' ? 404 : 410 },
  )
}

routes.page('/invite', { permission: 'public', query: z.object({ token: token.catch('').default('') }) }, (call) =>
  accept(call, call.query),
)

routes.action(
  '/invite',
  {
    permission: 'public',
    limit: 'sign-in',
    body: z.object({ token, username, password: z.string().max(1024, 'Use 1,024 characters at the most.') }),
    again: (call) => accept(call, call.typed, call.error),
  },
  async (call) => {
    try {
      return { kind: 'sign-in', userId: await invites.accept(call.ctx, call.body), to: '/', since: call.ctx.now() }
    } catch (error) {
      // Somebody else was quicker, or it is over: the page says so.
      if (error instanceof Conflict) return accept(call, call.body)
      throw error
    }
  },
)

routes.action('/invite/join', { permission: 'self', limit: 'sign-in', body: z.object({ token }) }, async (call) => {
  try {
    const org = await invites.join(call.ctx, call.body.token)
    const session = call.identity?.session ?? null
    // With Basic there is no session that could be switched.
    const { name } = await (session === null ? organisations.find(call.ctx, org) : organisations.change(call.ctx, org, session))
    return redirect('/', { kind: 'ok', text: `You belong to ${name} now.` })
  } catch (error) {
    if (error instanceof Conflict && (await invites.open(call.ctx, call.body.token)).state !== 'open') return accept(call, call.body)
    throw error
  }
})
