import type { Response } from 'supertest'
import { startApp, type TestApp } from '../../helpers/app'

let app: TestApp
const start = async (env: Record<string, string>) => {
  app = await startApp({ env })
}
afterEach(async () => {
  jest.useRealTimers()
  await app.close()
})

const repeat = async (times: number, request: (i: number) => PromiseLike<Response>): Promise<Response[]> => {
  const answers: Response[] = []
  for (let i = 0; i < times; i++) answers.push(await request(i))
  return answers
}
const count = (answers: Response[], status: number) => answers.filter((answer) => answer.status === status).length

test('a client has a hundred requests to the API in sixty seconds, and is told', async () => {
  // Only the clock: its limits are counted by a package that reads the time itself.
  jest.useFakeTimers({
    now: Date.now(),
    advanceTimers: false,
    doNotFake: [
      'hrtime',
      'nextTick',
      'performance',
      'queueMicrotask',
      'setImmediate',
      'clearImmediate',
      'setInterval',
      'clearInterval',
      'setTimeout',
      'clearTimeout',
    ],
  })
  await start({ API_RATE_LIMIT: '100' })
  const alice = await app.as('alice')
  const answers = await repeat(101, () => alice.get('/api/health'))
  expect(count(answers, 200)).toBe(100)
  expect(answers[0]?.headers['ratelimit-policy']).toMatch(/^"api"; ?q=100; ?w=60/)
  expect(answers[0]?.headers['ratelimit']).toMatch(/^"api"; ?r=99; ?t=60$/)
  expect(answers[99]?.headers['ratelimit']).toMatch(/r=0/)
  expect(answers[100]).toMatchObject({ status: 429, type: 'application/problem+json' })
  expect(answers[100]?.headers['retry-after']).toBe('60')
  expect((answers[100]?.body as { detail: string }).detail).toContain('100 requests in 60 s')

  // Another person at the same address, the pages, and what they follow do not share it.
  expect((await (await app.as('bob')).get('/api/health')).status).toBe(200)
  expect(count(await repeat(3, () => alice.get('/')), 200)).toBe(3)
  expect((await alice.get('/live/poll?topics=health')).status).toBe(200)
  expect((await app.basic('alice').get('/api/health')).status).toBe(429)

  jest.setSystemTime(Date.now() + 59_000)
  expect((await alice.get('/api/health')).headers['retry-after']).toBe('1')
  jest.setSystemTime(Date.now() + 1_001)
  expect((await alice.get('/api/health')).status).toBe(200)
})

test('pages, files and sign-in do not count', async () => {
  await start({ API_RATE_LIMIT: '2' })
  const nobody = await app.as(null)
  for (const path of ['/', '/sign-in', '/healthz', '/favicon.ico', '/nowhere', '/docs'])
    expect(count(await repeat(3, () => nobody.get(path)), 429)).toBe(0)
  expect((await (await app.as('alice')).get('/api/health')).status).toBe(200)
})

test('reporting events has a limit of its own', async () => {
  await start({ API_RATE_LIMIT: '2', INGEST_RATE_LIMIT: '4' })
  const bob = await app.as('bob')
  const report = () => bob.post('/api/events').send({ events: [{ type: 'a', source: 'b' }] })
  const answers = await repeat(5, report)
  expect(answers.map(({ status }) => status)).toEqual([201, 201, 201, 201, 429])
  expect(answers[0]?.headers['ratelimit-policy']).toMatch(/^"ingest"; ?q=4; ?w=60/)
  expect(count(await repeat(3, () => bob.get('/api/events')), 200)).toBe(2)
  expect((await bob.get('/api/events')).headers['ratelimit-policy']).toMatch(/^"api"/)
})

test('refused requests count as well: without a sign-in, with wrong credentials, to addresses that are not there', async () => {
  await start({ API_RATE_LIMIT: '6' })
  const nobody = await app.as(null)
  const answers = [
    ...(await repeat(2, () => nobody.get('/api/health'))),
    ...(await repeat(2, () => nobody.get('/api/health').set('Authorization', `Basic ${Buffer.from('alice:wrong').toString('base64')}`))),
    ...(await repeat(2, (i) => nobody.get(`/api/nowhere-${i}`))),
    ...(await repeat(2, (i) => nobody.get(i ? '/api/health' : '/api/nowhere'))),
  ]
  expect(answers.map(({ status }) => status)).toEqual([401, 401, 401, 401, 404, 404, 429, 429])
})

test('nobody gets a new allowance by naming another address', async () => {
  await start({ API_RATE_LIMIT: '5' })
  const nobody = await app.as(null)
  const answers = await repeat(12, (i) => {
    const address = `203.0.113.${i}`
    return nobody.get('/api/health').set({
      'X-Forwarded-For': address,
      'X-Real-IP': address,
      Forwarded: `for=${address}`,
      'CF-Connecting-IP': address,
      'X-Client-IP': address,
    })
  })
  expect(answers.map(({ status }) => status)).toEqual([401, 401, 401, 401, 401, 429, 429, 429, 429, 429, 429, 429])
})

test('behind a named proxy each address is a client, and an IPv6 network is one', async () => {
  await start({ API_RATE_LIMIT: '2', TRUST_PROXY: 'loopback' })
  const nobody = await app.as(null)
  const from = (address: string) => nobody.get('/api/health').set('X-Forwarded-For', address)
  expect((await repeat(3, (i) => from(`evil-${i}, 203.0.113.1`))).map(({ status }) => status)).toEqual([401, 401, 429])
  expect((await from('203.0.113.2')).status).toBe(401)
  expect((await repeat(3, (i) => from(`2001:db8::${i}:${i}`))).map(({ status }) => status)).toEqual([401, 401, 429])
  expect((await repeat(2, () => from('::ffff:203.0.113.2'))).map(({ status }) => status)).toEqual([401, 429])
})
