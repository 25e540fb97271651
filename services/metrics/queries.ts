import { sql } from 'kysely'
import type { Context } from '../../monitoring/context'
import { readHistogram, writeHistogram, type Histogram } from './histogram'

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
  /** Durations by how often they occur, as JSON; null for what has none. */
  histogram: string | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    metrics: MetricTable
  }
}

export interface Span extends Omit<MetricTable, 'org_id' | 'histogram'> {
  histogram: Histogram | null
}

/** Adds spans to what is stored of them already: any number of times, in any order, by several processes. */
export async function addSpans(ctx: Context, spans: readonly Span[]): Promise<void> {
  const { dialect } = ctx.platform.store
  const rows = dialect.rows(
    JSON.stringify(
      spans.map(({ histogram, ...span }) => ({ org_id: ctx.org, ...span, histogram: histogram && writeHistogram(histogram) })),
    ),
    {
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
      histogram: 'text',
    },
  )
  // Added up by the database too, so that two consoles cannot lose each other's.
  const [each, group] = dialect.name === 'sqlite' ? ['json_each', 'json_group_object'] : ['json_each_text', 'json_object_agg']
  const json = (column: string) => (dialect.name === 'sqlite' ? sql.ref(column) : sql`${sql.ref(column)}::json`)
  const both = sql`(select cast(${sql.raw(group)}(bucket, n) as text) from (
    select bucket, sum(n) as n from (
      select key as bucket, cast(value as bigint) as n from ${sql.raw(each)}(${json('metrics.histogram')})
      union all select key, cast(value as bigint) from ${sql.raw(each)}(${json('excluded.histogram')})) as two group by bucket) as sums)`
  await sql`
    insert into metrics (org_id, host, name, subject, step, at, count, sum, min, max, last, histogram) ${rows}
    on conflict (org_id, host, name, subject, step, at) do update set
      count = metrics.count + excluded.count, sum = metrics.sum + excluded.sum, last = excluded.last,
      min = case when excluded.min < metrics.min then excluded.min else metrics.min end,
      max = case when excluded.max > metrics.max then excluded.max else metrics.max end,
      histogram = case when excluded.histogram is null then metrics.histogram
        when metrics.histogram is null then excluded.histogram else ${both} end`.execute(ctx.db)
}

export interface SpanFilter {
  host: string
  name: string
  /** Which of several; absent: all. */
  subjects?: readonly string[] | undefined
  step: number
  from: number
  to: number
}

type Row = Omit<MetricTable, 'org_id'>

/**
 * The subjects of a series, found by stepping from one to the next: rows of one subject lie together, so that one of
 * five hundred is read without the others, and all of them are as many short reads.
 */
const subjectsOf = (ctx: Context, { host, name, subjects }: Pick<SpanFilter, 'host' | 'name' | 'subjects'>) => {
  if (subjects)
    return sql`subjects as (${ctx.platform.store.dialect.rows(JSON.stringify(subjects.map((subject) => ({ subject }))), { subject: 'text' })})`
  const series = sql`org_id = ${ctx.org} and host = ${host} and name = ${name}`
  return sql`subjects(subject) as (
    select min(subject) from metrics where ${series}
    union all select (select min(subject) from metrics where ${series} and subject > subjects.subject) from subjects where subject is not null)`
}

/** What is read of each subject, in the order in which it lies. */
const eachOf = (ctx: Context, filter: SpanFilter) => sql`
  from subjects cross join metrics
  where metrics.org_id = ${ctx.org} and metrics.host = ${filter.host} and metrics.name = ${filter.name}
    and metrics.subject = subjects.subject
    and metrics.step = ${filter.step} and metrics.at >= ${filter.from} and metrics.at < ${filter.to}`

export async function listSubjects(ctx: Context, filter: Pick<SpanFilter, 'host' | 'name'>): Promise<string[]> {
  const { rows } = await sql<{ subject: string }>`
    with recursive ${subjectsOf(ctx, filter)} select subject from subjects where subject is not null`.execute(ctx.db)
  return rows.map(({ subject }) => subject)
}

export async function listSpans(ctx: Context, filter: SpanFilter): Promise<Span[]> {
  const { rows } = await sql<Row>`
    with recursive ${subjectsOf(ctx, filter)}
    select host, name, metrics.subject, step, at, count, sum, min, max, last, histogram ${eachOf(ctx, filter)}
    order by metrics.subject, at`.execute(ctx.db)
  return rows.map(({ histogram, ...span }) => ({ ...span, histogram: histogram === null ? null : readHistogram(histogram) }))
}

/** Counts and sums, without the rest. */
export async function listCounts(ctx: Context, filter: SpanFilter): Promise<Pick<Row, 'subject' | 'at' | 'count' | 'sum'>[]> {
  const { rows } = await sql<Pick<Row, 'subject' | 'at' | 'count' | 'sum'>>`
    with recursive ${subjectsOf(ctx, filter)} select metrics.subject, at, count, sum ${eachOf(ctx, filter)}`.execute(ctx.db)
  return rows
}

export type TrendRow = Pick<Row, 'subject' | 'at' | 'count' | 'sum' | 'min' | 'max'>

/** Added up to a longer step by the database: a chart has two hundred points, whatever they are made of. */
export async function listTrend(ctx: Context, filter: SpanFilter, step: number): Promise<TrendRow[]> {
  const start = step === filter.step ? sql`at` : sql`at - at % ${sql.lit(step)}`
  const { rows } = await sql<TrendRow>`
    with recursive ${subjectsOf(ctx, filter)}
    select metrics.subject, ${start} as at, cast(sum(count) as bigint) as count, sum(sum) as sum, min(min) as min, max(max) as max
    ${eachOf(ctx, filter)} group by metrics.subject, ${start} order by 1, 2`.execute(ctx.db)
  return rows
}

export interface TotalRow {
  subject: string
  count: number
  sum: number
  min: number
  max: number
}

/** One row per subject for a whole range of one tier. */
export async function sumSpans(ctx: Context, filter: SpanFilter): Promise<TotalRow[]> {
  const { rows } = await sql<TotalRow>`
    with recursive ${subjectsOf(ctx, filter)}
    select metrics.subject, cast(sum(count) as bigint) as count, sum(sum) as sum, min(min) as min, max(max) as max
    ${eachOf(ctx, filter)} group by metrics.subject`.execute(ctx.db)
  return rows
}

/** A bounded piece of what is too old, so that no request waits behind it. Returns how many went. */
export async function deleteSpansBefore(ctx: Context, step: number, before: number, limit: number): Promise<number> {
  const result = await sql`
    delete from metrics where (org_id, host, name, subject, step, at) in (
      select org_id, host, name, subject, step, at from metrics where step = ${step} and at < ${before} limit ${limit})`.execute(ctx.db)
  return Number(result.numAffectedRows ?? 0n)
}

/** A bounded piece of one subject's past in one series. Returns how many went. */
export async function deleteSpansOf(ctx: Context, host: string, name: string, subject: string, limit: number): Promise<number> {
  const result = await sql`
    delete from metrics where org_id = ${ctx.org} and host = ${host} and name = ${name} and subject = ${subject} and (step, at) in (
      select step, at from metrics
      where org_id = ${ctx.org} and host = ${host} and name = ${name} and subject = ${subject} limit ${limit})`.execute(ctx.db)
  return Number(result.numAffectedRows ?? 0n)
}
