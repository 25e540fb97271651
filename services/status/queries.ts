import { z } from 'zod'
import type { Context } from '../../monitoring/context'

export interface StatusPageTable {
  org_id: string
  title: string
  intro: string
  /** JSON: [{"id":"…","name":"…"}] in the order in which people see them. */
  checks: string
  published_at: number | null
  changed_at: number
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    status_pages: StatusPageTable
  }
}

export interface PageRow extends Omit<StatusPageTable, 'org_id' | 'checks'> {
  checks: { id: string; name: string }[]
}

const Checks = z.array(z.object({ id: z.string(), name: z.string() }))

export async function findPage(ctx: Context): Promise<PageRow | undefined> {
  const row = await ctx.db
    .selectFrom('status_pages')
    .select(['title', 'intro', 'checks', 'published_at', 'changed_at'])
    .where('org_id', '=', ctx.org)
    .executeTakeFirst()
  return row && { ...row, checks: Checks.parse(JSON.parse(row.checks)) }
}

export async function savePage(ctx: Context, { checks, ...row }: PageRow): Promise<void> {
  const set = { ...row, checks: JSON.stringify(checks) }
  await ctx.db
    .insertInto('status_pages')
    .values({ org_id: ctx.org, ...set })
    .onConflict((conflict) => conflict.column('org_id').doUpdateSet(set))
    .execute()
}

/** True for the first who does it. */
export async function markPublished(ctx: Context, at: number | null): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('status_pages')
    .set({ published_at: at })
    .where('org_id', '=', ctx.org)
    .where('published_at', at === null ? 'is not' : 'is', null)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}

export const nameOf = async (ctx: Context): Promise<string> =>
  (await ctx.db.selectFrom('organisations').select('name').where('id', '=', ctx.org).executeTakeFirst())?.name ?? ''
