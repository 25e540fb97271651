import { sql } from 'kysely'
import type { Context } from '../../monitoring/context'
import { inForce } from '../../monitoring/db/in-force'
import { instanceActions, may, rightsTo, type Rights } from '../../monitoring/permissions'
import { rightsOfRole } from '../accounts'

export interface PersonFilter {
  /** Part of the name, with the signs that `like` knows escaped. */
  q?: string | undefined
  role?: string | undefined
  state?: 'active' | 'disabled' | undefined
  sort?: 'name' | 'role' | 'seen' | 'created' | undefined
  order?: 'asc' | 'desc' | undefined
}

/** A member of the organisation, as an admin sees them. */
export interface PersonRow {
  id: string
  username: string
  handle: string
  timezone: string | null
  role_id: string
  role: string
  rights: Rights
  instance_admin: boolean
  created_at: number
  password_changed_at: number
  disabled_at: number | null
  seen_at: number | null
  sessions: number
  keys: number
  /** In how many other organisations. */
  elsewhere: number
}

const people = (ctx: Context) =>
  ctx.db
    .selectFrom('memberships')
    .innerJoin('users', 'users.id', 'memberships.user_id')
    .leftJoin('roles', (join) => join.onRef('roles.id', '=', 'memberships.role').onRef('roles.org_id', '=', 'memberships.org_id'))
    .where('memberships.org_id', '=', ctx.org)
    .select((row) => [
      'users.id',
      'username',
      'handle',
      'timezone',
      'memberships.role as role_id',
      'roles.name as role_name',
      'roles.actions as role_actions',
      'instance_admin_at',
      'users.created_at',
      'password_changed_at',
      'disabled_at',
      'seen_at',
      row
        .selectFrom('sessions')
        .whereRef('sessions.user_id', '=', 'users.id')
        .where('sessions.expires_at', '>', ctx.now())
        .where(withinReach(ctx))
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .as('sessions'),
      row
        .selectFrom('keys')
        .whereRef('keys.user_id', '=', 'users.id')
        .where('keys.org_id', '=', ctx.org)
        .where(inForce('keys', ctx.now()))
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .as('keys'),
      row
        .selectFrom('memberships as others')
        .whereRef('others.user_id', '=', 'users.id')
        .where('others.org_id', '!=', ctx.org)
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .as('elsewhere'),
    ])

type Row = Awaited<ReturnType<ReturnType<typeof people>['executeTakeFirstOrThrow']>>

function asPerson({ role_name, role_actions, instance_admin_at, sessions, keys, elsewhere, ...row }: Row): PersonRow {
  const rights = rightsOfRole(row.role_id, role_actions)
  const instance_admin = instance_admin_at !== null
  return {
    ...row,
    role: role_name ?? row.role_id,
    rights: instance_admin ? rightsTo([...rights.actions, ...instanceActions]) : rights,
    instance_admin,
    sessions: sessions ?? 0,
    keys: keys ?? 0,
    elsewhere: elsewhere ?? 0,
  }
}

export async function listPeople(
  ctx: Context,
  { q, role, state, sort = 'name', order = 'asc' }: PersonFilter,
  { limit, offset }: { limit: number; offset: number },
): Promise<PersonRow[]> {
  let query = people(ctx)
  if (q) query = query.where(sql<boolean>`username_key like ${`%${q}%`} escape '\\'`)
  if (role) query = query.where('memberships.role', '=', role)
  if (state) query = query.where('disabled_at', state === 'active' ? 'is' : 'is not', null)
  const { dialect } = ctx.platform.store
  const by = {
    name: dialect.binary('username_key'),
    role: dialect.binary('memberships.role'),
    seen: 'seen_at',
    created: 'users.created_at',
  } as const
  query = query.orderBy(by[sort], (direction) => (order === 'asc' ? direction.asc() : direction.desc()).nullsLast()).orderBy('users.id')
  return (await query.limit(limit).offset(offset).execute()).map(asPerson)
}

export async function findPerson(ctx: Context, id: string): Promise<PersonRow | undefined> {
  const row = await people(ctx).where('users.id', '=', id).executeTakeFirst()
  return row && asPerson(row)
}

