import { z } from 'zod'
import type { Context } from '../../monitoring/context'

export interface MaintenanceTable {
  id: string
  org_id: string
  name: string
  starts_at: number
  ends_at: number
  repeats: string
  timezone: string
  /** JSON: {"all":true} or {"checks":[…],"tags":[…]} */
  covers: string
  created_at: number
  cancelled_at: number | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    maintenances: MaintenanceTable
  }
}

export const repetitions = ['never', 'daily', 'weekly'] as const
export type Repetition = (typeof repetitions)[number]
export type Covers = { all: true } | { checks: string[]; tags: string[] }

export interface MaintenanceRow extends Omit<MaintenanceTable, 'org_id' | 'repeats' | 'covers'> {
  repeats: Repetition
  covers: Covers
}

const Covered = z.union([z.object({ all: z.literal(true) }), z.object({ checks: z.array(z.string()), tags: z.array(z.string()) })])

const columns = ['id', 'name', 'starts_at', 'ends_at', 'repeats', 'timezone', 'covers', 'created_at', 'cancelled_at'] as const

const asRow = (row: Omit<MaintenanceTable, 'org_id'>): MaintenanceRow => ({
  ...row,
  repeats: row.repeats as Repetition,
  covers: Covered.parse(JSON.parse(row.covers)),
})

/** Those that are over or cancelled, so many at the most, the newest first. */
export async function listPast(ctx: Context, at: number, limit: number): Promise<MaintenanceRow[]> {
  const rows = await ctx.db
    .selectFrom('maintenances')
    .select(columns)
    .where('org_id', '=', ctx.org)
    .where((row) => row.or([row('cancelled_at', 'is not', null), row.and([row('repeats', '=', 'never'), row('ends_at', '<=', at)])]))
    .orderBy('starts_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()
  return rows.map(asRow)
}

/** Of one organisation. */
export const mostLiving = 1000

/** Those that can still come, or are now. */
export async function listLiving(ctx: Context, at: number): Promise<MaintenanceRow[]> {
  const rows = await ctx.db
    .selectFrom('maintenances')
    .select(columns)
    .where('org_id', '=', ctx.org)
    .where('cancelled_at', 'is', null)
    .where((row) => row.or([row('repeats', '!=', 'never'), row('ends_at', '>', at)]))
    .orderBy('starts_at')
    .limit(mostLiving)
    .execute()
  return rows.map(asRow)
}

/** Across organisations: those that can still come, or are now. */
export async function listAllLiving(ctx: Context, at: number): Promise<(MaintenanceRow & { org_id: string })[]> {
  const rows = await ctx.db
    .selectFrom('maintenances')
    .select([...columns, 'org_id'])
    .where('cancelled_at', 'is', null)
    .where((row) => row.or([row('repeats', '!=', 'never'), row('ends_at', '>', at)]))
    .where('starts_at', '<=', at)
    .execute()
  return rows.map(({ org_id, ...row }) => ({ org_id, ...asRow(row) }))
}

/** Across organisations, a bounded piece: those that were over or cancelled before a moment. Returns how many went. */
export async function deletePastBefore(ctx: Context, before: number, limit: number): Promise<number> {
  const { numDeletedRows } = await ctx.db
    .deleteFrom('maintenances')
    .where('id', 'in', (row) =>
      row
        .selectFrom('maintenances')
        .select('id')
        .where((one) => one.or([one('cancelled_at', '<', before), one.and([one('repeats', '=', 'never'), one('ends_at', '<', before)])]))
        .limit(limit),
    )
    .executeTakeFirst()
  return Number(numDeletedRows)
}

export async function findMaintenance(ctx: Context, id: string): Promise<MaintenanceRow | undefined> {
  const row = await ctx.db.selectFrom('maintenances').select(columns).where('org_id', '=', ctx.org).where('id', '=', id).executeTakeFirst()
  return row && asRow(row)
}

export async function insertMaintenance(ctx: Context, { covers, ...row }: MaintenanceRow): Promise<void> {
  await ctx.db
    .insertInto('maintenances')
    .values({ org_id: ctx.org, ...row, covers: JSON.stringify(covers) })
    .execute()
}

export async function updateMaintenance(
  ctx: Context,
  id: string,
  { covers, ...set }: Omit<MaintenanceRow, 'id' | 'created_at' | 'cancelled_at'>,
): Promise<void> {
  await ctx.db
    .updateTable('maintenances')
    .set({ ...set, covers: JSON.stringify(covers) })
    .where('org_id', '=', ctx.org)
    .where('id', '=', id)
    .execute()
}

/** True for the first who does it. */
export async function markCancelled(ctx: Context, id: string): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('maintenances')
    .set({ cancelled_at: ctx.now() })
    .where('org_id', '=', ctx.org)
    .where('id', '=', id)
    .where('cancelled_at', 'is', null)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}
