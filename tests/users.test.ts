import { password, startApp, type Agent, type TestApp } from './helpers/app'
import {
  addMember,
  addOrganisation,
  addPerson,
  auditOf,
  basicOf,
  beforeTheTests,
  changesDuring,
  everything,
  keyOfAgent,
  sessionOf,
  signIn,
  socketOf,
} from './helpers/people'
import { bodyOf, expectProblem, fieldsOf } from './helpers/routes'
import { until } from './helpers/until'

let app: TestApp
let alice: Agent
beforeTheTests((opened) => ({ app, alice } = opened))

interface User {
  id: string
  username: string
  role: string
  role_name: string
  state: string
  instance_admin: boolean
  sessions: number
  keys: number
}
interface List {
  items: User[]
  next: string | null
}

const list = async (search = '', agent = alice) => bodyOf<List>(await agent.get(`/api/users${search}`), 'GET /api/users')
const names = async (search = '', agent = alice) => (await list(search, agent)).items.map(({ username }) => username)
const user = async (id: string) => bodyOf<User>(await alice.get(`/api/users/${id}`), 'GET /api/users/:id')
const patched = async (agent: Agent, id: string, body: object) =>
  bodyOf<User>(await agent.patch(`/api/users/${id}`).send(body), 'PATCH /api/users/:id')
const form = (agent: Agent, path: string, body: Record<string, string> = {}) => agent.post(path).type('form').send(body)

describe('the people', () => {
  test('are those of the own organisation, whoever else there is', async () => {
    expect(await names()).toEqual(['alice', 'bob', 'carol'])
    expect(await names('', await app.as('dave'))).toEqual(['dave'])
    const [first] = (await list()).items
    expect(first).toMatchObject({ id: 'user-alice', role: 'admin', role_name: 'admin', state: 'active', instance_admin: true, sessions: 1 })
    const page = await alice.get('/users')
    expect(page.status).toBe(200)
    expect(page.text).toContain('carol')
    expect(page.text).not.toContain('dave')
  })

  test('are found by part of their name, by role and by state, and a sign in it is only a sign', async () => {
    await addPerson(app, 'snake_case', { org: 'home' })
    await addPerson(app, '100%', { org: 'home', role: 'operator' })
    expect(await names('?q=AR')).toEqual(['carol'])
    expect(await names('?q=snake_case')).toEqual(['snake_case'])
    expect(await names('?q=k_c')).toEqual([])
    expect(await names(`?q=${encodeURIComponent('0%')}`)).toEqual(['100%'])
    expect(await names(`?q=${encodeURIComponent('\\')}`)).toEqual([])
    expect(await names('?role=operator')).toEqual(['100%', 'bob'])
    expect(await names('?state=disabled')).toEqual([])
    expect(await names('?order=desc')).toEqual(['snake_case', 'carol', 'bob', 'alice', '100%'])
    expect(await names('?sort=role')).toEqual(['alice', '100%', 'bob', 'carol', 'snake_case'])
    expect((await alice.get('/users?q=AR&sort=nonsense')).text).not.toMatch(/\bbob\b/)
    await app.ctx.db.deleteFrom('memberships').where('user_id', 'in', ['user-snake_case', 'user-100%']).execute()
  })

  test('come page by page', async () => {
    const first = await list('?limit=2')
    expect(first.items.map(({ username }) => username)).toEqual(['alice', 'bob'])
    const second = await list(`?limit=2&cursor=${first.next}`)
    expect([second.items.map(({ username }) => username), second.next]).toEqual([['carol'], null])
    for (const search of ['?limit=0', '?cursor=nonsense', '?sort=password_hash', '?order=up', '?state=gone', '?x=1'])
      expectProblem(await alice.get(`/api/users${search}`), 400)
  })

  test('are shown one by one, with their sessions; never the hash of a password', async () => {
    const page = await alice.get('/users/user-bob')
    expect(page.status).toBe(200)
    for (const text of [page.text, JSON.stringify(await list())]) expect(text).not.toMatch(/\$2b\$|password_hash/)
    for (const path of ['/api/users/user-dave', '/api/users/nobody', '/users/user-dave', '/users/user-dave/disable'])
      expect([path, (await alice.get(path)).status]).toEqual([path, 404])
  })
})

