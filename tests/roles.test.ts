import { actions, instanceActions, type Action } from '../monitoring/permissions'
import type { Agent, TestApp } from './helpers/app'
import { addPerson, auditOf, beforeTheTests, changesDuring, everything, keyOfAgent, sessionOf, socketOf } from './helpers/people'
import { actions as forms, bodyOf, endpoints, expectProblem, features, fieldsOf, filled, pages } from './helpers/routes'

let app: TestApp
let alice: Agent
beforeTheTests((opened) => ({ app, alice } = opened))

interface Role {
  id: string
  name: string
  builtin: boolean
  actions: string[]
  people: number
  keys: number
}

const list = async (agent = alice) => bodyOf<{ items: Role[] }>(await agent.get('/api/roles'), 'GET /api/roles').items
const make = async (name: string, wanted: readonly string[], agent = alice) =>
  bodyOf<Role>(await agent.post('/api/roles').send({ name, actions: wanted }), 'POST /api/roles')
const change = async (id: string, name: string, wanted: readonly string[]) =>
  bodyOf<Role>(await alice.put(`/api/roles/${id}`).send({ name, actions: wanted }), 'PUT /api/roles/:id')
const remove = (id: string, agent = alice) => agent.delete(`/api/roles/${id}`)

test('there are three that nobody can change, with all that is in the table', async () => {
  const builtIn = await list()
  expect(builtIn.map(({ id, builtin, people }) => [id, builtin, people])).toEqual([
    ['viewer', true, 1],
    ['operator', true, 1],
    ['admin', true, 1],
  ])
  expect([...(builtIn[2]?.actions ?? []), ...instanceActions].sort()).toEqual([...actions].sort())
  const before = await everything(app)
  for (const id of ['viewer', 'operator', 'admin']) {
    expectProblem(await alice.put(`/api/roles/${id}`).send({ name: 'Mine', actions: ['health.read'] }), 409)
    expectProblem(await remove(id), 409)
    expect((await alice.get(`/roles/${id}`)).status).toBe(409)
    expect((await alice.post(`/roles/${id}/delete`).type('form').send({})).status).toBe(409)
  }
  expect(await everything(app)).toEqual(before)
})

