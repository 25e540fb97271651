import { open as openClaim } from '../services/claim'
import { password, startApp, type Agent, type TestApp } from './helpers/app'
import { addPerson, agentWith, afterTheThrottle, auditOf, beforeTheTests, changesDuring, everything, sessionOf } from './helpers/people'
import { bodyOf, expectProblem, fieldsOf } from './helpers/routes'

const day = 24 * 3_600_000

let app: TestApp
let alice: Agent
let nobody: Agent
beforeTheTests((opened) => ({ app, alice, nobody } = opened))

interface Invite {
  id: string
  name: string | null
  role: string
  role_name: string
  created_by: string
  expired: boolean
  link: string
}

const invite = async (body: object = { role: 'operator' }, agent = alice): Promise<Invite & { token: string }> => {
  const made = bodyOf<Invite>(await agent.post('/api/invites').send(body), 'POST /api/invites')
  return { ...made, token: new URL(made.link).searchParams.get('token') ?? '' }
}
const open = (token: string, agent = nobody) => agent.get(`/invite?token=${token}`)
const accept = (token: string, username: string, given = password, agent = nobody) =>
  agent.post('/invite').type('form').send({ token, username, password: given })
const listed = async (agent = alice) => bodyOf<{ items: Invite[] }>(await agent.get('/api/invites'), 'GET /api/invites').items
const roleOf = async (username: string, org = 'home') =>
  (
    await app.ctx.db
      .selectFrom('memberships')
      .innerJoin('users', 'users.id', 'memberships.user_id')
      .select('role')
      .where('username', '=', username)
      .where('org_id', '=', org)
      .executeTakeFirst()
  )?.role

