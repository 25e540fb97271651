import type { Context } from '../../monitoring/context'

export interface SnapshotTable {
  id: string
  org_id: string
  host: string
  at: number
  /** At whose beginning the console took it by itself. */
  incident_id: string | null
  /** Who asked for it; null: the console did. */
  taken_by: string | null
  bytes: number
  /** JSON */
  data: string
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    snapshots: SnapshotTable
  }
}

export type SnapshotRow = Omit<SnapshotTable, 'org_id' | 'data'>

const columns = ['id', 'host', 'at', 'incident_id', 'taken_by', 'bytes'] as const

export async function insertSnapshot(ctx: Context, row: Omit<SnapshotTable, 'org_id'>): Promise<void> {
  await ctx.db
    .insertInto('snapshots')
    .values({ org_id: ctx.org, ...row })
    .execute()
}

/** Newest first. */
export async function listSnapshots(
  ctx: Context,
  { limit, after }: { limit: number; after?: { at: number; id: string } | undefined },
): Promise<SnapshotRow[]> {
  let query = ctx.db.selectFrom('snapshots').select(columns).where('org_id', '=', ctx.org)
  if (after) query = query.where((row) => row.or([row('at', '<', after.at), row.and([row('at', '=', after.at), row('id', '<', after.id)])]))
  return await query.orderBy('at', 'desc').orderBy('id', 'desc').limit(limit).execute()
}

export const findSnapshot = (ctx: Context, id: string): Promise<(SnapshotRow & { data: string }) | undefined> =>
  ctx.db
    .selectFrom('snapshots')
    .select([...columns, 'data'])
    .where('org_id', '=', ctx.org)
    .where('id', '=', id)
    .executeTakeFirst()

/** The same look at the machine as another one. */
export const sameAs = (id: string): string => JSON.stringify({ same_as: id })

export async function isKept(ctx: Context, id: string): Promise<boolean> {
  const row = await ctx.db.selectFrom('snapshots').select('id').where('org_id', '=', ctx.org).where('id', '=', id).executeTakeFirst()
  return row !== undefined
}

/** What others are the same as goes to the next of them. Returns how many were there. */
export async function deleteSnapshots(ctx: Context, ids: readonly string[]): Promise<number> {
  if (ids.length === 0) return 0
  for (const id of ids) await handOn(ctx, id, ids)
  const { numDeletedRows } = await ctx.db.deleteFrom('snapshots').where('org_id', '=', ctx.org).where('id', 'in', ids).executeTakeFirst()
  return Number(numDeletedRows)
}

async function handOn(ctx: Context, id: string, gone: readonly string[]): Promise<void> {
  const data = sameAs(id)
  const sharers = await ctx.db
    .selectFrom('snapshots')
    .select('id')
    .where('org_id', '=', ctx.org)
    // What is kept whole is long, and not worth comparing.
    .where('bytes', '=', Buffer.byteLength(data))
    .where('data', '=', data)
    .where('id', 'not in', gone)
    .orderBy('at')
    .orderBy('id')
    .execute()
  const [heir, ...others] = sharers.map((one) => one.id)
  if (heir === undefined) return
  const source = await findSnapshot(ctx, id)
  if (!source) return
  const { bytes } = source
  await ctx.db.updateTable('snapshots').set({ bytes, data: source.data }).where('org_id', '=', ctx.org).where('id', '=', heir).execute()
  if (others.length === 0) return
  const same = sameAs(heir)
  await ctx.db
    .updateTable('snapshots')
    .set({ data: same, bytes: Buffer.byteLength(same) })
    .where('org_id', '=', ctx.org)
    .where('id', 'in', others)
    .execute()
}

/** The oldest ones: those from before a moment, and those beyond so many. */
export async function listOutdated(ctx: Context, before: number, most: number, limit: number): Promise<string[]> {
  const beyond = await ctx.db
    .selectFrom('snapshots')
    .select(['at', 'id'])
    .where('org_id', '=', ctx.org)
    .orderBy('at', 'desc')
    .orderBy('id', 'desc')
    .offset(most)
    .limit(limit)
    .execute()
  const old = await ctx.db
    .selectFrom('snapshots')
    .select('id')
    .where('org_id', '=', ctx.org)
    .where('at', '<', before)
    .orderBy('at')
    .limit(limit)
    .execute()
  return [...new Set([...beyond, ...old].map(({ id }) => id))]
}
