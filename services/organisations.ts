import { contextOf, type Context, type OrgId } from '../monitoring/context'
import { Conflict, Forbidden, NotFound } from '../monitoring/errors'
import { may } from '../monitoring/permissions'
import { countOrganisations, insertMembership } from './accounts'
import { recordAct } from './audit'
import {
  findOrganisation,
  insertOrganisation,
  listOrganisations,
  organisationsOf,
  renameOrganisation,
  type OrganisationRow,
} from './organisations/queries'
import { forget, updateOrganisation } from './sessions'
import * as users from './users'

export interface Organisation {
  id: OrgId
  name: string
  created_at: number
  people: number
  /** The actor's role there; null: none. */
  role: string | null
  /** Where the actor works now. */
  current: boolean
}

const asOrganisation = (ctx: Context, { role_id, role_name, people, ...row }: OrganisationRow): Organisation => ({
  ...row,
  people: people ?? 0,
  role: role_name ?? role_id,
  current: row.id === ctx.org,
})

/** The actor's own; all of them for an instance admin. */
export const list = async (ctx: Context): Promise<Organisation[]> =>
  (await listOrganisations(ctx, may(ctx.actor, 'organisations.manage'))).map((row) => asOrganisation(ctx, row))

/** One that the actor belongs to, or any for an instance admin; the others are not there. */
export async function find(ctx: Context, id: OrgId): Promise<Organisation> {
  const row = await findOrganisation(ctx, id)
  if (!row || (row.role_id === null && !may(ctx.actor, 'organisations.manage'))) throw new NotFound('There is no such organisation.')
  return asOrganisation(ctx, row)
}

/** One organisation shows no trace of the idea. */
export const areSeveral = async (ctx: Context): Promise<boolean> => (await countOrganisations(ctx)) > 1

export { organisationsOf as listOf } from './organisations/queries'

/** Makes an organisation, whose first admin is the actor. */
export async function make(ctx: Context, name: string): Promise<Organisation> {
  const id = ctx.newId()
  await contextOf(ctx.platform, ctx.actor, id).transaction(async (ctx) => {
    await insertOrganisation(ctx, id, name)
    await insertMembership(ctx, ctx.actor.id, id, 'admin')
    await recordAct(ctx, { action: 'organisations.make', topic: 'organisations', subject: id, name })
  })
  return find(ctx, id)
}

/** The name of the one that the actor works in. */
export async function rename(ctx: Context, id: OrgId, name: string): Promise<Organisation> {
  const before = await find(ctx, id)
  if (id !== ctx.org) throw new Forbidden('Switch to this organisation first: your role there decides.')
  if (before.name !== name)
    await ctx.transaction(async (ctx) => {
      await renameOrganisation(ctx, id, name)
      await recordAct(ctx, {
        action: 'organisations.rename',
        topic: 'organisations',
        subject: id,
        name,
        before: { name: before.name },
        after: { name },
      })
    })
  return find(ctx, id)
}

/** An instance admin becomes an admin of an organisation, which its audit trail says. */
export async function join(ctx: Context, id: OrgId): Promise<Organisation> {
  const { role, name } = await find(ctx, id)
  if (role !== null) throw new Conflict('You belong to this organisation already.')
  await contextOf(ctx.platform, ctx.actor, id).transaction(async (ctx) => {
    await insertMembership(ctx, ctx.actor.id, id, 'admin')
    await recordAct(ctx, { action: 'organisations.join', topic: 'organisations', subject: id, name, after: { role: 'admin' } })
  })
  forget(ctx, ctx.actor.id)
  return find(ctx, id)
}

/** Why the actor cannot leave one of their organisations, by its id; the others they can. */
export async function whyStay(ctx: Context): Promise<ReadonlyMap<OrgId, string>> {
  const [own, alone] = await Promise.all([organisationsOf(ctx, ctx.actor.id), users.onlyAdminIn(ctx, ctx.actor.id)])
  const reason = own.length < 2 ? users.staying.only : users.staying.lastAdmin
  return new Map((own.length < 2 ? own.map(({ id }) => id) : alone).map((id) => [id, reason]))
}

/** The actor belongs to it no longer: their keys there end, and their sessions there go on in another one. */
export async function leave(ctx: Context, id: OrgId): Promise<string> {
  const { name } = await find(ctx, id)
  await users.leave(contextOf(ctx.platform, ctx.actor, id))
  return name
}

/** Works there from now on, in this session only. */
export async function change(ctx: Context, id: OrgId, session: string | null): Promise<Organisation> {
  const organisation = await find(ctx, id)
  if (organisation.role === null) throw new Forbidden('Join this organisation first.')
  if (session === null) throw new Conflict('Only a session can be switched: sign in by the form, or use a key of that organisation.')
  await contextOf(ctx.platform, ctx.actor, id).transaction(async (ctx) => {
    await updateOrganisation(ctx, session, id)
    await recordAct(ctx, { action: 'organisations.switch', topic: 'sessions', subject: id, name: organisation.name })
  })
  forget(ctx, ctx.actor.id)
  return organisation
}