describe('an invitation', () => {
  test('lets one person in: with the role it names, once, and the audit trail says who let them in', async () => {
    const people = await app.live('alice', '/live?topics=users')
    const made = await invite({ role: 'operator', name: 'Erin of the night shift', days: 3 })
    expect(made).toMatchObject({
      name: 'Erin of the night shift',
      role: 'operator',
      role_name: 'operator',
      created_by: 'alice',
      expired: false,
    })
    expect(made.link).toBe(`${app.url}/invite?token=${made.token}`)
    expect(made.token.length).toBeGreaterThanOrEqual(32)
    expect(await listed()).toMatchObject([{ id: made.id }])
    expect((await alice.get('/users')).text).toContain('Erin of the night shift')

    const page = await open(made.token)
    expect(page.status).toBe(200)
    for (const word of ['alice', 'operator']) expect(page.text).toContain(word)
    const told = await changesDuring(app, async () => {
      const answer = await accept(made.token, ' Erin ')
      expect([answer.status, answer.headers['location']]).toEqual([303, '/'])
      const cookie = (answer.headers['set-cookie'] as unknown as string[])[0]?.split(';')[0] ?? ''
      const erin = agentWith(app, { Cookie: cookie, Origin: app.url })
      expect((await erin.get('/api/me')).body).toMatchObject({ username: 'Erin', handle: 'erin', role: 'operator', instance_admin: false })
    })
    const { id } = await app.ctx.db.selectFrom('users').select('id').where('username', '=', 'Erin').executeTakeFirstOrThrow()
    expect(told).toContain(`home users ${id}`)
    await people.frame((frame) => frame.includes('refresh'))
    expect(await auditOf(app, 'invites.make', made.id)).toMatchObject([
      { actor_name: 'alice', subject_name: 'Erin of the night shift', data: { after: { role: 'operator', days: 3 } } },
    ])
    expect(await auditOf(app, 'invites.accept', id)).toMatchObject([
      { org_id: 'home', actor_name: 'Erin', subject_name: 'Erin', data: { after: { role: 'operator', invited_by: 'alice' } } },
    ])
    expect(await listed()).toEqual([])

    expect((await open(made.token)).status).toBe(410)
    const second = await accept(made.token, 'Second')
    expect(second.status).toBe(410)
    expect(second.headers['set-cookie']).toBeUndefined()
    expect(await roleOf('Second')).toBeUndefined()
    expect(await auditOf(app, 'invites.refused', made.id)).toMatchObject([
      { org_id: 'home', actor_name: 'nobody', data: { state: 'used' } },
    ])
  })

  test('of two who use it at once lets in one', async () => {
    for (let round = 0; round < 3; round++) {
      const { token } = await invite()
      const answers = await Promise.all([accept(token, `left-${round}`), accept(token, `right-${round}`)])
      expect(answers.map(({ status }) => status).sort()).toEqual([303, 410])
      const roles = await Promise.all([roleOf(`left-${round}`), roleOf(`right-${round}`)])
      expect(roles.filter((role) => role === 'operator')).toHaveLength(1)
      expect(answers.findIndex(({ status }) => status === 303)).toBe(roles.indexOf('operator'))
    }
  })

  test('and another one, used under the same name at once: one has the name, the other chooses again', async () => {
    for (const [one, other] of [
      ['a b', 'a-b'],
      ['Same Name', 'same name'],
    ] as const) {
      const [first, second] = [await invite(), await invite()]
      const answers = await Promise.all([accept(first.token, one), accept(second.token, other)])
      const statuses = answers.map(({ status }) => status).sort()
      // Only the handles of "a b" and "a-b" would be the same: there is another one.
      expect(statuses).toEqual(one === 'a b' ? [303, 303] : [303, 422])
    }
    const [left] = await listed()
    expect(left?.expired).toBe(false)
    bodyOf(await alice.delete(`/api/invites/${left?.id ?? ''}`), 'DELETE /api/invites/:id')
  })

  test('ends after its days', async () => {
    const { token, id } = await invite({ role: 'viewer', days: 1 })
    app.advance(day - 60_000)
    expect((await open(token)).status).toBe(200)
    app.advance(2 * 60_000)
    expect((await open(token)).status).toBe(410)
    expect((await accept(token, 'late')).status).toBe(410)
    expect(await roleOf('late')).toBeUndefined()
    expect(await auditOf(app, 'invites.refused', id)).toMatchObject([{ data: { state: 'expired' } }])
    expect(await listed(await sessionOf(app, 'alice'))).toMatchObject(
      expect.arrayContaining([expect.objectContaining({ id, expired: true })]) as object,
    )
    alice = await sessionOf(app, 'alice')
    bodyOf(await alice.delete(`/api/invites/${id}`), 'DELETE /api/invites/:id')
  })

  test('can be withdrawn, which is the end of its link; a second time does nothing', async () => {
    const { token, id } = await invite({ role: 'viewer', name: 'Nobody' })
    expect((await alice.get(`/invites/${id}/withdraw`)).text).toContain('Withdraw the invitation for Nobody?')
    const told = await changesDuring(app, async () => {
      const answer = await alice.post(`/invites/${id}/withdraw`).type('form').send({})
      expect([answer.status, answer.headers['location']]).toEqual([303, '/users'])
      bodyOf(await alice.delete(`/api/invites/${id}`), 'DELETE /api/invites/:id')
    })
    expect(told).toEqual([`home invites ${id}`])
    expect(await auditOf(app, 'invites.withdraw', id)).toMatchObject([{ actor_name: 'alice', subject_name: 'Nobody' }])
    expect((await open(token)).status).toBe(410)
    expect((await accept(token, 'withdrawn')).status).toBe(410)
    expect(await roleOf('withdrawn')).toBeUndefined()
    expect(await listed()).toEqual([])
  })

  test('that was used cannot be withdrawn, and one that is withdrawn while it is used is one of the two', async () => {
    const used = await invite()
    await accept(used.token, 'user-of-it')
    expectProblem(await alice.delete(`/api/invites/${used.id}`), 409)
    const both = await invite()
    const [out, entry] = await Promise.all([alice.delete(`/api/invites/${both.id}`), accept(both.token, 'in or out')])
    expect([out.status === 200, entry.status === 303].filter(Boolean)).toHaveLength(1)
    expect((await roleOf('in or out')) === undefined).toBe(out.status === 200)
  })
})

