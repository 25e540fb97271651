import { z } from 'zod'
import type { EndpointRoute, PageRoute } from '../monitoring/dashboard/endpoint'
import { startApp, type Agent, type TestApp } from './helpers/app'
import { afterTheThrottle, keyOfAgent } from './helpers/people'
import { endpoints, filled, pages } from './helpers/routes'

// Apart from tests/holes.test.ts, because each database has its own ways to be misled.

let app: TestApp
let alice: Agent
beforeAll(async () => {
  app = await startApp()
  alice = await app.as('alice')
  await keyOfAgent(app, alice, { name: 'reporter', role: 'operator' })
  await alice.post('/api/events').send({ events: [{ type: 'deploy', source: 'ci', subject: 'shop' }] })
})
afterAll(() => app.close())

const fieldsIn = (schema: z.ZodType | undefined): string[] => (schema instanceof z.ZodObject ? Object.keys(schema.shape) : [])

describe('what means something to a database', () => {
  const meant = [
    `'`,
    `"`,
    '%',
    '_',
    '\\',
    '\0',
    `') or 1=1 --`,
    `' or '1'='1`,
    `x'; drop table users; --`,
    '*',
    'a" NEAR("b',
    'col:',
    '$1',
    '?',
    '\\%',
  ]

  const readers: (PageRoute | EndpointRoute)[] = [...pages, ...endpoints.filter(({ method }) => method === 'GET')]
  test('is refused or finds nothing, in every parameter of whatever reads', async () => {
    let tried = 0
    for (const { path, query } of readers)
      for (const name of fieldsIn(query))
        for (const text of meant) {
          tried++
          // A link that leads nowhere is a wrong try.
          if (name === 'token') afterTheThrottle(app)
          const { status } = await alice.get(`${filled(path)}?${name}=${encodeURIComponent(text)}`)
          expect([path, name, text, [200, 303, 400, 403, 404, 410, 422].includes(status)]).toEqual([path, name, text, true])
        }
    expect(tried).toBeGreaterThan(400)
  })

  test.each([
    ['/api/users', ['q', 'role']],
    ['/api/keys?whose=all', ['q']],
    ['/api/events', ['type', 'source', 'subject']],
    ['/api/audit', ['person', 'action', 'subject', 'q']],
  ])('finds no more than it says: %s', async (path, names) => {
    const list = async (search: string) => {
      const answer = await alice.get(`${path}${path.includes('?') ? '&' : '?'}${search}`)
      return answer.status === 200 ? (answer.body as { items: unknown[] }).items : []
    }
    expect((await list('limit=500')).length).toBeGreaterThan(0)
    for (const name of names)
      for (const text of meant.filter((one) => one !== '\0')) {
        const found = await list(`limit=500&${name}=${encodeURIComponent(text)}`)
        const literal = JSON.stringify(text.toLowerCase()).slice(1, -1)
        // Only what it stands in; and nothing is called like this.
        const wrong = found.filter((item) => name !== 'q' || !JSON.stringify(item).toLowerCase().includes(literal))
        expect([name, text, wrong]).toEqual([name, text, []])
      }
    expect((await list('limit=500')).length).toBeGreaterThan(0)
  })
})
