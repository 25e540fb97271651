import type { Context } from '../../monitoring/context'
import { inForce } from '../../monitoring/db/in-force'

export interface InviteTable {
  id: string
  org_id: string
  /** SHA-256 of the token in the link. */
  token_hash: string
  /** Whom it is for, for those who look at the list. */
  name: string | null
  role: string
  created_by: string
  created_at: number
  expires_at: number
  used_at: number | null
  used_by: string | null
  revoked_at: number | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    invites: InviteTable
  }
}

const invites = (ctx: Context) =>
  ctx.db
    .selectFrom('invites')
    .innerJoin('organisations', 'organisations.id', 'invites.org_id')
    .leftJoin('users', 'users.id', 'invites.created_by')
    .leftJoin('roles', (join) => join.onRef('roles.id', '=', 'invites.role').onRef('roles.org_id', '=', 'invites.org_id'))
    .select([
      'invites.id',
      'invites.org_id',
      'organisations.name as org_name',
      'invites.name',
      'invites.role as role_id',
      'roles.name as role_name',
      'roles.actions as role_actions',
      'invites.created_by as maker',
      'users.username as created_by',
      'invites.created_at',
      'invites.expires_at',
      'used_at',
      'revoked_at',
    ])

export type InviteRow = Awaited<ReturnType<ReturnType<typeof invites>['executeTakeFirstOrThrow']>>

/** Those that nobody has used or withdrawn, the newest first. */
export const listInvites = (ctx: Context): Promise<InviteRow[]> =>
  invites(ctx)
    .where('invites.org_id', '=', ctx.org)
    .where('used_at', 'is', null)
    .where('revoked_at', 'is', null)
    .orderBy('invites.created_at', 'desc')
    .orderBy('invites.id')
    .limit(200)
    .execute()

export const findInvite = (ctx: Context, id: string): Promise<InviteRow | undefined> =>
  invites(ctx).where('invites.org_id', '=', ctx.org).where('invites.id', '=', id).executeTakeFirst()

/** Across organisations: whoever has the link belongs to none yet. */
export const findInviteByHash = (ctx: Context, hash: string): Promise<InviteRow | undefined> =>
  invites(ctx).where('token_hash', '=', hash).executeTakeFirst()

export async function insertInvite(
  ctx: Context,
  invite: Pick<InviteTable, 'id' | 'token_hash' | 'name' | 'role' | 'expires_at'>,
): Promise<void> {
  await ctx.db
    .insertInto('invites')
    .values({
      ...invite,
      ...{ org_id: ctx.org, created_by: ctx.actor.id, created_at: ctx.now() },
      ...{ used_at: null, used_by: null, revoked_at: null },
    })
    .execute()
}

/** True for exactly one caller, while it is open. */
export async function markUsed(ctx: Context, id: string, by: string): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('invites')
    .set({ used_at: ctx.now(), used_by: by })
    .where('id', '=', id)
    .where('used_at', 'is', null)
    .where(inForce('invites', ctx.now()))
    .executeTakeFirst()
  return numUpdatedRows === 1n
}

export async function markRevoked(ctx: Context, id: string): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('invites')
    .set({ revoked_at: ctx.now() })
    .where('id', '=', id)
    .where('org_id', '=', ctx.org)
    .where('used_at', 'is', null)
    .where('revoked_at', 'is', null)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}
