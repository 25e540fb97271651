import type { Context } from '../../monitoring/context'

export interface SessionTable {
  /** SHA-256 of the id in the cookie. */
  id: string
  user_id: string | null
  /** What express-session keeps, as JSON. */
  data: string
  address: string | null
  device: string | null
  created_at: number
  seen_at: number
  expires_at: number
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    sessions: SessionTable
  }
}

export const findSession = (ctx: Context, id: string): Promise<SessionTable | undefined> =>
  ctx.db.selectFrom('sessions').selectAll().where('id', '=', id).where('expires_at', '>', ctx.now()).executeTakeFirst()

export async function saveSession(ctx: Context, row: SessionTable): Promise<void> {
  const { user_id, data, seen_at, expires_at } = row
  await ctx.db
    .insertInto('sessions')
    .values(row)
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ user_id, data, seen_at, expires_at }))
    .execute()
}

export async function touchSession(ctx: Context, id: string, seenAt: number, expiresAt: number): Promise<void> {
  await ctx.db
    .updateTable('sessions')
    .set({ seen_at: seenAt, expires_at: expiresAt })
    .where('id', '=', id)
    .where('seen_at', '<', seenAt)
    .execute()
}

export async function deleteSession(ctx: Context, id: string): Promise<void> {
  await ctx.db.deleteFrom('sessions').where('id', '=', id).execute()
}

export async function deleteOtherSessions(ctx: Context, userId: string, keep: string | null): Promise<number> {
  const { numDeletedRows } = await ctx.db
    .deleteFrom('sessions')
    .where('user_id', '=', userId)
    .where('id', '!=', keep ?? '')
    .executeTakeFirst()
  return Number(numDeletedRows)
}

export async function deleteExpiredSessions(ctx: Context): Promise<void> {
  await ctx.db.deleteFrom('sessions').where('expires_at', '<=', ctx.now()).execute()
}