/** Everything that can be done to a person. */
const deeds = [
  ['PATCH /api/users/:id', (agent: Agent, id: string) => agent.patch(`/api/users/${id}`).send({ role: 'viewer' })],
  ['DELETE /api/users/:id', (agent: Agent, id: string) => agent.delete(`/api/users/${id}`)],
  ['POST /api/users/:id/disable', (agent: Agent, id: string) => agent.post(`/api/users/${id}/disable`)],
  ['POST /api/users/:id/enable', (agent: Agent, id: string) => agent.post(`/api/users/${id}/enable`)],
  ['POST /api/users/:id/reset', (agent: Agent, id: string) => agent.post(`/api/users/${id}/reset`)],
  ['POST /api/users/:id/sign-out', (agent: Agent, id: string) => agent.post(`/api/users/${id}/sign-out`)],
  ['the form of a role', (agent: Agent, id: string) => form(agent, `/users/${id}/role`, { role: 'viewer' })],
  ['the form to disable', (agent: Agent, id: string) => form(agent, `/users/${id}/disable`)],
  ['the form to enable', (agent: Agent, id: string) => form(agent, `/users/${id}/enable`)],
  ['the form to remove', (agent: Agent, id: string) => form(agent, `/users/${id}/remove`)],
  ['the form to reset', (agent: Agent, id: string) => form(agent, `/users/${id}/reset`)],
  ['the form to sign out', (agent: Agent, id: string) => form(agent, `/users/${id}/sign-out`)],
] as const

test.each(deeds)('%s is refused to viewers, operators, nobody and other organisations, and changes nothing', async (name, act) => {
  const before = await everything(app)
  const sessions = await app.ctx.db.selectFrom('sessions').select('id').where('user_id', '=', 'user-bob').execute()
  const isForm = name.startsWith('the form')
  for (const person of ['carol', 'bob'] as const) expect((await act(await app.as(person), 'user-bob')).status).toBe(403)
  const nobody = await act(await app.as(null), 'user-bob')
  expect([nobody.status, nobody.headers['location']]).toEqual(isForm ? [303, '/sign-in'] : [401, undefined])
  const dave = await act(await app.as('dave'), 'user-bob')
  expect(dave.status).toBe(404)
  expect(dave.text).not.toMatch(/\bbob\b/)
  expect((await act(alice, 'user-nobody')).status).toBe(404)
  expect(await everything(app)).toEqual(before)
  const left = await app.ctx.db.selectFrom('sessions').select('id').where('user_id', '=', 'user-bob').execute()
  expect(left.map(({ id }) => id)).toEqual(expect.arrayContaining(sessions.map(({ id }) => id)))
})

describe('a role', () => {
  test('is changed, which is audited with what it was, told to open pages, and nothing the second time', async () => {
    const open = await app.live('alice', '/live?topics=users')
    const told = await changesDuring(app, async () => {
      expect(await patched(alice, 'user-carol', { role: 'operator' })).toMatchObject({ username: 'carol', role: 'operator' })
      expect(await patched(alice, 'user-carol', { role: 'operator' })).toMatchObject({ role: 'operator' })
    })
    expect(told).toEqual(['home users user-carol'])
    expect(await auditOf(app, 'users.role', 'user-carol')).toEqual([
      {
        ...{ org_id: 'home', actor_name: 'alice', subject: 'user-carol', subject_name: 'carol', key_name: null },
        data: { before: { role: 'viewer' }, after: { role: 'operator' } },
      },
    ])
    await open.frame((frame) => frame.includes('refresh'))
    const back = await form(alice, '/users/user-carol/role', { role: 'viewer' })
    expect([back.status, back.headers['location']]).toEqual([303, '/users/user-carol'])
    expect((await user('user-carol')).role).toBe('viewer')
  })

  test('that there is not is refused, and the field says so', async () => {
    const before = await everything(app)
    for (const role of ['owner', 'Admin', 'constructor', '', 'x'.repeat(101)])
      expect(fieldsOf(await alice.patch('/api/users/user-bob').send({ role }), 422)).toEqual(['role'])
    for (const role of [['admin'], { $ne: 1 }, 1, null, true])
      expect(fieldsOf(await alice.patch('/api/users/user-bob').send({ role }), 422)).toEqual(['role'])
    expect(fieldsOf(await alice.patch('/api/users/user-bob').send({}), 422)).toEqual(['body'])
    const page = await form(alice, '/users/user-bob/role', { role: 'owner' })
    expect(page.status).toBe(422)
    expect(page.text).toContain('There is no such role here.')
    expect(await everything(app)).toEqual(before)
  })

  test.each([
    'org_id',
    'id',
    'username',
    'handle',
    'password_hash',
    'disabled_at',
    'instance_admin_at',
    'created_at',
    'state',
    'rights',
    '__proto__',
  ])('cannot bring “%s” along', async (field) => {
    const before = await everything(app)
    const body = `{"role":"viewer","${field}":"user-alice"}`
    const answer = await alice.patch('/api/users/user-bob').set('Content-Type', 'application/json').send(body)
    expect(fieldsOf(answer, 422)).toEqual([field])
    expect(await everything(app)).toEqual(before)
  })

  test('taken away closes an open page at once, and the next request has the new rights', async () => {
    await patched(alice, 'user-carol', { role: 'admin' })
    const carol = await sessionOf(app, 'carol')
    expect((await carol.get('/users')).status).toBe(200)
    const sockets = [await socketOf(app, carol, '/live?topics=users'), await socketOf(app, carol, '/ws/events?topics=events')]
    const unrelated = await socketOf(app, await app.as('bob'), '/live?topics=health')
    const at = performance.now()
    await patched(alice, 'user-carol', { role: 'viewer' })
    expect((await carol.get('/users')).status).toBe(403)
    expectProblem(await carol.get('/api/users'), 403)
    for (const { closed } of sockets) {
      const { code, at: then } = await closed
      expect(code).toBe(4401)
      expect(then - at).toBeLessThan(2000)
    }
    expect((await carol.get('/profile')).status).toBe(200)
    expect(unrelated.socket.readyState).toBe(unrelated.socket.OPEN)
    unrelated.close()
  })
})

