import type { Context } from '../../monitoring/context'

export interface ResetTable {
  id: string
  user_id: string
  /** Where it was made, and by whom. */
  org_id: string
  created_by: string
  /** SHA-256 of the token in the link. */
  token_hash: string
  created_at: number
  expires_at: number
  used_at: number | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    resets: ResetTable
  }
}

/** Only the newest link of a person works. */
export async function replaceReset(ctx: Context, user: string, hash: string, expiresAt: number): Promise<void> {
  // Two at once come one after the other: on PostgreSQL this takes the row's lock.
  await ctx.db
    .updateTable('users')
    .set((row) => ({ handle: row.ref('handle') }))
    .where('id', '=', user)
    .execute()
  await ctx.db.deleteFrom('resets').where('user_id', '=', user).execute()
  await ctx.db
    .insertInto('resets')
    .values({
      id: ctx.newId(),
      user_id: user,
      org_id: ctx.org,
      created_by: ctx.actor.id,
      token_hash: hash,
      created_at: ctx.now(),
      expires_at: expiresAt,
      used_at: null,
    })
    .execute()
}

/** Across organisations: whoever has the link is not signed in. */
export const findReset = (ctx: Context, hash: string) =>
  ctx.db
    .selectFrom('resets')
    .innerJoin('users', 'users.id', 'resets.user_id')
    .select([
      'org_id',
      'created_by',
      'resets.id',
      'resets.user_id',
      'username',
      'resets.created_at',
      'expires_at',
      'used_at',
      'password_changed_at',
      'disabled_at',
    ])
    .where('token_hash', '=', hash)
    .executeTakeFirst()

/** True for exactly one caller. */
export async function markResetUsed(ctx: Context, id: string): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('resets')
    .set({ used_at: ctx.now() })
    .where('id', '=', id)
    .where('used_at', 'is', null)
    .where('expires_at', '>', ctx.now())
    .executeTakeFirst()
  return numUpdatedRows === 1n
}
