import { sql, type RawBuilder, type Transaction } from 'kysely'
import type { Schema } from './schema'

export type DialectName = 'sqlite' | 'postgres'

/** Column types for migrations: text ids, epoch milliseconds, JSON as text. */
export interface ColumnTypes {
  readonly text: 'text'
  readonly moment: 'integer' | 'bigint'
  readonly whole: 'integer' | 'bigint'
  readonly real: 'real' | 'double precision'
}

/** All that differs between the two databases. */
export interface Dialect {
  readonly name: DialectName
  readonly types: ColumnTypes
  /** `JSON text → rows`, for one statement that takes any number of rows. Columns: text, whole or real. */
  rows(json: string, columns: Readonly<Record<string, keyof ColumnTypes>>): RawBuilder<unknown>
  /** Text that sorts and compares by code point on both. */
  binary(column: string): RawBuilder<string>
  /** Holds other writers of `changes` back until this transaction ends, so that numbers are in commit order. */
  lockChanges(db: Transaction<Schema>): Promise<void>
  /** An identity column that counts upwards. */
  readonly counter: string
}

export const sqliteDialect: Dialect = {
  name: 'sqlite',
  types: { text: 'text', moment: 'integer', whole: 'integer', real: 'real' },
  rows: (json, columns) =>
    sql`select ${sql.join(Object.keys(columns).map((column) => sql`value ->> ${sql.lit(`$.${column}`)} as ${sql.ref(column)}`))} from json_each(${json}) where true`,
  binary: (column) => sql`${sql.ref(column)}`,
  lockChanges: () => Promise.resolve(),
  counter: 'integer primary key autoincrement not null',
}

const changesLock = 0x0c0c

export const postgresDialect: Dialect = {
  name: 'postgres',
  types: { text: 'text', moment: 'bigint', whole: 'bigint', real: 'double precision' },
  rows: (json, columns) =>
    sql`select ${sql.join(Object.keys(columns).map((column) => sql.ref(column)))} from json_to_recordset(${json}::json) as given(${sql.join(
      Object.entries(columns).map(([column, type]) => sql`${sql.ref(column)} ${sql.raw(postgresDialect.types[type])}`),
    )})`,
  binary: (column) => sql`${sql.ref(column)} collate "C"`,
  async lockChanges(db) {
    await sql`select pg_advisory_xact_lock(${changesLock}), pg_notify('changes', '')`.execute(db)
  },
  counter: 'bigint generated always as identity primary key',
}