describe('a disabled account', () => {
  test('is out within five seconds by whatever way: session, Basic, key, page and program', async () => {
    const bob = await sessionOf(app, 'bob')
    const basic = basicOf(app, 'bob')
    const key = await keyOfAgent(app, bob, { role: 'operator' })
    const sockets = [await socketOf(app, bob, '/live?topics=health'), await socketOf(app, bob, '/ws/events?topics=events')]
    for (const agent of [bob, basic, key]) expect((await agent.get('/api/health')).status).toBe(200)
    const at = performance.now()
    const told = await changesDuring(app, async () => {
      const answer = bodyOf<User>(await alice.post('/api/users/user-bob/disable'), 'POST /api/users/:id/disable')
      expect(answer).toMatchObject({ state: 'disabled', sessions: 0 })
    })
    expect(told).toEqual(['home users user-bob'])
    expect((await bob.get('/profile')).headers['location']).toBe('/sign-in?next=%2Fprofile')
    for (const agent of [bob, basic]) expectProblem(await agent.get('/api/health'), 401)
    await until(async () => (await key.get('/api/health')).status === 401, 5000)
    for (const { closed } of sockets) {
      const { code, at: then } = await closed
      expect(code).toBe(4401)
      expect(then - at).toBeLessThan(2000)
    }
    await expect(signIn(app, 'bob')).rejects.toThrow('401')
    expect(await names('?state=disabled')).toEqual(['bob'])
    expect((await alice.get('/users/user-bob')).text).toMatch(/disabled/i)

    // A second time does nothing.
    bodyOf(await alice.post('/api/users/user-bob/disable'), 'POST /api/users/:id/disable')
    expect(await auditOf(app, 'users.disable', 'user-bob')).toMatchObject([
      { org_id: 'home', actor_name: 'alice', subject_name: 'bob', data: { after: { disabled: true } } },
    ])

    // And it can be opened again, with the old password; what had ended stays ended.
    for (let i = 0; i < 2; i++)
      expect(bodyOf<User>(await alice.post('/api/users/user-bob/enable'), 'POST /api/users/:id/enable').state).toBe('active')
    expect(await auditOf(app, 'users.enable', 'user-bob')).toHaveLength(1)
    expect((await bob.get('/profile')).status).toBe(303)
    expect((await (await signIn(app, 'bob')).get('/profile')).status).toBe(200)
    await until(async () => (await key.get('/api/health')).status === 200, 5000)
  })

  test('is disabled and enabled by the pages, which ask first', async () => {
    for (const [path, question, state] of [
      ['disable', 'Disable carol?', 'disabled'],
      ['enable', 'Enable carol again?', 'active'],
    ] as const) {
      const page = await alice.get(`/users/user-carol/${path}`)
      expect([page.status, page.text.includes(question)]).toEqual([200, true])
      expect((await form(alice, `/users/user-carol/${path}`)).headers['location']).toBe('/users/user-carol')
      expect((await user('user-carol')).state).toBe(state)
    }
  })
})

