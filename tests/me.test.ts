import { password, startApp, type Agent, type TestApp } from './helpers/app'
import {
  addPerson,
  agentWith,
  auditOf,
  basicOf,
  changesDuring,
  everything,
  keyOfAgent,
  sessionOf,
  signIn,
  socketOf,
} from './helpers/people'
import { bodyOf, expectProblem, fieldsOf } from './helpers/routes'

const firefox = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0'
const iphone =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1'

let app: TestApp
let carol: Agent
let nobody: Agent
beforeAll(async () => {
  app = await startApp()
  ;[carol, nobody] = await Promise.all([sessionOf(app, 'carol'), app.as(null)])
})
afterAll(() => app.close())

interface Me {
  username: string
  handle: string
  role: string
  actions: string[]
  theme: string
  timezone: string | null
  via: string
  key: { name: string } | null
}
interface Session {
  id: string
  device: string
  user_agent: string | null
  address: string | null
  current: boolean
}

const me = async (agent: Agent) => bodyOf<Me>(await agent.get('/api/me'), 'GET /api/me')
const patched = async (agent: Agent, body: object) => bodyOf<Me>(await agent.patch('/api/me').send(body), 'PATCH /api/me')
const sessions = async (agent: Agent) => bodyOf<{ items: Session[] }>(await agent.get('/api/sessions'), 'GET /api/sessions').items

