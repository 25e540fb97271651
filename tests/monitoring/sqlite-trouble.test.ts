import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { sql } from 'kysely'
import { inspectDatabase } from '../../monitoring/db/inspect'
import { sqliteFile } from '../../monitoring/db/open'
import { startApp, type Agent, type TestApp } from '../helpers/app'
import { until } from '../helpers/until'

const event = (id: string, data: unknown = null) => ({ events: [{ id, type: 'test', source: 'test', data }] })

describe('a commit that SQLite refuses', () => {
  test('leaves nothing, and the next transaction works', async () => {
    const app = await startApp()
    const write = (organisation: string) =>
      app.ctx.transaction(async ({ db }) => {
        await sql`pragma defer_foreign_keys = on`.execute(db)
        await db.insertInto('memberships').values({ org_id: organisation, user_id: 'user-dave', role: 'viewer', created_at: 0 }).execute()
      })
    expect(await write('nowhere').catch(String)).toMatch(/FOREIGN KEY/)
    await write('home')
    const rows = await app.ctx.db.selectFrom('memberships').select('org_id').where('user_id', '=', 'user-dave').orderBy('org_id').execute()
    expect(rows.map(({ org_id }) => org_id)).toEqual(['home', 'other'])
    await app.close()
  })
})

describe('a SQLite file that another program has locked', () => {
  let app: TestApp
  let bob: Agent
  beforeAll(async () => {
    app = await startApp()
    bob = await app.as('bob')
    app.expectLog(/database is not available/)
  })
  afterAll(() => app.close())

  test('is waited for, and pages are read meanwhile', async () => {
    const other = new Database(sqliteFile(app.dataDir))
    other.exec('begin immediate')
    const writing = bob.post('/api/events').send(event('patient'))
    const answered = writing.then((answer) => answer)
    await bob.get('/api/events').expect(200)
    other.exec('commit')
    expect((await answered).status).toBe(201)
    other.close()
  })

  test('for more than five seconds is a 503 that says when to come back; all who wait have it then, and the event loop goes on', async () => {
    const other = new Database(sqliteFile(app.dataDir))
    other.exec('begin immediate')
    const from = performance.now()
    // Separately in line: one of them alone may not use up five seconds more for each of the others.
    const writes = Promise.all([
      bob.post('/api/events').send(event('late')),
      bob.post('/profile').type('form').send({ timezone: 'Asia/Kolkata', theme: 'dark' }),
      app.ctx.db
        .insertInto('facts')
        .values({ name: 'late', value: '', at: 0 })
        .execute()
        .catch((error: unknown) => error),
    ])
    let slowest = 0
    const state = { done: false }
    void writes.finally(() => (state.done = true))
    while (!state.done) {
      const asked = performance.now()
      await bob.get('/healthz').expect(200)
      slowest = Math.max(slowest, performance.now() - asked)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const [posted, saved, third] = await writes
    other.exec('rollback')
    other.close()
    expect(performance.now() - from).toBeLessThan(7000)
    expect([posted.status, posted.headers['retry-after'], saved.status]).toEqual([503, '5', 503])
    expect(third).toMatchObject({ status: 503 })
    expect(slowest).toBeLessThan(1000)
    await bob.post('/api/events').send(event('late')).expect(201)
  })
})

const mayMount = process.platform === 'linux' && process.getuid?.() === 0

;(mayMount ? describe : describe.skip)('a disk that is full (a small file system, which only root may mount)', () => {
  let folder: string
  let app: TestApp
  let bob: Agent
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'oc-full-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m,mode=700', 'tmpfs', folder])
    app = await startApp({ dataDir: folder })
    bob = await app.as('bob')
    app.expectLog(/database is not available|chore failed/)
  })
  afterAll(async () => {
    try {
      await app.close()
    } finally {
      execFileSync('umount', [folder])
      rmSync(folder, { recursive: true })
    }
  })

  test('answers 503 with Retry-After, stays readable, loses nothing, and recovers by itself', async () => {
    const ballast = join(folder, 'ballast')
    writeFileSync(ballast, Buffer.alloc(3_000_000))
    const accepted: string[] = []
    const post = async (id: string) => {
      const answer = await bob.post('/api/events').send(event(id, 'x'.repeat(30_000)))
      if (answer.status === 201) accepted.push(id)
      return answer
    }
    let refused: Awaited<ReturnType<typeof post>> | undefined
    for (let index = 0; index < 300 && !refused; index++) {
      const answer = await post(`full-${index}`)
      if (answer.status !== 201) refused = answer
    }
    expect([refused?.status, refused?.headers['retry-after'], refused?.headers['content-type']]).toEqual([
      503,
      '5',
      'application/problem+json; charset=utf-8',
    ])
    await bob.get('/').expect(200)
    await bob.get('/api/events?limit=5').expect(200)
    // Stays so, whole, for one request after the other.
    for (const id of ['again-1', 'again-2']) expect([503, 201]).toContain((await post(id)).status)
    rmSync(ballast)
    await until(async () => (await post('recovered')).status === 201)
    const stored = await app.ctx.db.selectFrom('events').select('id').where('type', '=', 'test').execute()
    expect(stored.map(({ id }) => id).sort()).toEqual([...new Set(accepted)].sort())
    expect(app.platform.store.sqlite?.pragma('integrity_check', { simple: true })).toBe('ok')
  })
})

