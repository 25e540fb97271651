import { Agent as Connections, request } from 'node:http'
import { connect } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { password, startApp, type TestApp } from './helpers/app'
import { addPerson, agentWith, basicOf, keyOfAgent, sessionOf, signIn } from './helpers/people'
import { until } from './helpers/until'

const minute = 60_000
const hour = 60 * minute
/** What slows them is in memory: on the second database a part is enough. */
const tries = TEST_DIALECT === 'sqlite' ? 10_000 : 2000

let app: TestApp
afterEach(() => app.close())

describe('headers without end', () => {
  /** The status line of the answer to these bytes. */
  const statusOf = (text: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const { port, hostname } = new URL(app.url)
      const socket = connect(Number(port), hostname)
      let said = ''
      socket.setEncoding('utf8').on('data', (part) => (said += String(part)))
      // Whoever is refused while still sending may find the connection gone.
      socket.on('error', (error: NodeJS.ErrnoException) => {
        if (!['EPIPE', 'ECONNRESET'].includes(error.code ?? '')) reject(error)
      })
      socket.on('close', () => {
        resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(said)?.[1]))
      })
      socket.write(text)
    })
  const get = (path: string, more: string) => `GET ${path} HTTP/1.1\r\nHost: ${new URL(app.url).host}\r\nConnection: close\r\n${more}\r\n`
  const upgrade = (more: string) =>
    get(
      '/live?topics=health',
      `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}`,
    ).replace('Connection: close', 'Connection: Upgrade')

  test('are refused, many small ones are answered, and the next request is as well', async () => {
    app = await startApp()
    const { cookie } = await app.as('alice')
    const long = `X-Long: ${'x'.repeat(100_000)}\r\n`
    const many = 'a:\r\n'.repeat(3000)
    for (const path of ['/api/health', '/sign-in']) {
      expect(await statusOf(get(path, long))).toBe(431)
      expect(await statusOf(get(path, 'X-Some: some\r\n'.repeat(8000)))).toBe(431)
      expect(await statusOf(get(path, many))).toBe(path === '/sign-in' ? 200 : 401)
      expect(await statusOf(get(path, `Cookie: ${'a=b; '.repeat(2000)}\r\n`))).toBe(path === '/sign-in' ? 200 : 401)
    }
    expect(await statusOf(upgrade(long))).toBe(431)
    expect(await statusOf(upgrade(many))).toBe(401)
    // What Node leaves out of too many headers is not taken for what stood in them: without its Origin a page's socket is refused.
    expect(await statusOf(upgrade(`Cookie: ${cookie ?? ''}\r\n${many}Origin: https://evil.example\r\n`))).toBe(403)
    expect((await (await app.as('alice')).get('/api/health')).status).toBe(200)
    expect(app.log.filter(({ level }) => level >= 50)).toEqual([])
  })
})

