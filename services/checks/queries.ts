import { sql } from 'kysely'
import { isInsideTransaction, type Context } from '../../monitoring/context'
import type { CheckState } from './check'
import type { Kind } from './kinds'

export interface CheckTable {
  id: string
  org_id: string
  name: string
  name_key: string
  kind: string
  /** JSON: what is checked, and how, with dots in place of secrets. */
  spec: string
  /** The secrets, encrypted. */
  secrets: string | null
  builtin: string | null
  /** JSON */
  tags: string
  interval_s: number
  timeout_ms: number
  retries: number
  retry_s: number
  token_hash: string | null
  state: string
  state_at: number
  failures: number
  message: string | null
  duration: number | null
  certificate_at: number | null
  checked_at: number | null
  paused_at: number | null
  created_at: number
  changed_at: number
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    checks: CheckTable
  }
}

export type CheckRow = Omit<CheckTable, 'kind' | 'state' | 'tags'> & { kind: Kind; state: CheckState; tags: string[] }

const asRow = ({ kind, state, tags, ...row }: CheckTable): CheckRow => ({
  ...row,
  kind: kind as Kind,
  state: state as CheckState,
  tags: JSON.parse(tags) as string[],
})

export type NewCheck = Omit<CheckRow, 'org_id'>

const asStored = ({ tags, ...row }: NewCheck) => ({ ...row, tags: JSON.stringify(tags) })

// ---- Of one organisation

export async function listChecks(ctx: Context): Promise<CheckRow[]> {
  return (await ctx.db.selectFrom('checks').selectAll().where('org_id', '=', ctx.org).orderBy('created_at').orderBy('id').execute()).map(
    asRow,
  )
}

interface Kept {
  readonly at: number
  readonly rows: Promise<CheckRow[]>
}

const believedMs = 500

/** By organisation; forgotten at every commit, of this console at once. */
const keptOf = (ctx: Context): Map<string, Kept> =>
  ctx.platform.keep('checks: all rows', () => {
    const kept = new Map<string, Kept>()
    ctx.platform.store.bell.onRing(() => {
      kept.clear()
    })
    return kept
  })

/** The same, once for all pages that come back after the same change. */
export function listChecksOnce(ctx: Context): Promise<CheckRow[]> {
  if (isInsideTransaction()) return listChecks(ctx)
  const kept = keptOf(ctx)
  const known = kept.get(ctx.org)
  if (known && performance.now() - known.at < believedMs) return known.rows
  const rows = listChecks(ctx)
  kept.set(ctx.org, { at: performance.now(), rows })
  rows.catch(() => kept.delete(ctx.org))
  return rows
}

/** What they are called, for choosing among them: those that somebody has configured. */
export async function listNames(ctx: Context): Promise<{ id: string; name: string; tags: string[] }[]> {
  const rows = await ctx.db
    .selectFrom('checks')
    .select(['id', 'name', 'tags'])
    .where('org_id', '=', ctx.org)
    .where('state', '!=', 'unset')
    .orderBy('name_key')
    .execute()
  return rows.map(({ tags, ...row }) => ({ ...row, tags: JSON.parse(tags) as string[] }))
}

export async function findCheck(ctx: Context, id: string): Promise<CheckRow | undefined> {
  const row = await ctx.db.selectFrom('checks').selectAll().where('org_id', '=', ctx.org).where('id', '=', id).executeTakeFirst()
  return row && asRow(row)
}

export async function findChecks(ctx: Context, ids: readonly string[]): Promise<CheckRow[]> {
  if (ids.length === 0) return []
  return (await ctx.db.selectFrom('checks').selectAll().where('org_id', '=', ctx.org).where('id', 'in', ids).execute()).map(asRow)
}

export async function countChecks(ctx: Context): Promise<number> {
  const { count } = await ctx.db
    .selectFrom('checks')
    .where('org_id', '=', ctx.org)
    .select((row) => row.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return count
}

/** Checks that are down or late: few, and asked for every few seconds. */
export async function listTroubled(ctx: Context): Promise<CheckRow[]> {
  const rows = await ctx.db
    .selectFrom('checks')
    .selectAll()
    .where('org_id', '=', ctx.org)
    .where('state', 'in', ['down', 'late'])
    .orderBy('state_at')
    .execute()
  return rows.map(asRow)
}

/** False where another one has the name, or is that built-in one. */
export async function insertCheck(ctx: Context, check: NewCheck): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await ctx.db
    .insertInto('checks')
    .values({ org_id: ctx.org, ...asStored(check) })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  return numInsertedOrUpdatedRows === 1n
}

export async function isNameTaken(ctx: Context, name_key: string, besides: string | null): Promise<boolean> {
  let query = ctx.db.selectFrom('checks').select('id').where('org_id', '=', ctx.org).where('name_key', '=', name_key)
  if (besides !== null) query = query.where('id', '!=', besides)
  return (await query.executeTakeFirst()) !== undefined
}

export async function updateCheck(ctx: Context, id: string, set: Partial<Omit<CheckRow, 'id' | 'org_id'>>): Promise<boolean> {
  const { tags, ...rest } = set
  const { numUpdatedRows } = await ctx.db
    .updateTable('checks')
    .set({ ...rest, ...(tags ? { tags: JSON.stringify(tags) } : {}) })
    .where('org_id', '=', ctx.org)
    .where('id', '=', id)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}

/** How many checks are in each state. */
export async function tallyStates(ctx: Context): Promise<{ state: string; count: number }[]> {
  return await ctx.db
    .selectFrom('checks')
    .select((row) => ['state', row.fn.countAll<number>().as('count')])
    .where('org_id', '=', ctx.org)
    .groupBy('state')
    .execute()
}

