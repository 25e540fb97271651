import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { redirect, Routes, view, type Answer } from '../monitoring/dashboard/endpoint'
import { errorsOf, name, text } from '../monitoring/dashboard/shapes'
import type { Invalid } from '../monitoring/errors'
import { plural } from '../monitoring/markup'
import { may, permissions, type Action } from '../monitoring/permissions'
import * as roles from '../services/roles'

export interface ActionDoc {
  action: string
  /** What it belongs to: `processes`. */
  group: string
  does: string
  least: string
}

declare module '../views/views' {
  interface Views {
    'roles/index': {
      roles: readonly Pick<roles.Role, 'id' | 'name' | 'builtin' | 'actions' | 'people' | 'keys'>[]
      actions: readonly ActionDoc[]
      may: { change: boolean }
    }
    'roles/edit': {
      /** null: a new one. */
      id: string | null
      values: { name: string; actions: readonly string[] }
      actions: readonly (ActionDoc & { may: boolean })[]
      errors: Readonly<Record<string, string>>
      people: number
    }
  }
}

export const routes = new Routes('roles')

const docOf = (action: Action): ActionDoc => ({ action, group: action.split('.')[0] ?? action, ...permissions[action] })

const Role = z
  .object({
    id: z.string(),
    name: z.string(),
    builtin: z.boolean().describe('Every organisation has it, and nobody can change it'),
    actions: z.array(z.string()),
    people: z.int(),
    keys: z.int(),
  })
  .meta({ id: 'Role' })

const asJson = ({ rights: _rights, ...role }: roles.Role): z.input<typeof Role> => role

const Input = z.strictObject({
  name: name(50).min(1, 'Give it a name.'),
  actions: z.array(text(100)).max(200).describe('Of the table in docs/security.md; none that one may not do oneself'),
})

routes.endpoint(
  'GET /api/roles',
  { summary: 'The roles of the organisation', permission: 'roles.read', response: z.object({ items: z.array(Role), next: z.null() }) },
  async ({ ctx }) => ({ items: (await roles.list(ctx)).map(asJson), next: null }),
)

routes.endpoint(
  'POST /api/roles',
  { summary: 'Compose a role from actions', permission: 'roles.manage', body: Input, response: Role, status: 201 },
  async ({ ctx, body }) => asJson(await roles.save(ctx, null, body)),
)

routes.endpoint(
  'PUT /api/roles/:id',
  {
    summary: 'Change a role',
    description: 'Whoever has it has its new rights within a second.',
    permission: 'roles.manage',
    body: Input,
    response: Role,
    errors: [404, 409],
  },
  async ({ ctx, params, body }) => asJson(await roles.save(ctx, params['id'] ?? '', body)),
)

routes.endpoint(
  'DELETE /api/roles/:id',
  {
    summary: 'Delete a role that nobody has',
    permission: 'roles.manage',
    response: z.object({ deleted: z.literal(true) }),
    errors: [404, 409],
  },
  async ({ ctx, params }) => {
    await roles.remove(ctx, params['id'] ?? '')
    return { deleted: true as const }
  },
)

routes.page('/roles', { permission: 'roles.read' }, async ({ ctx }) =>
  view(
    'roles/index',
    { roles: await roles.list(ctx), actions: roles.composable.map(docOf), may: { change: may(ctx.actor, 'roles.manage') } },
    { title: 'Roles', live: ['roles', 'users'] },
  ),
)

interface Typed {
  name: string
  actions: readonly string[]
}

async function edit(ctx: Context, id: string | null, typed?: Typed, error?: Invalid): Promise<Answer> {
  const role = id === null ? null : await roles.findOwn(ctx, id)
  return view(
    'roles/edit',
    {
      id,
      values: typed ?? { name: role?.name ?? '', actions: role?.actions ?? [] },
      actions: roles.composable.map((action) => ({ ...docOf(action), may: may(ctx.actor, action) })),
      errors: errorsOf(error),
      people: role?.people ?? 0,
    },
    { title: role ? `The role ${role.name}` : 'A new role' },
  )
}

/** A box alone is sent as a text, several as a list. */
const Boxes = z.union([z.array(text(100)).max(200), text(100).transform((one) => [one])]).default([])
const Form = z.object({ name: Input.shape.name, actions: Boxes })

routes.page('/roles/new', { permission: 'roles.manage' }, ({ ctx }) => edit(ctx, null))
routes.page('/roles/:id', { permission: 'roles.manage' }, ({ ctx, params }) => edit(ctx, params['id'] ?? ''))

for (const [path, idOf] of [
  ['/roles', () => null],
  ['/roles/:id', (params: Readonly<Record<string, string>>) => params['id'] ?? ''],
] as const)
  routes.action(
    path,
    {
      permission: 'roles.manage',
      body: Form,
      again: ({ ctx, params, typed, chosen, error }) =>
        edit(ctx, idOf(params), { name: typed['name'] ?? '', actions: chosen['actions'] ?? [] }, error),
    },
    async ({ ctx, params, body }) => {
      const { name } = await roles.save(ctx, idOf(params), body)
      return redirect('/roles', { kind: 'ok', text: `The role ${name} was saved.` })
    },
  )

routes.page('/roles/:id/delete', { permission: 'roles.manage' }, async ({ ctx, params }) => {
  const { id, name, people, keys } = await roles.findOwn(ctx, params['id'] ?? '')
  const title = `Delete the role ${name}?`
  return view(
    'shared/confirm',
    {
      title,
      consequences:
        people + keys > 0
          ? [
              `${plural(people, 'person has', 'people have')} it, and ${plural(keys, 'key', 'keys')}: it cannot go before they have another one.`,
            ]
          : ['Nobody has it. It is gone at once.'],
      ...{
        action: `/roles/${id}/delete`,
        button: 'Delete the role',
        keep: 'Keep it',
        back: '/roles',
        danger: true,
        password: false,
        errors: {},
      },
    },
    { title },
  )
})

routes.action('/roles/:id/delete', { permission: 'roles.manage' }, async ({ ctx, params }) => {
  const { name } = await roles.findOwn(ctx, params['id'] ?? '')
  await roles.remove(ctx, params['id'] ?? '')
  return redirect('/roles', { kind: 'ok', text: `The role ${name} was deleted.` })
})

routes.live('roles', {
  permission: 'roles.read',
  // Which of them can be changed depends on who looks: each page fetches its own.
  paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>'),
})
