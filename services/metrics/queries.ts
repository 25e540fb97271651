import { sql } from 'kysely'
import type { Context } from '../../monitoring/context'

/** One span of one series. Averages come from sum and count, so that spans can be added up to longer ones. */
export interface MetricTable {
  org_id: string
  host: string
  name: string
  /** Which one of several: a mount, an interface, a process; '' where there is only one. */
  subject: string
  /** Length of the span in milliseconds. */
  step: number
  /** Start of the span. */
  at: number
  count: number
  sum: number
  min: number
  max: number
  last: number
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    metrics: MetricTable
  }
}

export type Span = Omit<MetricTable, 'org_id'>

/** Adds spans to what is stored of them already: any number of times, in any order, by several processes. */
export async function addSpans(ctx: Context, spans: readonly Span[]): Promise<void> {
  const rows = ctx.platform.store.dialect.rows(JSON.stringify(spans.map((span) => ({ org_id: ctx.org, ...span }))), {
    org_id: 'text',
    host: 'text',
    name: 'text',
    subject: 'text',
    step: 'whole',
    at: 'moment',
    count: 'whole',
    sum: 'real',
    min: 'real',
    max: 'real',
    last: 'real',
  })
  await sql`
    insert into metrics (org_id, host, name, subject, step, at, count, sum, min, max, last) ${rows}
    on conflict (org_id, host, name, step, at, subject) do update set
      count = metrics.count + excluded.count, sum = metrics.sum + excluded.sum, last = excluded.last,
      min = case when excluded.min < metrics.min then excluded.min else metrics.min end,
      max = case when excluded.max > metrics.max then excluded.max else metrics.max end`.execute(ctx.db)
}

export interface SpanFilter {
  host: string
  name: string
  subject?: string | undefined
  step: number
  from: number
  to: number
}

export async function listSpans(ctx: Context, { host, name, subject, step, from, to }: SpanFilter): Promise<Span[]> {
  let query = ctx.db
    .selectFrom('metrics')
    .select(['host', 'name', 'subject', 'step', 'at', 'count', 'sum', 'min', 'max', 'last'])
    .where('org_id', '=', ctx.org)
    .where('host', '=', host)
    .where('name', '=', name)
    .where('step', '=', step)
    .where('at', '>=', from)
    .where('at', '<', to)
  if (subject !== undefined) query = query.where('subject', '=', subject)
  return await query.orderBy('at').orderBy('subject').execute()
}

/** A bounded piece of what is too old, so that no request waits behind it. Returns how many went. */
export async function deleteSpansBefore(ctx: Context, step: number, before: number, limit: number): Promise<number> {
  const result = await sql`
    delete from metrics where (org_id, host, name, subject, step, at) in (
      select org_id, host, name, subject, step, at from metrics where step = ${step} and at < ${before} limit ${limit})`.execute(ctx.db)
  return Number(result.numAffectedRows ?? 0n)
}