describe('who I am', () => {
  test('is told to whoever asks, by whatever way they come: with the rights of that way', async () => {
    expect(await me(carol)).toMatchObject({
      ...{ id: 'user-carol', username: 'carol', handle: 'carol', role: 'viewer', instance_admin: false, via: 'session', key: null },
      organisation: { id: 'home', name: 'Home' },
    })
    expect(await me(basicOf(app, 'carol'))).toMatchObject({ username: 'carol', via: 'basic', key: null })
    const key = await keyOfAgent(app, carol, { name: 'reader', role: 'viewer', scopes: ['health.read'] })
    expect(await me(key)).toMatchObject({ username: 'carol', via: 'key', key: { name: 'reader' }, actions: ['health.read'] })
    const narrow = await keyOfAgent(app, await app.as('alice'), { name: 'narrow', role: 'viewer' })
    expect(await me(narrow)).toMatchObject({ username: 'alice', via: 'key', role: 'viewer', instance_admin: false })
    expect((await me(narrow)).actions).toEqual((await me(carol)).actions.filter((action) => !action.startsWith('accounts.')))
    expectProblem(await nobody.get('/api/me'), 401)
    expect((await carol.get('/api/me')).text).not.toMatch(/password|\$2b\$|username_key/)
  })

  test('is changed by myself, which is audited with what it was, told to open pages, and nothing the second time', async () => {
    await addPerson(app, 'erin')
    const [here, elsewhere] = [await sessionOf(app, 'erin'), await sessionOf(app, 'erin')]
    const told = await changesDuring(app, async () => {
      for (let i = 0; i < 2; i++)
        expect(await patched(here, { username: ' Erin O’Hara ', theme: 'dark', timezone: 'Europe/Berlin' })).toMatchObject({
          ...{ username: 'Erin O’Hara', handle: 'erin', theme: 'dark', timezone: 'Europe/Berlin' },
        })
    })
    expect(told).toEqual(['home users user-erin'])
    expect(await auditOf(app, 'profile.change', 'user-erin')).toMatchObject([
      {
        actor_name: 'erin',
        data: {
          before: { username: 'erin', theme: 'auto', timezone: null },
          after: { username: 'Erin O’Hara', theme: 'dark', timezone: 'Europe/Berlin' },
        },
      },
    ])
    expect(await me(elsewhere)).toMatchObject({ username: 'Erin O’Hara' })
    // From now on, they sign in with the new name, and with no other.
    expect((await (await signIn(app, 'erin o’hara')).get('/api/me')).body).toMatchObject({ id: 'user-erin' })
    await expect(signIn(app, 'erin')).rejects.toThrow('401')
    expect(await patched(here, { timezone: null })).toMatchObject({ timezone: null, theme: 'dark', username: 'Erin O’Hara' })
    expect(await patched(here, { username: 'ERIN O’Hara' })).toMatchObject({ username: 'ERIN O’Hara' })
    expect(await patched(here, {})).toMatchObject({ username: 'ERIN O’Hara' })
  })

  test.each([
    ['no name', { username: ' ' }, 'username'],
    ['an endless name', { username: 'x'.repeat(65) }, 'username'],
    ['a name with control characters', { username: 'a\u0007b' }, 'username'],
    ['a name with a letter that cannot be seen', { username: 'al\u200bice' }, 'username'],
    ['a name that is turned around', { username: '\u202eecila' }, 'username'],
    ['a name of two lines', { username: 'alice\u2028alice' }, 'username'],
    ['a name of two paragraphs', { username: 'alice\u2029alice' }, 'username'],
    ['the name of the console', { username: 'The  Console' }, 'username'],
    ['the name of nobody', { username: 'ＮＯＢＯＤＹ' }, 'username'],
    ['the name of the system', { username: 'System' }, 'username'],
    ['the name of an audience', { username: 'Whoever\u00a0is looking' }, 'username'],
    ['a name that is a list', { username: ['carol'] }, 'username'],
    ['a name that somebody has, written otherwise', { username: 'ＡLICE' }, 'username'],
    ['a theme that there is not', { theme: 'pink' }, 'theme'],
    ['a zone that there is not', { timezone: 'Mars/Olympus' }, 'timezone'],
    ['a zone that is none', { timezone: 5 }, 'timezone'],
    ...[
      ...[
        'role',
        'role_id',
        'org_id',
        'organisation',
        'instance_admin',
        'instance_admin_at',
        'actions',
        'rights',
        'disabled_at',
        'state',
        'password',
      ],
      ...[
        'password_hash',
        'password_changed_at',
        'id',
        'user_id',
        'handle',
        'username_key',
        'created_at',
        'seen_at',
        'devices_seen_at',
        'via',
        'key',
      ],
      ...['is_admin', 'admin', 'permissions', 'constructor', 'prototype'],
    ].map((field) => [`the field ${field}`, { theme: 'dark', [field]: 'admin' }, field] as const),
  ] as const)('refuses %s, names the field, and changes nothing', async (_what, body, field) => {
    const before = await everything(app)
    expect(fieldsOf(await carol.patch('/api/me').send(body), 422)).toEqual([field])
    expect(await everything(app)).toEqual(before)
    expect(({} as Record<string, unknown>)['admin']).toBeUndefined()
  })

  test.each([
    ['europe/BERLIN', 'Europe/Berlin'],
    ['utc', 'UTC'],
  ])('keeps the zone %s as the platform spells it', async (timezone, kept) => {
    expect(await patched(await app.as('bob'), { timezone })).toMatchObject({ timezone: kept })
  })

  test('takes no more from the form of the profile either', async () => {
    const before = await everything(app)
    const answer = await carol.post('/profile').type('form').send({
      username: 'carol',
      theme: 'auto',
      timezone: '',
      role: 'admin',
      org_id: 'other',
      instance_admin: 'true',
      handle: 'alice',
      id: 'user-alice',
    })
    expect(answer.status).toBe(303)
    expect(await everything(app)).toEqual(before)
    const taken = await carol.post('/profile').type('form').send({ username: 'Alice', theme: 'auto', timezone: '' })
    expect([taken.status, taken.text.includes('Somebody here has this name.')]).toEqual([422, true])
    expect(await everything(app)).toEqual(before)
  })

  test('has a name of its own: of two who take the same one at once, one gets it', async () => {
    await addPerson(app, 'left')
    await addPerson(app, 'right')
    const both = [await sessionOf(app, 'left'), await sessionOf(app, 'right')]
    for (let round = 0; round < 4; round++) {
      const answers = await Promise.all(
        both.map((agent, index) => agent.patch('/api/me').send({ username: index === 0 ? `Both ${round}` : `BOTH ${round}` })),
      )
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 422])
    }
  })

  test('is for people to change: a key cannot, nor change the password, nor see or end sessions', async () => {
    const key = await keyOfAgent(app, await app.as('alice'), { role: 'admin' })
    const before = await everything(app)
    for (const answer of [
      await key.patch('/api/me').send({ theme: 'dark' }),
      await key.post('/api/me/password').send({ current: password, password: 'another long password' }),
      await key.get('/api/sessions'),
      await key.delete('/api/sessions'),
      await key.delete('/api/sessions/x'),
    ])
      expectProblem(answer, 403)
    for (const [path, body] of [
      ['/profile', { theme: 'dark', timezone: '' }],
      ['/profile/password', { current: password, password: 'another long password', repeat: 'another long password' }],
      ['/profile/sessions/end', {}],
      ['/profile/devices', {}],
    ] as const)
      expect((await key.post(path).type('form').send(body)).status).toBe(403)
    expect(await everything(app)).toEqual(before)
    for (const answer of [
      await nobody.patch('/api/me').send({ theme: 'dark' }),
      await nobody.get('/api/sessions'),
      await nobody.delete('/api/sessions'),
    ])
      expectProblem(answer, 401)
  })
})

