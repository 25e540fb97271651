import type { Context } from '../../monitoring/context'

export interface ProcessTable {
  /** `host:pm_id` */
  id: string
  org_id: string
  host: string
  pm_id: number
  name: string
  status: string
  mode: 'fork' | 'cluster'
  pid: number | null
  /** Percent of one core. */
  cpu: number | null
  /** Bytes. */
  memory: number | null
  port: number | null
  restarts: number
  started_at: number | null
  seen_at: number
  /** JSON: what it was started from, and how PM2 keeps it. */
  details: string | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    processes: ProcessTable
  }
}

export type ProcessRow = Omit<ProcessTable, 'org_id'>

const columns = [
  'id',
  'host',
  'pm_id',
  'name',
  'status',
  'mode',
  'pid',
  'cpu',
  'memory',
  'port',
  'restarts',
  'started_at',
  'seen_at',
  'details',
] as const

export const listProcesses = (ctx: Context): Promise<ProcessRow[]> =>
  ctx.db.selectFrom('processes').select(columns).where('org_id', '=', ctx.org).orderBy('host').orderBy('pm_id').execute()

/** By its id, or by its name. */
export const findProcesses = (ctx: Context, reference: string): Promise<ProcessRow[]> =>
  ctx.db
    .selectFrom('processes')
    .select(columns)
    .where('org_id', '=', ctx.org)
    .where((row) => row.or([row('id', '=', reference), row('name', '=', reference)]))
    .orderBy('pm_id')
    .execute()

export async function saveProcesses(ctx: Context, rows: readonly ProcessRow[]): Promise<void> {
  for (const row of rows) {
    const { id, ...set } = row
    await ctx.db
      .insertInto('processes')
      .values({ id, org_id: ctx.org, ...set })
      .onConflict((conflict) => conflict.columns(['org_id', 'id']).doUpdateSet(set))
      .execute()
  }
}

export async function deleteProcesses(ctx: Context, ids: readonly string[]): Promise<void> {
  if (ids.length > 0) await ctx.db.deleteFrom('processes').where('org_id', '=', ctx.org).where('id', 'in', ids).execute()
}
