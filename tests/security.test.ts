import { openLog } from '../monitoring/log'
import { cookieOf, listen, password, startApp, type TestApp } from './helpers/app'

let app: TestApp
let secure: TestApp
beforeAll(async () => {
  app = await startApp()
  secure = await startApp({ env: { PUBLIC_URL: 'https://ops.example.com', TRUST_PROXY: '1' } })
})
afterAll(async () => {
  await app.close()
  await secure.close()
})

const signIn = async (to: TestApp, headers: Record<string, string> = {}) =>
  (await to.as(null)).post('/sign-in').set(headers).type('form').send({ username: 'alice', password })
const asset = async () => /\/assets\/app-[\w-]+\.css/.exec((await (await app.as(null)).get('/sign-in')).text)?.[0] ?? 'none'

describe('every answer', () => {
  test('says how a browser is to treat it: pages, API, errors, files, redirects', async () => {
    const [nobody, alice] = [await app.as(null), await app.as('alice')]
    const answers = [
      await nobody.get('/sign-in'),
      await alice.get('/'),
      await alice.get('/nowhere'),
      await (await app.as('carol')).get('/settings'),
      await nobody.get('/profile'),
      await nobody.get('/api/health'),
      await alice.get('/api/health'),
      await alice.get('/api/nowhere'),
      await alice.post('/api/events').send({}),
      await nobody.get('/healthz'),
      await nobody.get('/openapi.json'),
      await nobody.get(await asset()),
      await nobody.get('/assets/none.js'),
      await nobody.get('/favicon.ico'),
      await nobody.get('/%zz'),
      await alice.post('/profile').set('Origin', 'https://evil.example'),
      await alice.delete('/settings'),
    ]
    expect(answers.map(({ status }) => status)).toEqual([
      200, 200, 404, 403, 303, 401, 200, 404, 422, 200, 200, 200, 404, 308, 404, 403, 405,
    ])
    for (const { headers, status, request } of answers) {
      const what = `${request.method} ${request.url} ${status}`
      const policy = headers['content-security-policy'] ?? ''
      expect([what, policy]).toEqual([
        what,
        expect.stringMatching(/default-src 'self'.*object-src 'none';base-uri 'none'.*frame-ancestors 'none'/),
      ])
      expect(policy).not.toMatch(/unsafe|upgrade-insecure|\*/)
      expect([what, headers['x-content-type-options']]).toEqual([what, 'nosniff'])
      expect(headers['x-frame-options']).toBe('DENY')
      expect(headers['referrer-policy']).toBe('same-origin')
      expect(headers['x-powered-by'] ?? headers['server'] ?? headers['strict-transport-security']).toBeUndefined()
      const kept = status === 200 && request.url.includes('/assets/')
      expect(`${what} ${headers['cache-control'] ?? 'no-store'}`).toMatch(kept ? /immutable$/ : / no-store$/)
    }
  })

  test('is bound to https where the public address is', async () => {
    const page = await (await secure.as(null)).get('/sign-in')
    expect(page.headers['strict-transport-security']).toMatch(/^max-age=31536000/)
  })
})

describe('the cookie', () => {
  const flagsOf = (answer: Awaited<ReturnType<typeof signIn>>) =>
    (answer.headers['set-cookie'] as unknown as string[])[0]?.split('; ') ?? []

  test('is for this site and for HTTP only, on plain http', async () => {
    const flags = flagsOf(await signIn(app))
    expect(flags[0]).toMatch(/^operations-center=s%3A/)
    expect(flags).toEqual(expect.arrayContaining(['Path=/', 'HttpOnly', 'SameSite=Lax']))
    expect(flags.join(';')).not.toMatch(/Secure|Domain/)
  })

  test.each([
    ['says so', { 'X-Forwarded-Proto': 'https' }],
    ['says nothing', {}],
  ])('is bound to this host over https, also where the proxy %s', async (_what, headers: Record<string, string>) => {
    const answer = await signIn(secure, { ...headers, Origin: 'https://ops.example.com' })
    const flags = flagsOf(answer)
    expect(flags[0]).toMatch(/^__Host-operations-center=s%3A/)
    expect(flags).toEqual(expect.arrayContaining(['Path=/', 'HttpOnly', 'SameSite=Lax', 'Secure']))
    expect(flags.join(';')).not.toMatch(/Domain/)
    expect((await (await secure.as(null)).get('/profile').set('Cookie', cookieOf(answer))).status).toBe(200)
  })
})

