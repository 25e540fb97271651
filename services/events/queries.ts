import { sql, type Generated } from 'kysely'
import { z } from 'zod'
import type { Context } from '../../monitoring/context'

export const severities = ['debug', 'info', 'notice', 'warning', 'error', 'critical'] as const
export type Severity = (typeof severities)[number]

export interface EventTable {
  /** In commit order. */
  seq: Generated<number>
  /** The reporter's own, or made here; a repeat of it is the same event. */
  id: string
  org_id: string
  host: string | null
  /** When it happened, as the reporter says. */
  at: number
  received_at: number
  type: string
  source: string
  subject: string | null
  severity: Severity
  /** JSON */
  data: string | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    events: EventTable
  }
}

export interface EventRow extends Omit<EventTable, 'seq' | 'org_id' | 'data'> {
  seq: number
  data: unknown
}

export type NewEvent = Omit<EventTable, 'seq' | 'org_id'>

const columns = ['seq', 'id', 'host', 'at', 'received_at', 'type', 'source', 'subject', 'severity', 'data'] as const

const Data = z.string().transform((text): unknown => JSON.parse(text))

const asRow = (row: Omit<EventTable, 'seq' | 'org_id'> & { seq: number }): EventRow => ({
  ...row,
  data: row.data === null ? null : Data.parse(row.data),
})

/** Stores what is new among them, and says which numbers it got. */
export async function insertEvents(ctx: Context, events: readonly NewEvent[]): Promise<{ first: number; last: number } | null> {
  const { dialect } = ctx.platform.store
  // Before the numbers are given out, so that they are in commit order.
  await dialect.lockChanges(ctx.db as never)
  const text = 'text' as const
  const rows = await ctx.db
    .insertInto('events')
    .columns(['org_id', 'id', 'host', 'at', 'received_at', 'type', 'source', 'subject', 'severity', 'data'])
    .expression(
      dialect.rows(JSON.stringify(events.map((event) => ({ org_id: ctx.org, ...event }))), {
        org_id: text,
        id: text,
        host: text,
        at: 'moment',
        received_at: 'moment',
        type: text,
        source: text,
        subject: text,
        severity: text,
        data: text,
      }) as never,
    )
    .onConflict((conflict) => conflict.columns(['org_id', 'id']).doNothing())
    .returning('seq')
    .execute()
  const numbers = rows.map(({ seq }) => seq)
  return numbers.length === 0 ? null : { first: numbers[0] ?? 0, last: numbers.at(-1) ?? 0 }
}

export interface EventFilter {
  type?: string | undefined
  source?: string | undefined
  subject?: string | undefined
  severity?: Severity | undefined
  /** From this moment on. */
  from?: number | undefined
  /** Until just before this moment. */
  to?: number | undefined
}

const columnsToFilter = ['type', 'source', 'subject', 'severity'] as const
/** Nothing above this is worth counting further: the database knows as well which of several common filters to begin with. */
const common = 2000

/** The filter that the fewest events pass; none when they are all common. */
async function rarestOf(ctx: Context, filter: EventFilter): Promise<(typeof columnsToFilter)[number] | undefined> {
  const given = columnsToFilter.filter((name) => filter[name] !== undefined)
  if (given.length < 2) return given[0]
  const counts = await Promise.all(
    given.map(async (name) => {
      const some = ctx.db
        .selectFrom('events')
        .select('seq')
        .where('org_id', '=', ctx.org)
        .where(name, '=', filter[name] ?? '')
        .limit(common)
      const { count } = await ctx.db
        .selectFrom(some.as('some'))
        .select((row) => row.fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow()
      return { name, count }
    }),
  )
  const least = counts.reduce((a, b) => (b.count < a.count ? b : a))
  return least.count < common ? least.name : undefined
}

/** Newest first, a page at a time by keyset: page 1,000 costs what page 1 costs. */
export async function listEvents(
  ctx: Context,
  { filter, limit, after }: { filter: EventFilter; limit: number; after: { at: number; seq: number } | null },
): Promise<EventRow[]> {
  let query = ctx.db.selectFrom('events').select(columns).where('org_id', '=', ctx.org)
  const leading = await rarestOf(ctx, filter)
  for (const name of columnsToFilter) {
    const value = filter[name]
    // As an expression where another filter leads: the database then walks the index of the rarest, not of any.
    if (value !== undefined)
      query =
        leading === undefined || name === leading
          ? query.where(name, '=', value)
          : query.where(sql<boolean>`${sql.ref(name)} || '' = ${value}`)
  }
  if (filter.from !== undefined) query = query.where('at', '>=', filter.from)
  if (filter.to !== undefined) query = query.where('at', '<', filter.to)
  if (after) query = query.where(sql<boolean>`(at, seq) < (${after.at}, ${after.seq})`)
  return (await query.orderBy('at', 'desc').orderBy('seq', 'desc').limit(limit).execute()).map(asRow)
}

/** The newest of each of several types, in no order: each type is a short walk on its own index, however many events there are. */
export async function listLatestOf(
  ctx: Context,
  { types, from, to, most }: { types: readonly string[]; from: number; to: number; most: number },
): Promise<EventRow[]> {
  const ofType = (type: string) =>
    sql`select * from (select ${sql.join(columns.map((column) => sql.ref(column)))} from events
      where org_id = ${ctx.org} and type = ${type} and at >= ${from} and at < ${to} order by at desc, seq desc limit ${sql.lit(most)}) as one`
  const { rows } = await sql<
    Omit<EventTable, 'seq' | 'org_id'> & { seq: number }
  >`${sql.join(types.map(ofType), sql` union all `)}`.execute(ctx.db)
  return rows.map(asRow)
}

/** A bounded piece of what was received too long ago, of whatever organisation. Returns how many went. */
export async function deleteEventsBefore(ctx: Context, before: number, limit: number): Promise<number> {
  const result = await sql`
    delete from events where seq in (select seq from events where received_at < ${before} order by received_at limit ${limit})`.execute(
    ctx.db,
  )
  return Number(result.numAffectedRows ?? 0n)
}

export async function listEventsBetween(ctx: Context, first: number, last: number): Promise<EventRow[]> {
  const rows = await ctx.db
    .selectFrom('events')
    .select(columns)
    // As an expression, so that SQLite reads the span by its numbers and not the whole organisation by an index.
    .where(sql<boolean>`org_id || '' = ${ctx.org}`)
    .where('seq', '>=', first)
    .where('seq', '<=', last)
    .orderBy('seq')
    .execute()
  return rows.map(asRow)
}

/** How many events of a type and a source each subject had since a moment. */
export async function countBySubject(ctx: Context, type: string, source: string, from: number): Promise<Map<string, number>> {
  const rows = await ctx.db
    .selectFrom('events')
    .select((row) => ['subject', row.fn.countAll<number>().as('count')] as const)
    .where('org_id', '=', ctx.org)
    .where('type', '=', type)
    .where('source', '=', source)
    .where('at', '>=', from)
    .where('at', '<=', ctx.now())
    .groupBy('subject')
    .execute()
  return new Map(rows.map(({ subject, count }) => [subject ?? '', count]))
}