/** Compares and sets: what a probe found counts only for the check as it was when it began. */
export async function markResult(
  ctx: Context,
  { id, changed_at, state, failures }: Pick<CheckRow, 'id' | 'changed_at' | 'state' | 'failures'>,
  set: Partial<Pick<CheckRow, 'state' | 'state_at' | 'failures' | 'message' | 'duration' | 'certificate_at' | 'checked_at'>>,
): Promise<boolean> {
  const { numUpdatedRows } = await ctx.db
    .updateTable('checks')
    .set(set)
    .where('org_id', '=', ctx.org)
    .where('id', '=', id)
    .where('changed_at', '=', changed_at)
    .where('state', '=', state)
    .where('failures', '=', failures)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}

export async function deleteCheck(ctx: Context, id: string): Promise<boolean> {
  const { numDeletedRows } = await ctx.db.deleteFrom('checks').where('org_id', '=', ctx.org).where('id', '=', id).executeTakeFirst()
  return numDeletedRows === 1n
}

// ---- Across organisations: the engine runs the checks of all of them

/** Whoever knows the address may ping; the row says whose it is. */
export async function findByToken(ctx: Context, token_hash: string): Promise<CheckRow | undefined> {
  const row = await ctx.db.selectFrom('checks').selectAll().where('token_hash', '=', token_hash).executeTakeFirst()
  return row && asRow(row)
}

/** Across organisations: those that are probed or waited for; `ids`: of these. */
export async function listRunning(ctx: Context, ids?: readonly string[]): Promise<CheckRow[]> {
  let query = ctx.db.selectFrom('checks').selectAll().where('state', 'in', ['new', 'up', 'late', 'down'])
  if (ids) query = query.where('id', 'in', ids)
  return (await query.execute()).map(asRow)
}

/** Across organisations: which checks changed since, and how far that was read. */
export async function changedSince(ctx: Context, seq: number): Promise<{ seq: number; ids: string[]; more: boolean }> {
  const rows = await ctx.db
    .selectFrom('changes')
    .select(['seq', 'topic', 'subject'])
    .where('seq', '>', seq)
    .orderBy('seq')
    .limit(1000)
    .execute()
  const ids = new Set(rows.filter(({ topic }) => topic === 'checks').map(({ subject }) => subject))
  return { seq: rows.at(-1)?.seq ?? seq, ids: [...ids], more: rows.length === 1000 }
}

export async function newestSeq(ctx: Context): Promise<number> {
  const newest = await ctx.db
    .selectFrom('changes')
    .select((row) => row.fn.max<number | null>('seq').as('seq'))
    .executeTakeFirst()
  return newest?.seq ?? 0
}

export interface Steady {
  id: string
  changed_at: number
  message: string | null
  duration: number | null
  certificate_at: number | null
  checked_at: number
}

/** Across organisations: what probes found that changes no state, of many checks in one statement. */
export async function saveSteady(ctx: Context, results: readonly Steady[]): Promise<void> {
  const given = ctx.platform.store.dialect.rows(JSON.stringify(results), {
    id: 'text',
    changed_at: 'moment',
    message: 'text',
    duration: 'real',
    certificate_at: 'moment',
    checked_at: 'moment',
  })
  await sql`
    update checks set message = given.message, duration = given.duration, certificate_at = given.certificate_at, checked_at = given.checked_at
    from (${given}) as given where checks.id = given.id and checks.changed_at = given.changed_at
      and (checks.checked_at is null or checks.checked_at <= given.checked_at or checks.checked_at > ${ctx.now() + 60_000})`.execute(ctx.db)
}

// ---- Facts

export async function readFact(ctx: Context, name: string): Promise<{ value: string; at: number } | undefined> {
  return await ctx.db.selectFrom('facts').select(['value', 'at']).where('name', '=', name).executeTakeFirst()
}

export async function writeFact(ctx: Context, name: string, value: string): Promise<void> {
  const set = { value, at: ctx.now() }
  await ctx.db
    .insertInto('facts')
    .values({ name, ...set })
    .onConflict((conflict) => conflict.column('name').doUpdateSet(set))
    .execute()
}

const lease = 'checks.lease'

/** Takes or renews the lease; whoever else holds one that is not over keeps it. A moment ahead of the clock is of a clock that was wrong. */
export async function takeLease(ctx: Context, holder: string, lastsMs: number): Promise<boolean> {
  const now = ctx.now()
  const set = { value: holder, at: now }
  const { numInsertedOrUpdatedRows } = await ctx.db
    .insertInto('facts')
    .values({ name: lease, ...set })
    .onConflict((conflict) =>
      conflict
        .column('name')
        .doUpdateSet(set)
        .where((row) =>
          row.or([row('facts.value', '=', holder), row('facts.at', '<', now - lastsMs), row('facts.at', '>', now + lastsMs)]),
        ),
    )
    .executeTakeFirst()
  return numInsertedOrUpdatedRows === 1n
}

export async function dropLease(ctx: Context, holder: string): Promise<void> {
  await ctx.db.deleteFrom('facts').where('name', '=', lease).where('value', '=', holder).execute()
}

/** Who holds the lease, and takes it from exactly that one, of whom is known that it is gone. */
export async function inheritLease(ctx: Context, holder: string, isGone: (other: string) => boolean): Promise<boolean> {
  const other = (await readFact(ctx, lease))?.value
  if (other === undefined || !isGone(other)) return false
  const { numUpdatedRows } = await ctx.db
    .updateTable('facts')
    .set({ value: holder, at: ctx.now() })
    .where('name', '=', lease)
    .where('value', '=', other)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}
