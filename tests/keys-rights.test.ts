import type { Access, EndpointRoute } from '../monitoring/dashboard/endpoint'
import { rightsOf, rightsTo, type Action, type Rights } from '../monitoring/permissions'
import { listen, password, startApp, type TestApp } from './helpers/app'
import { endpoints, expectProblem, filled } from './helpers/routes'
import { until } from './helpers/until'

let app: TestApp
beforeEach(async () => {
  app = await startApp({ env: { TRUST_PROXY: 'loopback' } })
})
afterEach(() => app.close())

type Person = 'alice' | 'bob' | 'carol'

async function make(person: Person, input: object): Promise<{ id: string; key: string }> {
  const answer = await (await app.as(person)).post('/api/keys').send({ name: 'rights', password, ...input })
  expect([answer.status, answer.text]).toEqual([201, expect.any(String)])
  return answer.body as { id: string; key: string }
}

const send = async (key: string, path = '/api/health', from?: string) =>
  (await app.as(null)).get(path).set({ Authorization: `Bearer ${key}`, ...(from ? { 'X-Forwarded-For': from } : {}) })
const statusOf = async (key: string, path?: string, from?: string) => (await send(key, path, from)).status

/** What a key may do besides what its rights say: a key itself makes no keys, and does nothing that is for people. */
function expected({ method, path, permission }: EndpointRoute, rights: Rights): 'refused' | 'let in' {
  const open: readonly Access[] = ['anyone', 'public']
  if (`${method} ${path}` === 'POST /api/keys' || permission === 'self') return 'refused'
  return open.includes(permission) || rights.actions.has(permission as Action) ? 'let in' : 'refused'
}

describe('what a key may', () => {
  const scopes: Action[] = ['events.report', 'users.read', 'keys.make']
  test.each<[string, object, Rights]>([
    ['a viewer’s', { role: 'viewer' }, rightsOf.viewer],
    ['an operator’s', { role: 'operator' }, rightsOf.operator],
    ['an admin’s, even of an instance admin', { role: 'admin' }, rightsOf.admin],
    ['one narrowed down to three actions', { role: 'admin', scopes }, rightsTo(scopes)],
  ])('is what its role and scopes say, at every endpoint: %s', async (_what, input, rights) => {
    const nobody = await app.as(null)
    const { key } = await make('alice', input)
    for (const endpoint of endpoints) {
      const verb = endpoint.method.toLowerCase() as 'get' | 'post' | 'put' | 'patch' | 'delete'
      const call = nobody[verb](filled(endpoint.path)).set('Authorization', `Bearer ${key}`)
      const body = endpoint.path === '/api/keys' && verb === 'post' ? { name: 'x', role: 'viewer' } : undefined
      const { status } = await (body ? call.send(body) : call)
      const what = `${endpoint.method} ${endpoint.path}`
      expect(status).toBeLessThan(500)
      expect([what, status === 401 || status === 403 ? 'refused' : 'let in']).toEqual([what, expected(endpoint, rights)])
    }
  })

  test('is never more than its owner may, from the moment that changes', async () => {
    const { key } = await make('bob', { role: 'operator' })
    const report = async () =>
      (
        await (
          await app.as(null)
        )
          .post('/api/events')
          .set('Authorization', `Bearer ${key}`)
          .send({ events: [{ type: 'a', source: 'b' }] })
      ).status
    expect(await report()).toBe(201)
    const alice = await app.as('alice')
    const change = async (role: string) => (await alice.patch('/api/users/user-bob').send({ role })).status
    expect(await change('viewer')).toBe(200)
    await until(async () => (await report()) === 403, 2000)
    expect(await statusOf(key)).toBe(200)
    expect(await change('admin')).toBe(200)
    await until(async () => (await report()) === 201, 2000)
    expect(await statusOf(key, '/api/users')).toBe(403)
  })

  test('ends with the account, with the membership, and with the key; topics on open sockets too', async () => {
    const { db } = app.ctx
    const open = async (key: string) => {
      const listener = await listen(`${app.url.replace('http', 'ws')}/ws/events?topics=events`, { Authorization: `Bearer ${key}` })
      return new Promise<number>((resolve) => listener.socket.once('close', resolve))
    }
    const within = (closed: Promise<number>) => Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 5000, 'open').unref())])

    const revoked = await make('bob', { role: 'viewer' })
    const revokedSocket = open(revoked.key)
    const [disabled, removed] = [await make('bob', { role: 'viewer' }), await make('carol', { role: 'viewer' })]
    const [disabledSocket, removedSocket] = [open(disabled.key), open(removed.key)]
    await until(() => app.hub.sockets === 3)
    await (await app.as('bob')).delete(`/api/keys/${revoked.id}`)
    expect(await within(revokedSocket)).toBe(4401)
    await db.updateTable('users').set({ disabled_at: 1 }).where('id', '=', 'user-bob').execute()
    await db.deleteFrom('memberships').where('user_id', '=', 'user-carol').execute()
    expect([await within(disabledSocket), await within(removedSocket)]).toEqual([4401, 4401])
    for (const { key } of [revoked, disabled, removed]) expectProblem(await send(key), 401)
    const rows = await db.selectFrom('audit').select(['subject', 'data']).where('action', '=', 'keys.refused').execute()
    const reasons = new Map(rows.map(({ subject, data }) => [subject, data]))
    expect([revoked, disabled, removed].map(({ id }) => reasons.get(id))).toEqual([
      '{"reason":"revoked"}',
      '{"reason":"owner"}',
      '{"reason":"owner"}',
    ])
  })
})