describe('a page that is damaged while the console runs', () => {
  test('stops every write, says so, leaves the file as it is, and shows what can still be read', async () => {
    const app = await startApp()
    const bob = await app.as('bob')
    app.expectLog(/damaged|chore failed|not available/)
    await bob
      .post('/api/events')
      .send(event('before', 'x'.repeat(20_000)))
      .expect(201)
    app.platform.store.sqlite?.pragma('wal_checkpoint(TRUNCATE)')
    const file = sqliteFile(app.dataDir)
    const pages = (app.platform.store.sqlite?.prepare(`select rootpage from sqlite_master where tbl_name = 'keys'`).pluck().all() ??
      []) as number[]
    const disk = openSync(file, 'r+')
    for (const page of pages) writeSync(disk, Buffer.alloc(4096, 0x5a), 0, 4096, (page - 1) * 4096)
    closeSync(disk)
    // What was read before is forgotten when another program has written.
    const other = new Database(file)
    other.exec(`insert into facts (name, value, at) values ('other', '', 0)`)
    other.close()
    const refused = await until(async () => {
      const answer = await bob.get('/api/keys')
      return answer.status === 503 && answer
    })
    expect([refused.headers['retry-after'], (refused.body as { detail: string }).detail]).toEqual(['5', expect.stringContaining('damaged')])
    const spoilt = readFileSync(file)
    expect((await bob.post('/api/events').send(event('after'))).status).toBe(503)
    await bob.get('/api/events').expect(200)
    await bob.get('/healthz').expect(200)
    expect(readFileSync(file).equals(spoilt)).toBe(true)
    expect(existsSync(join(app.dataDir, 'damaged'))).toBe(true)
    // The next start looks at all of it before it does anything.
    expect(() => {
      inspectDatabase(app.dataDir, { installed: true, patience: 0 })
    }).toThrow(/is damaged/)
    await app.close()
  })
})

describe('a store of which any one call fails', () => {
  test('fails that request whole and no other; the database stays sound', async () => {
    const app = await startApp()
    const [alice, bob] = await Promise.all([app.as('alice'), app.as('bob')])
    app.expectLog(/not available|chore failed|a request failed/)
    const db = app.platform.store.sqlite
    if (!db) throw new Error('This is for SQLite')
    const stored = () => db.prepare(`select count(*) from events where type = 'test'`).pluck().get() as number
    const audited = () => db.prepare(`select count(*) from audit where action = 'roles.make'`).pluck().get() as number
    const roles = () => db.prepare(`select count(*) from roles`).pluck().get() as number
    let calls = 0
    let failAt = 0
    // SQLite asks this for each row that is written: as good a place as any to fail.
    db.function('oc_fault', () => {
      calls += 1
      if (calls === failAt) throw Object.assign(new Error('injected'), { code: 'SQLITE_IOERR_WRITE' })
      return 1
    })
    db.pragma('trusted_schema = ON')
    for (const table of ['events', 'changes', 'audit', 'roles'])
      db.exec(`create temp trigger fault_${table} before insert on main.${table} begin select oc_fault(); end`)
    let failures = 0
    for (failAt = 1; failAt <= 60; failAt++) {
      const before = { events: stored(), audit: audited(), roles: roles() }
      const many = { events: Array.from({ length: 5 }, (_, index) => ({ id: `n-${failAt}-${index}`, type: 'test', source: 'test' })) }
      const posted = await bob.post('/api/events').send(many)
      expect(stored() - before.events).toBe(posted.status === 201 ? 5 : 0)
      const made = await alice.post('/api/roles').send({ name: `role ${failAt}`, actions: ['health.read'] })
      // The role and its entry in the trail, or neither.
      expect([roles() - before.roles, audited() - before.audit]).toEqual(made.status < 300 ? [1, 1] : [0, 0])
      failures += Number(posted.status >= 500) + Number(made.status >= 500)
      calls = failAt % 9
    }
    expect(failures).toBeGreaterThan(0)
    for (const table of ['events', 'changes', 'audit', 'roles']) db.exec(`drop trigger fault_${table}`)
    await bob.post('/api/events').send(event('works-again')).expect(201)
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
    await app.close()
  })
})

describe('a program that reads the database without an end', () => {
  test('makes the log grow, which the console says of itself; writes go on, and the log is short again afterwards', async () => {
    const app = await startApp()
    const bob = await app.as('bob')
    const reader = new Database(sqliteFile(app.dataDir), { readonly: true })
    reader.exec('begin; select count(*) from events')
    for (let index = 0; index < 40; index++)
      await bob
        .post('/api/events')
        .send(event(`long-${index}`, 'x'.repeat(30_000)))
        .expect(201)
    const size = async () => ((await bob.get('/api/console')).body as { database: { wal_bytes: number } }).database.wal_bytes
    const grown = await size()
    expect(grown).toBeGreaterThan(1_000_000)
    reader.exec('commit')
    reader.close()
    app.platform.store.sqlite?.pragma('wal_checkpoint(TRUNCATE)')
    expect(await size()).toBe(0)
    await app.close()
  })
})
