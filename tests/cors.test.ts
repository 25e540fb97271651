import { password, startApp, type TestApp } from './helpers/app'
import { endpoints, filled, pages } from './helpers/routes'

const friend = 'https://status.example.com'
const foreign = [
  'https://evil.example',
  'null',
  'http://status.example.com',
  'https://status.example.com.evil.example',
  'https://status.example.com:8443',
  'http://127.0.0.1:1',
]

let app: TestApp
let shared: TestApp
let key: string
beforeAll(async () => {
  app = await startApp()
  shared = await startApp({ env: { CORS_ORIGINS: `${friend},http://localhost:5173` } })
  const made = await (await shared.as('bob')).post('/api/keys').send({ name: 'from a page', role: 'operator' })
  key = (made.body as { key: string }).key
})
afterAll(async () => {
  await app.close()
  await shared.close()
})

const allowed = ({ headers }: { headers: Record<string, string> }) => headers['access-control-allow-origin']
const preflight = (to: TestApp, path: string, origin: string) =>
  fetch(`${to.url}${path}`, {
    method: 'OPTIONS',
    headers: { Origin: origin, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'authorization' },
  })

test('no other site may read anything: on no address, asked for or not, with or without a session', async () => {
  const paths = [...new Set([...endpoints, ...pages].map(({ path }) => filled(path)))]
  const { cookie } = await app.as('alice')
  const nobody = await app.as(null)
  for (const path of [...paths, '/healthz', '/openapi.json', '/api/nowhere'])
    for (const origin of ['https://evil.example', 'null']) {
      const answer = await nobody.get(path).set({ Origin: origin, ...(path.includes('sign-in') ? {} : { Cookie: cookie ?? '' }) })
      const named = Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))
      expect([path, named]).toEqual([path, []])
      expect((await preflight(app, path, origin)).headers.get('access-control-allow-origin')).toBeNull()
    }
})

test('a site on the list may use the API with a key, and read what it answers', async () => {
  const asked = await preflight(shared, '/api/events', friend)
  expect(asked.status).toBe(204)
  expect(Object.fromEntries([...asked.headers].filter(([name]) => name.startsWith('access-control')))).toEqual({
    'access-control-allow-origin': friend,
    'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE',
    'access-control-allow-headers': 'authorization, content-type',
    'access-control-expose-headers': 'RateLimit, RateLimit-Policy, Retry-After',
    'access-control-max-age': '600',
  })
  const nobody = await shared.as(null)
  const headers = { Origin: friend, 'Sec-Fetch-Site': 'cross-site', Authorization: `Bearer ${key}` }
  const stored = await nobody
    .post('/api/events')
    .set(headers)
    .send({ events: [{ type: 'a', source: 'b' }] })
  const read = await nobody.get('/api/events?limit=500').set({ ...headers, 'Accept-Encoding': 'gzip' })
  const refused = await nobody.get('/api/health').set({ ...headers, Authorization: 'Bearer wrong' })
  expect([stored.status, read.status, refused.status]).toEqual([201, 200, 401])
  for (const answer of [stored, read, refused]) {
    expect(allowed(answer)).toBe(friend)
    expect(answer.headers['access-control-allow-credentials']).toBeUndefined()
    expect(answer.headers['vary']).toMatch(/\bOrigin\b/)
  }
  expect(allowed(await nobody.get('/').set('Origin', friend))).toBeUndefined()
  expect(allowed(await nobody.get('/openapi.json').set('Origin', friend))).toBeUndefined()
})

test.each(foreign)('any other site may not, also where there is a list: %s', async (origin) => {
  const nobody = await shared.as(null)
  const answer = await nobody.get('/api/health').set({ Origin: origin, Authorization: `Bearer ${key}` })
  // It has the key, so that it is answered; a browser shows a page of that site none of it.
  expect([answer.status, allowed(answer), answer.headers['vary']]).toEqual([200, undefined, expect.stringMatching(/\bOrigin\b/)])
  const asked = await preflight(shared, '/api/health', origin)
  expect([asked.status, asked.headers.get('access-control-allow-origin')]).toEqual([405, null])
})

test('a session or a password that the browser adds changes nothing from another site, on the list or not', async () => {
  const nobody = await shared.as(null)
  const { cookie } = await shared.as('bob')
  const basic = `Basic ${Buffer.from(`bob:${password}`).toString('base64')}`
  const events = { events: [{ type: 'a', source: 'b' }] }
  for (const origin of [friend, ...foreign])
    for (const credentials of [{ Cookie: cookie ?? '' }, { Authorization: basic }]) {
      const answer = await nobody
        .post('/api/events')
        .set({ Origin: origin, ...credentials })
        .send(events)
      expect([origin, answer.status]).toEqual([origin, 403])
    }
})
