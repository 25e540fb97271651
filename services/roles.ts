import type { Context } from '../monitoring/context'
import { Conflict, Forbidden, Invalid, NotFound } from '../monitoring/errors'
import {
  actions,
  covers,
  instanceActions,
  isAction,
  isRole,
  permissions,
  rightsOf,
  rightsTo,
  roles as builtIn,
  type Action,
  type Rights,
} from '../monitoring/permissions'
import { plural } from '../monitoring/markup'
import { keyOf, lockOrganisation, rightsOfRole } from './accounts'
import { recordAct } from './audit'
import { countByRole, deleteRole, findRole, listRoles, saveRole } from './roles/queries'

/** A role that people, invitations and keys of the organisation can have. */
export interface Role {
  /** viewer, operator, admin, or one of the organisation's own. */
  id: string
  name: string
  builtin: boolean
  actions: Action[]
  rights: Rights
  people: number
  keys: number
}

type Row = NonNullable<Awaited<ReturnType<typeof findRole>>>

const asRole = ({ id, name, actions, people, keys }: Row): Role => {
  const rights = rightsOfRole(id, actions)
  return { id, name, builtin: false, actions: [...rights.actions], rights, people: people ?? 0, keys: keys ?? 0 }
}

const builtInRole = (id: (typeof builtIn)[number], people = 0, keys = 0): Role => ({
  ...{ id, name: id, builtin: true, people, keys },
  actions: [...rightsOf[id].actions],
  rights: rightsOf[id],
})

/** The roles that every organisation has, and those of its own. */
export async function list(ctx: Context): Promise<Role[]> {
  const [own, { people, keys }] = await Promise.all([listRoles(ctx), countByRole(ctx)])
  return [...builtIn.map((id) => builtInRole(id, people.get(id), keys.get(id))), ...own.map(asRole)]
}

async function find(ctx: Context, id: string): Promise<Role> {
  if (isRole(id)) return builtInRole(id)
  const row = await findRole(ctx, id)
  if (!row) throw new NotFound('There is no such role here.')
  return asRole(row)
}

/** One of the organisation's own: those that every organisation has cannot be changed. */
export async function findOwn(ctx: Context, id: string): Promise<Role> {
  const role = await find(ctx, id)
  if (role.builtin) throw new Conflict('This role is the same everywhere: make one of your own instead.')
  return role
}

/** A role that the actor can give to somebody: nobody gives away what they do not have. */
export async function assignable(ctx: Context, id: string, field: string): Promise<Role> {
  const role = isRole(id) ? builtInRole(id) : await findRole(ctx, id).then((row) => row && asRole(row))
  if (!role) throw new Invalid([{ field, message: 'There is no such role here.' }])
  if (!covers(ctx.actor.rights, role.rights))
    throw new Invalid([{ field, message: `The role “${role.name}” may do things that you may not.` }])
  return role
}

/** Actions of an organisation's own role: those of the installation are for instance admins. */
export const composable: readonly Action[] = actions.filter((action) => !instanceActions.includes(action))

/** A role in a sentence: its own actions first, then how many more. */
export function sentenceOf({ id, actions }: Pick<Role, 'id' | 'actions'>): string {
  if (id === 'viewer') return 'Sees everything that runs, changes nothing.'
  if (id === 'operator') return 'Also acts: restarts and stops processes, reports events.'
  if (id === 'admin') return 'Also lets people in, makes roles, reads the audit trail and the settings.'
  if (actions.length === 0) return 'May nothing yet.'
  const said = actions.slice(0, 3).map((action) => permissions[action].does)
  return `${said.join('; ')}${actions.length > 3 ? `; and ${actions.length - 3} more` : ''}.`
}

export interface RoleInput {
  name: string
  actions: readonly string[]
}

/** Makes a role, or changes one of the organisation's own. Whoever has it has its rights within a second. */
export async function save(ctx: Context, id: string | null, { name: given, actions: wanted }: RoleInput): Promise<Role> {
  const name = given.trim()
  const unknown = wanted.find((action) => !isAction(action) || instanceActions.includes(action))
  if (unknown !== undefined)
    throw new Invalid([{ field: 'actions', message: `There is no action “${unknown.slice(0, 50)}” that a role can have.` }])
  const rights = rightsTo(wanted.filter(isAction))
  if (rights.actions.size === 0) throw new Invalid([{ field: 'actions', message: 'Choose at least one action.' }])
  if (isRole(keyOf(name))) throw new Invalid([{ field: 'name', message: 'Every organisation has a role of that name already.' }])
  if (!covers(ctx.actor.rights, rights)) throw new Invalid([{ field: 'actions', message: 'You can only give what you may do yourself.' }])
  const roleId = id ?? ctx.newId()
  await ctx.transaction(async (ctx) => {
    await lockOrganisation(ctx, ctx.org)
    const before = id === null ? null : await changeable(ctx, id)
    const saved = await saveRole(ctx, { id: roleId, name, nameKey: keyOf(name), actions: JSON.stringify([...rights.actions].sort()) })
    if (!saved) throw new Invalid([{ field: 'name', message: 'Another role has that name.' }])
    await recordAct(ctx, {
      action: before ? 'roles.change' : 'roles.make',
      topic: 'roles',
      subject: roleId,
      name,
      ...(before ? { before: { name: before.name, actions: before.actions.sort().join(' ') } } : {}),
      after: { name, actions: [...rights.actions].sort().join(' ') },
    })
  })
  return find(ctx, roleId)
}

async function changeable(ctx: Context, id: string): Promise<Role> {
  const role = await findOwn(ctx, id)
  if (!covers(ctx.actor.rights, role.rights)) throw new Forbidden(`The role “${role.name}” may do things that you may not.`)
  return role
}

/** Only a role that nobody has can go. */
export async function remove(ctx: Context, id: string): Promise<void> {
  await ctx.transaction(async (ctx) => {
    await lockOrganisation(ctx, ctx.org)
    const role = await changeable(ctx, id)
    const row = await findRole(ctx, id)
    const users = [
      plural(role.people, 'person', 'people'),
      plural(role.keys, 'key', 'keys'),
      plural(row?.invites ?? 0, 'invitation', 'invitations'),
    ].filter((text) => !text.startsWith('0'))
    const several = users.length > 1 || !users[0]?.startsWith('1 ')
    if (users.length > 0)
      throw new Conflict(`${users.join(' and ')} still ${several ? 'have' : 'has'} this role. Give them another one first.`)
    await deleteRole(ctx, id)
    await recordAct(ctx, {
      action: 'roles.delete',
      topic: 'roles',
      subject: id,
      name: role.name,
      before: { actions: role.actions.sort().join(' ') },
    })
  })
}
