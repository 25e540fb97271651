import * as health from '../services/health'
import * as metrics from '../services/metrics'
import { startApp, type TestApp } from './helpers/app'
import { disk, measured, pm2Keeps, running } from './helpers/machine'
import { bodyOf, endpoints, features, filled, pages, expectProblem } from './helpers/routes'

// Dave is an admin too, but of another organisation; the machine belongs to the first. Whatever is at home carries this word.
const secret = 'homely'

let app: TestApp
let id: string
beforeAll(async () => {
  app = await startApp()
  measured(app, { disks: [disk(97, `/${secret}`)] })
  await pm2Keeps(app, running(0, secret, { status: 'errored', pid: null }))
  await health.review(app.ctx)
  await metrics.flush(app.ctx)
  id = `${app.platform.config.hostName}:0`
  await report('bob', { type: 'a', source: secret, subject: secret, id: 'the-same', data: secret })
  await report('dave', { type: 'a', source: 'foreign', subject: 'foreign', id: 'the-same' })
})
afterAll(() => app.close())

const report = async (person: 'bob' | 'dave', event: object): Promise<void> => {
  bodyOf(await (await app.as(person)).post('/api/events').send({ events: [event] }), 'POST /api/events')
}

test('the same id in two organisations is two events, each seen by its own', async () => {
  const seenBy = async (person: 'alice' | 'dave') =>
    bodyOf<{ items: { id: string; source: string }[] }>(
      await (await app.as(person)).get('/api/events?type=a'),
      'GET /api/events',
    ).items.map((one) => [one.id, one.source])
  expect(await seenBy('alice')).toEqual([['the-same', secret]])
  expect(await seenBy('dave')).toEqual([['the-same', 'foreign']])
})

test.each([...endpoints.filter(({ method }) => method === 'GET'), ...pages].map(({ path }) => path))(
  '%s shows nothing of another organisation',
  async (path) => {
    const address = filled(path, encodeURIComponent(id))
    const dave = await (await app.as('dave')).get(path === '/api/metrics' ? `${address}?name=${metrics.metricNames.join()}` : address)
    expect(dave.status).toBeLessThan(500)
    expect(dave.text).not.toContain(secret)
  },
)

test('the walk above would have found it: at home it is there', async () => {
  const alice = await app.as('alice')
  for (const path of [
    '/',
    '/palette',
    `/processes/${encodeURIComponent(id)}/start`,
    '/api/events',
    '/api/health',
    '/api/processes',
    '/api/metrics',
  ])
    expect([path, (await alice.get(path)).text.includes(secret)]).toEqual([path, true])
})

test('a process of another organisation can be neither seen nor touched', async () => {
  const dave = await app.as('dave')
  for (const reference of [id, secret])
    for (const action of ['restart', 'reload', 'stop', 'start']) {
      const path = `/processes/${encodeURIComponent(reference)}/${action}`
      expect((await dave.get(path)).status).toBe(404)
      expect((await dave.post(path).type('form').send({})).status).toBe(404)
      expectProblem(await dave.post(`/api${path}`), 404)
    }
  const audited = await app.ctx.db.selectFrom('audit').select('action').where('action', 'like', 'processes.%').execute()
  expect(audited).toEqual([])
})

test('health is that of the own organisation, without a machine', async () => {
  const report = bodyOf(await (await app.as('dave')).get('/api/health'), 'GET /api/health')
  expect(report).toMatchObject({ status: 'ok', cpu: null, memory: null, disks: [], problems: [], processes: { total: 0 } })
  expect((await (await app.as('dave')).get('/')).text).toContain('All systems operational')
})

test('a cursor of another organisation leads nowhere else', async () => {
  await report('bob', { type: 'a', source: secret })
  const { next } = bodyOf<{ next: string }>(await (await app.as('bob')).get('/api/events?limit=1'), 'GET /api/events')
  expect((await (await app.as('dave')).get(`/api/events?cursor=${next}`)).text).not.toContain(secret)
})

test('no topic carries anything across: neither live nor what was missed', async () => {
  const names = features.flatMap(({ topics }) => [...topics.keys()])
  const forPrograms = features.flatMap(({ topics }) => [...topics].filter(([, { data }]) => data).map(([name]) => name))
  const sockets = await Promise.all([
    app.live('dave', `/live?topics=${names.join()}&since=0`),
    app.live('dave', `/ws/events?topics=${forPrograms.join()}&since=0`),
    app.live('dave', `/live?topics=${names.join()}`),
  ])
  const atHome = await app.live('alice', `/live?topics=${names.join()}`)
  measured(app, { disks: [disk(20, `/${secret}`)] })
  await health.review(app.ctx)
  await pm2Keeps(app, running(0, secret))
  app.platform.publish('health.now', 'home', 'now')
  app.platform.publish('processes.now', 'home', 'now')
  await report('bob', { type: 'b', source: secret, subject: 'last at home' })
  await atHome.frame((frame) => frame.includes('last at home'))
  // What is committed later arrives later: had there been something, it would have come before this.
  await report('dave', { type: 'b', source: 'foreign', subject: 'foreign end' })
  await Promise.all(sockets.map((socket) => socket.frame((frame) => frame.includes('foreign end'))))
  for (const { frames } of sockets) expect(frames.join()).not.toContain(secret)
  const polled = await (await app.as('dave')).get(`/live/poll?topics=${names.join()}&since=0`)
  expect(polled.text).not.toContain(secret)
})

test('every table belongs to an organisation, but for those of the installation itself', async () => {
  const tables = await app.platform.store.db.introspection.getTables()
  const without = tables
    .filter(({ name, columns }) => !name.startsWith('sqlite_') && !columns.some((column) => column.name === 'org_id'))
    .map(({ name }) => name)
  expect(without.sort()).toEqual(['facts', 'migrations', 'organisations', 'users'])
})