describe('my password', () => {
  test('is changed with the current one only, and every other session ends', async () => {
    await addPerson(app, 'pete')
    const [here, elsewhere] = [await sessionOf(app, 'pete'), await sessionOf(app, 'pete')]
    const next = 'another long password'
    const before = await everything(app)
    expect(fieldsOf(await here.post('/api/me/password').send({ current: 'wrong', password: next }), 422)).toEqual(['current'])
    expect(fieldsOf(await here.post('/api/me/password').send({ current: password, password: 'too short' }), 422)).toEqual(['password'])
    for (const field of ['user', 'id', 'username', 'password_hash'])
      expect(fieldsOf(await here.post('/api/me/password').send({ current: password, password: next, [field]: 'user-alice' }), 422)).toEqual(
        [field],
      )
    expect(await everything(app)).toEqual(before)
    expect((await elsewhere.get('/profile')).status).toBe(200)
    expect(bodyOf(await here.post('/api/me/password').send({ current: password, password: next }), 'POST /api/me/password')).toEqual({
      ended: 1,
    })
    expect([(await here.get('/profile')).status, (await elsewhere.get('/profile')).status]).toEqual([200, 303])
    expect(await auditOf(app, 'password.change', 'user-pete')).toMatchObject([{ actor_name: 'pete', data: { sessions_ended: 1 } }])
    expect(JSON.stringify([await app.ctx.db.selectFrom('audit').selectAll().execute(), app.log])).not.toContain(next)
  })
})

