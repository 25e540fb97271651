import { z } from 'zod'
import type { Context, OrgId } from '../../monitoring/context'
import { home } from '../../monitoring/context'
import { Conflict, Invalid } from '../../monitoring/errors'
import { instanceActions, isAction, isRole, rightsOf, rightsTo, type Rights } from '../../monitoring/permissions'

export type Theme = 'auto' | 'light' | 'dark'

export interface UserTable {
  id: string
  username: string
  username_key: string
  /** The name in their API keys, which never changes. */
  handle: string
  password_hash: string
  theme: Theme
  timezone: string | null
  created_at: number
  password_changed_at: number
  disabled_at: number | null
  instance_admin_at: number | null
  /** Notices of new devices before this were confirmed. */
  devices_seen_at: number | null
  /** When one of their sessions was used last, to the minute. */
  seen_at: number | null
}

export interface OrganisationTable {
  id: string
  name: string
  created_at: number
}

export interface MembershipTable {
  org_id: string
  user_id: string
  /** viewer, operator, admin, or the id of one of the organisation's own roles. */
  role: string
  created_at: number
}

export interface RoleTable {
  id: string
  org_id: string
  name: string
  name_key: string
  /** JSON: a list of actions. */
  actions: string
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
    roles: RoleTable
    facts: FactTable
  }
}

/** A user together with the organisation they work in, and what they may do there. */
export interface Member {
  id: string
  username: string
  handle: string
  password_hash: string
  theme: Theme
  timezone: string | null
  created_at: number
  devices_seen_at: number | null
  org_id: OrgId
  org_name: string
  /** What the role is called. */
  role: string
  role_id: string
  rights: Rights
  instance_admin: boolean
}

/** Names are compared without regard to case, width or composition. */
export const keyOf = (username: string): string => username.normalize('NFKC').trim().toLowerCase()

/** What a role may: one that every organisation has, or one of its own with its actions as JSON. Unknown ones may nothing. */
export function rightsOfRole(role: string, actions: string | null): Rights {
  if (isRole(role)) return rightsOf[role]
  return rightsTo(actions === null ? [] : (JSON.parse(actions) as string[]).filter(isAction))
}

const members = (ctx: Context) =>
  ctx.db
    .selectFrom('users')
    .innerJoin('memberships', 'memberships.user_id', 'users.id')
    .innerJoin('organisations', 'organisations.id', 'memberships.org_id')
    .leftJoin('roles', (join) => join.onRef('roles.id', '=', 'memberships.role').onRef('roles.org_id', '=', 'memberships.org_id'))
    .select([
      'users.id',
      'username',
      'handle',
      'password_hash',
      'theme',
      'timezone',
      'users.created_at',
      'devices_seen_at',
      'instance_admin_at',
      'memberships.org_id',
      'organisations.name as org_name',
      'memberships.role as role_id',
      'roles.name as role_name',
      'roles.actions as role_actions',
    ])
    .where('disabled_at', 'is', null)
    .orderBy('memberships.created_at')
    .orderBy('memberships.org_id')

type MemberRow = Awaited<ReturnType<ReturnType<typeof members>['executeTakeFirstOrThrow']>>

function asMember({ role_name, role_actions, instance_admin_at, ...row }: MemberRow): Member {
  const rights = rightsOfRole(row.role_id, role_actions)
  const instance_admin = instance_admin_at !== null
  return {
    ...row,
    role: role_name ?? row.role_id,
    rights: instance_admin ? rightsTo([...rights.actions, ...instanceActions]) : rights,
    instance_admin,
  }
}

/** In the organisation that they chose, else in the one they joined first. */
const inOrganisation = (rows: readonly MemberRow[], org: OrgId | null): Member | undefined => {
  const row = rows.find(({ org_id }) => org_id === org) ?? rows[0]
  return row && asMember(row)
}

/** Across organisations: who signs in has none yet. */
export async function findMemberByName(ctx: Context, username: string): Promise<Member | undefined> {
  const key = keyOf(username)
  // PostgreSQL takes no NUL in a text, and no name has one.
  return key.includes('\0') ? undefined : inOrganisation(await members(ctx).where('username_key', '=', key).execute(), null)
}

export interface Account {
  id: string
  username: string
  password_hash: string
  disabled_at: number | null
  /** The organisation they joined first; null: they were removed from every one. */
  org_id: OrgId | null
}

/** Across organisations: whoever has this name, a member of one or not, disabled or not. */
export async function findAccount(ctx: Context, username: string): Promise<Account | undefined> {
  const key = keyOf(username)
  if (key.includes('\0')) return undefined
  return await ctx.db
    .selectFrom('users')
    .leftJoin('memberships', 'memberships.user_id', 'users.id')
    .select(['users.id', 'username', 'password_hash', 'disabled_at', 'org_id'])
    .where('username_key', '=', key)
    .orderBy('memberships.created_at')
    .orderBy('org_id')
    .executeTakeFirst()
}

