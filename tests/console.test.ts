import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import supertest from 'supertest'
import { readRing } from '../monitoring/ring'
import * as consoleService from '../services/console'
import * as events from '../services/events'
import { startApp, type TestApp } from './helpers/app'
import { measured, pm2Keeps, running } from './helpers/machine'
import { auditOf, keyOfAgent } from './helpers/people'
import { bodyOf, expectProblem } from './helpers/routes'
import { until } from './helpers/until'
import { samplesOf } from './helpers/exposition'

let app: TestApp
beforeAll(async () => {
  // As on a machine that shows the console to nobody else.
  app = await startApp({ env: { HOST: '127.0.0.1' } })
})
afterAll(() => app.close())

interface Report {
  findings: { state: string; title: string }[]
  database: { kind: string; bytes: number; wal_bytes: number | null; tables: { name: string; bytes: number }[]; tables_at: string | null }
  process: { rss_bytes: number; loop_delay_p99_ms: number | null; ingest_lag_p99_ms: number | null }
  sockets: number
  queues: { name: string; length: number }[]
  chores: { name: string; runs: number; failures: number }[]
  troubles: { level: string; text: string; cause: string | null }[]
}

const report = async (): Promise<Report> => bodyOf<Report>(await (await app.as('bob')).get('/api/console'), 'GET /api/console')

describe('the console’s own page', () => {
  test('shows what the database takes by table, measured beside the requests', async () => {
    const { database } = await until(async () => {
      const found = await report()
      return found.database.tables_at !== null && found
    })
    expect(database.kind).toBe(TEST_DIALECT === 'sqlite' ? 'SQLite' : 'PostgreSQL')
    expect(database.bytes).toBeGreaterThan(0)
    expect(database.tables.map(({ name }) => name)).toEqual(expect.arrayContaining(['events', 'metrics', 'users']))
    expect(database.tables.every((table, index) => index === 0 || table.bytes <= (database.tables[index - 1]?.bytes ?? 0))).toBe(true)
    const page = await (await app.as('bob')).get('/console').expect(200)
    expect(page.text).toContain('Largest tables')
    expect(page.text).toContain('The console is well')
  })

  test('measures how late it is and how long events wait, and keeps both as figures over time', async () => {
    const bob = await app.as('bob')
    await bob
      .post('/api/events')
      .send({ events: [{ type: 'test', source: 'self' }] })
      .expect(201)
    await consoleService.observe(app.ctx)
    const { process } = await report()
    expect(process.ingest_lag_p99_ms).toBeGreaterThan(0)
    expect(process.loop_delay_p99_ms).toBeGreaterThanOrEqual(0)
    // None came since.
    await consoleService.observe(app.ctx)
    expect((await report()).process.ingest_lag_p99_ms).toBeNull()
  })

  test('lists the last warnings and errors, without secrets', async () => {
    app.expectLog(/a test of the log/)
    app.ctx.log.error(
      { err: new Error('postgres://oc:S3CR3T-canary@db/oc refused jug_alice_1760000000_' + 'a1'.repeat(32)), password: 'S3CR3T-canary' },
      'a test of the log',
    )
    const { troubles, findings } = await report()
    expect(troubles[0]).toMatchObject({ level: 'error', text: 'a test of the log' })
    expect(JSON.stringify(troubles)).not.toMatch(/S3CR3T|a1a1/)
    expect(findings.map(({ title }) => title)).toContain('1 error in the log within the last hour')
    expect((await (await app.as('bob')).get('/console')).text).not.toContain('S3CR3T')
  })

  test('what went wrong and what happened last is in a file that needs no database', async () => {
    await (
      await app.as('bob')
    )
      .post('/api/events')
      .send({ events: [{ type: 'test', source: 'ci', subject: 'the-last-one' }] })
      .expect(201)
    await until(() => readRing(app.dataDir, 50).some(({ text }) => text === 'test · the-last-one'))
    expect(readRing(app.dataDir, 50).map(({ text }) => text)).toContainEqual(
      expect.stringMatching(/^a test of the log: postgres:\/\/oc:•••••@/),
    )
  })

  test('is for those who may see it, in the organisation that owns the machine', async () => {
    await (await app.as('carol')).get('/console').expect(403)
    expectProblem(await (await app.as('carol')).get('/api/console'), 403)
    expectProblem(await (await app.as('dave')).get('/api/console'), 403)
    await (await app.as(null)).get('/console').expect(303)
  })

  test('gives space back when an admin asks, which leaves a trace; an operator may not', async () => {
    const alice = await app.as('alice')
    expect((await alice.get('/console/tidy')).text).toContain('Nothing that is stored is deleted')
    await (await app.as('bob')).post('/console/tidy').type('form').send({}).expect(403)
    const answer = await alice.post('/console/tidy').type('form').send({})
    // PostgreSQL does it by itself.
    expect([answer.status, (await auditOf(app, 'console.tidy')).length]).toEqual(TEST_DIALECT === 'sqlite' ? [303, 1] : [409, 0])
  })

  if (TEST_DIALECT === 'sqlite')
    test('gives space back in the middle of somebody’s transaction, which neither waits for it nor has a part in it', async () => {
      const { file, sqlite } = app.platform.store
      if (file === null || !sqlite) throw new Error('no file')
      const data = { text: 'x'.repeat(20_000) }
      const bulk = Array.from({ length: 1000 }, (_, n) => ({ type: 'bulk', source: 'tidy', subject: `n${n}`, data }))
      await events.report(app.ctx, bulk)
      await app.ctx.db.deleteFrom('events').where('type', '=', 'bulk').execute()
      const free = () => sqlite.pragma('freelist_count', { simple: true }) as number
      const turn = () => new Promise((resolve) => setImmediate(resolve))
      const before = free()
      expect(before).toBeGreaterThan(4000)
      const asked = (await app.as('alice'))
        .post('/console/tidy')
        .type('form')
        .send({})
        .then(({ status, headers }) => [status, headers['location']])
      while (free() >= before) await turn()
      const undone = app.ctx
        .transaction(async ({ db }) => {
          await db.deleteFrom('memberships').where('user_id', '=', 'user-dave').execute()
          // Long enough for some of its pieces to come in between.
          for (let turns = 0; turns < 100; turns++) await turn()
          throw new Error('undone')
        })
        .catch((error: unknown) => (error as Error).message)
      expect([await undone, await asked]).toEqual(['undone', [303, expect.stringContaining('/console')]])
      await (await app.as('dave')).get('/api/events').expect(200)
      await until(async () => {
        await (await app.as('alice')).post('/console/tidy').type('form').send({}).expect(303)
        return free() === 0 && ((await report()).database.wal_bytes ?? 0) < 2_000_000
      })
    })
})