describe('my sessions', () => {
  test('are listed with device and address, and one can be ended, with its sockets', async () => {
    await addPerson(app, 'sam')
    const laptop = await signIn(app, 'sam', password, firefox)
    const phone = await signIn(app, 'sam', password, iphone)
    const items = await sessions(laptop)
    expect(items.map(({ device, address, current }) => [device, address, current]).sort()).toEqual([
      ['Firefox on Linux', '127.0.0.1', true],
      ['Safari on iOS', '127.0.0.1', false],
    ])
    expect(JSON.stringify(items)).not.toContain(/s%3A([^.]+)/.exec(phone.cookie ?? '')?.[1] ?? 'no cookie')
    const page = await laptop.get('/profile')
    for (const text of ['Firefox on Linux', 'Safari on iOS']) expect(page.text).toContain(text)

    const { closed } = await socketOf(app, phone, '/live?topics=health')
    const at = performance.now()
    const target = items.find(({ current }) => !current)?.id ?? 'none'
    expect(bodyOf(await laptop.delete(`/api/sessions/${target}`), 'DELETE /api/sessions/:id')).toEqual({ ended: 1 })
    expect((await phone.get('/profile')).status).toBe(303)
    const { code, at: then } = await closed
    expect(code).toBe(4401)
    expect(then - at).toBeLessThan(2000)
    expectProblem(await laptop.delete(`/api/sessions/${target}`), 404)
    expect(await auditOf(app, 'sessions.end', 'user-sam')).toMatchObject([{ actor_name: 'sam', data: { sessions_ended: 1 } }])
    expect((await laptop.get('/profile')).status).toBe(200)
  })

  test('are mine alone: those of others are not there', async () => {
    const alice = await app.as('alice')
    const [theirs] = await sessions(alice)
    for (const id of [theirs?.id ?? '', 'nothing', '%27%20or%201=1', 'constructor']) {
      expectProblem(await carol.delete(`/api/sessions/${id}`), 404)
      expect((await carol.post(`/profile/sessions/${id}/end`).type('form').send({})).status).toBe(404)
    }
    expect((await alice.get('/profile')).status).toBe(200)
    // Not even to an admin, who ends all of a person's at once.
    const [own] = await sessions(carol)
    expectProblem(await alice.delete(`/api/sessions/${own?.id ?? ''}`), 404)
    expect((await carol.get('/profile')).status).toBe(200)
    expect((await nobody.post('/profile/sessions/end').type('form').send({})).headers['location']).toBe('/sign-in')
  })

  test('all others end together; with Basic all do', async () => {
    await addPerson(app, 'tess')
    const session = () => sessionOf(app, 'tess')
    const open = async () => [await session(), await session(), await session()] as const
    const statuses = (agents: readonly Agent[]) => Promise.all(agents.map(async (agent) => (await agent.get('/profile')).status))
    const first = await open()
    expect(bodyOf(await first[0].delete('/api/sessions'), 'DELETE /api/sessions')).toEqual({ ended: 2 })
    expect(await statuses(first)).toEqual([200, 303, 303])
    const second = await open()
    const answer = await second[1].post('/profile/sessions/end').type('form').send({})
    expect([answer.status, answer.headers['location']]).toEqual([303, '/profile#sessions'])
    expect(await statuses([...first, ...second])).toEqual([303, 303, 303, 303, 200, 303])
    const [one] = (await sessions(second[1])).filter(({ current }) => current)
    const third = await open()
    expect(
      (
        await third[0]
          .post(`/profile/sessions/${one?.id ?? ''}/end`)
          .type('form')
          .send({})
      ).status,
    ).toBe(303)
    expect(await statuses(second)).toEqual([303, 303, 303])
    expect(bodyOf(await basicOf(app, 'tess').delete('/api/sessions'), 'DELETE /api/sessions')).toEqual({ ended: 3 })
    expect(await statuses(third)).toEqual([303, 303, 303])
  })

  test('are ended from one’s own side only', async () => {
    const foreign = agentWith(app, { Cookie: carol.cookie ?? '', Origin: 'https://evil.example' })
    expectProblem(await foreign.delete('/api/sessions'), 403)
    expect((await foreign.post('/profile/sessions/end').type('form').send({})).status).toBe(403)
    expectProblem(await foreign.patch('/api/me').send({ theme: 'dark' }), 403)
    expect((await carol.get('/profile')).status).toBe(200)
  })
})

