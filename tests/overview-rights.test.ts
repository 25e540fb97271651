import { startApp, type TestApp } from './helpers/app'
import { measured, pm2Keeps, running } from './helpers/machine'
import { addPerson, basicOf } from './helpers/people'

let app: TestApp
beforeAll(async () => {
  app = await startApp()
  measured(app, {})
  await pm2Keeps(app, running(0, 'secret-process'))
  await (
    await app.as('bob')
  )
    .post('/api/events')
    .send({ events: [{ type: 'a', source: 'secret-source' }] })
    .expect(201)
})
afterAll(() => app.close())

test.each([
  [['health.read'], []],
  [['health.read', 'processes.read'], ['process']],
  [['health.read', 'events.read'], ['event']],
  [['health.read', 'metrics.read'], ['chart']],
  [
    ['health.read', 'metrics.read', 'events.read', 'processes.read'],
    ['process', 'event', 'chart'],
  ],
])('the overview of a role with %j shows what it may read: %j', async (actions, parts) => {
  const alice = await app.as('alice')
  const name = actions.join(' ')
  const { id: role } = (await alice.post('/api/roles').send({ name, actions })).body as { id: string }
  const person = `reader ${actions.join('-')}`
  await addPerson(app, person, { role })
  const { status, text } = await basicOf(app, person).get('/')
  expect(status).toBe(200)
  const found = { process: 'id="processes"', event: 'secret-source', chart: 'class="oc-charts"' }
  expect(Object.entries(found).flatMap(([part, sign]) => (text.includes(sign) ? [part] : []))).toEqual(parts)
  const topics = /<live-source topics="([^"]*)"/.exec(text)?.[1]?.split(',') ?? []
  expect(topics.includes('events')).toBe(parts.includes('event'))
  expect(topics.includes('processes')).toBe(parts.includes('process'))
})
