import Database from 'better-sqlite3'
import {
  type CompiledQuery,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
} from 'kysely'
import { Unavailable } from '../errors'
import { Damage } from './damage'

/** How long a write waits for another process's transaction. The wait is asynchronous: the event loop goes on. */
const patienceMs = 5000

/** Opens one connection with the settings that every one must have. */
export function openSqlite(file: string, options: { readonly: boolean }): Database.Database {
  // While opening there is nothing to keep going meanwhile, and another process may be recovering the log of one that was killed.
  const db = new Database(file, { readonly: options.readonly, timeout: patienceMs })
  if (!options.readonly) {
    // Before the first table exists, or it has no effect: lets retention give pages back to the disk.
    db.pragma('auto_vacuum = INCREMENTAL')
    db.pragma('journal_mode = WAL')
    // An acknowledged event survives a power cut; group commit makes it affordable.
    db.pragma('synchronous = FULL')
    db.pragma('foreign_keys = ON')
    db.pragma('trusted_schema = OFF')
    // A burst makes the log long; afterwards the space goes back to the disk.
    db.pragma('journal_size_limit = 67108864')
  }
  db.pragma('cache_size = -16000')
  db.pragma('temp_store = MEMORY')
  db.pragma('busy_timeout = 0')
  return db
}

/** By its code, not its class: the native part keeps the class of whoever loaded it first. */
export const sqliteCode = (error: unknown): string => {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? code : ''
}

const isBusy = (error: unknown): boolean => sqliteCode(error).startsWith('SQLITE_BUSY')

const isDisk = (error: unknown): boolean => /^SQLITE_(FULL|IOERR|READONLY|CANTOPEN)/.test(sqliteCode(error))

/** One database behind Kysely: a single writer that begins immediately, and a reader that never waits for it. */
export class SqliteDialect implements Dialect {
  constructor(
    readonly writer: Database.Database,
    readonly reader: Database.Database,
    readonly damage = new Damage(() => undefined),
  ) {}

  createDriver = (): Driver => new SqliteDriver(this.writer, this.reader, this.damage)
  createQueryCompiler = () => new SqliteQueryCompiler()
  createAdapter = () => new SqliteAdapter()
  createIntrospector: Dialect['createIntrospector'] = (db) => new SqliteIntrospector(db)
}

class SqliteDriver implements Driver {
  readonly #writing = new Turn()
  readonly #writer: Statements
  readonly #reader: Statements

  constructor(
    writer: Database.Database,
    reader: Database.Database,
    private readonly damage: Damage,
  ) {
    this.#writer = new Statements(writer, damage)
    this.#reader = new Statements(reader, damage)
  }

  init = () => Promise.resolve()

  acquireConnection = () => Promise.resolve(new SqliteConnection(this.#writing, this.#writer, this.#reader))

  releaseConnection = () => Promise.resolve()

  async beginTransaction(connection: SqliteConnection): Promise<void> {
    const until = performance.now() + patienceMs
    this.damage.refuseWrites()
    await this.#writing.take()
    try {
      await whenFree(() => this.#writer.db.exec('begin immediate'), until)
    } catch (error) {
      this.#writing.give()
      throw error
    }
    connection.inTransaction = true
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- part of Kysely's interface
  async commitTransaction(connection: SqliteConnection): Promise<void> {
    try {
      this.#writer.db.exec('commit')
    } catch (error) {
      // Kysely does not roll back when the commit itself fails (a full disk), and the next begin would then fail too.
      if (this.#writer.db.inTransaction) this.#writer.db.exec('rollback')
      this.damage.see(error)
      throw asUnavailable(error)
    } finally {
      this.#end(connection)
    }
  }

  rollbackTransaction(connection: SqliteConnection): Promise<void> {
    // Errors such as a full disk have already rolled it back.
    if (!connection.inTransaction) return Promise.resolve()
    try {
      if (this.#writer.db.inTransaction) this.#writer.db.exec('rollback')
    } finally {
      this.#end(connection)
    }
    return Promise.resolve()
  }

  #end(connection: SqliteConnection): void {
    connection.inTransaction = false
    this.#writing.give()
  }

  async destroy(): Promise<void> {
    // An open transaction may still be committed.
    await this.#writing.take()
    this.#reader.db.close()
    this.#writer.db.close()
  }
}

class SqliteConnection implements DatabaseConnection {
  inTransaction = false

  constructor(
    private readonly writing: Turn,
    private readonly writer: Statements,
    private readonly reader: Statements,
  ) {}

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    if (this.inTransaction) {
      // SQLite itself rolls back when the disk is full: what came next would be written outside of any transaction.
      if (!this.writer.db.inTransaction) throw new Error('An error before has already rolled this transaction back')
      return this.writer.run(query)
    }
    const until = performance.now() + patienceMs
    if (query.query.kind === 'SelectQueryNode') return await whenFree(() => this.reader.run<R>(query), until)
    await this.writing.take()
    try {
      return await whenFree(() => this.writer.run<R>(query), until)
    } finally {
      this.writing.give()
    }
  }

  // eslint-disable-next-line require-yield, @typescript-eslint/require-await -- part of Kysely's interface
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('Streams hold the only writer: read pages by cursor instead')
  }
}

/** Prepared statements of one connection; preparing each time costs three times the query. */
class Statements {
  readonly #prepared = new Map<string, Database.Statement>()

  constructor(
    readonly db: Database.Database,
    private readonly damage: Damage,
  ) {}

  run<R>({ sql, parameters }: CompiledQuery): QueryResult<R> {
    try {
      const statement = this.#prepare(sql)
      if (statement.reader) return { rows: statement.all(parameters) as R[] }
      this.damage.refuseWrites()
      const { changes, lastInsertRowid } = statement.run(parameters)
      return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) }
    } catch (error) {
      this.damage.see(error)
      if (isDamaged(error)) throw this.damage.unavailable(error)
      throw asUnavailable(error)
    }
  }

  #prepare(sql: string): Database.Statement {
    let statement = this.#prepared.get(sql)
    if (!statement) {
      statement = this.db.prepare(sql)
      // Statements with lists have many texts; the oldest is forgotten first.
      if (this.#prepared.size >= 400) this.#prepared.delete(this.#prepared.keys().next().value ?? '')
      this.#prepared.set(sql, statement)
    }
    return statement
  }
}

const isDamaged = (error: unknown): boolean => /^SQLITE_(CORRUPT|NOTADB)/.test(sqliteCode(error))

function asUnavailable(error: unknown): unknown {
  if (!isDisk(error)) return error
  const message = 'Nothing can be stored at the moment: the disk is full, read-only or broken. Nothing was lost that was acknowledged.'
  return new Unavailable('The database', message, { cause: error })
}

/** `until` counts from when somebody asked: of many who wait in line for a locked database, none waits longer than the first. */
async function whenFree<T>(work: () => T, until: number): Promise<T> {
  for (;;) {
    try {
      return work()
    } catch (error) {
      if (!isBusy(error)) throw asUnavailable(error)
      if (performance.now() > until)
        throw new Unavailable('The database', 'Another program has locked the database for more than 5 s.', { cause: error })
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
}

/** First come, first served. */
class Turn {
  #taken = false
  readonly #waiting: (() => void)[] = []

  take(): Promise<void> {
    if (!this.#taken) {
      this.#taken = true
      return Promise.resolve()
    }
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  give(): void {
    const next = this.#waiting.shift()
    if (next) next()
    else this.#taken = false
  }
}
