import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sign } from 'cookie-signature'
import { Client } from 'pg'
import supertest from 'supertest'
import { WebSocket } from 'ws'
import { openApp, type App, type AppOptions } from '../../monitoring/app'
import { prepareDataDir, readConfig } from '../../monitoring/config'
import { home, type Context } from '../../monitoring/context'
import { openLog } from '../../monitoring/log'
import { keyOf } from '../../services/accounts/queries'
import { saveSession } from '../../services/sessions/queries'
import { until } from './until'

/** The cast: Alice is admin, Bob operator, Carol viewer; Dave is an admin of another organisation. */
export type Person = 'alice' | 'bob' | 'carol' | 'dave'

export const password = 'correct horse battery'
/** Of that password, at the product's own cost; made once, because each costs a sixth of a second. */
const passwordHash = '$2b$12$Feb0BFc4I7NVlfLdvVh.SeQM327TEnbdU3zS4DuvmJoMGLRUIY2OC'

const cast: Readonly<Record<Person, { role: 'admin' | 'operator' | 'viewer'; org: string }>> = {
  alice: { role: 'admin', org: home },
  bob: { role: 'operator', org: home },
  carol: { role: 'viewer', org: home },
  dave: { role: 'admin', org: 'other' },
}

interface LogLine {
  level: number
  msg: string
  [field: string]: unknown
}

export interface TestApp extends App {
  readonly url: string
  readonly dataDir: string
  readonly pm2Home: string
  readonly log: LogLine[]
  /** Requests of a person, by a session of theirs; `null`: of nobody. */
  as(person: Person | null): Promise<Agent>
  /** Requests with HTTP Basic. */
  basic(person: Person): Agent
  /** Moves the product's clock. */
  advance(ms: number): void
  /** A socket of a person, which keeps what it received. */
  live(person: Person, path: string): Promise<Listener>
  /** Error lines that match are part of the test. */
  expectLog(pattern: RegExp): void
  /** Closes and opens again on the same data; `kill`: without the good order. */
  stop(): Promise<void>
}

type Verb = (path: string) => supertest.Test
export interface Agent {
  readonly get: Verb
  readonly post: Verb
  readonly put: Verb
  readonly patch: Verb
  readonly delete: Verb
  /** The `Cookie` header of this person. */
  readonly cookie: string | null
}

export interface Listener {
  readonly socket: WebSocket
  readonly frames: string[]
  /** The first frame, from now on or already here, that passes. */
  frame(test: (frame: string) => boolean): Promise<string>
  close(): void
}

export interface StartOptions extends Partial<Pick<AppOptions, 'probes'>> {
  /** Environment beside the defaults of a test. */
  env?: Readonly<Record<string, string>>
  dataDir?: string
  databaseUrl?: string
  /** Without accounts, as on the first run. */
  unclaimed?: boolean
}

