import { sql } from 'kysely'
import type { Context } from '../../monitoring/context'

export interface PassedEvent {
  readonly seq: number
  readonly at: number
  readonly type: string
  readonly source: string
  readonly subject: string | null
  readonly severity: string
}

/** Of every organisation: they are for the file that is read when there is no database to ask. */
export const eventsAfter = (ctx: Context, seq: number, limit: number): Promise<PassedEvent[]> =>
  ctx.db
    .selectFrom('events')
    .select(['seq', 'at', 'type', 'source', 'subject', 'severity'])
    .where('seq', '>', seq)
    .orderBy('seq')
    .limit(limit)
    .execute()

export async function newestEvent(ctx: Context): Promise<number> {
  const newest = await ctx.db
    .selectFrom('events')
    .select((row) => row.fn.max('seq').as('seq'))
    .executeTakeFirst()
  return newest?.seq ?? 0
}

/** PostgreSQL's own figures; it keeps them, so that nothing has to be read for them. */
export async function postgresSizes(ctx: Context): Promise<{ name: string; bytes: number; rows: number }[]> {
  const { rows } = await sql<{ name: string; bytes: number; rows: number }>`
    select relname as name, pg_total_relation_size(oid) as bytes, greatest(reltuples, 0)::bigint as rows
    from pg_class where relkind = 'r' and relnamespace = current_schema()::regnamespace order by 2 desc`.execute(ctx.db)
  return rows
}

export async function postgresBytes(ctx: Context): Promise<number> {
  const { rows } = await sql<{ bytes: number }>`select pg_database_size(current_database()) as bytes`.execute(ctx.db)
  return rows[0]?.bytes ?? 0
}