test('thousands of tries to sign in are slowed, and the owner comes in meanwhile and afterwards', async () => {
  app = await startApp({ env: { SIGN_IN_RATE_LIMIT: '60', API_RATE_LIMIT: '100', TRUST_PROXY: 'loopback' } })
  app.expectLog(/Too many|not available/)
  const home = '198.51.100.7'
  const owner = async () => {
    const headers = { 'X-Forwarded-For': home }
    return (await agentWith(app, headers).post('/sign-in').type('form').send({ username: 'alice', password })).status
  }
  expect(await owner()).toBe(303)

  const connections = new Connections({ keepAlive: true, maxSockets: 40 })
  const { port } = new URL(app.url)
  const once = (from: string, username: string, byBasic: boolean): Promise<number> =>
    new Promise((resolve, reject) => {
      const wrong = Buffer.from(`${username}:wrong`).toString('base64')
      const sent = request(
        {
          ...{ agent: connections, port, host: '127.0.0.1', method: byBasic ? 'GET' : 'POST', path: byBasic ? '/api/health' : '/sign-in' },
          headers: {
            'X-Forwarded-For': from,
            ...(byBasic ? { Authorization: `Basic ${wrong}` } : { 'Content-Type': 'application/x-www-form-urlencoded' }),
          },
        },
        (answer) => {
          answer.resume().on('end', () => {
            resolve(answer.statusCode ?? 0)
          })
        },
      )
      sent.on('error', reject)
      sent.end(byBasic ? undefined : `username=${username}&password=wrong`)
    })
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const used = () => {
    collect()
    return process.memoryUsage().heapUsed / 1e6
  }
  const heap = used()
  const statuses = new Map<number, number>()
  let tried = 0
  let isIn = false
  /** Forty at a time: so many at the least, and until the owner has come in meanwhile. */
  const flood = async (times: number, one: (i: number) => Promise<number>) => {
    let next = 0
    const worker = async () => {
      while (next < times || !isIn) {
        const status = await one(next++)
        tried++
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
    }
    await Promise.all(Array.from({ length: 40 }, worker))
    isIn = false
  }
  const name = (i: number) => (i % 3 === 0 ? 'alice' : `nobody-${i}`)
  const flooding = (async () => {
    await flood(0.8 * tries, (i) => once('203.0.113.1', name(i), i % 10 > 0))
    await flood(0.2 * tries, (i) => once(`10.${Math.floor(i / 250) % 250}.${i % 250}.1`, name(i), i % 10 > 0))
  })()
  for (const share of [0.2, 0.85]) {
    await until(() => tried > share * tries, 120_000)
    expect(await owner()).toBe(303)
    isIn = true
    await until(() => !isIn, 120_000)
  }
  expect((await fetch(`${app.url}/healthz`)).status).toBe(200)
  await flooding
  connections.destroy()

  expect(tried).toBeGreaterThanOrEqual(tries)
  expect([...statuses.keys()].filter((status) => ![401, 429, 503].includes(status))).toEqual([])
  expect(statuses.get(429) ?? 0).toBeGreaterThan(0.8 * tried)
  expect(await owner()).toBe(303)
  expect(used() - heap).toBeLessThan(60)
}, 150_000)

test('a clock that is set back by hours, and forward again, keeps nobody out', async () => {
  app = await startApp()
  const [alice, nobody] = await Promise.all([app.as('alice'), app.as(null)])
  const session = await sessionOf(app, 'bob')
  const key = await keyOfAgent(app, alice, { role: 'operator' })
  const invite = ((await alice.post('/api/invites').send({ role: 'viewer', days: 1 })).body as { link: string }).link
  // Slowed down at this time, at its longest.
  for (let i = 0; i < 30; i++) {
    const { status } = await nobody.post('/sign-in').type('form').send({ username: 'carol', password: 'wrong' })
    if (status === 429) break
  }
  await alice.post('/api/me/password').send({ current: password, password: 'a quite new password' })
  const tryAll = async () => ({
    session: (await session.get('/api/me')).status,
    again: (await alice.get('/api/me')).status,
    key: (await key.get('/api/health')).status,
    basic: (await basicOf(app, 'bob').get('/api/me')).status,
    invite: (await nobody.get(new URL(invite).pathname + new URL(invite).search)).status,
    slowed: (await nobody.post('/sign-in').type('form').send({ username: 'carol', password })).status,
    signIn: (await (await signIn(app, 'bob')).get('/api/me')).status,
    newKey: (await (await keyOfAgent(app, await signIn(app, 'bob'), { role: 'viewer' })).get('/api/health')).status,
    socket: await app.live('bob', '/live?topics=health').then((listener) => {
      listener.close()
      return 101
    }),
    reset: await (async () => {
      const { link } = (await alice.post('/api/users/user-dora/reset')).body as { link?: string }
      return link ? (await nobody.get(new URL(link).pathname + new URL(link).search)).status : 'none'
    })(),
  })
  await addPerson(app, 'dora')
  const right = {
    ...{ session: 200, again: 200, key: 200, basic: 200, invite: 200, slowed: 303, signIn: 200, newKey: 200, socket: 101, reset: 200 },
  }
  app.advance(-5 * hour)
  expect(await tryAll()).toEqual(right)
  app.advance(-24 * hour)
  expect(await tryAll()).toEqual(right)
  app.advance(29 * hour)
  expect(await tryAll()).toEqual(right)
  // And nothing lives longer than it should: eight hours without a request end a session.
  app.advance(8 * hour + minute)
  expect((await session.get('/api/me')).status).toBe(401)
})