test('an admin ends every session of a person, who can sign in again', async () => {
  await addPerson(app, 'sam')
  const [one, two] = [await sessionOf(app, 'sam'), await sessionOf(app, 'sam')]
  const { closed } = await socketOf(app, one, '/live?topics=health')
  const told = await changesDuring(app, async () => {
    expect(bodyOf(await alice.post('/api/users/user-sam/sign-out'), 'POST /api/users/:id/sign-out')).toEqual({ ended: 2 })
  })
  expect(told).toEqual(['home sessions user-sam'])
  for (const agent of [one, two]) expect((await agent.get('/profile')).status).toBe(303)
  expect((await closed).code).toBe(4401)
  expect(bodyOf(await alice.post('/api/users/user-sam/sign-out'), 'POST /api/users/:id/sign-out')).toEqual({ ended: 0 })
  expect((await auditOf(app, 'sessions.end', 'user-sam'))[0]).toMatchObject({ actor_name: 'alice', data: { sessions_ended: 2 } })
  expect((await (await sessionOf(app, 'sam')).get('/profile')).status).toBe(200)
  expect((await form(alice, '/users/user-sam/sign-out')).headers['location']).toBe('/users/user-sam')
})

test('a removed person is signed out, their keys here stop, and they cannot come back in', async () => {
  await addPerson(app, 'ray', { role: 'operator' })
  const ray = await sessionOf(app, 'ray')
  const key = await keyOfAgent(app, ray, { role: 'viewer' })
  const { closed } = await socketOf(app, ray, '/live?topics=health')
  expect((await key.get('/api/health')).status).toBe(200)
  const told = await changesDuring(app, async () => {
    expect(bodyOf(await alice.delete('/api/users/user-ray'), 'DELETE /api/users/:id')).toEqual({ removed: true })
  })
  expect(told).toEqual([expect.stringMatching(/^home keys /), 'home users user-ray'])
  expect((await ray.get('/profile')).status).toBe(303)
  expect((await closed).code).toBe(4401)
  await until(async () => (await key.get('/api/health')).status === 401, 5000)
  expectProblem(await basicOf(app, 'ray').get('/api/health'), 401)
  await expect(signIn(app, 'ray')).rejects.toThrow('401')
  expect(await names('?q=ray')).toEqual([])
  for (const path of ['/api/users/user-ray', '/users/user-ray']) expect((await alice.get(path)).status).toBe(404)
  expectProblem(await alice.delete('/api/users/user-ray'), 404)
  expect(await auditOf(app, 'users.remove', 'user-ray')).toMatchObject([
    { actor_name: 'alice', subject_name: 'ray', data: { before: { role: 'operator' } } },
  ])
  await addPerson(app, 'roy')
  expect((await form(alice, '/users/user-roy/remove')).headers['location']).toBe('/users')
  expect(await names('?q=roy')).toEqual([])
})