describe('the history of my sign-ins', () => {
  const notice = /it was me/i

  test('says nothing of the first device, tells of a second one until I say that it was me, and of a third one again', async () => {
    await addPerson(app, 'nora')
    const laptop = await signIn(app, 'nora', password, firefox)
    expect((await laptop.get('/profile')).text).not.toMatch(notice)
    await signIn(app, 'nora', password, firefox.replace('128.0', '129.0'))
    expect((await laptop.get('/profile')).text).not.toMatch(notice)

    const phone = await signIn(app, 'nora', password, iphone)
    for (const agent of [laptop, phone]) {
      const { text } = await agent.get('/profile')
      expect(text).toMatch(notice)
      expect(text).toContain('Safari on iOS')
    }
    expect(await auditOf(app, 'session.start', 'user-nora')).toMatchObject([
      { actor_name: 'nora', data: { device: 'Firefox on Linux' } },
      { data: { device: 'Firefox on Linux' } },
      { data: { device: 'Safari on iOS', new_device: true } },
    ])
    app.advance(1000)
    const told = await changesDuring(app, async () => {
      expect((await laptop.post('/profile/devices').type('form').send({})).headers['location']).toBe('/profile')
    })
    expect(told).toEqual(['home users user-nora'])
    expect(await auditOf(app, 'profile.devices', 'user-nora')).toHaveLength(1)
    for (const agent of [laptop, phone]) expect((await agent.get('/profile')).text).not.toMatch(notice)

    app.advance(1000)
    await signIn(app, 'nora', password, iphone)
    expect((await laptop.get('/profile')).text).not.toMatch(notice)
    await signIn(app, 'nora', password, 'curl/8.5.0')
    const last = (await laptop.get('/profile')).text
    expect(last).toMatch(notice)
    expect(last).toContain('<b>curl</b>')
    expect((await carol.get('/profile')).text).not.toMatch(notice)
  })

  test('shows wrong tries beside the right ones, also when a stranger makes many, and to nobody else', async () => {
    await addPerson(app, 'wendelin')
    const wendelin = await signIn(app, 'wendelin', password, firefox)
    for (let i = 0; i < 3; i++)
      await nobody
        .post('/sign-in')
        .set('User-Agent', 'Wget/1.21.3')
        .type('form')
        .send({ username: 'WENDELIN', password: `a wrong one ${i}` })
    const { text } = await wendelin.get('/profile')
    const part = text.slice(text.indexOf('id="sign-ins"'))
    expect(part.match(/refused|wrong/gi)?.length ?? 0).toBeGreaterThanOrEqual(3)
    expect(part).toContain('Firefox on Linux')
    expect(part.match(/Wget/gi)).toHaveLength(3)
    expect(await auditOf(app, 'session.refused', 'user-wendelin')).toHaveLength(3)
    const other = (await carol.get('/profile')).text
    expect(other).not.toContain('wendelin')
    // Wrong tries by a stranger are no new device.
    expect(text).not.toMatch(notice)
  })

  test('tells of HTTP Basic once for each network and day, which is no new device', async () => {
    await addPerson(app, 'basil')
    const basic = agentWith(app, { Authorization: `Basic ${Buffer.from(`basil:${password}`).toString('base64')}` })
    const told = await changesDuring(app, async () => {
      for (let i = 0; i < 3; i++) {
        await Promise.all([1, 2, 3].map(() => basic.get('/api/health').expect(200)))
        app.advance(11_000)
      }
    })
    expect(told).toEqual([])
    const entries = () => auditOf(app, 'session.basic', 'user-basil')
    expect(await entries()).toMatchObject([{ actor_name: 'basil', subject_name: 'basil', data: { device: 'HTTP Basic' } }])
    app.advance(24 * 3_600_000)
    await basic.get('/api/health').expect(200)
    expect(await entries()).toHaveLength(2)
    const browser = await signIn(app, 'basil', password, firefox)
    const { text } = await browser.get('/profile')
    expect(text.slice(text.indexOf('id="sign-ins"')).match(/HTTP Basic/g)).toHaveLength(2)
    expect(text).not.toMatch(notice)
    carol = await sessionOf(app, 'carol')
  })

  test('of somebody in another organisation stands in that one’s audit trail only', async () => {
    await signIn(app, 'dave', password, firefox)
    await nobody.post('/sign-in').type('form').send({ username: 'dave', password: 'a wrong one' })
    for (const action of ['session.start', 'session.refused'])
      expect(new Set((await auditOf(app, action, 'user-dave')).map(({ org_id }) => org_id))).toEqual(new Set(['other']))
    expect((await (await app.as('alice')).get('/api/audit?limit=500')).text).not.toContain('dave')
  })
})
