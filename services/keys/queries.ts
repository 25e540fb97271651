import { sql } from 'kysely'
import { z } from 'zod'
import type { Context } from '../../monitoring/context'
import { inForce } from '../../monitoring/db/in-force'
import { isAction, type Action, type Rights } from '../../monitoring/permissions'
import { rightsOfRole } from '../accounts'
import type { Stamp } from './format'

export interface KeyTable {
  id: string
  org_id: string
  user_id: string
  /** The time in the key, unique per person. */
  stamp: number
  name: string
  /** viewer, operator, admin, or the id of one of the organisation's own roles. */
  role: string
  /** JSON: the actions to which it is narrowed down. */
  scopes: string | null
  /** JSON: where it may be used from. */
  addresses: string | null
  limit_per_minute: number | null
  created_at: number
  expires_at: number | null
  revoked_at: number | null
  used_at: number | null
  used_address: string | null
  /** The key that was rotated into this one. */
  replaces: string | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    keys: KeyTable
  }
}

/** A key as it is stored, with its owner, its role, and the key that took its place. */
export interface KeyRow extends Omit<KeyTable, 'scopes' | 'addresses'> {
  handle: string
  owner: string
  role_name: string
  role_rights: Rights
  scopes: Action[] | null
  addresses: string[] | null
  replaced_by: string | null
}

export const keyStates = ['active', 'expired', 'revoked'] as const
export type KeyState = (typeof keyStates)[number]

export const keySorts = ['name', 'used', 'created', 'expires'] as const

export interface KeyFilter {
  /** Part of its name, or of its owner's. */
  q?: string | undefined
  state?: KeyState | undefined
  /** Only of this person. */
  owner?: string | undefined
  sort?: (typeof keySorts)[number] | undefined
  order?: 'asc' | 'desc' | undefined
}

const Texts = z.string().transform((text) => z.array(z.string()).parse(JSON.parse(text)))

const keys = (ctx: Context) =>
  ctx.db
    .selectFrom('keys')
    .innerJoin('users', 'users.id', 'keys.user_id')
    .leftJoin('roles', (join) => join.onRef('roles.id', '=', 'keys.role').onRef('roles.org_id', '=', 'keys.org_id'))
    .selectAll('keys')
    .select((row) => [
      'handle',
      'username as owner',
      'roles.name as given_name',
      'roles.actions as role_actions',
      row
        .selectFrom('keys as newer')
        .whereRef('newer.replaces', '=', 'keys.id')
        .whereRef('newer.user_id', '=', 'keys.user_id')
        .select('newer.id')
        .limit(1)
        .as('replaced_by'),
    ])

type Row = Awaited<ReturnType<ReturnType<typeof keys>['executeTakeFirstOrThrow']>>

const asKey = ({ given_name, role_actions, scopes, addresses, ...row }: Row): KeyRow => ({
  ...row,
  role_name: given_name ?? row.role,
  role_rights: rightsOfRole(row.role, role_actions),
  scopes: scopes === null ? null : Texts.parse(scopes).filter(isAction),
  addresses: addresses === null ? null : Texts.parse(addresses),
})

/** Across organisations: who sends a key has none yet. */
export async function findKeyByStamp(ctx: Context, { handle, stamp }: Stamp): Promise<KeyRow | undefined> {
  const row = await keys(ctx).where('handle', '=', handle).where('stamp', '=', stamp).executeTakeFirst()
  return row && asKey(row)
}

export async function findKey(ctx: Context, id: string): Promise<KeyRow | undefined> {
  const row = await keys(ctx).where('keys.org_id', '=', ctx.org).where('keys.id', '=', id).executeTakeFirst()
  return row && asKey(row)
}

export async function listKeys(
  ctx: Context,
  { q, state, owner, sort = 'created', order = 'desc' }: KeyFilter,
  { limit, offset }: { limit: number; offset: number },
): Promise<KeyRow[]> {
  const { dialect } = ctx.platform.store
  // Both databases fold ASCII only, in this order of characters.
  const folded = (column: string) => sql<string>`lower(${dialect.binary(column)})`
  const works = inForce('keys', ctx.now())
  let query = keys(ctx).where('keys.org_id', '=', ctx.org)
  if (owner !== undefined) query = query.where('keys.user_id', '=', owner)
  if (state === 'revoked') query = query.where('revoked_at', 'is not', null)
  else if (state === 'active') query = query.where(works)
  else if (state === 'expired') query = query.where('revoked_at', 'is', null).where(sql<boolean>`not ${works}`)
  if (q !== undefined) {
    const part = `%${q.replace(/[A-Z]/g, (letter) => letter.toLowerCase()).replace(/[\\%_]/g, '\\$&')}%`
    query = query.where(
      sql<boolean>`(${folded('keys.name')} like ${part} escape '\\' or ${folded('users.username')} like ${part} escape '\\')`,
    )
  }
  const by = { name: folded('keys.name'), used: sql.ref('used_at'), created: sql.ref('keys.created_at'), expires: sql.ref('expires_at') }[
    sort
  ]
  return (
    await query
      .orderBy(by, (direction) => (order === 'asc' ? direction.asc() : direction.desc()).nullsLast())
      .orderBy('keys.id', order)
      .limit(limit)
      .offset(offset)
      .execute()
  ).map(asKey)
}

