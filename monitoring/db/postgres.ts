import { PostgresDialect as Dialect, PostgresDriver, type CompiledQuery, type DatabaseConnection, type PostgresDialectConfig } from 'kysely'
import { Unavailable } from '../errors'

/** Kysely's own, which says in our words when the server cannot be reached or cannot store anything: the caller may come back. */
export class PostgresDialect extends Dialect {
  readonly #config: PostgresDialectConfig

  constructor(config: PostgresDialectConfig) {
    super(config)
    this.#config = config
  }

  override createDriver(): PostgresDriver {
    return new Driver(this.#config)
  }
}

class Driver extends PostgresDriver {
  readonly #translated = new WeakSet<DatabaseConnection>()

  override async acquireConnection(): Promise<DatabaseConnection> {
    try {
      const connection = await super.acquireConnection()
      if (!this.#translated.has(connection)) {
        this.#translated.add(connection)
        const execute = connection.executeQuery.bind(connection)
        connection.executeQuery = async <R>(query: CompiledQuery) => {
          try {
            return await execute<R>(query)
          } catch (error) {
            throw asUnavailable(error)
          }
        }
      }
      return connection
    } catch (error) {
      throw asUnavailable(error)
    }
  }
}

// Connection lost or refused, out of space or connections, shutting down, locked or deadlocked, read-only (a standby).
const sqlStates = /^(?:08...|53...|57P0[1-5]|57014|55P03|40001|40P01|25006)$/
const systemCodes = /^(?:ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/
/** What the driver says in words only. */
const sentences =
  /^(?:Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed|Query read timeout)/

function asUnavailable(error: unknown): unknown {
  const { code = '', message = '' } = error as { code?: string; message?: string }
  if (!sqlStates.test(code) && !systemCodes.test(code) && !sentences.test(message)) return error
  return new Unavailable(
    'The database',
    'PostgreSQL does not answer or cannot store anything at the moment. Nothing was lost that was acknowledged.',
    {
      cause: error,
    },
  )
}