describe('who invites', () => {
  test('is an admin: viewers, operators and nobody see no invitation and make none; other organisations have their own', async () => {
    const { id, token } = await invite({ role: 'viewer' })
    const before = await everything(app)
    for (const person of ['bob', 'carol'] as const) {
      const agent = await sessionOf(app, person)
      for (const answer of [
        await agent.get('/api/invites'),
        await agent.post('/api/invites').send({ role: 'viewer' }),
        await agent.delete(`/api/invites/${id}`),
        await agent.get('/users/invite'),
        await agent.post('/users/invite').type('form').send({ role: 'viewer', days: '7' }),
        await agent.get(`/invites/${id}/withdraw`),
        await agent.post(`/invites/${id}/withdraw`).type('form').send({}),
      ])
        expect(answer.status).toBe(403)
    }
    expectProblem(await nobody.post('/api/invites').send({ role: 'viewer' }), 401)
    expectProblem(await nobody.delete(`/api/invites/${id}`), 401)
    expect((await nobody.post('/users/invite').type('form').send({ role: 'viewer', days: '7' })).headers['location']).toBe('/sign-in')
    const dave = await sessionOf(app, 'dave')
    expectProblem(await dave.delete(`/api/invites/${id}`), 404)
    expect((await dave.get(`/invites/${id}/withdraw`)).status).toBe(404)
    expect((await dave.post(`/invites/${id}/withdraw`).type('form').send({})).status).toBe(404)
    expect(await listed(dave)).toEqual([])
    expect(await everything(app)).toEqual(before)
    expect((await open(token)).status).toBe(200)
    bodyOf(await alice.delete(`/api/invites/${id}`), 'DELETE /api/invites/:id')
  })

  test('gives nobody a role above their own, nor takes back an invitation to one', async () => {
    const role = await alice.post('/api/roles').send({ name: 'Doorkeeper', actions: ['users.invite', 'health.read'] })
    const { id: roleId } = bodyOf<{ id: string }>(role, 'POST /api/roles')
    await addPerson(app, 'dora', { role: roleId })
    const dora = await sessionOf(app, 'dora')
    const before = await everything(app)
    for (const wanted of ['viewer', 'operator', 'admin'])
      expect(fieldsOf(await dora.post('/api/invites').send({ role: wanted }), 422)).toEqual(['role'])
    const page = await dora.post('/users/invite').type('form').send({ role: 'admin', days: '7' })
    expect([page.status, page.text.includes('may do things that you may not')]).toEqual([422, true])
    expect(await everything(app)).toEqual(before)
    const { token } = await invite({ role: roleId }, dora)
    expect((await accept(token, 'dorian')).status).toBe(303)
    expect(await roleOf('dorian')).toBe(roleId)
    const above = await invite({ role: 'admin' })
    expectProblem(await dora.delete(`/api/invites/${above.id}`), 403)
    expect((await open(above.token)).status).toBe(200)
    bodyOf(await alice.delete(`/api/invites/${above.id}`), 'DELETE /api/invites/:id')
  })

  test.each([
    ['no role', {}, 'role'],
    ['a role that there is not', { role: 'owner' }, 'role'],
    ['a role that is a list', { role: ['admin'] }, 'role'],
    ['no days', { role: 'viewer', days: 0 }, 'days'],
    ['too many days', { role: 'viewer', days: 31 }, 'days'],
    ['half a day', { role: 'viewer', days: 0.5 }, 'days'],
    ['days as text', { role: 'viewer', days: '7' }, 'days'],
    ['an endless name', { role: 'viewer', name: 'x'.repeat(101) }, 'name'],
    ['a name that cannot be stored', { role: 'viewer', name: 'a\0b' }, 'name'],
    ['a name of two lines', { role: 'viewer', name: 'a\nb' }, 'name'],
    ['a name that turns around what follows', { role: 'viewer', name: 'a\u202eb' }, 'name'],
    ['its own id', { role: 'viewer', id: 'mine' }, 'id'],
    ['another organisation', { role: 'viewer', org_id: 'other' }, 'org_id'],
    ['a token', { role: 'viewer', token: 'mine' }, 'token'],
    ['the hash of a token', { role: 'viewer', token_hash: 'mine' }, 'token_hash'],
    ['the end', { role: 'viewer', expires_at: 9e15 }, 'expires_at'],
    ['its maker', { role: 'viewer', created_by: 'user-bob' }, 'created_by'],
    ['the installation', { role: 'viewer', instance_admin: true }, 'instance_admin'],
  ])('says which field is wrong: %s', async (_what, body, field) => {
    const before = await everything(app)
    expect(fieldsOf(await alice.post('/api/invites').send(body), 422)).toEqual([field])
    expect(await everything(app)).toEqual(before)
  })

  test('gets the form back with what is wrong, and the link once when it is right', async () => {
    const wrong = await alice.post('/users/invite').type('form').send({ name: 'Someone', role: 'owner', days: '8' })
    expect(wrong.status).toBe(422)
    for (const text of ['Choose one of the three.', 'Someone']) expect(wrong.text).toContain(text)
    const bell = await alice.post('/users/invite').type('form').send({ name: 'Ring\u0007', role: 'viewer', days: '7' })
    expect([bell.status, bell.text.includes('Leave out the control characters.')]).toEqual([422, true])
    const right = await alice.post('/users/invite').type('form').send({ name: 'Someone', role: 'viewer', days: '7' })
    expect(right.status).toBe(200)
    const token = /\/invite\?token=([\w-]{32})/.exec(right.text)?.[1] ?? ''
    expect((await open(token)).status).toBe(200)
    expect((await alice.get('/users')).text).not.toContain(token)
  })
})

