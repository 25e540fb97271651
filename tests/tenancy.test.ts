import { startApp, type Agent, type TestApp } from './helpers/app'
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
  socketOf,
} from './helpers/people'
import { actions, bodyOf, endpoints, expectProblem, fieldsOf, pages } from './helpers/routes'
import { until } from './helpers/until'

let app: TestApp
let alice: Agent
let nobody: Agent
beforeTheTests((opened) => ({ app, alice, nobody } = opened))

interface Organisation {
  id: string
  name: string
  people: number
  role: string | null
  current: boolean
}

const list = async (agent: Agent) =>
  bodyOf<{ items: Organisation[] }>(await agent.get('/api/organisations'), 'GET /api/organisations').items
const make = async (name: string, agent = alice) =>
  bodyOf<Organisation>(await agent.post('/api/organisations').send({ name }), 'POST /api/organisations')
const switched = (agent: Agent, id: string) => agent.post(`/organisations/${id}/switch`).type('form').send({})
const where = async (agent: Agent) => ((await agent.get('/api/me')).body as { organisation: { id: string } }).organisation.id

describe('an organisation', () => {
  test('is made by an instance admin, who is its first admin; it is empty, and its own audit trail says who made it', async () => {
    let made: Organisation | undefined
    const told = await changesDuring(app, async () => {
      made = await make('  Branch  ')
    })
    const id = made?.id ?? ''
    expect(made).toMatchObject({ name: 'Branch', people: 1, role: 'admin', current: false })
    expect(told).toEqual([`${id} organisations ${id}`])
    expect(await auditOf(app, 'organisations.make', id)).toMatchObject([{ org_id: id, actor_name: 'alice', subject_name: 'Branch' }])
    expect((await list(alice)).map(({ name, current }) => [name, current])).toEqual([
      ['Branch', false],
      ['Home', true],
      ['Other', false],
    ])
    const there = await sessionOf(app, 'alice')
    await switched(there, id)
    expect((await there.get('/api/users')).body).toMatchObject({ items: [{ username: 'alice', role: 'admin' }] })
    expect((await there.get('/api/events')).body).toMatchObject({ items: [] })
    expect((await there.get('/api/roles')).body).toMatchObject({ items: { length: 3 } })
    const form = await alice.post('/organisations').type('form').send({ name: 'By form' })
    expect([form.status, form.headers['location']]).toEqual([303, '/organisations'])
    expect((await list(alice)).map(({ name }) => name)).toContain('By form')
  })

  test.each([
    ['no name', { name: ' ' }, 'name'],
    ['an endless name', { name: 'x'.repeat(101) }, 'name'],
    ['a name that cannot be stored', { name: 'a\0b' }, 'name'],
    ['a list of names', { name: ['a'] }, 'name'],
    ['an id', { name: 'Fine', id: 'home' }, 'id'],
    ['a moment', { name: 'Fine', created_at: 1 }, 'created_at'],
  ])('says which field is wrong: %s', async (_what, body, field) => {
    const before = await everything(app)
    expect(fieldsOf(await alice.post('/api/organisations').send(body), 422)).toEqual([field])
    expect(fieldsOf(await alice.patch('/api/organisations/home').send(body), 422)).toEqual([field])
    for (const path of ['/organisations', '/organisations/home/name']) {
      const page = await alice.post(path).type('form').send({ name: ' ' })
      expect([page.status, page.text.includes('Give it a name.')]).toEqual([422, true])
    }
    expect(await everything(app)).toEqual(before)
  })

  test('is made and joined by nobody else', async () => {
    await addPerson(app, 'erin', { role: 'admin' })
    const before = await everything(app)
    for (const agent of [await sessionOf(app, 'erin'), await app.as('bob'), await app.as('carol'), await app.as('dave')]) {
      for (const answer of [
        await agent.post('/api/organisations').send({ name: 'No' }),
        await agent.post('/api/organisations/home/join'),
        await agent.post('/api/organisations/other/join'),
        await agent.post('/organisations').type('form').send({ name: 'No' }),
        await agent.get('/organisations/other/join'),
        await agent.post('/organisations/other/join').type('form').send({}),
      ])
        expect(answer.status).toBe(403)
      expect((await list(agent)).map(({ current }) => current)).toEqual([true])
    }
    expectProblem(await nobody.post('/api/organisations').send({ name: 'No' }), 401)
    expectProblem(await nobody.get('/api/organisations'), 401)
    expect((await nobody.post('/organisations').type('form').send({ name: 'No' })).headers['location']).toBe('/sign-in')
    expect(await everything(app)).toEqual(before)
  })

  test('is renamed by its own admins, from within', async () => {
    await addOrganisation(app, 'named')
    await addPerson(app, 'nell', { role: 'admin', org: 'named' })
    await addPerson(app, 'ned', { role: 'operator', org: 'named' })
    const [nell, ned] = [await sessionOf(app, 'nell'), await sessionOf(app, 'ned')]
    const told = await changesDuring(app, async () => {
      for (let i = 0; i < 2; i++)
        expect(
          bodyOf<Organisation>(await nell.patch('/api/organisations/named').send({ name: 'New name' }), 'PATCH /api/organisations/:id'),
        ).toMatchObject({
          name: 'New name',
          current: true,
        })
    })
    expect(told).toEqual(['named organisations named'])
    expect(await auditOf(app, 'organisations.rename', 'named')).toMatchObject([
      { org_id: 'named', actor_name: 'nell', data: { before: { name: 'named' }, after: { name: 'New name' } } },
    ])
    expect((await ned.get('/api/me')).body).toMatchObject({ organisation: { name: 'New name' } })
    expect((await nell.post('/organisations/named/name').type('form').send({ name: 'By form' })).headers['location']).toBe('/organisations')
    const before = await everything(app)
    expectProblem(await ned.patch('/api/organisations/named').send({ name: 'No' }), 403)
    expectProblem(await (await app.as('dave')).patch('/api/organisations/named').send({ name: 'No' }), 404)
    expectProblem(await nell.patch('/api/organisations/home').send({ name: 'No' }), 404)
    expectProblem(await nell.patch('/api/organisations/nothing').send({ name: 'No' }), 404)
    // An instance admin is no exception: the role there decides.
    expectProblem(await alice.patch('/api/organisations/named').send({ name: 'No' }), 403)
    expect((await nell.post('/organisations/home/name').type('form').send({ name: 'No' })).status).toBe(404)
    expectProblem(await nobody.patch('/api/organisations/named').send({ name: 'No' }), 401)
    expect(await everything(app)).toEqual(before)
  })

  test('is joined by an instance admin, once, and its people can read that in their audit trail', async () => {
    await addOrganisation(app, 'joined')
    await addPerson(app, 'jo', { role: 'admin', org: 'joined' })
    expect((await alice.get('/organisations/joined/join')).text).toContain('Join joined?')
    const told = await changesDuring(app, async () => {
      const answers = await Promise.all([1, 2, 3].map(() => alice.post('/api/organisations/joined/join')))
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409])
    })
    expect(told).toEqual(['joined organisations joined'])
    expect(await auditOf(app, 'organisations.join', 'joined')).toMatchObject([
      { org_id: 'joined', actor_name: 'alice', data: { after: { role: 'admin' } } },
    ])
    expectProblem(await alice.post('/api/organisations/joined/join'), 409)
    expectProblem(await alice.post('/api/organisations/nothing/join'), 404)
    expect((await alice.post('/organisations/joined/join').type('form').send({})).status).toBe(409)
    const jo = await sessionOf(app, 'jo')
    expect((await jo.get('/api/users')).body).toMatchObject({ items: [{ username: 'alice' }, { username: 'jo' }] })
    expect((await jo.get('/api/audit')).text).toContain('organisations.join')
    // Joined is not switched: alice still works at home.
    expect(await where(alice)).toBe('home')
  })
})

