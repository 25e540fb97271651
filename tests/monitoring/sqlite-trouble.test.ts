import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { sql } from 'kysely'
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
