import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { sql } from 'kysely'
import { openLog } from '../../../monitoring/log'
import { migrate, migrations, type Migration } from '../../../monitoring/db/migrate'
import { openStore, sqliteFile, type Store } from '../../../monitoring/db/open'
import { emptyDatabase } from '../../helpers/app'

const now = () => 1_700_000_000_000
const names = migrations.map(({ name }) => name)

const adding = (name: string, table: string): Migration => ({
  name,
  up: async (db, { text }) => {
    await db.schema.createTable(table).addColumn('id', text).execute()
  },
})
const failing: Migration = {
  name: '0999_failing',
  up: async (db, { text }) => {
    await db.schema.createTable('half').addColumn('id', text).execute()
    await sql`insert into no_such_table values (1)`.execute(db)
  },
}

describe('bringing the database up to date', () => {
  let dataDir: string
  let database: Awaited<ReturnType<typeof emptyDatabase>>
  const open = new Set<Store>()

  async function store(): Promise<Store> {
    const opened = await openStore({ dataDir, databaseUrl: database.url, log: openLog('silent') })
    open.add(opened)
    return opened
  }
  const applied = async ({ db }: Store) =>
    (await db.selectFrom('migrations').select('name').orderBy('name').execute()).map(({ name }) => name)
  const hasTable = async ({ db }: Store, name: string) => (await db.introspection.getTables()).some((table) => table.name === name)
  const copies = () => readdirSync(dataDir).filter((file) => file.includes('.before-'))

  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'oc-migrate-'))
    database = await emptyDatabase()
  })
  afterEach(async () => {
    for (const one of open) await one.close()
    open.clear()
    await database.drop()
    rmSync(dataDir, { recursive: true, force: true })
  })

  test('makes a new one whole, and has nothing to do the second time', async () => {
    const first = await store()
    expect(await migrate(first, now)).toEqual({ applied: names, copy: null })
    expect(await migrate(first, now)).toEqual({ applied: [], copy: null })
    expect(await applied(first)).toEqual(names)
    expect(copies()).toEqual([])
  })

  test('of two processes that start at once, one does it and the other waits', async () => {
    const [a, b] = [await store(), await store()]
    const done = await Promise.all([migrate(a, now), migrate(b, now)])
    expect(done.map(({ applied }) => applied.length).sort()).toEqual([0, names.length])
    expect(await applied(b)).toEqual(names)
  })

  test('an upgrade by two processes at once is done once, and leaves one whole copy', async () => {
    const [a, b] = [await store(), await store()]
    await migrate(a, now)
    const list = [...migrations, adding('0900_more', 'more')]
    const done = await Promise.all([migrate(a, now, list), migrate(b, now, list)])
    expect(done.flatMap(({ applied }) => applied)).toEqual(['0900_more'])
    expect(copies()).toEqual(database.url === null ? ['operations-center.db.before-0900_more'] : [])
  })

  test('when one fails, the database is as it was, with all of the pending ones undone, and the error says so', async () => {
    const target = await store()
    await migrate(target, now)
    const list = [...migrations, adding('0900_more', 'more'), failing]
    await expect(migrate(target, now, list)).rejects.toThrow(
      /^Migration 0999_failing failed, and the database is as it was before: .*no_such_table/,
    )
    expect(await applied(target)).toEqual(names)
    expect(await hasTable(target, 'more')).toBe(false)
    expect(await hasTable(target, 'half')).toBe(false)
    // The old program goes on with it.
    expect(await migrate(target, now)).toEqual({ applied: [], copy: null })
  })

  test('one that a newer program wrote is refused by name, and left alone', async () => {
    const target = await store()
    await migrate(target, now, [...migrations, adding('0900_more', 'more')])
    await expect(migrate(target, now)).rejects.toThrow(/newer version .*0900_more.*Nothing was changed/)
    expect(await hasTable(target, 'more')).toBe(true)
  })

  if (TEST_DIALECT === 'sqlite') {
    test('is copied before it is changed: whole, for its owner only, and anew at each try', async () => {
      const target = await store()
      await migrate(target, now)
      const add = (id: string) => target.db.insertInto('organisations').values({ id, name: id, created_at: 1 }).execute()
      await add('one')
      const copy = `${sqliteFile(dataDir)}.before-0999_failing`
      await expect(migrate(target, now, [...migrations, failing])).rejects.toThrow(copy)
      await add('two')
      await expect(migrate(target, now, [...migrations, failing])).rejects.toThrow(copy)
      const read = new Database(copy, { readonly: true })
      expect(read.prepare('select id from organisations order by id').pluck().all()).toEqual(['one', 'two'])
      expect(read.pragma('integrity_check', { simple: true })).toBe('ok')
      read.close()
      expect(statSync(copy).mode & 0o777).toBe(0o600)
    })

    test('is not changed when the copy cannot be made, and half a copy does not stay', async () => {
      const target = await store()
      await migrate(target, now)
      const list = [...migrations, adding('0900_more', 'more')]
      const full: Store = {
        ...target,
        copyTo(file) {
          target.copyTo?.(file)
          throw new Error('database or disk is full')
        },
      }
      await expect(migrate(full, now, list)).rejects.toThrow(/could not be copied .* nothing was changed: database or disk is full/)
      expect(copies()).toEqual([])
      expect(await hasTable(target, 'more')).toBe(false)
    })

    test('has the settings that durability and retention need', async () => {
      const target = await store()
      await migrate(target, now)
      const pragma = (name: string) => target.sqlite?.pragma(name, { simple: true })
      expect([pragma('journal_mode'), pragma('synchronous'), pragma('foreign_keys'), pragma('auto_vacuum')]).toEqual(['wal', 2, 1, 2])
      expect(existsSync(`${sqliteFile(dataDir)}-wal`) && statSync(`${sqliteFile(dataDir)}-wal`).mode & 0o077).toBe(0)
    })
  }
})
