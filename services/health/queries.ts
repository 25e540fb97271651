import type { Context } from '../../monitoring/context'

export interface HostTable {
  name: string
  org_id: string
  /** JSON: what does not change while it runs. */
  facts: string
  seen_at: number
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    hosts: HostTable
  }
}

export async function saveHost(ctx: Context, name: string, facts: Readonly<Record<string, unknown>>): Promise<void> {
  const set = { facts: JSON.stringify(facts), seen_at: ctx.now() }
  await ctx.db
    .insertInto('hosts')
    .values({ name, org_id: ctx.org, ...set })
    .onConflict((conflict) => conflict.columns(['org_id', 'name']).doUpdateSet(set))
    .execute()
}
