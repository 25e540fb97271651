import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import * as resets from '../services/resets'
import * as sessions from '../services/sessions'
import * as users from '../services/users'
import { contextOf, type Context } from '../monitoring/context'
import { rightsOf, rightsTo, actions as everyAction } from '../monitoring/permissions'
import { cookieOf, listen, newSession, password, startApp, type TestApp } from './helpers/app'
import { addMember, addOrganisation, addPerson, basicOf } from './helpers/people'
import { until } from './helpers/until'

// What was allowed when it began, and no longer is when it happens.

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

const asAdmin = (org = 'home'): Context =>
  contextOf(app.platform, { ...app.ctx.actor, kind: 'user', id: 'user-alice', name: 'alice', rights: rightsTo(everyAction) }, org)

/** Sends everything but the last byte, waits for `meanwhile`, and sends the rest. Answers the status. */
async function slowly(head: string, body: string, meanwhile: () => Promise<unknown>): Promise<number> {
  const { port } = new URL(app.url)
  const socket: Socket = connect(Number(port), '127.0.0.1')
  await once(socket, 'connect')
  socket.write(
    `${head}Host: 127.0.0.1:${port}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body.slice(0, -1)}`,
  )
  // The console has read what there is when it has looked the session up.
  await until(async () => (await (await app.as(null)).get('/healthz')).status === 200)
  await meanwhile()
  socket.write(body.slice(-1))
  let text = ''
  socket.on('data', (data: Buffer) => (text += data.toString()))
  await once(socket, 'close')
  return Number(/^HTTP\/1.1 (\d+)/.exec(text)?.[1])
}

const json = 'Content-Type: application/json\r\n'

test('a body that was still on its way when its sender was shut out is not acted on', async () => {
  const erin = await addPerson(app, 'erin', { role: 'admin' })
  const cookie = await newSession(app, erin)
  const head = `PATCH /api/users/user-carol HTTP/1.1\r\nCookie: ${cookie}\r\nOrigin: ${app.url}\r\n${json}`
  expect(await slowly(head, '{"role":"operator"}', () => users.disable(asAdmin(), erin))).toBe(401)
  expect((await users.find(asAdmin(), 'user-carol')).role).toBe('viewer')
})

test('nor with a key that was revoked meanwhile, nor as a form', async () => {
  const alice = await app.as('alice')
  const made = await alice.post('/api/keys').send({ name: 'late', role: 'operator' })
  const { id, key } = made.body as { id: string; key: string }
  const head = `POST /api/events HTTP/1.1\r\nAuthorization: Bearer ${key}\r\n${json}`
  const body = '{"events":[{"type":"late","source":"test"}]}'
  expect(await slowly(head, body, () => alice.delete(`/api/keys/${id}`).expect(200))).toBe(401)

  const gina = await addPerson(app, 'gina', { role: 'admin' })
  const cookie = await newSession(app, gina)
  const form = `POST /users/user-carol/role HTTP/1.1\r\nCookie: ${cookie}\r\nOrigin: ${app.url}\r\nContent-Type: application/x-www-form-urlencoded\r\n`
  expect(await slowly(form, 'role=operator', () => users.setRole(asAdmin(), gina, 'viewer'))).toBe(403)
  expect((await users.find(asAdmin(), 'user-carol')).role).toBe('viewer')
})

test('a socket follows one organisation, and ends with the membership in it, whatever the session has switched to since', async () => {
  await addOrganisation(app, 'second')
  await addPerson(app, 'lou', { org: 'second', role: 'admin' })
  const id = await addPerson(app, 'hal', { role: 'operator' })
  await addMember(app, id, 'second', 'viewer')
  const Cookie = await newSession(app, id)
  const open = async () => {
    const { socket } = await listen(`${app.url.replace('http', 'ws')}/ws/events?topics=events`, { Cookie, Origin: app.url })
    return { closed: new Promise<number>((resolve) => socket.once('close', resolve)) }
  }
  const nobody = await app.as(null)
  const change = (org: string) => nobody.post(`/organisations/${org}/switch`).set({ Cookie, Origin: app.url }).expect(303)
  await open()
  await change('second')
  const second = await open()
  await change('home')
  await users.remove(asAdmin('second'), id)
  expect(await second.closed).toBe(4401)
  const rows = await app.ctx.db.selectFrom('audit').select(['org_id', 'subject']).where('action', '=', 'organisations.switch').execute()
  expect(rows).toEqual([
    { org_id: 'second', subject: 'second' },
    { org_id: 'home', subject: 'home' },
  ])
})