describe('what another site makes a browser send', () => {
  const change = async (to: TestApp, headers: Record<string, string>) =>
    (await (await to.as(null)).post('/profile/theme').set(headers).type('form').send({ theme: 'dark' })).status
  let own: string
  let cookie: string
  let basic: string
  beforeAll(async () => {
    own = app.url
    cookie = (await app.as('alice')).cookie ?? ''
    basic = `Basic ${Buffer.from(`alice:${password}`).toString('base64')}`
  })

  test.each<[string, string | undefined, string | undefined, number]>([
    ['its own page', 'OWN', 'same-origin', 303],
    ['its own page over plain http to an address', 'OWN', undefined, 303],
    ['the address bar', undefined, 'none', 303],
    ['another site', 'https://evil.example', 'cross-site', 403],
    ['another site over plain http', 'http://evil.example', undefined, 403],
    ['another port of the same machine', 'http://127.0.0.1:1', 'same-site', 403],
    ['another port, in an old browser', 'http://127.0.0.1:1', undefined, 403],
    ['a sandboxed frame', 'null', undefined, 403],
    ['a sandboxed frame of another site', 'null', 'cross-site', 403],
    ['something that hides its site', undefined, 'cross-site', 403],
    ['something that says nothing', undefined, undefined, 403],
    ['something that is no origin', 'not an origin', undefined, 403],
    ['a name that begins like ours', 'OWN.evil.example', undefined, 403],
  ])('with a session: from %s', async (_what, origin, site, status) => {
    const headers = { ...(origin ? { Origin: origin.replace('OWN', own) } : {}), ...(site ? { 'Sec-Fetch-Site': site } : {}) }
    expect(await change(app, { ...headers, Cookie: cookie })).toBe(status)
  })

  test('is refused with Basic, with a stale session and without anything; programs are not', async () => {
    const evil = { Origin: 'https://evil.example' }
    expect(await change(app, { Authorization: basic, ...evil })).toBe(403)
    expect(await change(app, { Authorization: basic, 'Sec-Fetch-Site': 'cross-site' })).toBe(403)
    expect(await change(app, { Authorization: basic, Origin: 'null' })).toBe(403)
    expect(await change(app, { Cookie: 'operations-center=s%3Astale.x' })).toBe(403)
    expect(await change(app, { Authorization: basic })).toBe(303)
    expect((await signIn(app, evil)).status).toBe(403)
    expect((await (await app.as(null)).post('/sign-out').set({ Cookie: cookie, ...evil })).status).toBe(403)
    const answer = await (
      await app.as(null)
    )
      .post('/api/events')
      .set({ Cookie: cookie, ...evil })
      .send({ events: [{ type: 'a', source: 'b' }] })
    expect(answer.status).toBe(403)
  })

  test('over https, a page that came over http is another site', async () => {
    const session = cookieOf(await signIn(secure))
    expect(await change(secure, { Cookie: session, Origin: 'https://ops.example.com', Host: 'ops.example.com' })).toBe(303)
    expect(await change(secure, { Cookie: session, Origin: 'http://ops.example.com', Host: 'ops.example.com' })).toBe(403)
    expect(await change(secure, { Cookie: session, Origin: 'https://ops.example.com:8443', Host: 'ops.example.com' })).toBe(403)
  })

  test('opens no socket', async () => {
    const path = `${app.url.replace('http', 'ws')}/live?topics=health`
    for (const Origin of ['https://evil.example', 'null', 'http://127.0.0.1:1', 'http://127.0.0.1.evil.example'])
      await expect(listen(path, { Cookie: cookie, Origin })).rejects.toThrow('refused with 403')
    await expect(listen(path, { Cookie: cookie })).rejects.toThrow('refused with 403')
    await expect(listen(path, { Authorization: basic, Origin: 'https://evil.example' })).rejects.toThrow('refused with 403')
    await expect(listen(path, { Origin: own })).rejects.toThrow('refused with 401')
    const listener = await listen(path, { Cookie: cookie, Origin: own })
    listener.close()
  })
})

describe('the address of a client', () => {
  const spoofed = {
    'X-Forwarded-For': '203.0.113.1, 203.0.113.2',
    'X-Real-IP': '203.0.113.3',
    Forwarded: 'for=203.0.113.4',
    'CF-Connecting-IP': '203.0.113.5',
  }
  const addressOf = async (to: TestApp) => {
    await (await to.as(null)).post('/sign-in').set(spoofed).type('form').send({ username: 'carol', password })
    return (await to.ctx.db.selectFrom('audit').select('address').where('actor_name', '=', 'carol').execute()).at(-1)?.address
  }

  test('is what the connection says, unless a proxy is named', async () => {
    expect(await addressOf(app)).toBe('127.0.0.1')
  })

  test('is what the named proxy says: its own entry, not the ones a client put before it', async () => {
    expect(await addressOf(secure)).toBe('203.0.113.2')
  })
})

test('a line of the log is one line, and moves no terminal', () => {
  const lines: string[] = []
  const text = 'a\n\r\u001b[2J\u0085\u009b2J\u2028\u2029\u202e\u2066é🙂'
  openLog('info', { write: (line: string) => void lines.push(line) }).info({ text, password: 'canary', user: { token: 'canary' } }, text)
  expect(lines).toHaveLength(1)
  expect(lines[0]?.trimEnd()).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\u202e\u2066]|canary/u)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ text, msg: text, password: '[hidden]' })
})