describe('a role of one’s own', () => {
  test('is composed, changed and deleted, each audited with before and after and told to open pages', async () => {
    let role: Role | undefined
    const told = await changesDuring(app, async () => {
      role = await make(' Night shift ', ['processes.read', 'health.read', 'processes.restart', 'health.read'])
      expect(role).toMatchObject({ name: 'Night shift', builtin: false, people: 0, keys: 0 })
      expect([...role.actions].sort()).toEqual(['health.read', 'processes.read', 'processes.restart'])
      await change(role.id, 'Day shift', ['health.read'])
      expect((await list()).map(({ name }) => name)).toContain('Day shift')
      expect(bodyOf(await remove(role.id), 'DELETE /api/roles/:id')).toEqual({ deleted: true })
    })
    const id = role?.id ?? ''
    expect(told).toEqual([`home roles ${id}`, `home roles ${id}`, `home roles ${id}`])
    const three = 'health.read processes.read processes.restart'
    expect(await auditOf(app, 'roles.make', id)).toMatchObject([
      { actor_name: 'alice', subject_name: 'Night shift', data: { after: { name: 'Night shift', actions: three } } },
    ])
    expect(await auditOf(app, 'roles.change', id)).toMatchObject([
      { data: { before: { name: 'Night shift', actions: three }, after: { name: 'Day shift', actions: 'health.read' } } },
    ])
    expect(await auditOf(app, 'roles.delete', id)).toMatchObject([
      { subject_name: 'Day shift', data: { before: { actions: 'health.read' } } },
    ])
    expect((await list()).map(({ name }) => name)).not.toContain('Day shift')
    expectProblem(await remove(id), 404)
    expectProblem(await alice.put(`/api/roles/${id}`).send({ name: 'Gone', actions: ['health.read'] }), 404)
  })

  test('is made and changed by a form, with one box or several, which comes back as it was filled in', async () => {
    const form = (path: string, body: string) => alice.post(path).type('form').send(body)
    expect((await form('/roles', 'name=By+form&actions=health.read')).headers['location']).toBe('/roles')
    const role = (await list()).find(({ name }) => name === 'By form')
    expect(role?.actions).toEqual(['health.read'])
    expect((await form(`/roles/${role?.id ?? ''}`, 'name=By+form&actions=health.read&actions=events.read')).status).toBe(303)
    expect((await list()).find(({ name }) => name === 'By form')?.actions.sort()).toEqual(['events.read', 'health.read'])
    const page = await alice.get(`/roles/${role?.id ?? ''}`)
    expect([page.status, page.text.includes('By form')]).toEqual([200, true])

    const again = await form('/roles', 'name=&actions=events.read&actions=keys.make')
    expect([again.status, again.text.includes('Give it a name.')]).toEqual([422, true])
    const checked = [...again.text.matchAll(/<input[^>]*value="([\w.]+)"[^>]*>/g)]
      .filter(([tag]) => tag.includes(' checked'))
      .map(([, value]) => value)
    expect(checked.sort()).toEqual(['events.read', 'keys.make'])
    const none = await form('/roles', 'name=Nothing')
    expect([none.status, none.text.includes('Choose at least one action.')]).toEqual([422, true])
    expect((await alice.get(`/roles/${role?.id ?? ''}/delete`)).text).toContain('Delete the role By form?')
    expect((await form(`/roles/${role?.id ?? ''}/delete`, '')).headers['location']).toBe('/roles')
    expect((await list()).find(({ name }) => name === 'By form')).toBeUndefined()
  })

  test.each([
    ['no name', { name: ' ', actions: ['health.read'] }, 'name'],
    ['an endless name', { name: 'x'.repeat(51), actions: ['health.read'] }, 'name'],
    ['a name that every organisation has', { name: 'ＡDMIN', actions: ['health.read'] }, 'name'],
    ['a name that cannot be stored', { name: 'a\0b', actions: ['health.read'] }, 'name'],
    ['no actions', { name: 'Bad', actions: [] }, 'actions'],
    ['an action that there is not', { name: 'Bad', actions: ['health.read', 'everything.do'] }, 'actions'],
    ['what every object has', { name: 'Bad', actions: ['constructor'] }, 'actions'],
    ['an action of the installation', { name: 'Bad', actions: ['accounts.manage'] }, 'actions'],
    ['another one', { name: 'Bad', actions: ['organisations.manage'] }, 'actions'],
    ['actions that are no list', { name: 'Bad', actions: 'health.read' }, 'actions'],
    ['another organisation', { name: 'Bad', actions: ['health.read'], org_id: 'other' }, 'org_id'],
    ['an id', { name: 'Bad', actions: ['health.read'], id: 'admin' }, 'id'],
    ['that it is built in', { name: 'Bad', actions: ['health.read'], builtin: true }, 'builtin'],
  ])('says which field is wrong: %s', async (_what, body, field) => {
    const { id } = await make('Good', ['health.read'])
    const before = await everything(app)
    expect(fieldsOf(await alice.post('/api/roles').send(body), 422)).toEqual([field])
    expect(fieldsOf(await alice.put(`/api/roles/${id}`).send(body), 422)).toEqual([field])
    expect(await everything(app)).toEqual(before)
    await remove(id)
  })

  test('has a name that no other one of the organisation has, however it is written, also when two are made at once', async () => {
    const { id } = await make('Straße 1', ['health.read'])
    for (const name of ['STRAßE 1', 'straße １'])
      expect(fieldsOf(await alice.post('/api/roles').send({ name, actions: ['health.read'] }), 422)).toEqual(['name'])
    await change(id, 'STRAßE 1', ['health.read'])
    const dave = await app.as('dave')
    await make('Straße 1', ['health.read'], dave)
    for (let round = 0; round < 3; round++) {
      const both = await Promise.all(
        ['at once', 'AT ONCE'].map((name) => alice.post('/api/roles').send({ name: `${name} ${round}`, actions: ['health.read'] })),
      )
      expect(both.map(({ status }) => status).sort()).toEqual([201, 422])
    }
    for (const { id: one, builtin } of await list()) if (!builtin) await remove(one)
  })

  test('is only for those who may: viewers, operators and nobody neither see nor change any; other organisations have their own', async () => {
    const { id } = await make('Here', ['health.read'])
    const before = await everything(app)
    const body = { name: 'Theirs', actions: ['health.read'] }
    for (const person of ['bob', 'carol'] as const) {
      const agent = await app.as(person)
      for (const answer of [
        await agent.get('/api/roles'),
        await agent.post('/api/roles').send(body),
        await agent.put(`/api/roles/${id}`).send(body),
        await remove(id, agent),
        await agent.get('/roles'),
        await agent.get(`/roles/${id}`),
        await agent.post('/roles').type('form').send(body),
        await agent.post(`/roles/${id}`).type('form').send(body),
        await agent.post(`/roles/${id}/delete`).type('form').send({}),
      ])
        expect(answer.status).toBe(403)
    }
    const nobody = await app.as(null)
    for (const answer of [
      await nobody.post('/api/roles').send(body),
      await nobody.put(`/api/roles/${id}`).send(body),
      await remove(id, nobody),
    ])
      expectProblem(answer, 401)
    const dave = await app.as('dave')
    expect(JSON.stringify(await list(dave))).not.toContain(id)
    expectProblem(await dave.put(`/api/roles/${id}`).send(body), 404)
    expectProblem(await remove(id, dave), 404)
    expect((await dave.get(`/roles/${id}`)).status).toBe(404)
    expect((await dave.post(`/roles/${id}`).type('form').send(body)).status).toBe(404)
    expect((await dave.post(`/roles/${id}/delete`).type('form').send({})).status).toBe(404)
    // Nor can it be given to anybody there.
    expect(fieldsOf(await dave.patch('/api/users/user-dave').send({ role: id }), 422)).toEqual(['role'])
    expect(fieldsOf(await dave.post('/api/invites').send({ role: id }), 422)).toEqual(['role'])
    expect(fieldsOf(await dave.post('/api/keys').send({ name: 'x', role: id }), 422)).toEqual(['role'])
    expect(await everything(app)).toEqual(before)
    await remove(id)
  })

  test('that somebody has, or an invitation, or a key, cannot be deleted', async () => {
    const { id } = await make('In use', ['health.read', 'keys.make'])
    await addPerson(app, 'uma')
    const uma = await sessionOf(app, 'uma')
    bodyOf(await alice.patch('/api/users/user-uma').send({ role: id }), 'PATCH /api/users/:id')
    expect((await list()).find((one) => one.id === id)?.people).toBe(1)
    expect(expectProblem(await remove(id), 409).detail).toContain('1 person')
    await keyOfAgent(app, uma, { role: id })
    bodyOf(await alice.patch('/api/users/user-uma').send({ role: 'viewer' }), 'PATCH /api/users/:id')
    expect(expectProblem(await remove(id), 409).detail).toContain('1 key')
    const { items } = (await uma.get('/api/keys')).body as { items: { id: string }[] }
    bodyOf(await uma.delete(`/api/keys/${items[0]?.id ?? ''}`), 'DELETE /api/keys/:id')
    const invite = bodyOf<{ id: string }>(await alice.post('/api/invites').send({ role: id }), 'POST /api/invites')
    expect(expectProblem(await remove(id), 409).detail).toContain('1 invitation')
    expect((await alice.post(`/roles/${id}/delete`).type('form').send({})).status).toBe(409)
    bodyOf(await alice.delete(`/api/invites/${invite.id}`), 'DELETE /api/invites/:id')
    bodyOf(await remove(id), 'DELETE /api/roles/:id')
  })

  test('is never deleted while it is being given to somebody', async () => {
    for (let round = 0; round < 4; round++) {
      const { id } = await make(`Hot ${round}`, ['health.read'])
      const [given, gone] = await Promise.all([alice.patch('/api/users/user-carol').send({ role: id }), remove(id)])
      expect([given.status === 200, gone.status === 200].filter(Boolean)).toHaveLength(1)
      expect((await (await app.as('carol')).get('/api/health')).status).toBe(200)
      bodyOf(await alice.patch('/api/users/user-carol').send({ role: 'viewer' }), 'PATCH /api/users/:id')
    }
  })
})