describe('switching', () => {
  test('is for this session: what it reads, does and is shown is of the other organisation; other sessions and keys stay', async () => {
    await addPerson(app, 'both', { role: 'viewer' })
    await addMember(app, 'user-both', 'other', 'admin')
    const [here, stays] = [await sessionOf(app, 'both'), await sessionOf(app, 'both')]
    const key = await keyOfAgent(app, stays, { role: 'viewer' })
    expect([await where(here), await where(stays), await where(key)]).toEqual(['home', 'home', 'home'])
    expect((await here.get('/users')).status).toBe(403)
    const { closed } = await socketOf(app, here, '/live?topics=health')
    const untouched = await socketOf(app, stays, '/live?topics=health')

    const answer = await switched(here, 'other')
    expect([answer.status, answer.headers['location']]).toEqual([303, '/'])
    expect([await where(here), await where(stays), await where(key)]).toEqual(['other', 'home', 'home'])
    expect((await here.get('/users')).status).toBe(200)
    expect((await here.get('/api/users')).body).toMatchObject({ items: [{ username: 'both' }, { username: 'dave' }] })
    bodyOf(await here.post('/api/events').send({ events: [{ type: 'switched', source: 'test' }] }), 'POST /api/events')
    expect((await (await app.as('dave')).get('/api/events?type=switched')).body).toMatchObject({ items: [{ type: 'switched' }] })
    expect((await alice.get('/api/events?type=switched')).body).toMatchObject({ items: [] })
    // What it painted is of where it was.
    expect((await closed).code).toBe(4401)
    expect(untouched.socket.readyState).toBe(untouched.socket.OPEN)
    untouched.close()

    expect((await list(here)).map(({ id, role, current }) => [id, role, current])).toEqual([
      ['home', 'viewer', false],
      ['other', 'admin', true],
    ])
    expect((await here.get('/')).text).toContain('/organisations/home/switch')
    await switched(here, 'home')
    expect(await where(here)).toBe('home')
  })

  test('leads nowhere one does not belong', async () => {
    const both = await sessionOf(app, 'both')
    expect((await switched(both, 'named')).status).toBe(404)
    expect((await switched(both, 'nothing')).status).toBe(404)
    // An instance admin sees that it is there, and has to join it, which its audit trail says.
    expect((await switched(alice, 'named')).status).toBe(403)
    expect((await switched(nobody, 'other')).headers['location']).toBe('/sign-in')
    expect((await switched(basicOf(app, 'both'), 'other')).status).toBe(409)
    expect(await where(both)).toBe('home')
  })

  test('does not outlast the membership: whoever is removed falls back to where they belong, or is signed out', async () => {
    await addPerson(app, 'rob', { role: 'viewer' })
    await addMember(app, 'user-rob', 'other', 'viewer')
    const rob = await sessionOf(app, 'rob')
    await switched(rob, 'other')
    const { closed } = await socketOf(app, rob, '/live?topics=health')
    const dave = await app.as('dave')
    bodyOf(await dave.delete('/api/users/user-rob'), 'DELETE /api/users/:id')
    expect(await where(rob)).toBe('home')
    expect((await closed).code).toBe(4401)
    expect((await rob.get('/profile')).status).toBe(200)
    bodyOf(await alice.delete('/api/users/user-rob'), 'DELETE /api/users/:id')
    expect((await rob.get('/profile')).status).toBe(303)
    expectProblem(await rob.get('/api/me'), 401)
  })
})