describe('/metrics', () => {
  const scrape = async () => {
    const answer = await (await app.as(null)).get('/metrics').expect(200)
    return { text: answer.text, type: String(answer.headers['content-type']), samples: samplesOf(answer.text) }
  }

  test('is Prometheus’ text format, strictly read', async () => {
    measured(app)
    await pm2Keeps(app, running(0, 'odd "name"\nwith \\ everything'), running(1, 'worker'))
    await consoleService.observe(app.ctx)
    const { samples, type } = await scrape()
    expect(type).toContain('text/plain; version=0.0.4')
    const value = (name: string, labels: Record<string, string> = {}) =>
      samples.find((one) => one.name === name && Object.entries(labels).every(([key, wanted]) => one.labels[key] === wanted))?.value
    expect(value('operations_center_info', { version: app.platform.version })).toBe(1)
    expect(value('operations_center_database_bytes')).toBeGreaterThan(0)
    expect(value('operations_center_process_up', { name: 'odd "name"\nwith \\ everything' })).toBe(1)
    expect(value('operations_center_event_loop_delay_seconds', { percentile: '99' })).toBeGreaterThanOrEqual(0)
    expect(value('operations_center_chore_failures_total', { chore: 'write metrics' })).toBe(0)
    expect(value('operations_center_host_cpu_ratio')).toBeCloseTo(0.12)
  })

  const hasPromtool = spawnSync('promtool', ['--version']).status === 0
  // Debian has it in the package `prometheus`.
  ;(hasPromtool ? describe : describe.skip)('read by promtool (skipped where there is none)', () => {
    test('has nothing to complain about', async () => {
      const { text } = await scrape()
      const checked = spawnSync('promtool', ['check', 'metrics'], { input: text })
      expect([checked.status, checked.stderr.toString()]).toEqual([0, ''])
    })
  })

  test('asks everybody for a key who does not come from this very machine', async () => {
    const nobody = await app.as(null)
    for (const [name, value] of [
      ['X-Forwarded-For', '127.0.0.1'],
      ['Forwarded', 'for=127.0.0.1'],
      ['Via', '1.1 proxy'],
      ['Host', 'console.example.com'],
      ['Sec-Fetch-Site', 'cross-site'],
    ] as const)
      expect([name, (await nobody.get('/metrics').set(name, value)).status]).toEqual([name, 401])
    const key = await keyOfAgent(app, await app.as('alice'), { name: 'prometheus', role: 'viewer' })
    const answer = await key.get('/metrics').set('X-Forwarded-For', '203.0.113.7')
    expect([answer.status, samplesOf(answer.text).length > 10]).toEqual([200, true])
  })

  test.each([
    ['the settings name a proxy', { HOST: '127.0.0.1', TRUST_PROXY: 'loopback' }],
    ['the settings name a public address', { HOST: '::1', PUBLIC_URL: 'http://console.example.com' }],
    ['the console listens on all addresses', {}],
    ['the console listens on an address of the network', { HOST: '192.0.2.7' }],
  ])('asks for a key from this machine too where %s', async (_where, env) => {
    const open = await startApp({ env })
    expect((await (await open.as(null)).get('/metrics')).status).toBe(401)
    const key = await keyOfAgent(open, await open.as('alice'), { name: 'prometheus', role: 'viewer' })
    expect((await key.get('/metrics')).status).toBe(200)
    await open.close()
  })

  test('is not given to strangers by a program here that passes connections on', async () => {
    const open = await startApp()
    const inside = Number(new URL(open.url).port)
    const relay = createServer((from) => {
      const to = connect(inside, '127.0.0.1')
      for (const socket of [from, to]) socket.on('error', () => undefined)
      from.pipe(to).pipe(from)
    }).listen(0, '127.0.0.1')
    await once(relay, 'listening')
    const { port } = relay.address() as AddressInfo
    const answer = await supertest(`http://127.0.0.1:${port}`).get('/metrics').set('Host', 'localhost')
    relay.close()
    await open.close()
    expect([answer.status, answer.text.includes('operations_center_')]).toEqual([401, false])
  })

  test('shows another organisation nothing of this machine', async () => {
    const key = await keyOfAgent(app, await app.as('dave'), { name: 'prometheus', role: 'viewer' })
    const answer = await key.get('/metrics').set('X-Forwarded-For', '203.0.113.7').expect(200)
    expect(samplesOf(answer.text).map(({ name }) => name)).toEqual(['operations_center_info'])
  })
})

test('/livez says that the process runs, whatever it can reach', async () => {
  const answer = await (await app.as(null)).get('/livez')
  expect([answer.status, answer.body]).toEqual([200, { status: 'ok' }])
})
