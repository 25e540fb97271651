import { spawn } from 'node:child_process'
import { inProject } from '../monitoring/paths'
import { password, type Agent, type TestApp } from './helpers/app'
import {
  addMember,
  addPerson,
  afterTheThrottle,
  agentWith,
  auditOf,
  basicOf,
  beforeTheTests,
  changesDuring,
  everything,
  sessionOf,
  signIn,
  socketOf,
} from './helpers/people'
import { bodyOf, expectProblem } from './helpers/routes'

const minute = 60_000
const next = 'another long password'

let app: TestApp
let alice: Agent
let nobody: Agent
beforeTheTests((opened) => ({ app, alice, nobody } = opened))

const reset = async (id: string, agent = alice) => {
  const { link, expires_at } = bodyOf<{ link: string; expires_at: string }>(
    await agent.post(`/api/users/${id}/reset`),
    'POST /api/users/:id/reset',
  )
  return { link, expires_at, token: new URL(link).searchParams.get('token') ?? '' }
}
const open = (token: string) => nobody.get(`/reset?token=${token}`)
const use = (token: string, given = next, repeat = given) => nobody.post('/reset').type('form').send({ token, password: given, repeat })
const letsIn = (username: string, given: string) =>
  signIn(app, username, given).then(
    () => true,
    () => false,
  )

