import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { migrate, migrations } from '../monitoring/db/migrate'
import { openStore, type Store } from '../monitoring/db/open'
import { openLog } from '../monitoring/log'
import { emptyDatabase, startApp } from './helpers/app'
import { basicOf } from './helpers/people'

const password = '$2b$12$Feb0BFc4I7NVlfLdvVh.SeQM327TEnbdU3zS4DuvmJoMGLRUIY2OC'

describe('a console from before there were handles', () => {
  let dataDir: string
  let database: Awaited<ReturnType<typeof emptyDatabase>>
  let store: Store
  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'oc-upgrade-'))
    database = await emptyDatabase()
    store = await openStore({ dataDir, databaseUrl: database.url, log: openLog('silent') })
    const [spine] = migrations
    await migrate(store, () => 1_700_000_000_000, spine ? [spine] : [])
    await sql`insert into organisations (id, name, created_at) values ('home', 'Home', 1)`.execute(store.db)
  })
  afterEach(async () => {
    await store.close()
    await database.drop()
    rmSync(dataDir, { recursive: true, force: true })
  })

  const names: readonly (readonly [name: string, handle: string])[] = [
    ['Ann', 'ann'],
    ['john_doe.x-1', 'john_doe.x-1'],
    ['Jürgen Müller', 'j-rgen-m-ller'],
    ['ann!', 'ann-2'],
    ['!ann!', 'ann-3'],
    ['東京', 'user'],
    ['🦊', 'user-2'],
    ['x'.repeat(64), 'x'.repeat(40)],
    [`${'x'.repeat(63)}y`, `${'x'.repeat(40)}-2`],
    ["'; drop table users; --", 'drop-table-users'],
  ]

  async function addAll(): Promise<void> {
    for (const [index, [name]] of names.entries()) {
      const id = `user-${index}`
      await sql`insert into users (id, username, username_key, password_hash, theme, created_at, password_changed_at)
        values (${id}, ${name}, ${name.normalize('NFKC').toLowerCase()}, ${password}, 'auto', ${index}, ${index})`.execute(store.db)
      await sql`insert into memberships (org_id, user_id, role, created_at) values ('home', ${id}, ${index === 0 ? 'admin' : 'viewer'}, ${index})`.execute(
        store.db,
      )
    }
    await sql`insert into audit (id, org_id, at, actor_kind, actor_id, actor_name, action, subject, data)
      values ('old', 'home', 5, 'user', 'user-0', 'Ann', 'session.start', 'user-0', null)`.execute(store.db)
    await sql`insert into facts (name, value, at) values ('claimed', 'Ann', 1)`.execute(store.db)
  }

  test('gives each account a handle of its own, in the order in which they were made, that a key can carry', async () => {
    await addAll()
    const { applied } = await migrate(store, () => 1_700_000_000_000)
    expect(applied).toContain('0002_people')
    const rows = await store.db.selectFrom('users').select(['id', 'handle', 'seen_at', 'devices_seen_at']).orderBy('created_at').execute()
    const handles = rows.map(({ handle }) => handle)
    expect(handles).toEqual(names.map(([, handle]) => handle))
    for (const handle of handles) expect(handle).toMatch(/^[a-z0-9._-]{1,44}$/)
    expect(rows[0]).toMatchObject({ seen_at: null, devices_seen_at: null })
    expect(await migrate(store, () => 1_700_000_000_000)).toEqual({ applied: [], copy: null })
  })

  test('lets its people in afterwards, with their roles, their keys and what was audited before', async () => {
    await addAll()
    const app = await startApp({ dataDir, unclaimed: true, ...(database.url === null ? {} : { databaseUrl: database.url }) })
    const ann = basicOf(app, 'ann')
    expect((await ann.get('/api/me')).body).toMatchObject({ handle: 'ann', role: 'admin', instance_admin: false })
    expect((await ann.get('/api/users')).body).toMatchObject({ items: { length: names.length } })
    const audit = await ann.get('/api/audit')
    expect([audit.status, JSON.stringify(audit.body).includes('"old"')]).toEqual([200, true])
    const made = await ann.post('/api/keys').send({ name: 'first', role: 'viewer' })
    expect((made.body as { key: string }).key).toMatch(/^jug_ann_\d{13}_[\w-]+$/)
    await app.close()
  })

  test('on an empty one has nothing to give', async () => {
    await migrate(store, () => 1)
    expect(await store.db.selectFrom('users').select('handle').execute()).toEqual([])
    const same = sql`insert into users (id, username, username_key, handle, password_hash, theme, created_at, password_changed_at)
      values ('a', 'a', 'a', 'same', 'x', 'auto', 1, 1), ('b', 'b', 'b', 'same', 'x', 'auto', 1, 1)`
    // By its words: the native part of SQLite keeps the class of errors of whoever loaded it first.
    const refusal = await same.execute(store.db).then(
      () => 'not refused',
      (error: unknown) => String(error),
    )
    expect(refusal).toMatch(/unique/i)
  })
})
