import type { Context, OrgId } from '../../monitoring/context'
import { home } from '../../monitoring/context'
import type { Role } from '../../monitoring/permissions'

export type Theme = 'auto' | 'light' | 'dark'

export interface UserTable {
  id: string
  username: string
  username_key: string
  password_hash: string
  theme: Theme
  timezone: string | null
  created_at: number
  password_changed_at: number
  disabled_at: number | null
  instance_admin_at: number | null
}

export interface OrganisationTable {
  id: string
  name: string
  created_at: number
}

export interface MembershipTable {
  org_id: string
  user_id: string
  role: Role
  created_at: number
}

export interface FactTable {
  name: string
  value: string
  at: number
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    users: UserTable
    organisations: OrganisationTable
    memberships: MembershipTable
    facts: FactTable
  }
}

/** A user together with the organisation they work in. */
export interface Member {
  id: string
  username: string
  password_hash: string
  theme: Theme
  timezone: string | null
  created_at: number
  org_id: OrgId
  org_name: string
  role: Role
}

/** Names are compared without regard to case, width or composition. */
export const keyOf = (username: string): string => username.normalize('NFKC').trim().toLowerCase()

const members = (ctx: Context) =>
  ctx.db
    .selectFrom('users')
    .innerJoin('memberships', 'memberships.user_id', 'users.id')
    .innerJoin('organisations', 'organisations.id', 'memberships.org_id')
    .select([
      'users.id',
      'username',
      'password_hash',
      'theme',
      'timezone',
      'users.created_at',
      'org_id',
      'organisations.name as org_name',
      'role',
    ])
    .where('disabled_at', 'is', null)
    .orderBy('memberships.created_at')

/** Across organisations: who signs in has none yet. */
export async function findMemberByName(ctx: Context, username: string): Promise<Member | undefined> {
  const key = keyOf(username)
  // PostgreSQL takes no NUL in a text, and no name has one.
  return key.includes('\0') ? undefined : await members(ctx).where('username_key', '=', key).limit(1).executeTakeFirst()
}

/** Across organisations: a session names only its user. */
export const findMember = (ctx: Context, id: string): Promise<Member | undefined> =>
  members(ctx).where('users.id', '=', id).limit(1).executeTakeFirst()

export async function isClaimed(ctx: Context): Promise<boolean> {
  return (await ctx.db.selectFrom('facts').select('at').where('name', '=', 'claimed').executeTakeFirst()) !== undefined
}

/** True for exactly one caller: the row can only be inserted once. */
export async function markClaimed(ctx: Context, by: string): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await ctx.db
    .insertInto('facts')
    .values({ name: 'claimed', value: by, at: ctx.now() })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  return numInsertedOrUpdatedRows === 1n
}

export async function insertFirstAdmin(ctx: Context, username: string, passwordHash: string): Promise<string> {
  const at = ctx.now()
  const id = ctx.newId()
  await ctx.db
    .insertInto('organisations')
    .values({ id: home, name: 'Home', created_at: at })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  await ctx.db
    .insertInto('users')
    .values({
      id,
      username: username.trim(),
      username_key: keyOf(username),
      password_hash: passwordHash,
      theme: 'auto',
      timezone: null,
      created_at: at,
      password_changed_at: at,
      disabled_at: null,
      instance_admin_at: at,
    })
    .execute()
  await ctx.db.insertInto('memberships').values({ org_id: home, user_id: id, role: 'admin', created_at: at }).execute()
  return id
}

export async function ensureHome(ctx: Context): Promise<void> {
  await ctx.db
    .insertInto('organisations')
    .values({ id: home, name: 'Home', created_at: ctx.now() })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

export async function updateUser(
  ctx: Context,
  id: string,
  set: Partial<Pick<UserTable, 'theme' | 'timezone' | 'password_hash' | 'password_changed_at'>>,
): Promise<void> {
  await ctx.db.updateTable('users').set(set).where('id', '=', id).execute()
}

export async function countOrganisations(ctx: Context): Promise<number> {
  const { count } = await ctx.db
    .selectFrom('organisations')
    .select((row) => row.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return count
}
