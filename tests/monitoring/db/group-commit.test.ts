import { groupCommit } from '../../../monitoring/db/group-commit'
import { Unavailable } from '../../../monitoring/errors'
import { report } from '../../../services/events'
import { startApp, type TestApp } from '../../helpers/app'

describe('group commit', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp()
  })
  afterAll(() => app.close())

  const changes = async () => (await app.ctx.db.selectFrom('changes').select('subject').where('topic', '=', 'events').execute()).length
  const count = async (type: string) => (await app.ctx.db.selectFrom('events').select('id').where('type', '=', type).execute()).length

  test('stores what fifty callers hand in at once in one transaction, and each finds its own when it is answered', async () => {
    const before = await changes()
    const found = await Promise.all(
      Array.from({ length: 50 }, async (_, caller) => {
        await report(app.ctx, [{ id: `caller-${caller}`, type: 'many', source: 'test' }])
        return (await app.ctx.db.selectFrom('events').select('id').where('id', '=', `caller-${caller}`).execute()).length
      }),
    )
    expect(found).toEqual(Array.from({ length: 50 }, () => 1))
    expect((await changes()) - before).toBe(1)
  })

  test('what one caller handed in does not fail the others', async () => {
    // Refused by the column, which says "not null", as a mistake of ours might be.
    const poisoned = { type: null as unknown as string, source: 'test' }
    const answers = await Promise.allSettled([
      report(app.ctx, [{ type: 'healthy', source: 'test' }]),
      report(app.ctx, [{ type: 'healthy', source: 'test' }, poisoned]),
      report(app.ctx, [{ type: 'healthy', source: 'test' }]),
    ])
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(await count('healthy')).toBe(2)
  })

  test('a database that is away fails all who wait at once, and is not asked again for each', async () => {
    let writes = 0
    const commit = groupCommit<number>(() => {
      writes += 1
      return Promise.reject(new Unavailable('The database', 'gone'))
    })
    const answers = await Promise.allSettled([commit([1]), commit([2]), commit([3])])
    expect(answers.every(({ status }) => status === 'rejected')).toBe(true)
    expect(writes).toBe(1)
  })

  test('splits what is too much for one transaction, between callers and in their order', async () => {
    const batches: number[] = []
    const commit = groupCommit<number>((items) => {
      batches.push(items.length)
      return Promise.resolve()
    })
    await Promise.all(Array.from({ length: 12 }, () => commit(Array.from({ length: 1000 }, (_, item) => item))))
    expect(batches).toEqual([5000, 5000, 2000])
  })

  test('refuses to be waited for inside a transaction, which would wait for itself', async () => {
    await expect(app.ctx.transaction(() => report(app.ctx, [{ type: 'inside', source: 'test' }]))).rejects.toThrow(/Inside a transaction/)
  })

  test('a repeat of an id, also within one batch, is stored once', async () => {
    const one = { id: 'the-same', type: 'repeat', source: 'test' }
    await Promise.all([report(app.ctx, [one, one]), report(app.ctx, [one])])
    await report(app.ctx, [one])
    expect(await count('repeat')).toBe(1)
  })
})