describe('those who have less', () => {
  let erin: Agent
  let max: Agent
  beforeAll(async () => {
    await addPerson(app, 'erin', { role: 'admin' })
    await addPerson(app, 'both', { role: 'viewer' })
    await addMember(app, 'user-both', 'other', 'viewer')
    const role = await alice
      .post('/api/roles')
      .send({ name: 'People', actions: ['users.read', 'users.manage', 'users.invite', 'health.read'] })
    await addPerson(app, 'max', { role: (role.body as { id: string }).id })
    erin = await sessionOf(app, 'erin')
    max = await sessionOf(app, 'max')
  })

  test.each(deeds)('%s: an admin of the organisation cannot do it to an instance admin', async (_name, act) => {
    const before = await everything(app)
    expect((await act(erin, 'user-alice')).status).toBe(403)
    expect(await everything(app)).toEqual(before)
  })

  test('an account that also belongs elsewhere is shut or reset by an instance admin only; from here it can be removed', async () => {
    const session = await sessionOf(app, 'both')
    for (const path of ['disable', 'reset']) {
      expect(expectProblem(await erin.post(`/api/users/user-both/${path}`), 403).detail).toContain('also belongs to another organisation')
      expect((await erin.get(`/users/user-both/${path}`)).status).toBe(403)
    }
    expect((await session.get('/profile')).status).toBe(200)
    await patched(erin, 'user-both', { role: 'operator' })
    bodyOf(await alice.post('/api/users/user-both/disable'), 'POST /api/users/:id/disable')
    expectProblem(await erin.post('/api/users/user-both/enable'), 403)
    bodyOf(await alice.post('/api/users/user-both/enable'), 'POST /api/users/:id/enable')
    bodyOf(await erin.delete('/api/users/user-both'), 'DELETE /api/users/:id')
    // They go on in the other one.
    const there = await sessionOf(app, 'both')
    expect((await there.get('/api/me')).body).toMatchObject({ organisation: { id: 'other' } })
  })

  test('an admin sees and ends the sessions that work here, an instance admin all of them', async () => {
    const id = await addPerson(app, 'sid', { org: 'other' })
    await app.ctx.db.updateTable('memberships').set({ created_at: 1 }).where('user_id', '=', id).execute()
    await addMember(app, id, 'home', 'viewer')
    const devices = { there: 'lynx/1', here: 'wget/1', back: 'curl/1', former: 'elinks/1' }
    const agents = Object.fromEntries(
      await Promise.all(Object.keys(devices).map(async (name) => [name, await sessionOf(app, 'sid')] as const)),
    ) as Record<keyof typeof devices, Agent>
    const switched = (agent: Agent, org: string) => form(agent, `/organisations/${org}/switch`)
    await switched(agents.here, 'home')
    await switched(agents.back, 'home')
    await switched(agents.back, 'other')
    // In an organisation that they no longer belong to: as if none had been chosen.
    await addOrganisation(app, 'former')
    for (const [name, device] of Object.entries(devices)) {
      const { items } = (await agents[name as 'here'].get('/api/sessions')).body as { items: { id: string; current: boolean }[] }
      await app.ctx.db
        .updateTable('sessions')
        .set({ device, ...(name === 'former' ? { org_id: 'former' } : {}) })
        .where('id', '=', items.find(({ current }) => current)?.id ?? '')
        .execute()
    }
    const seenBy = async (agent: Agent) => {
      const { text } = await agent.get(`/users/${id}`)
      return Object.entries(devices).flatMap(([name, device]) => (text.includes(device.split('/')[0] ?? '') ? [name] : []))
    }
    expect(await seenBy(erin)).toEqual(['here'])
    expect(await seenBy(await app.as('dave'))).toEqual(['there', 'back', 'former'])
    expect(await seenBy(alice)).toEqual(['there', 'here', 'back', 'former'])
    const counted = async (agent: Agent) => ((await agent.get(`/api/users/${id}`)).body as User).sessions
    expect([await counted(erin), await counted(await app.as('dave')), await counted(alice)]).toEqual([1, 3, 4])

    expect((await erin.get(`/users/${id}/sign-out`)).text).toContain('Where they work in another organisation, they stay signed in.')
    expect(bodyOf(await erin.post(`/api/users/${id}/sign-out`), 'POST /api/users/:id/sign-out')).toEqual({ ended: 1 })
    expect((await agents.here.get('/profile')).status).toBe(303)
    for (const name of ['there', 'back', 'former'] as const) expect((await agents[name].get('/profile')).status).toBe(200)
    expect(bodyOf(await erin.post(`/api/users/${id}/sign-out`), 'POST /api/users/:id/sign-out')).toEqual({ ended: 0 })
    expect(bodyOf(await alice.post(`/api/users/${id}/sign-out`), 'POST /api/users/:id/sign-out')).toEqual({ ended: 3 })
    expect((await agents.there.get('/profile')).status).toBe(303)
    expect((await auditOf(app, 'sessions.end', id)).map(({ data }) => data)).toEqual(
      [1, 0, 3].map((sessions_ended) => ({ sessions_ended })),
    )
    await app.ctx.db.deleteFrom('memberships').where('user_id', '=', id).execute()
  })

  test('an account that also belongs elsewhere says in how many others, and in which to an instance admin only', async () => {
    await addOrganisation(app, 'Elsewhere & Sons')
    await addPerson(app, 'three', { role: 'viewer' })
    await addMember(app, 'user-three', 'Elsewhere & Sons', 'viewer')
    await addMember(app, 'user-three', 'other', 'viewer')
    const seenBy = async (agent: Agent) => (await agent.get('/users/user-three')).text
    expect(await seenBy(alice)).toContain('Elsewhere &amp; Sons')
    expect(await seenBy(erin)).not.toContain('Elsewhere')
    expect(await seenBy(erin)).toContain('in 2 others')
    expect((await erin.get('/users/user-bob')).text).not.toContain('Organisations')
    await app.ctx.db.deleteFrom('memberships').where('user_id', '=', 'user-three').execute()
  })

  test('a role that manages people manages nobody who may do more, and promotes nobody beyond itself, least of all its owner', async () => {
    const before = await everything(app)
    for (const id of ['user-bob', 'user-erin']) for (const [, act] of deeds) expect((await act(max, id)).status).toBe(403)
    for (const role of ['admin', 'operator']) {
      expect(fieldsOf(await max.patch('/api/users/user-max').send({ role }), 422)).toEqual(['role'])
      // Carol sees more than Max does: she cannot be touched at all.
      expectProblem(await max.patch('/api/users/user-carol').send({ role }), 403)
    }
    expectProblem(await max.patch('/api/users/user-max').send({ instance_admin: true }), 403)
    expect(await everything(app)).toEqual(before)
    expect((await max.get('/users/user-bob')).text).toContain('may do things that you may not')
  })

  test('a key does what its role may and no more, and the audit trail names it', async () => {
    const scopes = ['users.manage', 'users.read']
    const role = bodyOf<{ id: string }>(await alice.post('/api/roles').send({ name: 'Narrow', actions: scopes }), 'POST /api/roles')
    await addPerson(app, 'nat', { role: role.id })
    const narrow = await keyOfAgent(app, erin, { name: 'narrow', role: 'admin', scopes })
    for (const wanted of ['viewer', 'admin'])
      expect(fieldsOf(await narrow.patch('/api/users/user-nat').send({ role: wanted }), 422)).toEqual(['role'])
    const before = await everything(app)
    expectProblem(await narrow.patch('/api/users/user-bob').send({ role: 'viewer' }), 403)
    expect(await everything(app)).toEqual(before)
    const wide = await keyOfAgent(app, erin, { name: 'wide', role: 'admin' })
    await patched(wide, 'user-bob', { role: 'viewer' })
    expect((await auditOf(app, 'users.role', 'user-bob')).at(-1)).toMatchObject({ actor_name: 'erin', key_name: 'wide' })
    await patched(alice, 'user-bob', { role: 'operator' })
    const viewing = await keyOfAgent(app, erin, { role: 'viewer' })
    expectProblem(await viewing.get('/api/users'), 403)
    expect((await wide.get('/users')).status).toBe(403)
  })

  test('nobody disables, resets, removes or signs out their own account here', async () => {
    for (const path of ['disable', 'reset', 'sign-out']) expectProblem(await erin.post(`/api/users/user-erin/${path}`), 403)
    expectProblem(await erin.delete('/api/users/user-erin'), 403)
    expect((await erin.get('/profile')).status).toBe(200)
  })
})