describe('what a role of one’s own may', () => {
  // Two halves of the table: what is refused with one is allowed with the other.
  const composable = actions.filter((action) => !instanceActions.includes(action))
  const halves = [composable.filter((_, index) => index % 2 === 0), composable.filter((_, index) => index % 2 === 1)]
  const agents: Agent[] = []
  beforeAll(async () => {
    for (const [index, half] of halves.entries()) {
      const { id } = await make(`Half ${index}`, half)
      await addPerson(app, `half-${index}`, { role: id })
      agents.push(await sessionOf(app, `half-${index}`))
    }
  })
  const isAction = (permission: string): permission is Action => (actions as string[]).includes(permission)
  const allowed = (index: number, permission: Action) => halves[index]?.includes(permission) ?? false
  const called = (agent: Agent, method: string, path: string) => {
    const verb = agent[method.toLowerCase() as 'get' | 'post' | 'put' | 'patch' | 'delete']
    return method === 'GET' ? verb(path) : verb(path).send({})
  }

  test.each(
    endpoints
      .filter(({ permission }) => isAction(permission))
      .map(({ method, path, permission }) => [method, path, permission as Action] as const),
  )('%s %s: those whose role has “%s”, and nobody else', async (method, path, permission) => {
    for (const [index, agent] of agents.entries()) {
      const { status } = await called(agent, method, filled(path))
      expect([index, status === 403]).toEqual([index, !allowed(index, permission)])
      expect([401, 500]).not.toContain(status)
    }
  })

  test.each([
    ...pages.flatMap(({ path, permission }) => (isAction(permission) ? [['GET', path, permission] as const] : [])),
    ...forms.flatMap(({ path, permission }) => (isAction(permission) ? [['POST', path, permission] as const] : [])),
  ])('%s %s, the page: those whose role has “%s”, and nobody else', async (method, path, permission) => {
    for (const [index, agent] of agents.entries()) {
      const { status } = method === 'GET' ? await agent.get(filled(path)) : await agent.post(filled(path)).type('form').send({})
      expect([index, status === 403]).toEqual([index, !allowed(index, permission)])
      expect([401, 500]).not.toContain(status)
    }
  })

  test('no part of a page is told to those who may not see it', async () => {
    for (const [name, { permission }] of features.flatMap(({ topics }) => [...topics]))
      for (const [index, agent] of agents.entries()) {
        const status = (await agent.get(`/live/poll?topics=${name}`)).status
        expect([name, index, status]).toEqual([name, index, allowed(index, permission) ? 200 : 403])
      }
  })

  test('is what “me” says it may', async () => {
    for (const [index, agent] of agents.entries()) {
      const me = bodyOf<{ actions: string[]; role: string }>(await agent.get('/api/me'), 'GET /api/me')
      expect([...me.actions].sort()).toEqual([...(halves[index] ?? [])].sort())
      expect(me.role).toBe(`Half ${index}`)
    }
  })
})