describe('leaving', () => {
  const leave = (agent: Agent, id: string) => agent.post(`/api/organisations/${id}/leave`)
  const left = async (agent: Agent, id: string) =>
    expect(bodyOf(await leave(agent, id), 'POST /api/organisations/:id/leave')).toEqual({ left: true })

  test('ends the own keys there, and the own sessions there go on elsewhere; the audit trail says so', async () => {
    const lea = await addPerson(app, 'lea', { role: 'operator' })
    await addMember(app, lea, 'other', 'viewer')
    const [here, there] = [await sessionOf(app, 'lea'), await sessionOf(app, 'lea')]
    await switched(there, 'other')
    const key = await keyOfAgent(app, here, { role: 'operator' })
    const dave = await app.live('dave', '/live?topics=users')
    const { closed } = await socketOf(app, there, '/live?topics=health')
    const keyThere = await keyOfAgent(app, there, { role: 'viewer' })
    expect([await where(here), await where(there), await where(key), await where(keyThere)]).toEqual(['home', 'other', 'home', 'other'])

    expect((await there.get('/organisations')).text).toContain('/organisations/other/leave')
    expect((await there.get('/organisations/other/leave')).text).toContain('Leave Other?')
    const told = await changesDuring(app, () => left(there, 'other'))
    expect(told).toEqual([expect.stringMatching(/^other keys /), 'other users user-lea'])
    await dave.frame((frame) => frame.includes('refresh'))
    expect((await closed).code).toBe(4401)
    expect([await where(here), await where(there), await where(key)]).toEqual(['home', 'home', 'home'])
    await until(async () => (await keyThere.get('/api/me')).status === 401, 5000)
    expect(await auditOf(app, 'organisations.leave')).toMatchObject([
      {
        ...{ org_id: 'other', actor_name: 'lea', subject: lea, subject_name: 'lea' },
        data: { before: { role: 'viewer' }, after: { keys_revoked: 1 } },
      },
    ])
    expect((await (await app.as('dave')).get('/audit')).text).toContain('left the organisation')
    // What is not there any more cannot be left again, and coming back is not where one left off.
    expectProblem(await leave(there, 'other'), 404)
    await addMember(app, lea, 'other', 'viewer')
    expect(await where(await sessionOf(app, 'lea'))).toBe('home')
    expect(await where(there)).toBe('home')
    const form = await here.post('/organisations/other/leave').type('form').send({})
    expect([form.status, form.headers['location']]).toEqual([303, '/'])
  })

  test('is refused to whoever belongs to no other, by word and by deed, and to keys', async () => {
    const carol = await app.as('carol')
    const before = await everything(app)
    expect(expectProblem(await leave(carol, 'home'), 409).detail).toContain('You belong to no other organisation')
    for (const page of [await carol.get('/organisations/home/leave'), await carol.post('/organisations/home/leave').type('form').send({})])
      expect([page.status, page.text.includes('You belong to no other organisation')]).toEqual([409, true])
    expectProblem(await leave(await keyOfAgent(app, alice, { role: 'admin' }), 'home'), 403)
    expectProblem(await leave(carol, 'other'), 404)
    // An instance admin sees that it is there.
    expectProblem(await leave(alice, 'other'), 409)
    expectProblem(await leave(nobody, 'home'), 401)
    expect(await everything(app)).toEqual(before)
  })

  test('is refused to the last admin, who is told so where the button is', async () => {
    await addOrganisation(app, 'alone')
    const lou = await addPerson(app, 'lou', { org: 'alone', role: 'admin' })
    await addMember(app, lou, 'other', 'viewer')
    await addPerson(app, 'off', { org: 'alone', role: 'admin' })
    await app.ctx.db.updateTable('users').set({ disabled_at: 1 }).where('id', '=', 'user-off').execute()
    const agent = await sessionOf(app, 'lou')
    const { text } = await agent.get('/organisations')
    expect(text).toContain('You are its last admin.')
    expect(text).not.toContain('/organisations/alone/leave')
    expect(text).toContain('/organisations/other/leave')
    const before = await everything(app)
    expect(expectProblem(await leave(agent, 'alone'), 409).detail).toContain('last admin')
    expect((await agent.get('/organisations/alone/leave')).status).toBe(409)
    expect(await everything(app)).toEqual(before)
    await left(agent, 'other')
    expect((await agent.get('/organisations')).status).toBe(404)
  })

  test('of two last admins at once: one stays, with everything', async () => {
    await addOrganisation(app, 'two')
    for (let round = 0; round < 5; round++) {
      const ids = [await addPerson(app, `left-${round}`, { org: 'two' }), await addPerson(app, `right-${round}`, { org: 'two' })]
      for (const id of ids) {
        await app.ctx.db.updateTable('memberships').set({ role: 'admin' }).where('user_id', '=', id).execute()
        await addMember(app, id, 'other', 'viewer')
      }
      const agents = await Promise.all([sessionOf(app, `left-${round}`), sessionOf(app, `right-${round}`)])
      const statuses = (await Promise.all(agents.map((agent) => leave(agent, 'two')))).map(({ status }) => status)
      expect(statuses.sort()).toEqual([200, 409])
      const admins = app.ctx.db.selectFrom('memberships').select('user_id').where('org_id', '=', 'two').where('role', '=', 'admin')
      expect(await admins.execute()).toHaveLength(1)
      await app.ctx.db.deleteFrom('memberships').where('org_id', '=', 'two').execute()
    }
  })

  test('both of one’s organisations at once: one is kept', async () => {
    await addOrganisation(app, 'first')
    await addOrganisation(app, 'second')
    for (let round = 0; round < 5; round++) {
      const id = await addPerson(app, `torn-${round}`, { org: 'first' })
      await addMember(app, id, 'second', 'viewer')
      for (const org of ['first', 'second']) await addMember(app, await addPerson(app, `${org}-${round}`, { org }), 'other', 'viewer')
      const agent = await sessionOf(app, `torn-${round}`)
      await app.ctx.db
        .updateTable('memberships')
        .set({ role: 'admin' })
        .where('user_id', 'in', [`user-first-${round}`, `user-second-${round}`])
        .execute()
      const statuses = (await Promise.all(['first', 'second'].map((org) => leave(agent, org)))).map(({ status }) => status)
      expect(statuses.sort()).toEqual([200, 409])
      expect((await agent.get('/api/me')).status).toBe(200)
    }
  })
})