describe('administering the installation', () => {
  test('is given and taken by instance admins only, and not by half of a request that is refused', async () => {
    const erin = await sessionOf(app, 'erin')
    const before = await everything(app)
    expectProblem(await erin.patch('/api/users/user-bob').send({ instance_admin: true }), 403)
    expectProblem(await erin.patch('/api/users/user-erin').send({ instance_admin: true }), 403)
    expectProblem(await erin.patch('/api/users/user-bob').send({ role: 'viewer', instance_admin: true }), 403)
    expect((await form(erin, '/users/user-bob/instance-admin')).status).toBe(403)
    for (const instance_admin of ['true', 1, null])
      expect(fieldsOf(await alice.patch('/api/users/user-bob').send({ instance_admin }), 422)).toEqual(['instance_admin'])
    expect(await everything(app)).toEqual(before)

    const bob = await sessionOf(app, 'bob')
    expectProblem(await bob.post('/api/organisations').send({ name: 'No' }), 403)
    const question = await alice.get('/users/user-bob/instance-admin')
    const fields = Object.fromEntries(
      [...question.text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]+)"/g)].map(([, name = '', value = '']) => [name, value]),
    )
    expect((await form(alice, '/users/user-bob/instance-admin')).status).toBe(422)
    for (let i = 0; i < 2; i++) {
      expect((await form(alice, '/users/user-bob/instance-admin', fields)).headers['location']).toBe('/users/user-bob')
      expect((await user('user-bob')).instance_admin).toBe(true)
    }
    expect((await bob.get('/api/me')).body).toMatchObject({ instance_admin: true, role: 'operator' })
    for (let i = 0; i < 2; i++) await patched(alice, 'user-bob', { instance_admin: false })
    expect(await auditOf(app, 'users.instance_admin', 'user-bob')).toMatchObject([
      { data: { before: { instance_admin: false }, after: { instance_admin: true } } },
      { data: { before: { instance_admin: true }, after: { instance_admin: false } } },
    ])
    expectProblem(await bob.post('/api/organisations').send({ name: 'No' }), 403)
  })

  test('is never left without anybody', async () => {
    expect(expectProblem(await alice.patch('/api/users/user-alice').send({ instance_admin: false }), 409).detail).toContain(
      'last instance admin',
    )
    await addPerson(app, 'ida', { role: 'admin', instanceAdmin: true })
    const ida = await sessionOf(app, 'ida')
    bodyOf(await alice.post('/api/users/user-ida/disable'), 'POST /api/users/:id/disable')
    // Whoever is disabled administers nothing.
    expectProblem(await alice.patch('/api/users/user-alice').send({ instance_admin: false }), 409)
    bodyOf(await alice.post('/api/users/user-ida/enable'), 'POST /api/users/:id/enable')
    await patched(alice, 'user-alice', { instance_admin: false })
    expect((await ida.get('/profile')).status).toBe(303)
    const again = await sessionOf(app, 'ida')
    expectProblem(await alice.delete('/api/users/user-ida'), 403)
    await patched(again, 'user-alice', { instance_admin: true })
    bodyOf(await alice.delete('/api/users/user-ida'), 'DELETE /api/users/:id')
    // Nor by somebody who belongs to no organisation any more, and cannot sign in.
    expectProblem(await alice.patch('/api/users/user-alice').send({ instance_admin: false }), 409)
  })
})

