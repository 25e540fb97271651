import { chmodSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import type Database from 'better-sqlite3'
import { Kysely } from 'kysely'
import { Pool, types } from 'pg'
import type { Log } from '../log'
import { postgresBell, sqliteBell, type Bell } from './bell'
import { Damage, noteDamage } from './damage'
import { postgresDialect, sqliteDialect, type Dialect } from './dialect'
import { PostgresDialect } from './postgres'
import type { Schema } from './schema'
import { openSqlite, SqliteDialect } from './sqlite'

/** The open database, whichever it is. */
export interface Store {
  readonly db: Kysely<Schema>
  readonly dialect: Dialect
  /** Rings when something was committed here or in another process. */
  readonly bell: Bell
  /** SQLite's file, null on PostgreSQL. */
  readonly file: string | null
  /** The raw connection, for what only SQLite has: pragmas. */
  readonly sqlite: Database.Database | null
  /** Writes a copy of what is committed into a file, also while a transaction is open. Null on PostgreSQL, which has its own tools. */
  readonly copyTo: ((file: string) => void) | null
  close(): Promise<void>
}

type TypeId = Parameters<typeof types.getTypeParser>[0]

export interface StoreOptions {
  readonly dataDir: string
  readonly databaseUrl: string | null
  readonly log: Log
}

export const sqliteFile = (dataDir: string): string => join(dataDir, 'operations-center.db')

export async function openStore(options: StoreOptions): Promise<Store> {
  return options.databaseUrl === null
    ? openSqliteStore(sqliteFile(options.dataDir), options)
    : await openPostgresStore(options.databaseUrl, options.log)
}

function openSqliteStore(file: string, { dataDir, log }: StoreOptions): Store {
  const damage = new Damage((message) => {
    log.fatal({ reason: message }, 'the database is damaged: nothing is written into it any more')
    noteDamage(dataDir, message)
  })
  const writer = openSqlite(file, { readonly: false })
  // WAL and SHM inherit the mode of the database.
  for (const path of [file, `${file}-wal`, `${file}-shm`]) if (existsSync(path)) chmodSync(path, 0o600)
  const reader = openSqlite(file, { readonly: true })
  const db = new Kysely<Schema>({ dialect: new SqliteDialect(writer, reader, damage) })
  const bell = sqliteBell(() => reader.pragma('data_version', { simple: true }))
  return {
    db,
    dialect: sqliteDialect,
    bell,
    file,
    sqlite: writer,
    copyTo: (path) => void reader.prepare('vacuum into ?').run(path),
    async close() {
      bell.close()
      await db.destroy()
    },
  }
}

async function openPostgresStore(connectionString: string, log: Log): Promise<Store> {
  const asNumber = (text: string) => Number(text)
  const pool = new Pool({
    connectionString,
    max: 10,
    connectionTimeoutMillis: 5000,
    // A server that has gone silent must not keep everybody waiting until TCP gives up.
    keepAlive: true,
    statement_timeout: 15_000,
    query_timeout: 20_000,
    types: {
      // Everything counted here stays below 2^53.
      getTypeParser: (oid: TypeId, format?: 'text' | 'binary'): unknown =>
        oid === types.builtins.INT8 || oid === types.builtins.NUMERIC ? asNumber : types.getTypeParser(oid, format),
    },
  })
  // A connection that breaks would otherwise end the process: the pool listens while it is idle, nobody while a transaction has it.
  let closing = false
  pool.on('error', ({ message }) => {
    // The error itself carries the whole client, with its keys.
    if (!closing) log.warn({ reason: message }, 'lost a connection to PostgreSQL')
  })
  pool.on('connect', (client) => client.on('error', () => undefined))
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) })
  const bell = await postgresBell(connectionString, log)
  return {
    db,
    dialect: postgresDialect,
    bell,
    file: null,
    sqlite: null,
    copyTo: null,
    async close() {
      closing = true
      bell.close()
      await db.destroy()
    },
  }
}