export async function countAdmins(ctx: Context): Promise<number> {
  const { count } = await ctx.db
    .selectFrom('memberships')
    .innerJoin('users', 'users.id', 'memberships.user_id')
    .where('org_id', '=', ctx.org)
    .where('role', '=', 'admin')
    .where('disabled_at', 'is', null)
    .select((row) => row.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return count
}

/** Across organisations: of the installation. Who belongs to none cannot sign in, and does not count. */
export async function countInstanceAdmins(ctx: Context): Promise<number> {
  const { count } = await ctx.db
    .selectFrom('users')
    .where('instance_admin_at', 'is not', null)
    .where('disabled_at', 'is', null)
    .where((where) => where.exists(where.selectFrom('memberships').whereRef('user_id', '=', 'users.id').select('org_id')))
    .select((row) => row.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return count
}

/** Across organisations: those that an account belongs to. */
export async function organisationsOf(ctx: Context, user: string): Promise<string[]> {
  const rows = await ctx.db.selectFrom('memberships').select('org_id').where('user_id', '=', user).orderBy('org_id').execute()
  return rows.map(({ org_id }) => org_id)
}

/** Across organisations: those in which this account is the only one that may let people in. */
export async function onlyAdminIn(ctx: Context, user: string): Promise<string[]> {
  const rows = await ctx.db
    .selectFrom('memberships as own')
    .select('own.org_id')
    .where('own.user_id', '=', user)
    .where('own.role', '=', 'admin')
    .where((where) =>
      where.not(
        where.exists(
          where
            .selectFrom('memberships as others')
            .innerJoin('users', 'users.id', 'others.user_id')
            .whereRef('others.org_id', '=', 'own.org_id')
            .where('others.role', '=', 'admin')
            .where('others.user_id', '!=', user)
            .where('users.disabled_at', 'is', null)
            .select('others.user_id'),
        ),
      ),
    )
    .execute()
  return rows.map(({ org_id }) => org_id)
}

export async function updateRole(ctx: Context, user: string, role: string): Promise<void> {
  await ctx.db.updateTable('memberships').set({ role }).where('org_id', '=', ctx.org).where('user_id', '=', user).execute()
}

/** Sessions that worked here go on where the person still belongs. */
export async function deleteMembership(ctx: Context, user: string): Promise<void> {
  await ctx.db.deleteFrom('memberships').where('org_id', '=', ctx.org).where('user_id', '=', user).execute()
  await ctx.db.updateTable('sessions').set({ org_id: null }).where('user_id', '=', user).where('org_id', '=', ctx.org).execute()
}

/** Of the sessions of a person, those that work in this organisation: in the one that was chosen, else in the one they joined first. */
const worksHere = ({ org }: Context) =>
  sql<boolean>`${org} = (
    select places.org_id from memberships as places where places.user_id = sessions.user_id
    order by case when places.org_id = sessions.org_id then 0 else 1 end, places.created_at, places.org_id limit 1
  )`

/** An instance admin reaches a person's sessions wherever they work. */
const withinReach = (ctx: Context) => (may(ctx.actor, 'accounts.manage') ? sql<boolean>`1 = 1` : worksHere(ctx))

export async function listSessionIds(ctx: Context, user: string): Promise<string[]> {
  const rows = await ctx.db.selectFrom('sessions').select('id').where('user_id', '=', user).where(withinReach(ctx)).execute()
  return rows.map(({ id }) => id)
}

export async function deleteSessions(ctx: Context, user: string): Promise<number> {
  const { numDeletedRows } = await ctx.db.deleteFrom('sessions').where('user_id', '=', user).where(withinReach(ctx)).executeTakeFirst()
  return Number(numDeletedRows)
}

/** True for the one who did it; false when it was so already. */
export async function markDisabled(ctx: Context, user: string, at: number | null): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('users')
    .set({ disabled_at: at })
    .where('id', '=', user)
    .where('disabled_at', at === null ? 'is not' : 'is', null)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}

export async function markInstanceAdmin(ctx: Context, user: string, at: number | null): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('users')
    .set({ instance_admin_at: at })
    .where('id', '=', user)
    .where('instance_admin_at', at === null ? 'is not' : 'is', null)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}
