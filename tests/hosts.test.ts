import { startApp, type TestApp } from './helpers/app'
import { pm2Keeps, running } from './helpers/machine'
import { expectProblem } from './helpers/routes'

const minute = 60_000

describe('a process of another machine', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp()
    await pm2Keeps(app, running(0, 'web'), running(1, 'mail', { status: 'stopped', pid: null }))
    const row = await app.ctx.db.selectFrom('processes').selectAll().where('name', '=', 'web').executeTakeFirstOrThrow()
    const foreign = { ...row, id: 'elsewhere:0', host: 'elsewhere', name: 'theirs', cpu: null, memory: null }
    await app.ctx.transaction(({ db }) => db.insertInto('processes').values(foreign).execute())
  })
  afterAll(() => app.close())

  test('is shown without the figures that this machine’s PM2 gives under the same number', async () => {
    const { items } = JSON.parse((await (await app.as('bob')).get('/api/processes')).text) as {
      items: { name: string; memory_bytes: number | null }[]
    }
    expect(items.find(({ name }) => name === 'theirs')?.memory_bytes).toBeNull()
    expect(items.find(({ name }) => name === 'web')?.memory_bytes).toBeGreaterThan(0)
  })

  test('cannot be acted on from here, and nothing is done to the one of that number here', async () => {
    const bob = await app.as('bob')
    expect(expectProblem(await bob.post('/api/processes/theirs/restart'), 409).detail).toContain('runs on elsewhere')
    expect(await app.ctx.db.selectFrom('audit').selectAll().where('subject', '=', 'elsewhere:0').execute()).toEqual([])
  })

  test('is forgotten when nobody has reported it for ten minutes', async () => {
    app.advance(11 * minute)
    await pm2Keeps(app, running(0, 'web', { restarts: 1 }))
    const names = await app.ctx.db.selectFrom('processes').select('name').execute()
    expect(names).toEqual([{ name: 'web' }])
  })
})

test('what is done already is said, and not done again', async () => {
  const app = await startApp()
  await pm2Keeps(app, running(0, 'web'), running(1, 'mail', { status: 'stopped', pid: null }))
  const bob = await app.as('bob')
  expect(expectProblem(await bob.post('/api/processes/web/start'), 409).detail).toBe('web runs already.')
  expect(expectProblem(await bob.post('/api/processes/mail/stop'), 409).detail).toBe('mail is stopped already.')
  await app.close()
})