test('a link for a new password is void when whoever made it is shut out, or may do less than the person by then', async () => {
  const maker = await addPerson(app, 'ivan', { role: 'admin' })
  const person = await addPerson(app, 'jana', { role: 'viewer' })
  const linkOf = async () => {
    const { link } = (await basicOf(app, 'ivan').post(`/api/users/${person}/reset`)).body as { link: string }
    return link.slice(link.indexOf('/reset'))
  }
  const nobody = await app.as(null)
  const path = await linkOf()
  expect((await nobody.get(path)).status).toBe(200)
  await users.setInstanceAdmin(asAdmin(), person, true)
  expect((await nobody.get(path)).status).toBe(404)
  await users.setInstanceAdmin(asAdmin(), person, false)
  const other = await linkOf()
  expect((await nobody.get(other)).status).toBe(200)
  await users.disable(asAdmin(), maker)
  expect((await nobody.get(other)).status).toBe(404)
  const token = other.split('token=')[1] ?? ''
  const used = await nobody.post('/reset').type('form').send({ token, password: 'a long new password', repeat: 'a long new password' })
  expect(used.status).toBe(404)
})

test('a session that begins while the password is changed does not outlive the change', async () => {
  await addPerson(app, 'kim')
  const nobody = await app.as(null)
  const signIn = (given: string) => nobody.post('/sign-in').type('form').send({ username: 'kim', password: given })
  let current = password
  for (let round = 0; round < 3; round++) {
    const Cookie = await newSession(app, 'user-kim')
    const next = `the password of round ${round}`
    const [begun, changed] = await Promise.all([
      signIn(current),
      nobody.post('/profile/password').set({ Cookie, Origin: app.url }).type('form').send({ current, password: next, repeat: next }),
    ])
    expect(changed.status).toBe(303)
    current = next
    const page = await nobody.get('/profile').set('Cookie', cookieOf(begun))
    // Refused, or begun and ended with the others.
    expect([303, 401]).toContain(begun.status)
    expect(page.status).toBe(303)
  }
})

test('an organisation keeps an admin also when one is disabled from elsewhere while the other is demoted in it', async () => {
  await addOrganisation(app, 'third')
  for (let round = 0; round < 3; round++) {
    const [x, y] = [await addPerson(app, `x${round}`), await addPerson(app, `y${round}`, { org: 'third', role: 'admin' })]
    await addMember(app, x, 'third', 'admin')
    const inThird = contextOf(app.platform, { ...app.ctx.actor, kind: 'user', id: x, name: 'x', rights: rightsOf.admin }, 'third')
    const outcomes = await Promise.allSettled([users.disable(asAdmin(), x), users.setRole(inThird, y, 'viewer')])
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    await app.ctx.db.updateTable('memberships').set({ role: 'viewer' }).where('org_id', '=', 'third').execute()
  }
})

test('a password that was right a moment ago begins no session once the account is shut or has another one', async () => {
  const hugo = await addPerson(app, 'hugo')
  const { begin, resume } = sessions
  const visit = (since: number) => ({ userId: hugo, since, data: '{}', address: '127.0.0.1', device: null })
  const now = app.ctx.now()
  await begin(app.ctx, 'in time', visit(now))
  expect(await resume(app.ctx, 'in time')).toMatchObject({ member: { username: 'hugo' } })

  app.advance(1000)
  await resets.bySystem(app.ctx, 'hugo', 'quite another password')
  await expect(begin(app.ctx, 'too late', visit(now))).rejects.toMatchObject({ status: 401 })
  expect([await resume(app.ctx, 'in time'), await resume(app.ctx, 'too late')]).toEqual([undefined, undefined])

  // Whichever of the two comes first, no session is left.
  for (let round = 0; round < 10; round++) {
    const since = app.ctx.now()
    const sid = `at once ${round}`
    await Promise.allSettled([begin(app.ctx, sid, visit(since)), users.disable(asAdmin(), hugo)])
    expect(await resume(app.ctx, sid)).toBeUndefined()
    await users.enable(asAdmin(), hugo)
    expect(await resume(app.ctx, sid)).toBeUndefined()
  }
})
