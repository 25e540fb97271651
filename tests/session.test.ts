import { sign } from 'cookie-signature'
import { cookieOf, listen, password, startApp, type TestApp } from './helpers/app'
import { until } from './helpers/until'

const hour = 3_600_000
const day = 24 * hour

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

const signIn = async (username: string, headers: Record<string, string> = {}, form: Record<string, string> = {}) =>
  (await app.as(null))
    .post('/sign-in')
    .set(headers)
    .type('form')
    .send({ username, password, ...form })
const newSession = async (username: string) => cookieOf(await signIn(username))
const open = async (cookie: string, path = '/profile') => (await (await app.as(null)).get(path).set('Cookie', cookie)).status
const sessionsOf = (user: string) =>
  app.ctx.db.selectFrom('sessions').selectAll().where('user_id', '=', `user-${user}`).orderBy('created_at').execute()

describe('signing in', () => {
  test('a page asks for it, and leads back afterwards', async () => {
    const asked = await (await app.as(null)).get('/settings?x=1')
    expect(asked.status).toBe(303)
    expect(asked.headers['location']).toBe('/sign-in?next=%2Fsettings%3Fx%3D1')
    const answer = await signIn('alice', {}, { next: '/settings?x=1' })
    expect([answer.status, answer.headers['location']]).toEqual([303, '/settings?x=1'])
    expect(await open(cookieOf(answer), '/settings')).toBe(200)
    const again = await (await app.as(null)).get('/sign-in?next=/profile').set('Cookie', cookieOf(answer))
    expect([again.status, again.headers['location']]).toEqual([303, '/profile'])
  })

  test('takes a name in any case and width, and leaves an audit row', async () => {
    expect((await signIn(' ＡLiCE ', { 'User-Agent': 'a browser' })).status).toBe(303)
    const rows = await app.ctx.db.selectFrom('audit').selectAll().where('action', '=', 'session.start').orderBy('at', 'desc').execute()
    expect(rows[0]).toMatchObject({ actor_kind: 'user', actor_id: 'user-alice', actor_name: 'alice', address: '127.0.0.1', org_id: 'home' })
    expect((await sessionsOf('alice')).at(-1)).toMatchObject({ address: '127.0.0.1', device: 'a browser' })
  })

  test.each([
    '//evil.example',
    '///evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    '/\t/evil.example',
    '/\n/evil.example',
    '/.//evil.example',
    '/x/..//evil.example',
    '/x/../\\evil.example',
    '/%2e%2e//evil.example/..//evil.example',
    'https://evil.example',
    'HTTPS:evil.example',
    'https:///evil.example',
    '//user@evil.example',
    '//evil.example:443',
    '//[::1]/',
    '//0x7f000001',
    '@evil.example',
    '.evil.example',
    'javascript:alert(1)',
    'data:text/html,x',
    ' //evil.example',
    '\u0000//evil.example',
    '／／evil.example',
    '/ /evil.example',
    '/sign-out',
    '/sign-in?next=//evil.example',
    '',
  ])('never leads to another site: next=%j', async (next) => {
    const alice = await app.as('alice')
    const { headers } = await alice.get(`/sign-in?next=${encodeURIComponent(next)}`)
    const location = headers['location'] ?? ''
    expect(location).toMatch(/^\/(?![/\\])/)
    expect(new URL(location, app.url).origin).toBe(app.url)
    expect(location).not.toMatch(/^\/sign-|\s/)
  })
})