test('a change of a role reaches those who have it at once: their pages are closed, the next request has the new rights', async () => {
  const { id } = await make('Changing', ['health.read', 'events.read'])
  await addPerson(app, 'chad', { role: id })
  const chad = await sessionOf(app, 'chad')
  const key = await keyOfAgent(app, await sessionOf(app, 'alice'), { role: id })
  expect([(await chad.get('/api/events')).status, (await key.get('/api/events')).status]).toEqual([200, 200])
  const { closed } = await socketOf(app, chad, '/live?topics=events')
  const at = performance.now()
  await change(id, 'Changed', ['health.read', 'processes.read'])
  const { code, at: then } = await closed
  expect(code).toBe(4401)
  expect(then - at).toBeLessThan(2000)
  for (const agent of [chad, key]) {
    expectProblem(await agent.get('/api/events'), 403)
    expect((await agent.get('/api/processes')).status).toBe(200)
  }
  expect((await chad.get('/api/me')).body).toMatchObject({ role: 'Changed' })
  // A new name alone closes nothing.
  const open = await socketOf(app, chad, '/live?topics=health')
  await change(id, 'Renamed', ['health.read', 'processes.read'])
  await app.hub.drain()
  expect((await chad.get('/api/me')).body).toMatchObject({ role: 'Renamed' })
  expect(open.socket.readyState).toBe(open.socket.OPEN)
  open.close()
})