test('a key follows no topic on a socket that its rights do not have', async () => {
  const { key } = await make('alice', { role: 'admin', scopes: ['health.read'] })
  const at = (topic: string) => listen(`${app.url.replace('http', 'ws')}/ws/events?topics=${topic}`, { Authorization: `Bearer ${key}` })
  await expect(at('events')).rejects.toThrow('refused with 403')
  const listener = await at('health')
  listener.close()
})

test('only the allowed addresses can use it, as the named proxy says them', async () => {
  const { id, key } = await make('bob', { role: 'viewer', addresses: ['203.0.113.7', '10.0.0.0/8', '2001:db8::/48'] })
  const from = async (address: string) => statusOf(key, undefined, address)
  expect([await from('203.0.113.7'), await from('10.200.3.4'), await from('2001:db8:0:5::1'), await from('::ffff:10.1.1.1')]).toEqual([
    200, 200, 200, 200,
  ])
  for (const address of ['203.0.113.8', '11.0.0.1', '2001:db8:1::1', '203.0.113.7, 192.0.2.1', 'nonsense', '::1'])
    expect([address, await from(address)]).toEqual([address, 401])
  const used = await until(async () => {
    const rows = await app.ctx.db
      .selectFrom('audit')
      .select('address')
      .where('subject', '=', id)
      .where('action', '=', 'keys.used')
      .execute()
    return rows.length === 4 && rows
  })
  expect(used.map(({ address }) => address).sort()).toEqual(['10.1.1.1', '10.200.3.4', '2001:db8:0:5::1', '203.0.113.7'])
  const refused = await app.ctx.db
    .selectFrom('audit')
    .select('data')
    .where('subject', '=', id)
    .where('action', '=', 'keys.refused')
    .execute()
  expect(refused).toEqual([{ data: '{"reason":"address"}' }])
})

test('has its own limit, counted apart from its owner and from other keys', async () => {
  const [small, other] = [await make('bob', { role: 'operator', limit_per_minute: 3 }), await make('bob', { role: 'operator' })]
  const answers = []
  for (let i = 0; i < 4; i++) answers.push(await send(small.key, undefined, `10.0.0.${i}`))
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429])
  expect(answers[0]?.headers['ratelimit-policy']).toMatch(/^"api"; ?q=3; ?w=60/)
  expect(expectProblem(answers[3] ?? (await send(small.key)), 429).detail).toContain('3 requests in 60 s')
  expect(Number(answers[3]?.headers['retry-after'])).toBeGreaterThan(0)
  const report = await (
    await app.as(null)
  )
    .post('/api/events')
    .set('Authorization', `Bearer ${small.key}`)
    .send({ events: [{ type: 'a', source: 'b' }] })
  expect(report.status).toBe(429)
  expect([await statusOf(other.key), (await (await app.as('bob')).get('/api/health')).status]).toEqual([200, 200])
})

test('nothing of another organisation is there for it', async () => {
  const { key } = await make('alice', { role: 'admin' })
  const answer = await (await app.as('dave')).post('/api/keys').send({ name: 'theirs', role: 'viewer', password })
  const { id } = answer.body as { id: string }
  for (const path of [`/api/keys/${id}`, `/api/users/user-dave`]) expectProblem(await send(key, path), 404)
  expect((await send(key, '/api/keys?whose=all')).text).not.toContain(id)
})