describe('a link for a new password', () => {
  test('works once: it sets the password, ends every session and socket, and is audited', async () => {
    const [one, two] = [await sessionOf(app, 'bob'), await sessionOf(app, 'bob')]
    const { closed } = await socketOf(app, one, '/live?topics=health')
    const basic = basicOf(app, 'bob')
    expect((await basic.get('/api/health')).status).toBe(200)
    const { link, token, expires_at } = await reset('user-bob')
    expect(link).toBe(`${app.url}/reset?token=${token}`)
    expect(token.length).toBeGreaterThanOrEqual(32)
    expect(Math.abs(Date.parse(expires_at) - app.ctx.now() - 15 * minute)).toBeLessThan(minute)
    expect(await auditOf(app, 'resets.make', 'user-bob')).toMatchObject([{ org_id: 'home', actor_name: 'alice', subject_name: 'bob' }])

    // Until it is used nothing changes.
    const page = await open(token)
    expect([page.status, page.text.includes('bob')]).toEqual([200, true])
    expect((await two.get('/profile')).status).toBe(200)

    const told = await changesDuring(app, async () => {
      const answer = await use(token)
      expect([answer.status, answer.headers['location']]).toEqual([303, '/'])
      const cookie = (answer.headers['set-cookie'] as unknown as string[])[0]?.split(';')[0] ?? ''
      expect((await agentWith(app, { Cookie: cookie }).get('/api/me')).body).toMatchObject({ username: 'bob', role: 'operator' })
    })
    expect(told).toContain('home users user-bob')
    for (const agent of [one, two]) expect((await agent.get('/profile')).status).toBe(303)
    expect((await closed).code).toBe(4401)
    expectProblem(await basic.get('/api/health'), 401)
    expect([await letsIn('bob', password), await letsIn('bob', next)]).toEqual([false, true])
    expect(await auditOf(app, 'password.reset', 'user-bob')).toEqual([
      {
        ...{ org_id: 'home', actor_name: 'bob', subject: 'user-bob', subject_name: 'bob', key_name: null },
        data: { by: 'link', sessions_ended: 2 },
      },
    ])

    const again = await use(token, 'yet another password')
    expect([again.status, again.headers['set-cookie'], (await open(token)).status]).toEqual([410, undefined, 410])
    expect(await letsIn('bob', next)).toBe(true)
    expect(await auditOf(app, 'resets.refused', 'user-bob')).toMatchObject([
      { org_id: 'home', actor_name: 'nobody', data: { state: 'used' } },
    ])
  })

  test('of two who use it at once serves one', async () => {
    await addPerson(app, 'twin')
    const { token } = await reset('user-twin')
    const given = ['the password of one', 'the password of two']
    const answers = await Promise.all(given.map((one) => use(token, one)))
    expect(answers.map(({ status }) => status).sort()).toEqual([303, 410])
    const working = []
    for (const one of given) working.push(await letsIn('twin', one))
    expect(working).toEqual(answers.map(({ status }) => status === 303))
  })

  test('ends after fifteen minutes', async () => {
    await addPerson(app, 'lara')
    const { token } = await reset('user-lara')
    app.advance(14.9 * minute)
    expect((await open(token)).status).toBe(200)
    app.advance(0.2 * minute)
    expect((await open(token)).status).toBe(410)
    expect((await use(token)).status).toBe(410)
    expect(await letsIn('lara', next)).toBe(false)
    expect(await auditOf(app, 'resets.refused', 'user-lara')).toMatchObject([{ data: { state: 'expired' } }])
  })

  test('voids the one before, also when two are made at once', async () => {
    await addPerson(app, 'nina')
    const [first, second] = [await reset('user-nina'), await reset('user-nina')]
    expect([(await open(first.token)).status, (await open(second.token)).status]).toEqual([404, 200])
    expect((await use(first.token)).status).toBe(404)
    for (let round = 0; round < 4; round++) {
      const both = await Promise.all([reset('user-nina'), reset('user-nina')])
      const statuses = await Promise.all(both.map(async ({ token }) => (await open(token)).status))
      expect(statuses.sort()).toEqual([200, 404])
    }
    expect(await letsIn('nina', password)).toBe(true)
  })

  test('is void once the password was changed otherwise', async () => {
    await addPerson(app, 'otto')
    const { token } = await reset('user-otto')
    const otto = await sessionOf(app, 'otto')
    app.advance(1000)
    bodyOf(await otto.post('/api/me/password').send({ current: password, password: next }), 'POST /api/me/password')
    expect((await open(token)).status).toBe(410)
    expect((await use(token, 'chosen by a stranger')).status).toBe(410)
    expect(await letsIn('otto', next)).toBe(true)
  })

  test('opens no disabled account, and cannot be made for one that is not here', async () => {
    await addPerson(app, 'pia')
    const { token } = await reset('user-pia')
    bodyOf(await alice.post('/api/users/user-pia/disable'), 'POST /api/users/:id/disable')
    expect((await open(token)).status).toBe(404)
    expect((await use(token)).status).toBe(404)
    bodyOf(await alice.post('/api/users/user-pia/enable'), 'POST /api/users/:id/enable')
    expect([await letsIn('pia', next), await letsIn('pia', password)]).toEqual([false, true])
    for (const id of ['user-dave', 'user-nobody']) expectProblem(await alice.post(`/api/users/${id}/reset`), 404)
  })

  test('makes wrong tries forgiven: whoever was slowed down comes in at once', async () => {
    await addPerson(app, 'rosa')
    app.advance(minute)
    const wrong = () => nobody.post('/sign-in').type('form').send({ username: 'rosa', password: 'wrong, and long enough' })
    await Promise.all([1, 2, 3, 4, 5].map(wrong))
    // However slow this machine is, the next try comes before the wait is over.
    app.advance(-50_000)
    expect((await wrong()).status).toBe(429)
    const { token } = await reset('user-rosa')
    expect((await use(token)).status).toBe(303)
    expect(await letsIn('rosa', next)).toBe(true)
  })

  test.each([
    ['that is short', 'too short', 'too short', 'Use at least 10 characters.'],
    ['that is tried first', 'qwertyuiop', 'qwertyuiop', 'among the first that are tried'],
    ['that is endless', 'x'.repeat(1025), 'x'.repeat(1025), 'Use 1,024 characters at the most.'],
    ['that was repeated differently', next, `${next}!`, 'This is not the same password.'],
  ])('refuses one %s, says so, and stays open', async (_what, given, repeat, message) => {
    const { token } = await reset('user-carol')
    const before = await everything(app)
    const answer = await use(token, given, repeat)
    expect([answer.status, answer.text.includes(message)]).toEqual([422, true])
    expect(await everything(app)).toEqual(before)
    expect((await open(token)).status).toBe(200)
  })

  test.each(['', 'x', 'a'.repeat(200), "' or 1=1 --", '../../etc/passwd', 'constructor'])('that is none is refused: %j', async (token) => {
    afterTheThrottle(app)
    const before = await everything(app)
    for (const answer of [await open(encodeURIComponent(token)), await use(token)]) expect(answer.status).toBe(404)
    expect(await everything(app)).toEqual(before)
    expect((await auditOf(app, 'resets.refused', 'unknown')).at(-1)).toMatchObject({ actor_name: 'nobody', data: { state: 'invalid' } })
  })

  test('that is a list is refused', async () => {
    const { token } = await reset('user-carol')
    const body = `token=${token}&token=${token}&password=${next}&repeat=${next}`
    expect((await nobody.post('/reset').type('form').send(body)).status).toBe(422)
    expect((await open(token)).status).toBe(200)
  })

  test('of another organisation’s person is that organisation’s business alone', async () => {
    const dave = await sessionOf(app, 'dave')
    await addPerson(app, 'dirk', { org: 'other' })
    const { token } = await reset('user-dirk', dave)
    const told = await changesDuring(app, () => use(token))
    expect(told).toContain('other users user-dirk')
    expect(told.filter((one) => one.startsWith('home'))).toEqual([])
    expect((await use(token)).status).toBe(410)
    for (const action of ['resets.make', 'password.reset', 'resets.refused'])
      expect(await auditOf(app, action, 'user-dirk')).toMatchObject([{ org_id: 'other' }])
  })

  test('is kept nowhere: not in the database, not in the audit trail, not in the log', async () => {
    const { token } = await reset('user-carol')
    await open(token)
    await use(token, 'canary-password-1')
    await use(token, 'canary-password-2')
    await use('canary-token', 'canary-password-3')
    const { db } = app.ctx
    const kept = [
      await db.selectFrom('resets').selectAll().execute(),
      await db.selectFrom('users').selectAll().execute(),
      await db.selectFrom('audit').selectAll().execute(),
      await db.selectFrom('changes').selectAll().execute(),
      await db.selectFrom('sessions').selectAll().execute(),
      app.log,
    ]
    expect(JSON.stringify(kept)).toContain('resets.refused')
    for (const secret of [token, 'canary-']) expect(JSON.stringify(kept)).not.toContain(secret)
  })

  test('is made on a page that asks first and shows it once', async () => {
    const question = await alice.get('/users/user-carol/reset')
    expect([question.status, question.text.includes('A new password for carol?')]).toEqual([200, true])
    const page = await alice.post('/users/user-carol/reset').type('form').send({})
    const token = /\/reset\?token=([\w-]{32})/.exec(page.text)?.[1] ?? ''
    expect([page.status, (await open(token)).status]).toEqual([200, 200])
    expect((await alice.get('/users/user-carol')).text).not.toContain(token)
  })

  test('leads to where the admin is, whatever Host a request claims', async () => {
    const host = async (Host: string) => {
      const answer = await alice.post('/api/users/user-carol/reset').set({ Host, 'Sec-Fetch-Site': 'same-origin' })
      return (answer.body as { link: string }).link
    }
    expect(await host('console.example:8443')).toMatch(/^http:\/\/console\.example:8443\/reset\?token=[\w-]{32}$/)
    for (const strange of ['evil.example/@x', 'evil.example"><script>', 'a b', 'user@evil.example'])
      expect(await host(strange)).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/reset\?token=[\w-]{32}$/)
  })
})

