import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { redirect, Routes, view, type Answer } from '../monitoring/dashboard/endpoint'
import { errorsOf, iso, isoOf, name } from '../monitoring/dashboard/shapes'
import { Conflict, NotFound, type Invalid } from '../monitoring/errors'
import { may } from '../monitoring/permissions'
import * as organisations from '../services/organisations'

declare module '../views/views' {
  interface Views {
    'organisations/index': {
      organisations: readonly organisations.Organisation[]
      errors: Readonly<Record<string, string>>
      values: { name: string }
      /** Whose new name was refused; null: the name of one to make. */
      editing: string | null
      may: { create: boolean; join: boolean; rename: boolean; leave: boolean }
      /** Why one cannot be left, by its id. */
      stay: Readonly<Record<string, string>>
    }
  }
}

export const routes = new Routes('organisations')

const Organisation = z
  .object({
    id: z.string(),
    name: z.string(),
    created_at: iso,
    people: z.int(),
    role: z.string().nullable().describe('One’s own there; null: none'),
    current: z.boolean().describe('Where one works now'),
  })
  .meta({ id: 'Organisation' })

const asJson = ({ created_at, ...one }: organisations.Organisation): z.input<typeof Organisation> => ({
  ...one,
  created_at: isoOf(created_at),
})

const Name = z.strictObject({ name: name(100).min(1, 'Give it a name.') })

routes.endpoint(
  'GET /api/organisations',
  {
    summary: 'The organisations one belongs to',
    description: 'All of them for an instance admin.',
    permission: 'anyone',
    response: z.object({ items: z.array(Organisation), next: z.null() }),
  },
  // A key is of one organisation, and knows of no other.
  async ({ ctx }) => ({
    items: (await organisations.list(ctx)).filter(({ current }) => current || ctx.actor.key === null).map(asJson),
    next: null,
  }),
)

routes.endpoint(
  'POST /api/organisations',
  {
    summary: 'Make an organisation',
    description: 'Whoever makes it is its first admin. It sees nothing of the others, nor of this machine.',
    permission: 'organisations.manage',
    body: Name,
    response: Organisation,
    status: 201,
  },
  async ({ ctx, body }) => asJson(await organisations.make(ctx, body.name)),
)

routes.endpoint(
  'PATCH /api/organisations/:id',
  { summary: 'Rename the organisation', permission: 'organisations.rename', body: Name, response: Organisation, errors: [404] },
  async ({ ctx, params, body }) => asJson(await organisations.rename(ctx, params['id'] ?? '', body.name)),
)

routes.endpoint(
  'POST /api/organisations/:id/join',
  {
    summary: 'Become an admin of an organisation',
    description: 'For instance admins. Its audit trail says so.',
    permission: 'organisations.manage',
    response: Organisation,
    errors: [404, 409],
  },
  async ({ ctx, params }) => asJson(await organisations.join(ctx, params['id'] ?? '')),
)

routes.endpoint(
  'POST /api/organisations/:id/leave',
  {
    summary: 'Leave an organisation',
    description:
      'One’s keys there end, and one’s sessions there go on in another organisation. Its last admin cannot leave, nor whoever belongs to no other (409).',
    permission: 'self',
    response: z.object({ left: z.literal(true) }),
    errors: [404, 409],
  },
  async ({ ctx, params }) => {
    await organisations.leave(ctx, params['id'] ?? '')
    return { left: true as const }
  },
)

async function index(
  ctx: Context,
  typed: Readonly<Record<string, string>> = {},
  error?: Invalid,
  editing: string | null = null,
): Promise<Answer> {
  const [list, stay] = await Promise.all([organisations.list(ctx), organisations.whyStay(ctx)])
  const mayManage = may(ctx.actor, 'organisations.manage')
  // Whoever belongs to one and cannot make another has nothing to see here.
  if (list.length < 2 && !mayManage) throw new NotFound()
  return view(
    'organisations/index',
    {
      organisations: list,
      errors: errorsOf(error),
      values: { name: typed['name'] ?? '' },
      editing,
      may: {
        create: mayManage,
        join: mayManage,
        rename: may(ctx.actor, 'organisations.rename'),
        leave: list.filter(({ role }) => role !== null).length > 1,
      },
      stay: Object.fromEntries(stay),
    },
    { title: 'Organisations' },
  )
}

routes.page('/organisations', { permission: 'self' }, ({ ctx }) => index(ctx))

routes.action(
  '/organisations',
  { permission: 'organisations.manage', body: Name, again: ({ ctx, typed, error }) => index(ctx, typed, error) },
  async ({ ctx, body }) => {
    const { name } = await organisations.make(ctx, body.name)
    return redirect('/organisations', { kind: 'ok', text: `${name} was made. You are its first admin.` })
  },
)

routes.action(
  '/organisations/:id/name',
  {
    permission: 'organisations.rename',
    body: Name,
    again: ({ ctx, params, typed, error }) => index(ctx, typed, error, params['id'] ?? null),
  },
  async ({ ctx, params, body }) => {
    const { name } = await organisations.rename(ctx, params['id'] ?? '', body.name)
    return redirect('/organisations', { kind: 'ok', text: `It is called ${name} now.` })
  },
)

routes.action('/organisations/:id/switch', { permission: 'self' }, async ({ ctx, params, identity }) => {
  const { name } = await organisations.change(ctx, params['id'] ?? '', identity?.session ?? null)
  return redirect('/', { kind: 'ok', text: `You work in ${name} now.` })
})

routes.page('/organisations/:id/join', { permission: 'organisations.manage' }, async ({ ctx, params }) => {
  const { id, name, people } = await organisations.find(ctx, params['id'] ?? '')
  const title = `Join ${name}?`
  return view(
    'shared/confirm',
    {
      title,
      consequences: [
        `You become an admin of it, beside ${people === 1 ? 'one other person' : `${people} other people`}. Its audit trail says so.`,
        'You stay in your other organisations, and switch in the menu of your account.',
      ],
      ...{ action: `/organisations/${id}/join`, button: 'Join as admin', keep: 'Stay out', back: '/organisations' },
      ...{ danger: false, password: false, errors: {} },
    },
    { title },
  )
})

routes.action('/organisations/:id/join', { permission: 'organisations.manage' }, async ({ ctx, params }) => {
  const { name } = await organisations.join(ctx, params['id'] ?? '')
  return redirect('/organisations', { kind: 'ok', text: `You are an admin of ${name} now.` })
})

routes.page('/organisations/:id/leave', { permission: 'self' }, async ({ ctx, params }) => {
  const { id, name, role } = await organisations.find(ctx, params['id'] ?? '')
  const reason = role === null ? 'You do not belong to this organisation.' : (await organisations.whyStay(ctx)).get(id)
  if (reason !== undefined) throw new Conflict(reason)
  const title = `Leave ${name}?`
  return view(
    'shared/confirm',
    {
      title,
      consequences: [
        'You see nothing of it any more, and your API keys there stop working at once.',
        'Sessions in which you work there, on every device, go on in another of your organisations.',
        'What you did there stays in its audit trail. Only a new invitation lets you in again.',
      ],
      ...{ action: `/organisations/${encodeURIComponent(id)}/leave`, button: `Leave ${name}`, keep: 'Stay', back: '/organisations' },
      ...{ danger: true, password: false, errors: {} },
    },
    { title },
  )
})

routes.action('/organisations/:id/leave', { permission: 'self' }, async ({ ctx, params }) => {
  const name = await organisations.leave(ctx, params['id'] ?? '')
  return redirect('/', { kind: 'ok', text: `You have left ${name}.` })
})
