import { closeSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { sql, type Kysely, type Transaction } from 'kysely'
import { asError } from '../errors'
import type { ColumnTypes, Dialect } from './dialect'
import * as spine from './migrations/0001_spine'
import * as people from './migrations/0002_people'
import * as health from './migrations/0003_health'
import type { Store } from './open'
import type { Schema } from './schema'

export interface Migration {
  readonly name: string
  /** Never edited after a release; there is no way down but the copy that was made before. */
  up(db: Kysely<unknown>, types: ColumnTypes, dialect: Dialect): Promise<void>
}

/** Order is important: new ones go at the end. */
export const migrations: readonly Migration[] = [
  { name: '0001_spine', ...spine },
  { name: '0002_people', ...people },
  { name: '0003_health', ...health },
]

const migrationLock = 0x0c01

/** Nothing was changed: this version does not know the schema. */
export class NewerSchema extends Error {}

/** Nothing of it remains. */
export class MigrationFailed extends Error {}

/** What was done, for the log. */
export interface Migrated {
  readonly applied: readonly string[]
  /** The copy of the database as it was before; null for a new one and on PostgreSQL. */
  readonly copy: string | null
}

/** Brings the schema up to date: all pending migrations in one transaction, under a lock, or none of them. */
export async function migrate(store: Store, now: () => number, list: readonly Migration[] = migrations): Promise<Migrated> {
  const pending = await pendingOf(store.db, store, list)
  if (pending.length === 0) return { applied: [], copy: null }
  return await store.db.transaction().execute(async (db) => {
    // SQLite's writer already holds the only write lock.
    if (store.dialect.name === 'postgres') {
      // Filling a new column of a large table takes longer than any request may.
      await sql`set local statement_timeout = 0`.execute(db)
      await sql`select pg_advisory_xact_lock(${migrationLock})`.execute(db)
    }
    // Another process may have been quicker while this one waited for the lock.
    const still = await pendingOf(db, store, list)
    // Under the lock and before the first change, so that nothing acknowledged is missing in it.
    const copy = still[0] && still.length < list.length ? copyBefore(store, still[0].name) : null
    for (const migration of still) {
      try {
        await migration.up(db as Transaction<unknown>, store.dialect.types, store.dialect)
      } catch (error) {
        throw new MigrationFailed(
          `Migration ${migration.name} failed, and the database is as it was before: ${asError(error).message}${copy ? ` (a copy of it: ${copy})` : ''}`,
          { cause: error },
        )
      }
      await db.insertInto('migrations').values({ name: migration.name, applied_at: now() }).execute()
    }
    return { applied: still.map(({ name }) => name), copy }
  })
}

async function pendingOf(db: Kysely<Schema>, store: Store, list: readonly Migration[]): Promise<readonly Migration[]> {
  const done = (await hasTable(db, store)) ? await db.selectFrom('migrations').select('name').orderBy('name').execute() : []
  const known = new Set(list.map(({ name }) => name))
  const unknown = done.filter(({ name }) => !known.has(name)).map(({ name }) => name)
  if (unknown.length > 0)
    throw new NewerSchema(
      `This database was written by a newer version of Operations Center (it has ${unknown.join(', ')}). Nothing was changed: start the newer version, or restore the copy that was made before the upgrade.`,
    )
  const applied = new Set(done.map(({ name }) => name))
  return list.filter(({ name }) => !applied.has(name))
}

async function hasTable(db: Kysely<Schema>, store: Store): Promise<boolean> {
  const { rows } =
    store.dialect.name === 'sqlite'
      ? await sql`select 1 from sqlite_master where type = 'table' and name = 'migrations'`.execute(db)
      : // Not to_regclass: it may answer from a cache that has not heard what another process has just committed.
        await sql`select 1 from pg_class where relname = 'migrations' and relnamespace = current_schema()::regnamespace`.execute(db)
  return rows.length > 0
}

/** A whole copy under its final name only when it is complete. PostgreSQL has its own tools for this. */
function copyBefore(store: Store, name: string): string | null {
  if (!store.file || !store.copyTo) return null
  const copy = `${store.file}.before-${name}`
  const part = `${copy}.part`
  try {
    rmSync(part, { force: true })
    // It holds what the database holds, so it is for its owner only, from the first byte on.
    closeSync(openSync(part, 'wx', 0o600))
    store.copyTo(part)
    // VACUUM INTO leaves this to its caller.
    sync(part)
    renameSync(part, copy)
    sync(dirname(copy))
  } catch (error) {
    rmSync(part, { force: true })
    throw new MigrationFailed(`The database could not be copied before its upgrade, and nothing was changed: ${asError(error).message}`, {
      cause: error,
    })
  }
  return copy
}

function sync(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
