import { sql } from 'kysely'
import type { Context } from '../../monitoring/context'

export interface IncidentTable {
  id: string
  org_id: string
  check_id: string
  title: string
  cause: string
  started_at: number
  ended_at: number | null
  ended_by: string | null
  acknowledged_at: number | null
  acknowledged_by: string | null
}

export interface IncidentNoteTable {
  id: string
  org_id: string
  incident_id: string
  at: number
  author_id: string
  author_name: string
  text: string
  published_at: number | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    incidents: IncidentTable
    incident_notes: IncidentNoteTable
  }
}

const incidents = (ctx: Context) =>
  ctx.db
    .selectFrom('incidents')
    .leftJoin('checks', (join) => join.onRef('checks.id', '=', 'incidents.check_id').onRef('checks.org_id', '=', 'incidents.org_id'))
    .where('incidents.org_id', '=', ctx.org)
    .select((row) => [
      'incidents.id',
      'check_id',
      'checks.name as check_name',
      'title',
      'cause',
      'started_at',
      'ended_at',
      'ended_by',
      'acknowledged_at',
      'acknowledged_by',
      row
        .selectFrom('snapshots')
        .whereRef('snapshots.incident_id', '=', 'incidents.id')
        .where('snapshots.org_id', '=', ctx.org)
        .select((inner) => inner.fn.min<string | null>('snapshots.id').as('id'))
        .as('snapshot_id'),
    ])

export type IncidentRow = Awaited<ReturnType<ReturnType<typeof incidents>['executeTakeFirstOrThrow']>>

export interface IncidentQuery {
  /** Part of title or cause, with the signs that `like` knows escaped; compared in lower case. */
  q?: string | undefined
  check?: string | undefined
  from?: number | undefined
  to?: number | undefined
}

/** Newest first, a page at a time by keyset: of those that are open, or of those that are over. */
export async function listIncidents(
  ctx: Context,
  state: 'open' | 'ended',
  { q, check, from, to }: IncidentQuery,
  { limit, after }: { limit: number; after: { at: number; id: string } | null },
): Promise<IncidentRow[]> {
  let query = incidents(ctx).where('ended_at', state === 'open' ? 'is' : 'is not', null)
  // SQLite's `lower` knows ASCII only; both sides take the same, so that both databases find at least that.
  if (q !== undefined) query = query.where(sql<boolean>`lower(title || ' ' || cause) like lower(${`%${q}%`}) escape '\\'`)
  if (check !== undefined) query = query.where('check_id', '=', check)
  // Whatever was open in between.
  if (from !== undefined) query = query.where((row) => row.or([row('ended_at', 'is', null), row('ended_at', '>=', from)]))
  if (to !== undefined) query = query.where('started_at', '<', to)
  if (after) query = query.where((row) => row(row.refTuple('started_at', 'incidents.id'), '<', row.tuple(after.at, after.id)))
  return await query.orderBy('started_at', 'desc').orderBy('incidents.id', 'desc').limit(limit).execute()
}

export const findIncident = (ctx: Context, id: string): Promise<IncidentRow | undefined> =>
  incidents(ctx).where('incidents.id', '=', id).executeTakeFirst()

export async function listNotes(ctx: Context, ids: readonly string[]): Promise<Omit<IncidentNoteTable, 'org_id'>[]> {
  if (ids.length === 0) return []
  return await ctx.db
    .selectFrom('incident_notes')
    .select(['id', 'incident_id', 'at', 'author_id', 'author_name', 'text', 'published_at'])
    .where('org_id', '=', ctx.org)
    .where('incident_id', 'in', ids)
    .orderBy('at')
    .orderBy('id')
    .execute()
}

/** The open incidents of these checks, by check. */
export async function listOpen(ctx: Context): Promise<{ id: string; check_id: string; cause: string; started_at: number }[]> {
  return await ctx.db
    .selectFrom('incidents')
    .select(['id', 'check_id', 'cause', 'started_at'])
    .where('org_id', '=', ctx.org)
    .where('ended_at', 'is', null)
    .orderBy('started_at')
    .limit(2000)
    .execute()
}

/** False where one is open already. */
export async function insertIncident(
  ctx: Context,
  incident: Pick<IncidentTable, 'id' | 'check_id' | 'title' | 'cause' | 'started_at'>,
): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await ctx.db
    .insertInto('incidents')
    .values({ org_id: ctx.org, ...incident, ended_at: null, ended_by: null, acknowledged_at: null, acknowledged_by: null })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  return numInsertedOrUpdatedRows === 1n
}

/** Ends the open incident of a check, and answers which it was. */
export async function markEnded(
  ctx: Context,
  check_id: string,
  ended_by: string,
  at: number,
): Promise<{ id: string; started_at: number } | undefined> {
  return await ctx.db
    .updateTable('incidents')
    .set({ ended_by, ended_at: sql<number>`case when started_at > ${at} then started_at else ${at} end` })
    .where('org_id', '=', ctx.org)
    .where('check_id', '=', check_id)
    .where('ended_at', 'is', null)
    .returning(['id', 'started_at'])
    .executeTakeFirst()
}

/** True for the first who does it. */
export async function markAcknowledged(ctx: Context, id: string, by: string): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('incidents')
    .set({ acknowledged_at: ctx.now(), acknowledged_by: by })
    .where('org_id', '=', ctx.org)
    .where('id', '=', id)
    .where('acknowledged_at', 'is', null)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}

export async function insertNote(ctx: Context, note: Omit<IncidentNoteTable, 'org_id'>): Promise<void> {
  await ctx.db
    .insertInto('incident_notes')
    .values({ org_id: ctx.org, ...note })
    .execute()
}