describe('open pages', () => {
  const topicsOf = async (agent: Agent, path: string) =>
    /<live-source topics="([^"]*)"/.exec((await agent.get(path)).text)?.[1]?.split(',') ?? []

  test('of the people and the roles follow what they show, as far as the viewer may', async () => {
    for (const path of ['/users', '/users/user-bob']) expect(await topicsOf(alice, path)).toEqual(['health', 'users', 'invites', 'roles'])
    expect(await topicsOf(alice, '/roles')).toEqual(['health', 'roles', 'users'])
    const { id } = await make('Reader', ['users.read', 'health.read'])
    await addPerson(app, 'rita', { role: id })
    expect(await topicsOf(await sessionOf(app, 'rita'), '/users/user-bob')).toEqual(['health', 'users'])
  })

  test('hear of a role and of an invitation', async () => {
    const onRoles = await app.live('alice', '/live?topics=roles')
    const onInvites = await app.live('alice', '/live?topics=invites')
    await make('Heard of', ['health.read'])
    await onRoles.frame((frame) => frame.includes('action="refresh"'))
    expect(onInvites.frames.join()).not.toContain('refresh')
    bodyOf(await alice.post('/api/invites').send({ role: 'viewer' }), 'POST /api/invites')
    await onInvites.frame((frame) => frame.includes('action="refresh"'))
  })
})

describe('nobody gives away what they do not have', () => {
  const own = ['users.read', 'users.manage', 'users.invite', 'roles.read', 'roles.manage', 'keys.make', 'health.read']
  let max: Agent
  let role: Role
  beforeAll(async () => {
    role = await make('Manager', own)
    await addPerson(app, 'max', { role: role.id })
    max = await sessionOf(app, 'max')
  })

  test('not by a new role, not by a change of their own, not by one that may more already', async () => {
    const wide = await make('Wide', [...own, 'audit.read'])
    const before = await everything(app)
    const more = [...own, 'processes.stop']
    expect(fieldsOf(await max.post('/api/roles').send({ name: 'More', actions: more }), 422)).toEqual(['actions'])
    expect(fieldsOf(await max.put(`/api/roles/${role.id}`).send({ name: 'Manager', actions: more }), 422)).toEqual(['actions'])
    const form = await max
      .post(`/roles/${role.id}`)
      .type('form')
      .send(`name=Manager&${more.map((action) => `actions=${action}`).join('&')}`)
    expect([form.status, form.text.includes('You can only give what you may do yourself.')]).toEqual([422, true])
    expectProblem(await max.put(`/api/roles/${wide.id}`).send({ name: 'Wide', actions: ['health.read'] }), 403)
    expectProblem(await remove(wide.id, max), 403)
    expect(await everything(app)).toEqual(before)
  })

  test('not by an invitation, not by a key, not by promoting themself or somebody else', async () => {
    const wide = (await list()).find(({ name }) => name === 'Wide')?.id ?? 'none'
    await addPerson(app, 'pal', { role: role.id })
    const before = await everything(app)
    for (const wanted of [wide, 'viewer', 'operator', 'admin']) {
      expect(fieldsOf(await max.post('/api/invites').send({ role: wanted }), 422)).toEqual(['role'])
      expect(fieldsOf(await max.post('/api/keys').send({ name: 'more', role: wanted }), 422)).toEqual(['role'])
      for (const id of ['user-max', 'user-pal'])
        expect(fieldsOf(await max.patch(`/api/users/${id}`).send({ role: wanted }), 422)).toEqual(['role'])
    }
    expect(fieldsOf(await max.post('/api/keys').send({ name: 'more', role: role.id, scopes: ['audit.read'] }), 422)).toEqual(['scopes'])
    expect(await everything(app)).toEqual(before)
    expect(await app.ctx.db.selectFrom('keys').select('id').where('user_id', '=', 'user-max').execute()).toEqual([])
  })

  test('but what they have, they can', async () => {
    const less = await make('Less', ['health.read', 'users.read'], max)
    bodyOf(await max.patch('/api/users/user-pal').send({ role: less.id }), 'PATCH /api/users/:id')
    bodyOf(await max.post('/api/invites').send({ role: less.id }), 'POST /api/invites')
    expect((await keyOfAgent(app, max, { role: less.id })).cookie).toBeNull()
    expect((await (await sessionOf(app, 'pal')).get('/api/users')).status).toBe(200)
  })

  test('a key may no more than its owner may by now', async () => {
    const key = await keyOfAgent(app, max, { role: role.id })
    expect((await key.get('/api/users')).status).toBe(200)
    bodyOf(await alice.patch('/api/users/user-max').send({ role: 'viewer' }), 'PATCH /api/users/:id')
    expectProblem(await key.get('/api/users'), 403)
    expect((await key.get('/api/health')).status).toBe(200)
    bodyOf(await alice.patch('/api/users/user-max').send({ role: role.id }), 'PATCH /api/users/:id')
  })
})