describe('whoever is invited', () => {
  test.each([
    ['without a name', ' ', password, 'Choose a name.'],
    ['with an endless name', 'x'.repeat(65), password, 'Use 64 characters at the most.'],
    ['with a name of control characters', 'a\u0007b', password, 'Leave out the control characters.'],
    ['with a name of signs that cannot be seen', 'al\u200dice', password, 'Leave out the characters that cannot be seen.'],
    ['with the name of the console', 'The Console', password, 'The console itself goes by this name.'],
    ['with a name that somebody has, written otherwise', 'ＡLICE', password, 'Somebody here has this name.'],
    ['with a short password', 'ines', 'too short', 'Use at least 10 characters.'],
    ['with an endless password', 'ines', 'x'.repeat(1025), 'Use 1,024 characters at the most.'],
  ])('is asked again %s, and the invitation stays open', async (_what, username, given, message) => {
    const { token, id } = await invite({ role: 'viewer' })
    const before = await everything(app)
    const answer = await accept(token, username, given)
    expect(answer.status).toBe(422)
    expect(answer.text).toContain(message)
    expect(answer.text).not.toContain(`value="${given}"`)
    expect(await everything(app)).toEqual(before)
    expect((await open(token)).status).toBe(200)
    bodyOf(await alice.delete(`/api/invites/${id}`), 'DELETE /api/invites/:id')
  })

  test('cannot bring more than a name and a password along', async () => {
    const { token } = await invite({ role: 'viewer' })
    const more = {
      role: 'admin',
      org_id: 'other',
      instance_admin: 'true',
      instance_admin_at: '1',
      id: 'user-alice',
      handle: 'alice',
      created_at: '0',
    }
    await nobody
      .post('/invite')
      .type('form')
      .send({ token, username: 'modest', password, ...more })
    const row = await app.ctx.db.selectFrom('users').selectAll().where('username', '=', 'modest').executeTakeFirst()
    expect(row).toMatchObject({ handle: 'modest', instance_admin_at: null })
    expect([await roleOf('modest'), await roleOf('modest', 'other')]).toEqual(['viewer', undefined])
    expect(row?.created_at).toBeGreaterThan(0)
  })

  test('and has an account here already joins with it, in this session, and is in both', async () => {
    const [here, elsewhere] = [await sessionOf(app, 'dave'), await sessionOf(app, 'dave')]
    const { token } = await invite({ role: 'operator' })
    const page = await open(token, here)
    expect([page.status, page.text.includes('Join as')]).toEqual([200, true])
    const told = await changesDuring(app, async () => {
      const answer = await here.post('/invite/join').type('form').send({ token })
      expect([answer.status, answer.headers['location']]).toEqual([303, '/'])
    })
    expect(told).toContain('home users user-dave')
    expect((await here.get('/api/me')).body).toMatchObject({ role: 'operator', organisation: { id: 'home' } })
    expect((await elsewhere.get('/api/me')).body).toMatchObject({ role: 'admin', organisation: { id: 'other' } })
    expect(await auditOf(app, 'invites.accept', 'user-dave')).toMatchObject([{ org_id: 'home', actor_name: 'dave' }])
    expect((await here.post('/invite/join').type('form').send({ token })).status).toBe(410)

    // Who belongs here already does not use up another one.
    const another = await invite({ role: 'admin' })
    expect((await here.post('/invite/join').type('form').send({ token: another.token })).status).toBe(409)
    expect(await roleOf('dave')).toBe('operator')
    expect((await open(another.token)).status).toBe(200)
    expect((await nobody.post('/invite/join').type('form').send({ token: another.token })).headers['location']).toBe('/sign-in')
    bodyOf(await alice.delete('/api/users/user-dave'), 'DELETE /api/users/:id')
    bodyOf(await alice.delete(`/api/invites/${another.id}`), 'DELETE /api/invites/:id')
  })

  test('again after they were removed comes back as who they were, with their password and no other', async () => {
    const first = await invite({ role: 'viewer' })
    await accept(first.token, 'Return')
    const { id } = await app.ctx.db.selectFrom('users').select('id').where('username', '=', 'Return').executeTakeFirstOrThrow()
    bodyOf(await alice.delete(`/api/users/${id}`), 'DELETE /api/users/:id')
    const { token } = await invite({ role: 'operator' })
    const before = await everything(app)
    const wrong = await accept(token, 'return', 'another long password')
    expect([wrong.status, wrong.text.includes('Somebody here has this name.')]).toEqual([422, true])
    expect(await everything(app)).toEqual(before)
    expect(await auditOf(app, 'session.refused', id)).toMatchObject([{ org_id: 'home', data: { tried: 'return' } }])
    const answer = await accept(token, 'RETURN')
    expect([answer.status, answer.headers['location'], await roleOf('Return')]).toEqual([303, '/', 'operator'])
    expect((await everything(app)).users).toEqual(before.users)
    expect(await auditOf(app, 'invites.accept', id)).toMatchObject([{}, { actor_name: 'Return', data: { after: { role: 'operator' } } }])

    // Guessing the password of somebody who was removed is slowed like everywhere.
    bodyOf(await alice.delete(`/api/users/${id}`), 'DELETE /api/users/:id')
    const another = await invite({ role: 'viewer' })
    const tries = await Promise.all(Array.from({ length: 12 }, (_, i) => accept(another.token, 'Return', `a longer guess ${i}`)))
    expect(new Set(tries.map(({ status }) => status))).toEqual(new Set([422, 429]))
    await app.ctx.db.updateTable('users').set({ disabled_at: 1 }).where('id', '=', id).execute()
    app.advance(60_000)
    expect((await accept(another.token, 'Return')).status).toBe(422)
    bodyOf(await alice.delete(`/api/invites/${another.id}`), 'DELETE /api/invites/:id')
  })

  test('to another organisation is told to that one, and so is whoever tries its link in vain', async () => {
    const dave = await sessionOf(app, 'dave')
    const { token, id } = await invite({ role: 'viewer' }, dave)
    const told = await changesDuring(app, () => accept(token, 'daniel'))
    const { id: user } = await app.ctx.db.selectFrom('users').select('id').where('username', '=', 'daniel').executeTakeFirstOrThrow()
    expect(told).toContain(`other users ${user}`)
    expect(told.filter((one) => one.startsWith('home'))).toEqual([])
    await accept(token, 'daniela')
    expect(await auditOf(app, 'invites.refused', id)).toMatchObject([{ org_id: 'other' }])
    expect((await alice.get('/users')).text).not.toContain('daniel')
  })

  test('and comes without a session, by Basic, joins all the same', async () => {
    const { token } = await invite({ role: 'viewer' })
    const answer = await app.basic('dave').post('/invite/join').type('form').send({ token })
    expect([answer.status, answer.headers['location'], await roleOf('dave')]).toEqual([303, '/', 'viewer'])
    bodyOf(await alice.delete('/api/users/user-dave'), 'DELETE /api/users/:id')
  })

  test('twice over in two windows joins once', async () => {
    const { token } = await invite({ role: 'viewer' })
    const dave = await sessionOf(app, 'dave')
    const join = () => dave.post('/invite/join').type('form').send({ token })
    const statuses = (await Promise.all([join(), join()])).map(({ status }) => status).sort()
    expect(statuses[0]).toBe(303)
    expect([409, 410]).toContain(statuses[1])
    bodyOf(await alice.delete('/api/users/user-dave'), 'DELETE /api/users/:id')
  })
})