describe('what belongs to another organisation', () => {
  test('is not there, whatever one asks about it by its id', async () => {
    const role = bodyOf<{ id: string }>(
      await alice.post('/api/roles').send({ name: 'Homely', actions: ['health.read'] }),
      'POST /api/roles',
    )
    const invite = bodyOf<{ id: string }>(await alice.post('/api/invites').send({ role: 'viewer', name: 'Homely' }), 'POST /api/invites')
    const key = bodyOf<{ id: string }>(await alice.post('/api/keys').send({ name: 'Homely', role: 'viewer' }), 'POST /api/keys')
    const [session] = ((await alice.get('/api/sessions')).body as { items: { id: string }[] }).items
    const kinds: Readonly<Record<string, string>> = {
      users: 'user-bob',
      roles: role.id,
      invites: invite.id,
      keys: key.id,
      sessions: session?.id ?? '',
      organisations: 'home',
    }
    const dave = await app.as('dave')
    const bodies: readonly object[] = [
      {},
      { role: 'viewer', name: 'Taken', actions: ['health.read'], instance_admin: true },
      { role: 'viewer' },
      { name: 'Taken', actions: ['health.read'] },
      { name: 'Taken' },
    ]
    const walks = [
      ...endpoints.filter(({ path }) => path.includes('/:id')).map(({ method, path }) => [method, path] as const),
      ...pages.filter(({ path }) => path.includes('/:id')).map(({ path }) => ['GET', path] as const),
      ...actions.filter(({ path }) => path.includes('/:id')).map(({ path }) => ['FORM', path] as const),
    ].filter(([, path]) => (/^(?:\/api|\/profile)?\/(\w+)\//.exec(path)?.[1] ?? '') in kinds)
    expect(walks.length).toBeGreaterThan(30)
    const before = [await everything(app), await app.ctx.db.selectFrom('keys').selectAll().orderBy('id').execute()]
    for (const [method, path] of walks) {
      const address = path.replace(':id', kinds[/^(?:\/api|\/profile)?\/(\w+)\//.exec(path)?.[1] ?? ''] ?? '')
      const answers =
        method === 'GET'
          ? [await dave.get(address)]
          : method === 'FORM'
            ? await Promise.all(bodies.map((body) => dave.post(address).type('form').send(body)))
            : await Promise.all(bodies.map((body) => dave[method.toLowerCase() as 'post'](address).send(body)))
      const statuses = answers.map(({ status }) => status)
      // Some body was right, and found nothing; those of the installation are refused before.
      const expected = /\/join$|instance-admin$/.test(path) ? 403 : 404
      expect([method, path, statuses]).toEqual([method, path, expect.arrayContaining([expected])])
      expect([method, path, statuses.filter((status) => ![expected, 422].includes(status))]).toEqual([method, path, []])
      for (const { text } of answers) expect(text).not.toMatch(/Homely|\bbob\b/)
    }
    expect([await everything(app), await app.ctx.db.selectFrom('keys').selectAll().orderBy('id').execute()]).toEqual(before)
    expect((await alice.get('/api/me')).status).toBe(200)
  })

  test('does not show in lists, counts or searches', async () => {
    const dave = await app.as('dave')
    for (const path of [
      '/api/users?limit=500',
      '/api/invites',
      '/api/roles',
      '/api/keys?whose=all',
      '/api/audit',
      '/api/organisations',
      '/users',
      '/roles',
      '/keys',
      '/audit',
      '/palette',
      '/users?q=bo',
    ]) {
      const answer = await dave.get(path)
      expect([path, answer.status]).toEqual([path, 200])
      expect([path, /Homely|user-bob|\bBranch\b/.test(answer.text)]).toEqual([path, false])
    }
    // Who belongs to both is counted by what is here.
    expect((await dave.get('/api/users?q=both')).body).toMatchObject({ items: [{ keys: 0 }] })
    expect((await alice.get('/api/users?q=both')).body).toMatchObject({ items: [{ keys: 1 }] })
  })
})

test('one organisation shows no trace of the idea', async () => {
  const single = await startApp()
  const { db } = single.ctx
  await db.deleteFrom('memberships').where('org_id', '=', 'other').execute()
  await db.deleteFrom('users').where('id', '=', 'user-dave').execute()
  await db.deleteFrom('organisations').where('id', '=', 'other').execute()
  const admin = await single.as('alice')
  const bob = await single.as('bob')
  const { link } = bodyOf<{ link: string }>(await admin.post('/api/invites').send({ role: 'viewer' }), 'POST /api/invites')
  const stranger = await single.as(null)
  const trace = /\bHome\b|\/organisations\/|aria-label="Organisation/
  const seen = [await stranger.get(new URL(link).pathname + new URL(link).search)]
  for (const path of ['/', '/profile', '/keys']) seen.push(await bob.get(path))
  for (const path of ['/', '/profile', '/users', '/users/user-bob', '/users/invite', '/roles', '/keys', '/audit', '/settings'])
    seen.push(await admin.get(path))
  for (const { status, text, request } of seen)
    expect([(request as { url?: string }).url, status, trace.exec(text)?.[0]]).toEqual([(request as { url?: string }).url, 200, undefined])
  expect((await bob.get('/organisations')).status).toBe(404)
  // Whoever may make a second one finds where.
  expect((await admin.get('/organisations')).status).toBe(200)
  // And with a second one, it is there.
  bodyOf(await admin.post('/api/organisations').send({ name: 'Second' }), 'POST /api/organisations')
  expect((await admin.get('/profile')).text).toMatch(trace)
  await single.close()
})
