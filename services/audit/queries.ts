import { sql } from 'kysely'
import type { Context } from '../../monitoring/context'
import type { Act } from '../audit'
import { keyOf, macOf } from './mac'
import { plain, redacted } from './redact'

export interface AuditTable {
  id: string
  org_id: string
  at: number
  actor_kind: string
  actor_id: string
  actor_name: string
  address: string | null
  action: string
  subject: string
  /** JSON: `before`, `after`, and what else there is to say. */
  data: string | null
  key_id: string | null
  key_name: string | null
  subject_name: string | null
  /** By which the console knows that it has written it; null in entries from before there was one. */
  mac: string | null
  /** Its place in the chain; null until it is sealed. */
  no: number | null
  hash: string | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    audit: AuditTable
  }
}

const columns = [
  'id',
  'org_id',
  'at',
  'actor_kind',
  'actor_id',
  'actor_name',
  'address',
  'action',
  'subject',
  'data',
  'key_id',
  'key_name',
  'subject_name',
  'no',
  'hash',
] as const

/** An entry as people read it. */
export type ReadRow = Omit<AuditTable, 'mac'>

/** An entry as it is sealed. */
export type ChainRow = AuditTable

const chainColumns = [...columns, 'mac'] as const

/** A context, or the store that the doctor has opened. */
export type Source = Pick<Context, 'db'>

export async function insertAudit(ctx: Context, { action, subject, name, before, after, data }: Act): Promise<void> {
  const { actor } = ctx
  const said = { ...data, ...(before ? { before } : {}), ...(after ? { after } : {}) }
  const row = {
    id: ctx.newId(),
    org_id: ctx.org,
    at: ctx.now(),
    actor_kind: actor.kind,
    actor_id: actor.id,
    actor_name: actor.name,
    address: actor.address,
    action,
    subject: plain(subject),
    data: Object.keys(said).length > 0 ? redacted(said) : null,
    key_id: actor.key?.id ?? null,
    key_name: actor.key?.name ?? null,
    subject_name: name == null ? null : plain(name),
  }
  const mac = macOf(keyOf(ctx.platform.config.serverSecret), row)
  await ctx.db
    .insertInto('audit')
    .values({ ...row, mac, no: null, hash: null })
    .execute()
}

// ---- Reading one organisation's

export interface Indexed {
  person?: string | undefined
  /** Any of these. */
  actions?: readonly string[] | undefined
  /** Its id or its name. */
  subject?: string | undefined
  /** From this moment on. */
  from?: number | undefined
  /** Until just before this moment. */
  to?: number | undefined
}

export interface Page {
  limit: number
  after: { at: number; id: string } | null
}

/**
 * Newest first, a page at a time by keyset. An index gives its rows in the order of time for one action and one subject only,
 * so several are asked one by one in the same statement.
 */
export async function listAudit(ctx: Context, filter: Indexed, { limit, after }: Page): Promise<ReadRow[]> {
  const branch = (action: string | undefined, column: 'subject' | 'subject_name' | undefined) => {
    const { person, subject, from, to } = filter
    let query = ctx.db.selectFrom('audit').select(columns).where('org_id', '=', ctx.org)
    if (person !== undefined) query = query.where('actor_id', '=', person)
    if (action !== undefined) query = query.where('action', '=', action)
    if (column !== undefined) query = query.where(column, '=', subject ?? '')
    if (column === 'subject_name') query = query.where('subject', '<>', subject ?? '')
    if (from !== undefined) query = query.where('at', '>=', from)
    if (to !== undefined) query = query.where('at', '<', to)
    if (after) query = query.where((row) => row(row.refTuple('at', 'id'), '<', row.tuple(after.at, after.id)))
    return query.orderBy('at', 'desc').orderBy('id', 'desc').limit(limit)
  }
  const subjects = filter.subject === undefined ? [undefined] : (['subject', 'subject_name'] as const)
  const [first, ...others] = (filter.actions ?? [undefined]).flatMap((action) => subjects.map((column) => branch(action, column)))
  if (!first) return []
  if (others.length === 0) return await first.execute()
  const all = others.reduce(
    (union, one) => union.unionAll(ctx.db.selectFrom(one.as('newest')).selectAll()),
    ctx.db.selectFrom(first.as('newest')).selectAll(),
  )
  return await all.orderBy('at', 'desc').orderBy('id', 'desc').limit(limit).execute()
}

const mostKnown = 200

/** What a column has had in this organisation: each value is one step in the index, however many rows there are of it. */
const valuesOf = (ctx: Context, column: 'action' | 'actor_id') =>
  ctx.db.withRecursive('known(value)', (db) =>
    db
      .selectFrom('audit')
      .select((row) => row.fn.min<string | null>(column).as('value'))
      .where('org_id', '=', ctx.org)
      .unionAll(
        db
          .selectFrom('known')
          .select((row) =>
            row
              .selectFrom('audit')
              .select((one) => one.fn.min<string | null>(column).as('value'))
              .where('org_id', '=', ctx.org)
              .whereRef(column, '>', 'known.value')
              .as('value'),
          )
          .where('known.value', 'is not', null),
      ),
  )

export async function listActions(ctx: Context): Promise<string[]> {
  const rows = await valuesOf(ctx, 'action').selectFrom('known').select('value').limit(mostKnown).execute()
  return rows.flatMap(({ value }) => value ?? [])
}