describe('the link', () => {
  test('is kept nowhere: not in the database, not in the audit trail, not in the log, not in lists', async () => {
    const { token, id } = await invite({ role: 'viewer', name: 'Canary' })
    await open(token)
    await accept(token, 'canary-1')
    await accept(token, 'canary-2')
    await nobody.get('/invite?token=canary-token-that-is-wrong')
    await accept('canary-token-that-is-wrong', 'canary-3')
    const { db } = app.ctx
    const kept = [
      await db.selectFrom('invites').selectAll().execute(),
      await db.selectFrom('audit').selectAll().execute(),
      await db.selectFrom('changes').selectAll().execute(),
      await db.selectFrom('sessions').selectAll().execute(),
      app.log,
      (await alice.get('/api/invites')).text,
    ]
    expect(JSON.stringify(kept[0])).toContain(id)
    expect(JSON.stringify(kept)).not.toContain(token)
    expect(JSON.stringify(kept)).not.toContain('canary-token-that-is-wrong')
  })

  test.each(['', 'x', 'a'.repeat(200), "' or 1=1 --", '../../etc/passwd', '%00', 'constructor'])(
    'that is none is refused: %j',
    async (token) => {
      afterTheThrottle(app)
      const before = await everything(app)
      for (const answer of [await open(encodeURIComponent(token)), await accept(token, 'guesser')]) expect(answer.status).toBe(404)
      expect(await everything(app)).toEqual(before)
      expect((await auditOf(app, 'invites.refused', 'unknown')).at(-1)).toMatchObject({ actor_name: 'nobody', data: { state: 'invalid' } })
    },
  )

  test('that is a list, or endless, is refused', async () => {
    afterTheThrottle(app)
    expect((await nobody.get('/invite?token=a&token=b')).status).toBe(404)
    expect((await nobody.post('/invite').type('form').send('token=a&token=b&username=x&password=long enough it is')).status).toBe(422)
    expect((await accept('a'.repeat(201), 'guesser')).status).toBe(422)
  })

  test('leads to where the admin is, whatever Host a request claims', async () => {
    for (const host of ['console.example:8443', '[::1]:8080'])
      expect(
        (await alice.post('/api/invites').set({ Host: host, 'Sec-Fetch-Site': 'same-origin' }).send({ role: 'viewer' })).body,
      ).toMatchObject({
        link: expect.stringMatching(new RegExp(`^http://${host.replace(/[[\]]/g, '\\$&')}/invite\\?token=[\\w-]{32}$`)) as string,
      })
    for (const host of ['evil.example/@x', 'evil.example"><script>', 'a b', 'evil.example?x=', 'evil.example#', 'user@evil.example', "a'b"])
      expect(
        (await alice.post('/api/invites').set({ Host: host, 'Sec-Fetch-Site': 'same-origin' }).send({ role: 'viewer' })).body,
      ).toMatchObject({
        link: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/invite\?token=[\w-]{32}$/) as string,
      })
  })
})