export async function countActive(ctx: Context, owner: string): Promise<number> {
  const { count } = await ctx.db
    .selectFrom('keys')
    .select((row) => row.fn.countAll<number>().as('count'))
    .where('org_id', '=', ctx.org)
    .where('user_id', '=', owner)
    .where(inForce('keys', ctx.now()))
    .executeTakeFirstOrThrow()
  return count
}

/** Makes and rotates one person's keys one after the other: on PostgreSQL this takes the row's lock. */
export async function lockOwner(ctx: Context, owner: string): Promise<void> {
  await ctx.db
    .updateTable('users')
    .set((row) => ({ handle: row.ref('handle') }))
    .where('id', '=', owner)
    .execute()
}

export type NewKey = Omit<KeyTable, 'stamp' | 'scopes' | 'addresses' | 'revoked_at' | 'used_at' | 'used_address'> & {
  scopes: readonly string[] | null
  addresses: readonly string[] | null
}

/** Stores a key under the first free millisecond from now on, and says which one that was. */
export async function insertKey(ctx: Context, { scopes, addresses, ...row }: NewKey): Promise<number> {
  for (let stamp = ctx.now(); ; stamp++) {
    const { numInsertedOrUpdatedRows } = await ctx.db
      .insertInto('keys')
      .values({
        ...row,
        stamp,
        scopes: scopes && JSON.stringify(scopes),
        addresses: addresses && JSON.stringify(addresses),
        ...{ revoked_at: null, used_at: null, used_address: null },
      })
      .onConflict((conflict) => conflict.columns(['user_id', 'stamp']).doNothing())
      .executeTakeFirst()
    if (numInsertedOrUpdatedRows === 1n) return stamp
  }
}

/** True for the one who did it; false when it was revoked already. */
export async function markRevoked(ctx: Context, id: string): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('keys')
    .set({ revoked_at: ctx.now() })
    .where('org_id', '=', ctx.org)
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}

/**
 * The keys that work and were made from this one by itself, and by those again. Where the trail no longer says who replaced a key,
 * it counts as replaced by itself.
 */
export async function listMadeByItself(ctx: Context, { id, user_id }: Pick<KeyTable, 'id' | 'user_id'>): Promise<string[]> {
  const links = await ctx.db
    .selectFrom('keys')
    .select((row) => [
      'id',
      'replaces',
      inForce('keys', ctx.now()).as('works'),
      row
        .exists(
          row
            .selectFrom('audit')
            .select('audit.id')
            .whereRef('audit.org_id', '=', 'keys.org_id')
            .whereRef('audit.subject', '=', 'keys.replaces')
            .where('audit.action', '=', 'keys.rotate')
            .where('audit.key_id', 'is', null),
        )
        .as('by_person'),
    ])
    .where('org_id', '=', ctx.org)
    .where('user_id', '=', user_id)
    .where('replaces', 'is not', null)
    .execute()
  const after = new Map(links.map((link) => [link.replaces, link]))
  const made: string[] = []
  for (let link = after.get(id); link && !link.by_person; link = after.get(link.id)) {
    after.delete(link.replaces)
    if (link.works) made.push(link.id)
  }
  return made
}

/** Revokes what still works of somebody's keys here, and says which those were. */
export async function markAllRevoked(ctx: Context, owner: string): Promise<string[]> {
  const now = ctx.now()
  const rows = await ctx.db
    .updateTable('keys')
    .set({ revoked_at: now })
    .where('org_id', '=', ctx.org)
    .where('user_id', '=', owner)
    .where(inForce('keys', now))
    .returning('id')
    .execute()
  return rows.map(({ id }) => id)
}

export async function updateExpiry(ctx: Context, id: string, expiresAt: number): Promise<void> {
  await ctx.db.updateTable('keys').set({ expires_at: expiresAt }).where('org_id', '=', ctx.org).where('id', '=', id).execute()
}

/** Writes down when and from where a key was used last; true when it was never used from there before. */
export async function markUsed(ctx: Context, id: string, address: string | null): Promise<boolean> {
  await ctx.db.updateTable('keys').set({ used_at: ctx.now(), used_address: address }).where('id', '=', id).execute()
  const before = await ctx.db
    .selectFrom('audit')
    .select('id')
    .where('org_id', '=', ctx.org)
    .where('subject', '=', id)
    .where('action', '=', 'keys.used')
    .where('address', address === null ? 'is' : '=', address)
    .limit(1)
    .executeTakeFirst()
  return before === undefined
}
