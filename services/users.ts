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
  deleteSessions,
  findPerson,
  listPeople,
  listSessionIds,
  markDisabled,
  markInstanceAdmin,
  onlyAdminIn,
  organisationsOf,
  updateRole,
  type PersonFilter,
  type PersonRow,
} from './users/queries'

export { whyNot, type Deed } from './users/policy'
export { findPerson as findIfThere, onlyAdminIn, type PersonFilter, type PersonRow } from './users/queries'

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

async function ensureAdminLeft(ctx: Context, otherwise = 'This is the last admin. Make somebody else an admin first.'): Promise<void> {
  if ((await countAdmins(ctx)) === 0) throw new Conflict(otherwise)
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

/** Why somebody stays. */
export const staying = {
  only: 'You belong to no other organisation, and could not sign in any more. An admin can remove you.',
  lastAdmin: 'You are its last admin. Make somebody else an admin first.',
} as const

/** The actor's own membership ends. What they did stays, and with a new invitation they come back. */
export async function leave(ctx: Context): Promise<void> {
  const { id } = ctx.actor
  await ctx.transaction(async (ctx) => {
    await lockOrganisation(ctx, ctx.org)
    const person = await findPerson(ctx, id)
    if (!person) throw new Conflict('You do not belong to this organisation.')
    // First, because it takes the person's own row: who leaves two at once is asked about one after the other.
    const keys_revoked = await revokeAllOf(ctx, id)
    if ((await organisationsOf(ctx, id)).length < 2) throw new Conflict(staying.only)
    await deleteMembership(ctx, id)
    await ensureAdminLeft(ctx, staying.lastAdmin)
    await acted(ctx, person, 'organisations.leave', { before: { role: person.role }, after: { keys_revoked } })
  })
  sessions.forget(ctx, id)
}

/** The sessions of a person that are the viewer's to see: those that work in this organisation; all of them for an instance admin. */
export async function sessionsOf(ctx: Context, id: string): Promise<sessions.Session[]> {
  const [all, within] = await Promise.all([sessions.list(ctx, id, null), listSessionIds(ctx, id)])
  return all.filter((one) => within.includes(one.id))
}

/** Ends the sessions of a person that are the actor's to see; they can sign in again. */
export async function signOut(ctx: Context, id: string): Promise<{ ended: number }> {
  const person = await findFor(ctx, id, 'sessions')
  const ended = await ctx.transaction(async (ctx) => {
    const sessions_ended = await deleteSessions(ctx, id)
    const data = { sessions_ended }
    await recordAct(ctx, { action: 'sessions.end', topic: 'sessions', subject: id, name: person.username, data })
    return sessions_ended
  })
  sessions.forget(ctx, id)
  return { ended }
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