describe('the last admin of an organisation', () => {
  // Frank may all that an admin may, and is none.
  let olga: Agent
  let frank: Agent
  beforeAll(async () => {
    await addOrganisation(app, 'small')
    await addPerson(app, 'olga', { org: 'small', role: 'admin' })
    olga = await sessionOf(app, 'olga')
    const actions = (await olga.get('/api/roles')).body as { items: { id: string; actions: string[] }[] }
    const all = actions.items.find(({ id }) => id === 'admin')?.actions
    const role = bodyOf<{ id: string }>(await olga.post('/api/roles').send({ name: 'Deputy', actions: all }), 'POST /api/roles')
    await addPerson(app, 'frank', { org: 'small', role: role.id })
    await addPerson(app, 'gone', { org: 'small', role: 'admin' })
    frank = await sessionOf(app, 'frank')
    bodyOf(await olga.post('/api/users/user-gone/disable'), 'POST /api/users/:id/disable')
  })

  test('is neither demoted, disabled nor removed, also when a disabled one is left', async () => {
    const before = await everything(app)
    for (const act of [
      olga.patch('/api/users/user-olga').send({ role: 'viewer' }),
      frank.patch('/api/users/user-olga').send({ role: 'viewer' }),
      frank.post('/api/users/user-olga/disable'),
      frank.delete('/api/users/user-olga'),
    ])
      expect(expectProblem(await act, 409).detail).toContain('last admin')
    for (const path of ['disable', 'remove']) {
      const page = await form(frank, `/users/user-olga/${path}`)
      expect([page.status, page.text.includes('last admin')]).toEqual([409, true])
    }
    expect(await everything(app)).toEqual(before)
    expect((await olga.get('/users')).status).toBe(200)
    expect(await auditOf(app, 'users.disable', 'user-olga')).toEqual([])
  })

  test('can go when there is another one', async () => {
    await patched(frank, 'user-frank', { role: 'admin' })
    await patched(olga, 'user-olga', { role: 'viewer' })
    expectProblem(await frank.patch('/api/users/user-frank').send({ role: 'viewer' }), 409)
  })
})