describe('operations-center reset-password, while the console runs', () => {
  // The wrong tries above are forgotten.
  beforeAll(() => {
    app.advance(16 * minute)
  })

  /** The command as the shell runs it, on the data of the running console. */
  const command = (name: string | null, input: string, env: Readonly<Record<string, string>> = {}) =>
    new Promise<{ code: number | null; out: string; err: string }>((resolve, reject) => {
      const { databaseUrl } = app.platform.config
      const child = spawn(process.execPath, [inProject('dist/monitoring/cli.js'), 'reset-password', ...(name === null ? [] : [name])], {
        cwd: app.pm2Home,
        env: { DATA_DIR: app.dataDir, PM2_HOME: app.pm2Home, ...(databaseUrl === null ? {} : { DATABASE_URL: databaseUrl }), ...env },
      })
      let [out, err] = ['', '']
      child.stdout.on('data', (data: Buffer) => (out += data.toString()))
      child.stderr.on('data', (data: Buffer) => (err += data.toString()))
      child.once('error', reject)
      child.once('close', (code) => {
        resolve({ code, out, err })
      })
      child.stdin.on('error', () => undefined)
      child.stdin.end(input)
    })

  test('sets the password of a person by name, and ends their sessions and sockets in the console within seconds', async () => {
    await addPerson(app, 'shelly', { role: 'operator' })
    const shelly = await sessionOf(app, 'shelly')
    const basic = basicOf(app, 'shelly')
    const { closed } = await socketOf(app, shelly, '/live?topics=health')
    expect([(await shelly.get('/profile')).status, (await basic.get('/api/health')).status]).toEqual([200, 200])
    let at = 0
    const told = await changesDuring(app, async () => {
      const { code, out, err } = await command('SHELLY', ' set in the shell \nand nothing of this\n')
      at = performance.now()
      expect({ code, out, err }).toEqual({ code: 0, out: 'The password of SHELLY was changed, and 1 session ended.\n', err: '' })
    })
    expect(told).toEqual(['home users user-shelly'])
    expect((await closed).code).toBe(4401)
    expect((await closed).at - at).toBeLessThan(5000)
    expect((await shelly.get('/profile')).status).toBe(303)
    expectProblem(await basic.get('/api/health'), 401)
    expect(await letsIn('shelly', password)).toBe(false)
    expect(await letsIn('shelly', 'set in the shell')).toBe(false)
    expect(await letsIn('shelly', ' set in the shell ')).toBe(true)
    expect(await auditOf(app, 'password.reset', 'user-shelly')).toMatchObject([
      { org_id: 'home', actor_name: 'the console', subject_name: 'shelly', data: { by: 'shell', sessions_ended: 1 } },
    ])
  })

  test('voids a link that was made before', async () => {
    await addPerson(app, 'theo')
    const { token } = await reset('user-theo')
    const { databaseUrl } = app.platform.config
    expect(databaseUrl === null).toBe(TEST_DIALECT === 'sqlite')
    // The command has its own clock, and this test may have moved the console's.
    await app.ctx.db
      .updateTable('resets')
      .set({ created_at: Date.now() - minute })
      .where('user_id', '=', 'user-theo')
      .execute()
    expect((await command('theo', `${next}\n`)).code).toBe(0)
    expect((await open(token)).status).toBe(410)
  })

  test('changes nothing without a name, for nobody, for a disabled account, or with a poor password, and says so', async () => {
    await addPerson(app, 'uta')
    await addMember(app, 'user-uta', 'other', 'viewer')
    await addPerson(app, 'vera')
    bodyOf(await alice.post('/api/users/user-vera/disable'), 'POST /api/users/:id/disable')
    const before = await everything(app)
    expect(await command(null, '')).toEqual({ code: 2, out: '', err: 'Whose? operations-center reset-password <name>\n' })
    for (const name of ['nobody', 'vera']) {
      const { code, out, err } = await command(name, `${next}\n`)
      expect([code, out, err]).toEqual([1, '', `name: There is no active account “${name}”.\n`])
    }
    for (const [given, why] of [
      ['', /at least 10/],
      ['uta1234567', /among the first/],
    ] as const) {
      const { code, out, err } = await command('uta', `${given}\n`)
      expect([given, code, out]).toEqual([given, 1, ''])
      expect(err).toMatch(why)
      expect(err).not.toMatch(/\n.*\n|at .*\(/)
    }
    expect(await everything(app)).toEqual(before)
  })
})