/** Across organisations: a session names only its user, and where they work now. */
export const findMember = async (ctx: Context, id: string, org: OrgId | null = null): Promise<Member | undefined> =>
  inOrganisation(await members(ctx).where('users.id', '=', id).execute(), org)

/** In one organisation and no other. */
export async function findMemberIn(ctx: Context, id: string, org: OrgId): Promise<Member | undefined> {
  const row = await members(ctx).where('users.id', '=', id).where('memberships.org_id', '=', org).executeTakeFirst()
  return row && asMember(row)
}

export interface SignIn {
  at: number
  refused: boolean
  address: string | null
  device: string
  new_device: boolean
}

const Device = z.object({ device: z.string().default('Unknown device'), new_device: z.boolean().default(false) })

const signIns = { form: 'session.start', basic: 'session.basic', refused: 'session.refused' } as const

/** A person's last sign-ins of one kind, the newest first. Each kind by itself: a stranger can make as many refused ones as they like. */
export async function listSignIns(ctx: Context, user: string, which: keyof typeof signIns): Promise<SignIn[]> {
  const rows = await ctx.db
    .selectFrom('audit')
    .select(['at', 'address', 'data'])
    .where('subject', '=', user)
    .where('action', '=', signIns[which])
    .orderBy('at', 'desc')
    .orderBy('id', 'desc')
    .limit(50)
    .execute()
  return rows.map(({ at, address, data }) => ({ at, address, refused: which === 'refused', ...Device.parse(JSON.parse(data ?? '{}')) }))
}

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

export async function isNameTaken(ctx: Context, username: string): Promise<boolean> {
  return (await ctx.db.selectFrom('users').select('id').where('username_key', '=', keyOf(username)).executeTakeFirst()) !== undefined
}

export const nameTaken = (): Invalid => new Invalid([{ field: 'username', message: 'Somebody here has this name. Choose another one.' }])

/** The name in API keys: letters, digits and `._-`, made from the user name and numbered where it is taken. */
async function freeHandle(ctx: Context, username: string): Promise<string> {
  const plain =
    keyOf(username)
      .replace(/[^a-z0-9._-]+/g, '-')
      .replace(/^-+|-+$/g, '')
      .slice(0, 40) || 'user'
  const taken = await ctx.db
    .selectFrom('users')
    .select('handle')
    .where((where) => where.or([where('handle', '=', plain), where('handle', 'like', `${plain.replace(/[_%]/g, '_')}-%`)]))
    .execute()
  const names = new Set(taken.map(({ handle }) => handle))
  let handle = plain
  for (let n = 2; names.has(handle); n++) handle = `${plain}-${n}`
  return handle
}

export async function insertUser(
  ctx: Context,
  { username, passwordHash, instanceAdmin }: { username: string; passwordHash: string; instanceAdmin: boolean },
): Promise<string> {
  const at = ctx.now()
  const id = ctx.newId()
  const { numInsertedOrUpdatedRows } = await ctx.db
    .insertInto('users')
    .values({
      id,
      username: username.trim(),
      username_key: keyOf(username),
      handle: await freeHandle(ctx, username),
      password_hash: passwordHash,
      theme: 'auto',
      timezone: null,
      created_at: at,
      password_changed_at: at,
      disabled_at: null,
      instance_admin_at: instanceAdmin ? at : null,
      devices_seen_at: null,
      seen_at: null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  if (numInsertedOrUpdatedRows === 1n) return id
  // Somebody else took the name a moment ago, or only its handle.
  if (await isNameTaken(ctx, username)) throw nameTaken()
  return insertUser(ctx, { username, passwordHash, instanceAdmin })
}

export async function insertMembership(ctx: Context, user: string, org: OrgId, role: string): Promise<void> {
  const { numInsertedOrUpdatedRows } = await ctx.db
    .insertInto('memberships')
    .values({ org_id: org, user_id: user, role, created_at: ctx.now() })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  if (numInsertedOrUpdatedRows !== 1n) throw new Conflict('You belong to this organisation already.')
}

export async function ensureHome(ctx: Context): Promise<void> {
  await ctx.db
    .insertInto('organisations')
    .values({ id: home, name: 'Home', created_at: ctx.now() })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

export async function updateUser(ctx: Context, id: string, set: Partial<Omit<UserTable, 'id' | 'handle' | 'created_at'>>): Promise<void> {
  await ctx.db.updateTable('users').set(set).where('id', '=', id).execute()
}

/** What two admins do to each other at once is decided one after the other: on PostgreSQL this takes the row's lock. */
export async function lockOrganisation(ctx: Context, id: string): Promise<void> {
  await ctx.db
    .updateTable('organisations')
    .set((row) => ({ name: row.ref('name') }))
    .where('id', '=', id)
    .execute()
}

export async function countOrganisations(ctx: Context): Promise<number> {
  const { count } = await ctx.db
    .selectFrom('organisations')
    .select((row) => row.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return count
}
