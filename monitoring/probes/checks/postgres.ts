import type { Socket } from 'node:net'
import { Client, Query, type QueryConfig } from 'pg'
import { Answered, attempt, type Run } from './attempt'
import { dial, secure } from './dial'
import { plain, ProbeFailure, type PostgresSpec, type Probe } from './probe'

const mostBytes = 512 * 1024
// What PostgreSQL calls this type by
const boolean = 16
const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
// A server that is told good-bye writes no complaint about a lost connection into its log every ten seconds
const goodbye = 200

type Verify = 'none' | 'encrypt' | 'chain' | 'full'

const sslModes: Record<string, Verify> = {
  disable: 'none',
  require: 'encrypt',
  'no-verify': 'encrypt',
  'verify-ca': 'chain',
  'verify-full': 'full',
}

type Value = string | boolean | null

interface Server {
  host: string
  port: number
  user: string
  password: string
  database: string
  verify: Verify
}

export const probePostgres: Probe<PostgresSpec> = (spec, options) =>
  attempt(options, async (run) => {
    const server = readUrl(spec.url)
    const opened = await dial(run, server.host, server.port)
    const socket = server.verify === 'none' ? opened : await encrypted(run, opened, server.host, server.verify)
    run.stage = 'no sign-in'
    const client = connected(run, socket, server)
    await client.connect()
    run.stage = 'signed in, but no answer'
    if (spec.query === null || spec.query.trim() === '') {
      await first(client, 'select 1')
      return { ok: true, message: 'answered' }
    }
    const left = Math.max(1, Math.ceil(options.timeout - run.elapsed()))
    await client.query(`begin read only; set local statement_timeout = ${left}`)
    const value = await first(client, spec.query)
    const shown = value === undefined ? 'no row' : value === null ? 'null' : plain(String(value), 80) || 'an empty text'
    run.details['answer'] = shown
    if (value === false) throw new Answered('the query answered false')
    return { ok: true, message: `the query answered ${shown}` }
  })

/** Reads the URL without the driver's help, which takes files of this machine, other hosts and its environment from it. */
function readUrl(text: string): Server {
  const url = URL.canParse(text) ? new URL(text) : null
  if (!url || !/^postgres(?:ql)?:$/.test(url.protocol) || url.hostname === '') throw new ProbeFailure('The URL begins with postgres://')
  for (const name of url.searchParams.keys())
    if (name !== 'sslmode') throw new ProbeFailure(`The URL may say sslmode after its ?, but not ${plain(name, 40)}`)
  const mode = url.searchParams.get('sslmode') ?? 'disable'
  const verify = Object.hasOwn(sslModes, mode) ? sslModes[mode] : undefined
  if (verify === undefined) throw new ProbeFailure(`sslmode is one of ${Object.keys(sslModes).join(', ')}`)
  const [user, password, database] = [url.username, url.password, url.pathname.slice(1)].map(decoded) as [string, string, string]
  return {
    host: url.hostname,
    port: Number(url.port) || 5_432,
    user: user || 'postgres',
    password,
    database: database || user || 'postgres',
    verify,
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw new ProbeFailure('The name, the password or the database in the URL is not percent-encoded as it should be')
  }
}

async function encrypted(run: Run, socket: Socket, host: string, verify: Exclude<Verify, 'none'>): Promise<Socket> {
  run.stage = 'no answer'
  const answer = await new Promise<Buffer>((resolve, reject) => {
    socket.once('data', resolve)
    socket.once('end', () => reject(new Answered('the connection was closed without an answer')))
    socket.write(sslRequest)
  })
  // More than the one letter was sent by somebody in between, before the encryption began
  if (answer.length !== 1 || answer[0] !== 0x53) throw new Answered('the server does not offer TLS')
  return secure(run, socket, host, { verify })
}

function connected(run: Run, socket: Socket, server: Server): Client {
  const client = new Client({
    user: server.user,
    host: server.host,
    port: server.port,
    database: server.database,
    // A function, because the driver looks an empty one up in the environment and in ~/.pgpass of this machine
    password: () => server.password,
    ssl: false,
    application_name: 'Operations Center',
    // The socket is connected already; the driver has only to be told
    stream: () => Object.assign(shielded(socket), { connect: () => process.nextTick(() => socket.emit('connect')) }),
  })
  client.on('error', () => undefined)
  run.finally(() => {
    void client.end().catch(() => undefined)
    setTimeout(() => socket.destroy(), goodbye).unref()
  })
  return client
}

/** The driver throws inside the socket's event at what no PostgreSQL would send, and keeps all that it is sent. */
function shielded(socket: Socket): Socket {
  const emit = socket.emit.bind(socket) as (event: string | symbol, ...values: unknown[]) => boolean
  let bytes = 0
  return Object.assign(socket, {
    emit(event: string | symbol, ...values: unknown[]): boolean {
      if (event !== 'data') return emit(event, ...values)
      bytes += (values[0] as Buffer).length
      if (bytes > mostBytes) {
        socket.destroy(new Answered('the answer is larger than 512 kB'))
        return true
      }
      try {
        return emit(event, ...values)
      } catch {
        socket.destroy(new Answered('the answer is not PostgreSQL'))
        return true
      }
    },
  })
}

/** The first value of the first row, as the server writes it; undefined without a row. One statement only: a second is a syntax error. */
function first(client: Client, text: string): Promise<Value | undefined> {
  return new Promise((resolve, reject) => {
    let value: Value | undefined
    const config: QueryConfig & { rowMode: 'array'; queryMode: 'extended' } = {
      text,
      rowMode: 'array',
      queryMode: 'extended',
      types: { getTypeParser: (type: number) => (raw: string) => (type === boolean ? raw === 't' : raw) },
    }
    const query = new Query<Value[]>(config)
    query.on('row', (row: Value[]) => {
      if (value === undefined) value = row[0]
    })
    query.on('end', () => resolve(value))
    query.on('error', reject)
    client.query(query)
  })
}