describe('two admins at once', () => {
  const pair = ['user-una', 'user-udo'] as const
  beforeAll(async () => {
    await addOrganisation(app, 'pair')
    await addPerson(app, 'una', { org: 'pair', role: 'admin' })
    await addPerson(app, 'udo', { org: 'pair', role: 'admin' })
    await addPerson(app, 'eve', { org: 'pair', role: 'operator' })
  })
  beforeEach(async () => {
    const { db } = app.ctx
    await db.updateTable('users').set({ disabled_at: null }).where('id', 'in', pair).execute()
    await db.deleteFrom('memberships').where('user_id', 'in', pair).execute()
    for (const id of pair) await addMember(app, id, 'pair', 'admin')
  })
  const ways = [
    ['demote', (agent: Agent, id: string) => agent.patch(`/api/users/${id}`).send({ role: 'viewer' })],
    ['disable', (agent: Agent, id: string) => agent.post(`/api/users/${id}/disable`)],
    ['remove', (agent: Agent, id: string) => agent.delete(`/api/users/${id}`)],
  ] as const
  const rounds = ways.flatMap(([mine, one]) => ways.flatMap(([theirs, other]) => [[mine, theirs, one, other] as const]))

  test.each(rounds)('%s and %s each other: one wins, and one admin stays', async (_mine, _theirs, one, other) => {
    const [una, udo] = [await sessionOf(app, 'una'), await sessionOf(app, 'udo')]
    for (const agent of [una, udo]) expect((await agent.get('/api/users')).status).toBe(200)
    const answers = await Promise.all([one(una, 'user-udo'), other(udo, 'user-una')])
    const statuses = answers.map(({ status }) => status).sort()
    expect(statuses[0]).toBe(200)
    // The loser was told so, or came a moment after losing everything.
    expect([401, 403, 404, 409]).toContain(statuses[1])
    const admins = await app.ctx.db
      .selectFrom('memberships')
      .innerJoin('users', 'users.id', 'memberships.user_id')
      .select('users.id')
      .where('org_id', '=', 'pair')
      .where('role', '=', 'admin')
      .where('disabled_at', 'is', null)
      .execute()
    expect(admins).toHaveLength(1)
  })

  test('two instance admins who remove, disable or unmake each other leave one who can sign in', async () => {
    const { db } = app.ctx
    await addMember(app, 'user-alice', 'pair', 'admin')
    await db.updateTable('users').set({ instance_admin_at: null }).where('id', '=', 'user-alice').execute()
    const unmake = (agent: Agent, id: string) => agent.patch(`/api/users/${id}`).send({ instance_admin: false })
    for (const act of [ways[1][1], ways[2][1], unmake]) {
      await db.updateTable('users').set({ disabled_at: null, instance_admin_at: 1 }).where('id', 'in', pair).execute()
      await db.deleteFrom('memberships').where('user_id', 'in', pair).execute()
      for (const id of pair) await addMember(app, id, 'pair', 'admin')
      const [una, udo] = [await sessionOf(app, 'una'), await sessionOf(app, 'udo')]
      for (const agent of [una, udo]) expect((await agent.get('/api/users')).status).toBe(200)
      const answers = await Promise.all([act(una, 'user-udo'), act(udo, 'user-una')])
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
      const left = await db
        .selectFrom('users')
        .innerJoin('memberships', 'memberships.user_id', 'users.id')
        .select('users.id')
        .where('instance_admin_at', 'is not', null)
        .where('disabled_at', 'is', null)
        .execute()
      expect(left).toHaveLength(1)
    }
    await db.updateTable('users').set({ instance_admin_at: 1 }).where('id', '=', 'user-alice').execute()
    await db.deleteFrom('memberships').where('user_id', '=', 'user-alice').where('org_id', '=', 'pair').execute()
  })
})

describe('what another process has changed', () => {
  let other: TestApp
  beforeAll(async () => {
    const { databaseUrl } = app.platform.config
    other = await startApp({ dataDir: app.dataDir, unclaimed: true, ...(databaseUrl === null ? {} : { databaseUrl }) })
  })
  afterAll(() => other.close())

  test('is noticed here: a role by open pages and the next request, a disabled account by everything', async () => {
    await addPerson(app, 'zoe', { role: 'operator' })
    const zoe = await sessionOf(other, 'zoe')
    const first = await socketOf(other, zoe, '/live?topics=health')
    expect((await zoe.get('/api/users')).status).toBe(403)
    let at = performance.now()
    await patched(alice, 'user-zoe', { role: 'admin' })
    expect((await first.closed).code).toBe(4401)
    expect((await first.closed).at - at).toBeLessThan(5000)
    expect((await zoe.get('/api/users')).status).toBe(200)

    const second = await socketOf(other, zoe, '/live?topics=users')
    at = performance.now()
    bodyOf(await alice.post('/api/users/user-zoe/disable'), 'POST /api/users/:id/disable')
    expect((await second.closed).code).toBe(4401)
    expect((await second.closed).at - at).toBeLessThan(5000)
    expect((await zoe.get('/profile')).status).toBe(303)
  })

  test('also when only a change was written beside it', async () => {
    await addPerson(app, 'yan', { role: 'operator' })
    const yan = await sessionOf(other, 'yan')
    const { closed } = await socketOf(other, yan, '/live?topics=health')
    expect((await yan.get('/profile')).status).toBe(200)
    await app.ctx.transaction(async (ctx) => {
      await ctx.db.updateTable('memberships').set({ role: 'viewer' }).where('user_id', '=', 'user-yan').execute()
      ctx.changed('users', 'user-yan')
    })
    expect((await closed).code).toBe(4401)
    expect((await yan.get('/api/me')).body).toMatchObject({ role: 'viewer' })
  })
})

test('nothing above left a password in the audit trail or the log', async () => {
  const rows = await app.ctx.db.selectFrom('audit').selectAll().execute()
  expect(rows.length).toBeGreaterThan(10)
  expect(JSON.stringify([rows, app.log])).not.toContain(password)
})