/** Who has left entries in this organisation, under the name they had last. */
export async function listActors(ctx: Context): Promise<{ id: string; name: string }[]> {
  const rows = await valuesOf(ctx, 'actor_id')
    .selectFrom('known')
    .select((row) => [
      'known.value as id',
      row
        .selectFrom('audit')
        .select('actor_name')
        .where('org_id', '=', ctx.org)
        .whereRef('actor_id', '=', 'known.value')
        .orderBy('at', 'desc')
        .orderBy('audit.id', 'desc')
        .limit(1)
        .as('name'),
    ])
    .limit(mostKnown)
    .execute()
  return rows.flatMap(({ id, name }) => (id === null ? [] : { id, name: name ?? id }))
}

// ---- The chain, of the whole installation

export type AuditFact = 'audit.head' | 'audit.anchor' | 'audit.secret' | 'audit.kept-from'

export interface Fact {
  value: string
  at: number
}

export const findFact = ({ db }: Source, name: AuditFact): Promise<Fact | undefined> =>
  db.selectFrom('facts').select(['value', 'at']).where('name', '=', name).executeTakeFirst()

export async function setFact({ db }: Source, name: AuditFact, fact: Fact): Promise<void> {
  await db
    .insertInto('facts')
    .values({ name, ...fact })
    .onConflict((conflict) => conflict.column('name').doUpdateSet(fact))
    .execute()
}

/** Moves a fact's time on and says its value; whoever does the same meanwhile waits for the end of this transaction. */
export async function moveFact({ db }: Source, name: AuditFact, at: number): Promise<string> {
  const { value } = await db
    .insertInto('facts')
    .values({ name, value: '0', at })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ at }))
    .returning('value')
    .executeTakeFirstOrThrow()
  return value
}

/** Sets a fact that is still what it was; of two who try at once, the second waits for the first and then fails. */
export async function replaceFact({ db }: Source, name: AuditFact, before: string | undefined, fact: Fact): Promise<boolean> {
  if (before === undefined) {
    const { numInsertedOrUpdatedRows } = await db
      .insertInto('facts')
      .values({ name, ...fact })
      .onConflict((conflict) => conflict.column('name').doNothing())
      .executeTakeFirst()
    return numInsertedOrUpdatedRows === 1n
  }
  const { numUpdatedRows } = await db.updateTable('facts').set(fact).where('name', '=', name).where('value', '=', before).executeTakeFirst()
  return numUpdatedRows === 1n
}

/** Those that wait to be sealed, the oldest first. */
export const listUnsealed = ({ db }: Source, limit: number): Promise<ChainRow[]> =>
  db.selectFrom('audit').select(chainColumns).where('hash', 'is', null).orderBy('at').orderBy('id').limit(limit).execute()

export async function countUnsealed({ db }: Source, most: number): Promise<{ count: number; oldest: number | null }> {
  const some = db.selectFrom('audit').select('at').where('hash', 'is', null).orderBy('at').orderBy('id').limit(most)
  return await db
    .selectFrom(some.as('some'))
    .select((row) => [row.fn.countAll<number>().as('count'), row.fn.min<number | null>('at').as('oldest')])
    .executeTakeFirstOrThrow()
}

export async function countUnwritten({ db }: Source): Promise<number> {
  const { count } = await db
    .selectFrom('audit')
    .select((row) => row.fn.countAll<number>().as('count'))
    .where('mac', 'is', null)
    .executeTakeFirstOrThrow()
  return count
}

// ---- The same of one organisation

export async function countSome(ctx: Context, most: number): Promise<number> {
  const some = ctx.db.selectFrom('audit').select('at').where('org_id', '=', ctx.org).limit(most)
  const { count } = await ctx.db
    .selectFrom(some.as('some'))
    .select((row) => row.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return count
}

export async function countUnsealedHere(ctx: Context, most: number): Promise<number> {
  const some = ctx.db.selectFrom('audit').select('at').where('hash', 'is', null).where('org_id', '=', ctx.org).limit(most)
  const { count } = await ctx.db
    .selectFrom(some.as('some'))
    .select((row) => row.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return count
}

export async function newestSealedHere(ctx: Context): Promise<number | null> {
  const newest = await ctx.db
    .selectFrom('audit')
    .select('at')
    .where('org_id', '=', ctx.org)
    .where('hash', 'is not', null)
    .orderBy('at', 'desc')
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst()
  return newest?.at ?? null
}

// ---- Sealing and removing

export interface Link {
  id: string
  no: number
  hash: string
}

/** Writes places and hashes; says how many of the rows were still without. */
export async function sealRows(ctx: Context, links: readonly Link[]): Promise<number> {
  const given = ctx.platform.store.dialect.rows(JSON.stringify(links), { id: 'text', no: 'whole', hash: 'text' })
  const { numAffectedRows } = await sql`
    update audit set no = given.no, hash = given.hash from (${given}) as given where audit.id = given.id and audit.hash is null`.execute(
    ctx.db,
  )
  return Number(numAffectedRows ?? 0n)
}

export interface Sealed extends ChainRow {
  no: number
  hash: string
}

/** A piece of the chain, in its order. */
export const listSealed = ({ db }: Source, after: number, limit: number): Promise<Sealed[]> =>
  db.selectFrom('audit').select(chainColumns).where('no', '>', after).orderBy('no').limit(limit).$castTo<Sealed>().execute()

export async function newestNo({ db }: Source): Promise<number> {
  const newest = await db
    .selectFrom('audit')
    .select((row) => row.fn.max<number | null>('no').as('no'))
    .executeTakeFirst()
  return newest?.no ?? 0
}

export async function deleteThrough(ctx: Context, no: number): Promise<void> {
  await ctx.db.deleteFrom('audit').where('no', '<=', no).execute()
}
