import { sql } from 'kysely'
import { Client } from 'pg'
import { emptyDatabase, startApp, type TestApp } from '../../helpers/app'
import { report } from '../../../services/events'
import { until } from '../../helpers/until'

describe('two processes on one database', () => {
  let database: Awaited<ReturnType<typeof emptyDatabase>>
  let one: TestApp
  let other: TestApp
  beforeAll(async () => {
    database = await emptyDatabase()
    const shared = database.url === null ? {} : { databaseUrl: database.url }
    one = await startApp(shared)
    other = await startApp({ ...shared, dataDir: one.dataDir, unclaimed: true })
  })
  afterAll(async () => {
    await other.close()
    await one.close()
    await database.drop()
  })

  const follow = (app: TestApp) => app.live('carol', '/ws/events?topics=events')
  const has = (id: string) => (frame: string) => frame.includes(`"id":"${id}"`)

  test('see what the other one stored within a second', async () => {
    const [here, there] = [await follow(one), await follow(other)]
    const at = performance.now()
    await report(one.ctx, [{ id: 'from-one', type: 'test', source: 'one' }])
    await there.frame(has('from-one'))
    expect(performance.now() - at).toBeLessThan(1000)
    await report(other.ctx, [{ id: 'from-other', type: 'test', source: 'other' }])
    await here.frame(has('from-other'))
  })

  test('write at the same time, and nothing is lost or refused', async () => {
    const apps = [one, other]
    await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        report((apps[index % 2] ?? one).ctx, [{ id: `both-${index}`, type: 'both', source: 'test' }]),
      ),
    )
    const rows = await one.ctx.db.selectFrom('events').select('id').where('type', '=', 'both').execute()
    expect(rows).toHaveLength(40)
  })

  if (TEST_DIALECT === 'postgres') {
    const administer = async (statement: string) => {
      const client = new Client({ connectionString: database.url ?? '' })
      await client.connect()
      await client.query(statement)
      await client.end()
    }
    const endAll = (filter: string) =>
      administer(
        `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and ${filter}`,
      )
    const expectTrouble = () => {
      for (const app of [one, other]) app.expectLog(/lost (a|the) connection|database is not available|live updates cannot read/)
    }

    test('a listener whose connection was ended polls, and listens again', async () => {
      expectTrouble()
      const there = await follow(other)
      await endAll(`query = 'listen changes'`)
      await report(one.ctx, [{ id: 'while-deaf', type: 'test', source: 'one' }])
      await there.frame(has('while-deaf'))
      await until(async () => {
        const { rows } = await sql`select 1 from pg_stat_activity where datname = current_database() and query = 'listen changes'`.execute(
          one.ctx.db,
        )
        return rows.length === 2
      })
    })

    test('when all connections are ended the API answers 503 at the most, and works again by itself', async () => {
      expectTrouble()
      const bob = one.basic('bob')
      const post = (id: string) => bob.post('/api/events').send({ events: [{ id, type: 'ended', source: 'test' }] })
      await post('before').expect(201)
      const traffic = Promise.all(
        Array.from({ length: 30 }, async (_, index) => ({ id: `during-${index}`, status: (await post(`during-${index}`)).status })),
      )
      await endAll('true')
      const answers = await traffic
      expect(answers.filter(({ status }) => status !== 201 && status !== 503)).toEqual([])
      await until(async () => (await post('after')).status === 201)
      const stored = new Set((await one.ctx.db.selectFrom('events').select('id').where('type', '=', 'ended').execute()).map(({ id }) => id))
      expect(answers.filter(({ id, status }) => status === 201 && !stored.has(id))).toEqual([])
    })
  }
})