/** The whole product on an empty database of its own and a free port. Measures nothing unless told to. */
export async function startApp(options: StartOptions = {}): Promise<TestApp> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'oc-'))
  const pm2Home = mkdtempSync(join(tmpdir(), 'pm2-'))
  const database = options.databaseUrl !== undefined ? { url: options.databaseUrl, drop: () => Promise.resolve() } : await emptyDatabase()
  const log: LogLine[] = []
  const expected: RegExp[] = []
  let offset = 0
  const config = prepareDataDir(
    readConfig(
      {
        DATA_DIR: dataDir,
        PM2_HOME: pm2Home,
        TIMEZONE: 'Asia/Kolkata',
        API_RATE_LIMIT: '10000',
        SIGN_IN_RATE_LIMIT: '10000',
        ...(database.url === null ? {} : { DATABASE_URL: database.url }),
        ...options.env,
      },
      '/nonexistent/.env',
    ),
  )
  const app = await openApp(config, {
    log: openLog('debug', { write: (line: string) => void log.push(JSON.parse(line) as LogLine) }),
    now: () => Date.now() + offset,
    probes: options.probes ?? { system: false, pm2: false },
  })
  if (!options.unclaimed) await addCast(app.ctx)
  const url = await app.listen(0, '127.0.0.1')
  const agents = new Map<Person | null, Promise<Agent>>()
  const listeners: Listener[] = []

  const agentOf = (headers: Readonly<Record<string, string>>): Agent => {
    const verb =
      (method: 'get' | 'post' | 'put' | 'patch' | 'delete'): Verb =>
      (path) =>
        supertest(url)[method](path).set(headers)
    return {
      get: verb('get'),
      post: verb('post'),
      put: verb('put'),
      patch: verb('patch'),
      delete: verb('delete'),
      cookie: headers['Cookie'] ?? null,
    }
  }

  async function signedIn(person: Person | null): Promise<Agent> {
    if (person === null) return agentOf({})
    return agentOf({ Cookie: await newSession(app, `user-${person}`), Origin: url })
  }

  function as(person: Person | null): Promise<Agent> {
    let agent = agents.get(person)
    if (!agent) agents.set(person, (agent = signedIn(person)))
    return agent
  }

  async function stop(): Promise<void> {
    for (const listener of listeners) listener.close()
    await app.close()
    if (options.databaseUrl === undefined) await database.drop()
    rmSync(pm2Home, { recursive: true, force: true })
    const bad = log.filter(
      ({ level, msg, ...rest }) => level >= 40 && !expected.some((pattern) => pattern.test(`${msg} ${JSON.stringify(rest)}`)),
    )
    if (bad.length > 0) throw new Error(`The product's log has unexpected lines:\n${bad.map((line) => JSON.stringify(line)).join('\n')}`)
  }

  return {
    ...app,
    url,
    dataDir,
    pm2Home,
    log,
    as,
    basic: (person) => agentOf({ Authorization: `Basic ${Buffer.from(`${person}:${password}`).toString('base64')}` }),
    advance(ms) {
      offset += ms
    },
    async live(person, path) {
      const { cookie } = await as(person)
      const listener = await listen(`${url.replace('http', 'ws')}${path}`, { Cookie: cookie ?? '', Origin: url })
      listeners.push(listener)
      return listener
    },
    expectLog(pattern) {
      expected.push(pattern)
    },
    stop,
    async close() {
      await stop()
      if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

export const cookieOf = (answer: supertest.Response): string =>
  ((answer.headers['set-cookie'] as unknown as string[] | undefined) ?? []).map((cookie) => cookie.split(';')[0] ?? '').join('; ')

/** The cookie of a new session, as signing in leaves it; without the form, because a hash takes a sixth of a second. */
export async function newSession({ ctx, platform }: App, userId: string): Promise<string> {
  const sid = randomBytes(24).toString('base64url')
  const cookie = { originalMaxAge: 86_400_000, httpOnly: true, path: '/', sameSite: 'lax', secure: false }
  const now = ctx.now()
  await ctx.transaction((ctx) =>
    saveSession(ctx, {
      id: createHash('sha256').update(sid).digest('hex'),
      user_id: userId,
      data: JSON.stringify({ cookie, userId }),
      ...{ address: '127.0.0.1', device: null, org_id: null },
      ...{ created_at: now, seen_at: now, confirmed_at: now, expires_at: now + 8 * 3_600_000 },
    }),
  )
  return `operations-center=${encodeURIComponent(`s:${sign(sid, platform.config.sessionSecret)}`)}`
}

/** Opens a socket; rejects with the status when the handshake is refused. */
export function listen(url: string, headers: Readonly<Record<string, string>>): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { headers })
    const frames: string[] = []
    socket.on('message', (data: Buffer) => frames.push(data.toString()))
    socket.once('open', () => {
      resolve({
        socket,
        frames,
        frame: (test) => until(() => frames.find(test)),
        close: () => {
          socket.terminate()
        },
      })
    })
    socket.once('unexpected-response', (request, response) => {
      request.destroy()
      reject(new Error(`refused with ${response.statusCode ?? 0}`))
    })
    socket.on('error', reject)
  })
}

async function addCast(ctx: Context): Promise<void> {
  const at = ctx.now()
  await ctx.transaction(async ({ db }) => {
    await db.insertInto('organisations').values({ id: 'other', name: 'Other', created_at: at }).execute()
    await db.insertInto('facts').values({ name: 'claimed', value: 'alice', at }).execute()
    for (const [username, { role, org }] of Object.entries(cast)) {
      await db
        .insertInto('users')
        .values({
          id: `user-${username}`,
          username,
          username_key: keyOf(username),
          handle: username,
          password_hash: passwordHash,
          theme: 'auto',
          timezone: null,
          created_at: at,
          password_changed_at: at,
          disabled_at: null,
          instance_admin_at: username === 'alice' ? at : null,
          devices_seen_at: null,
          seen_at: null,
        })
        .execute()
      await db
        .insertInto('memberships')
        .values({ org_id: org, user_id: `user-${username}`, role, created_at: at })
        .execute()
    }
  })
}

/** A new file on SQLite; a new database of the test server on PostgreSQL. */
export async function emptyDatabase(): Promise<{ url: string | null; drop: () => Promise<void> }> {
  if (TEST_DIALECT === 'sqlite') return { url: null, drop: () => Promise.resolve() }
  const server = process.env['TEST_DATABASE_URL']
  if (!server) throw new Error('TEST_DATABASE_URL is not set: run the tests with “npm test”')
  const name = `oc_${randomBytes(6).toString('hex')}`
  await asAdmin(server, `create database ${name}`)
  const url = new URL(server)
  url.pathname = `/${name}`
  return { url: url.toString(), drop: () => asAdmin(server, `drop database ${name} with (force)`) }
}

async function asAdmin(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}
