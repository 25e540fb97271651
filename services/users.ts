import { z } from 'zod'
import { home, type Context } from '../monitoring/context'
import { cursorOf, placeOf } from '../monitoring/cursor'
import { Conflict, Forbidden, NotFound } from '../monitoring/errors'
import { may } from '../monitoring/permissions'
import { recordAct } from './audit'
import { keyOf, lockOrganisation } from './accounts'
import { revokeAllOf } from './keys'
import * as roles from './roles'
import * as sessions from './sessions'
import { whyNot, type Deed } from './users/policy'
import {
  countAdmins,
  countInstanceAdmins,
  deleteMembership,
  findPerson,
  listPeople,
  markDisabled,
  markInstanceAdmin,
  onlyAdminIn,
  organisationsOf,
  updateRole,
  type PersonFilter,
  type PersonRow,
} from './users/queries'

export { whyNot, type Deed } from './users/policy'
export { findPerson as findIfThere, type PersonFilter, type PersonRow } from './users/queries'

const Place = z.tuple([z.int().nonnegative()])

/** The people of the organisation. */
export async function list(
  ctx: Context,
  { limit, cursor, ...filter }: PersonFilter & { limit: number; cursor?: string | undefined },
): Promise<{ items: PersonRow[]; next: string | null }> {
  const [offset] = cursor === undefined ? [0] : placeOf(Place, cursor)
  const q = filter.q === undefined ? undefined : keyOf(filter.q).replace(/[\\%_]/g, '\\$&')
  const rows = await listPeople(ctx, { ...filter, q }, { limit: limit + 1, offset })
  return { items: rows.slice(0, limit), next: rows.length > limit ? cursorOf([offset + limit]) : null }
}

/** A person of this organisation; somebody else's are not there. */
export async function find(ctx: Context, id: string): Promise<PersonRow> {
  const person = await findPerson(ctx, id)
  if (!person) throw new NotFound('There is no such person here.')
  return person
}

/** Throws, with the reason, for whoever may not do this to that person. */
export function insist(ctx: Context, person: PersonRow, deed: Deed): void {
  const why = whyNot(ctx, person, deed)
  if (why !== null) throw new Forbidden(why)
}

async function findFor(ctx: Context, id: string, deed: Deed): Promise<PersonRow> {
  const person = await find(ctx, id)
  insist(ctx, person, deed)
  return person
}

const acted = (
  ctx: Context,
  person: PersonRow,
  action: string,
  more: { before?: Record<string, unknown>; after?: Record<string, unknown> } = {},
) => recordAct(ctx, { action, topic: 'users', subject: person.id, name: person.username, ...more })

async function ensureAdminLeft(ctx: Context): Promise<void> {
  if ((await countAdmins(ctx)) === 0) throw new Conflict('This is the last admin. Make somebody else an admin first.')
}

async function ensureInstanceAdminLeft(ctx: Context): Promise<void> {
  if ((await countInstanceAdmins(ctx)) === 0) throw new Conflict('This is the last instance admin. Make somebody else one first.')
}

/** Gives a person another role here; their open pages and programs have it within a second. */
export async function setRole(ctx: Context, id: string, role: string): Promise<PersonRow> {
  await ctx.transaction(async (ctx) => {
    await lockOrganisation(ctx, ctx.org)
    const person = await findFor(ctx, id, 'role')
    if (person.role_id === role) return
    const given = await roles.assignable(ctx, role, 'role')
    await updateRole(ctx, id, given.id)
    await ensureAdminLeft(ctx)
    await acted(ctx, person, 'users.role', { before: { role: person.role }, after: { role: given.name } })
  })
  sessions.forget(ctx, id)
  return find(ctx, id)
}

/** Shuts an account: its sessions and sockets end, its keys do not work until it is opened again. */
export async function disable(ctx: Context, id: string): Promise<PersonRow> {
  await ctx.transaction(async (ctx) => {
    await lockOrganisation(ctx, home)
    // Each of them could lose its last admin; always in this order, so that two who do it never wait for each other.
    for (const org of await organisationsOf(ctx, id)) if (org !== home) await lockOrganisation(ctx, org)
    const person = await findFor(ctx, id, 'disable')
    if (!(await markDisabled(ctx, id, ctx.now()))) return
    const [orphan] = await onlyAdminIn(ctx, id)
    if (orphan !== undefined) throw new Conflict('This is the last admin. Make somebody else an admin first.')
    await ensureInstanceAdminLeft(ctx)
    const ended = await sessions.endOthers(ctx, id, null)
    await acted(ctx, person, 'users.disable', { after: { disabled: true, sessions_ended: ended } })
  })
  sessions.forget(ctx, id)
  return find(ctx, id)
}

export async function enable(ctx: Context, id: string): Promise<PersonRow> {
  await ctx.transaction(async (ctx) => {
    const person = await findFor(ctx, id, 'disable')
    if (await markDisabled(ctx, id, null)) await acted(ctx, person, 'users.enable', { after: { disabled: false } })
  })
  return find(ctx, id)
}

/** Ends the membership. The account stays, for the organisations it also belongs to and for what it did. */
export async function remove(ctx: Context, id: string): Promise<void> {
  await ctx.transaction(async (ctx) => {
    await lockOrganisation(ctx, home)
    if (ctx.org !== home) await lockOrganisation(ctx, ctx.org)
    const person = await findFor(ctx, id, 'remove')
    await deleteMembership(ctx, id)
    await ensureAdminLeft(ctx)
    if (person.instance_admin) await ensureInstanceAdminLeft(ctx)
    if (person.elsewhere === 0) await sessions.endOthers(ctx, id, null)
    const keys_revoked = await revokeAllOf(ctx, id)
    await acted(ctx, person, 'users.remove', { before: { role: person.role }, after: { keys_revoked } })
  })
  sessions.forget(ctx, id)
}

/** Ends every session of a person; they can sign in again. */
export async function signOut(ctx: Context, id: string): Promise<{ ended: number }> {
  const person = await findFor(ctx, id, 'sessions')
  return { ended: await sessions.endAll(ctx, id, null, person.username) }
}

export async function setInstanceAdmin(ctx: Context, id: string, instanceAdmin: boolean): Promise<PersonRow> {
  if (!may(ctx.actor, 'accounts.manage')) throw new Forbidden('Only an instance admin can make or unmake one.')
  await ctx.transaction(async (ctx) => {
    await lockOrganisation(ctx, home)
    const person = await find(ctx, id)
    if (!(await markInstanceAdmin(ctx, id, instanceAdmin ? ctx.now() : null))) return
    await ensureInstanceAdminLeft(ctx)
    await acted(ctx, person, 'users.instance_admin', {
      before: { instance_admin: !instanceAdmin },
      after: { instance_admin: instanceAdmin },
    })
  })
  sessions.forget(ctx, id)
  return find(ctx, id)
}