test('with a PUBLIC_URL every link leads there and nowhere else; wrong ones are limited like the sign-in', async () => {
  const other = await startApp({ env: { PUBLIC_URL: 'http://console.example', SIGN_IN_RATE_LIMIT: '5', TRUST_PROXY: 'loopback' } })
  const admin = await other.as('alice')
  for (const host of ['evil.example', '127.0.0.1']) {
    const answer = await admin.post('/api/invites').set({ Host: host, 'Sec-Fetch-Site': 'same-origin' }).send({ role: 'viewer' })
    expect((answer.body as { link: string }).link).toMatch(/^http:\/\/console\.example\/invite\?token=[\w-]{32}$/)
    const page = await admin
      .post('/users/invite')
      .set({ Host: host, 'Sec-Fetch-Site': 'same-origin' })
      .type('form')
      .send({ role: 'viewer', days: '7' })
    expect(page.text).toContain('http://console.example/invite?token=')
  }
  const from = (address: string) => agentWith(other, { 'X-Forwarded-For': address })
  const guess = (path: string, body: object, address = '203.0.113.5') => from(address).post(path).type('form').send(body)
  const statuses = []
  for (const path of ['/invite', '/reset', '/claim', '/sign-in', '/invite'])
    statuses.push(
      (await guess(path, { token: 'wrong', username: 'guesser', password: 'a guess of some length', repeat: 'a guess of some length' }))
        .status,
    )
  expect(statuses).toEqual([404, 404, 409, 401, 404])
  for (const path of ['/invite', '/reset', '/claim', '/sign-in']) {
    const answer = await guess(path, {
      token: 'wrong',
      username: 'guesser',
      password: 'a guess of some length',
      repeat: 'a guess of some length',
    })
    expect([path, answer.status]).toEqual([path, 429])
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
  }
  expect((await guess('/invite', { token: 'wrong', username: 'x', password: 'a guess of some length' }, '203.0.113.6')).status).toBe(404)
  await other.close()
})

