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
  /** Where the person works now; null: in the organisation they joined first. */
  org_id: string | null
  /** When the password was typed last. */
  confirmed_at: number | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    sessions: SessionTable
  }
}

export const findSession = (ctx: Context, id: string): Promise<SessionTable | undefined> =>
  ctx.db.selectFrom('sessions').selectAll().where('id', '=', id).where('expires_at', '>', ctx.now()).executeTakeFirst()

export async function saveSession(ctx: Context, row: SessionTable): Promise<void> {
  await ctx.db.insertInto('sessions').values(row).execute()
}

export async function touchSession(ctx: Context, id: string, seenAt: number, expiresAt: number): Promise<void> {
  await ctx.db
    .updateTable('sessions')
    .set({ seen_at: seenAt, expires_at: expiresAt })
    .where('id', '=', id)
    .where('seen_at', '<', seenAt)
    .execute()
}

/** Whether the account is open, and its password was not changed between the two moments. On PostgreSQL this takes the row's lock. */
export async function touchOpenUser(
  ctx: Context,
  id: string,
  { now, since, ahead }: { now: number; since: number; ahead: number },
): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('users')
    .set({ seen_at: now })
    .where('id', '=', id)
    .where('disabled_at', 'is', null)
    .where((where) => where.or([where('password_changed_at', '<=', since), where('password_changed_at', '>', ahead)]))
    .executeTakeFirst()
  return numUpdatedRows === 1n
}

export async function touchUser(ctx: Context, id: string, seenAt: number): Promise<void> {
  await ctx.db.updateTable('users').set({ seen_at: seenAt }).where('id', '=', id).execute()
}

export async function deleteSession(ctx: Context, id: string): Promise<void> {
  await ctx.db.deleteFrom('sessions').where('id', '=', id).execute()
}

/** The one seen last first. */
export const listSessions = (ctx: Context, userId: string) =>
  ctx.db
    .selectFrom('sessions')
    .select(['id', 'address', 'device', 'created_at', 'seen_at', 'expires_at'])
    .where('user_id', '=', userId)
    .where('expires_at', '>', ctx.now())
    .orderBy('seen_at', 'desc')
    .orderBy('id')
    .limit(200)
    .execute()

export async function deleteSessionOf(ctx: Context, userId: string, id: string): Promise<boolean> {
  const { numDeletedRows } = await ctx.db.deleteFrom('sessions').where('id', '=', id).where('user_id', '=', userId).executeTakeFirst()
  return numDeletedRows === 1n
}

export async function updateSession(ctx: Context, id: string, set: Pick<SessionTable, 'org_id'>): Promise<void> {
  await ctx.db.updateTable('sessions').set(set).where('id', '=', id).execute()
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