describe('the session', () => {
  test('gets a new id when somebody signs in, and the one before is dead', async () => {
    const planted = await newSession('carol')
    const answer = await signIn('alice', { Cookie: planted, Origin: app.url })
    expect(answer.status).toBe(303)
    expect(cookieOf(answer)).not.toBe(planted)
    expect(await open(planted)).toBe(303)
    expect((await (await app.as(null)).get('/profile').set('Cookie', cookieOf(answer))).text).toContain('alice')
  })

  test('is never adopted from outside: not unsigned, not signed with another secret, not unknown', async () => {
    expect((await (await app.as(null)).get('/sign-in')).headers['set-cookie']).toBeUndefined()
    const { sessionSecret } = app.platform.config
    for (const value of [
      'chosen',
      's:chosen',
      's:chosen.',
      `s:${sign('chosen', 'x'.repeat(43))}`,
      `s:${sign('chosen', sessionSecret)}`,
      '%E0%A4%A',
    ]) {
      const Cookie = `operations-center=${value.startsWith('%') ? value : encodeURIComponent(value)}`
      expect(await open(Cookie)).toBe(303)
      expect(cookieOf(await signIn('alice', { Cookie, Origin: app.url }))).not.toContain('chosen')
      expect(await open(Cookie)).toBe(303)
    }
  })

  test('cannot be read out of the database', async () => {
    const cookie = await newSession('bob')
    const sid = /s%3A([^.]+)/.exec(cookie)?.[1] ?? 'none'
    expect(sid.length).toBeGreaterThanOrEqual(32)
    expect(JSON.stringify(await app.ctx.db.selectFrom('sessions').selectAll().execute())).not.toContain(sid)
  })

  test('is ended on the server by signing out, and by nothing less', async () => {
    const cookie = await newSession('bob')
    const bob = (path: string) => app.as(null).then((nobody) => nobody.post(path).set({ Cookie: cookie, Origin: app.url }))
    expect((await (await app.as(null)).get('/sign-out').set('Cookie', cookie)).status).toBe(405)
    expect(await open(cookie)).toBe(200)
    const answer = await bob('/sign-out')
    expect([answer.status, answer.headers['location']]).toEqual([303, '/sign-in'])
    expect(cookieOf(answer)).toBe('operations-center=')
    expect(answer.headers['clear-site-data']).toBe('"cache"')
    expect(await open(cookie)).toBe(303)
    await expect(listen(`${app.url.replace('http', 'ws')}/live?topics=health`, { Cookie: cookie, Origin: app.url })).rejects.toThrow('401')
    expect(await app.ctx.db.selectFrom('audit').selectAll().where('action', '=', 'session.end').execute()).toMatchObject([
      { actor_id: 'user-bob' },
    ])
    expect((await bob('/sign-out')).headers['location']).toBe('/sign-in')
  })

  test('is written to at most once a minute', async () => {
    const cookie = await newSession('dave')
    const seen = async () => (await sessionsOf('dave'))[0]?.seen_at
    const first = await seen()
    app.advance(50_000)
    await Promise.all([1, 2, 3].map(() => open(cookie)))
    expect(await seen()).toBe(first)
    app.advance(11_000)
    await Promise.all([1, 2, 3].map(() => open(cookie)))
    const second = await seen()
    expect(second).toBeGreaterThan(first ?? Infinity)
    app.advance(1000)
    await open(cookie)
    expect(await seen()).toBe(second)
  })

  test('ends after eight hours without a request', async () => {
    const cookie = await newSession('carol')
    app.advance(7.9 * hour)
    expect(await open(cookie)).toBe(200)
    app.advance(7.9 * hour)
    expect(await open(cookie)).toBe(200)
    app.advance(8.02 * hour)
    expect(await open(cookie)).toBe(303)
  })

  test('ends after thirty days in any case', async () => {
    const cookie = await newSession('carol')
    const start = app.ctx.now()
    while (app.ctx.now() - start < 30 * day - 7 * hour) {
      app.advance(7 * hour)
      if ((await open(cookie, '/sign-in')) !== 303) throw new Error('The session ended early')
    }
    expect(await open(cookie)).toBe(200)
    app.advance(7 * hour)
    expect(await open(cookie)).toBe(303)
  })
})

test('a disabled account is out: at once by Basic and by form, within five seconds by session and socket', async () => {
  const cookie = await newSession('carol')
  const socket = await listen(`${app.url.replace('http', 'ws')}/live?topics=health`, { Cookie: cookie, Origin: app.url })
  const closed = new Promise((resolve) => socket.socket.once('close', resolve))
  expect((await app.basic('carol').get('/api/health')).status).toBe(200)
  expect(await open(cookie)).toBe(200)
  await app.ctx.db.updateTable('users').set({ disabled_at: 1 }).where('username', '=', 'carol').execute()
  const [basic, form] = await Promise.all([
    app.basic('carol').get('/api/health'),
    signIn('carol'),
    until(async () => (await open(cookie)) === 303, 2000),
  ])
  expect([basic.status, form.status]).toEqual([401, 401])
  expect(await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 6000, 'still open').unref())])).toBe(4401)
})