test('nor is the token of the claim link kept in the database or the log', async () => {
  const fresh = await startApp({ unclaimed: true })
  const token = (await openClaim(fresh.ctx)) ?? 'none'
  const claim = async (given: string) =>
    (await (await fresh.as(null)).post('/claim').type('form').send({ token: given, username: 'first', password })).status
  expect([await claim('canary-token'), await claim(token), await claim(token)]).toEqual([403, 303, 409])
  const { db } = fresh.ctx
  const kept = JSON.stringify([
    await db.selectFrom('audit').selectAll().execute(),
    await db.selectFrom('changes').selectAll().execute(),
    await db.selectFrom('facts').selectAll().execute(),
    fresh.log,
  ])
  expect(kept).toContain('console.claim')
  for (const secret of [token, 'canary-token', password]) expect(kept).not.toContain(secret)
  await fresh.close()
})

test('an invitation is void when whoever made it may no longer invite, or no longer be that much', async () => {
  const alice = app.basic('alice')
  await alice.patch('/api/users/user-carol').send({ role: 'admin' }).expect(200)
  const made = await app.basic('carol').post('/api/invites').send({ role: 'operator' })
  expect(made.status).toBe(201)
  const { id, link } = made.body as { id: string; link: string }
  const path = link.slice(link.indexOf('/invite'))
  const nobody = await app.as(null)
  expect((await nobody.get(path)).status).toBe(200)
  await alice.patch('/api/users/user-carol').send({ role: 'viewer' }).expect(200)
  expect((await nobody.get(path)).status).toBe(410)
  const token = path.split('token=')[1] ?? ''
  const accepted = await nobody.post('/invite').type('form').send({ token, username: 'too late', password: 'correct horse battery' })
  expect(accepted.status).toBe(410)
  const { items } = (await alice.get('/api/invites')).body as { items: { id: string; expired: boolean }[] }
  expect(items.find((one) => one.id === id)).toMatchObject({ expired: true })
})

test('an invitation that was taken back, or whose maker lost the right, says so', async () => {
  const [admin, stranger] = [await sessionOf(app, 'alice'), await app.as(null)]
  const inviter = await addPerson(app, 'ivan', { role: 'admin' })
  const [back, lost] = [await invite({ role: 'viewer' }, admin), await invite({ role: 'viewer' }, await sessionOf(app, 'ivan'))]
  bodyOf(await admin.delete(`/api/invites/${back.id}`), 'DELETE /api/invites/:id')
  bodyOf(await admin.patch(`/api/users/${inviter}`).send({ role: 'viewer' }), 'PATCH /api/users/:id')
  for (const { token, id } of [back, lost]) {
    for (const answer of [await open(token, stranger), await accept(token, 'too late again', password, stranger)]) {
      expect(answer.status).toBe(410)
      expect(answer.text).toContain('This invite was withdrawn')
      expect(answer.text).not.toContain('never one of ours')
    }
    expect(await auditOf(app, 'invites.refused', id)).toMatchObject([{ actor_name: 'nobody', data: { state: 'withdrawn' } }])
  }
  const none = await open('never-made', stranger)
  expect([none.status, none.text.includes('never one of ours')]).toEqual([404, true])
})

test('the link says for as many days as were chosen', async () => {
  const admin = await sessionOf(app, 'alice')
  for (const [days, said] of [
    ['1', 'within 1 day '],
    ['7', 'within 7 days '],
    ['30', 'within 30 days '],
  ] as const)
    expect((await admin.post('/users/invite').type('form').send({ role: 'viewer', days })).text).toContain(said)
})

test('nor does the token stand in the log when a request with it fails', async () => {
  const broken = await startApp()
  broken.expectLog(/a request failed/)
  await broken.ctx.db.schema.alterTable('invites').renameTo('elsewhere').execute()
  const answer = await (await broken.as(null)).get('/invite?token=canary-token&x=1&n%65xt=%2Fcanary&%74oken=canary-too')
  expect(answer.status).toBe(500)
  expect(broken.log.find(({ msg }) => msg === 'a request failed')).toMatchObject({
    url: '/invite?token=•••••&x=1&next=•••••&token=•••••',
  })
  expect(JSON.stringify(broken.log)).not.toContain('canary')
  await broken.close()
})
