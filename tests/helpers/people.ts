import supertest from 'supertest'
import { home } from '../../monitoring/context'
import { keyOf } from '../../services/accounts/queries'
import { cookieOf, listen, newSession, password, startApp, type Agent, type Listener, type TestApp } from './app'

/** One console for all tests of a file, with an admin and a stranger who ask it. */
export function beforeTheTests(take: (opened: { app: TestApp; alice: Agent; nobody: Agent }) => unknown): void {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp()
    const [alice, nobody] = await Promise.all([app.as('alice'), app.as(null)])
    take({ app, alice, nobody })
  })
  afterAll(() => app.close())
}

export interface NewPerson {
  role?: string
  org?: string
  instanceAdmin?: boolean
}

/** One more person beside the cast, with the password that all of them have. Answers the id. */
export async function addPerson(app: TestApp, username: string, { role = 'viewer', org = home, instanceAdmin = false }: NewPerson = {}) {
  const at = app.ctx.now()
  const { db } = app.ctx
  const { password_hash } = await db.selectFrom('users').select('password_hash').where('id', '=', 'user-alice').executeTakeFirstOrThrow()
  const id = `user-${username}`
  await db
    .insertInto('users')
    .values({
      ...{ id, username, username_key: keyOf(username), handle: keyOf(username), password_hash, theme: 'auto', timezone: null },
      ...{ created_at: at, password_changed_at: at, disabled_at: null, devices_seen_at: null, seen_at: null },
      instance_admin_at: instanceAdmin ? at : null,
    })
    .execute()
  await addMember(app, id, org, role)
  return id
}

export const addMember = (app: TestApp, id: string, org: string, role: string) =>
  app.ctx.db.insertInto('memberships').values({ org_id: org, user_id: id, role, created_at: app.ctx.now() }).execute()

export async function addOrganisation(app: TestApp, id: string): Promise<void> {
  await app.ctx.db.insertInto('organisations').values({ id, name: id, created_at: app.ctx.now() }).execute()
}

/** Requests with these headers. */
export function agentWith(app: TestApp, headers: Readonly<Record<string, string>>): Agent {
  const verb = (method: 'get' | 'post' | 'put' | 'patch' | 'delete') => (path: string) => supertest(app.url)[method](path).set(headers)
  return {
    ...{ get: verb('get'), post: verb('post'), put: verb('put'), patch: verb('patch'), delete: verb('delete') },
    cookie: headers['Cookie'] ?? null,
  }
}

/** Signs in by the form, which takes a sixth of a second. */
export async function signIn(app: TestApp, username: string, given = password, device?: string): Promise<Agent> {
  const headers = device === undefined ? {} : { 'User-Agent': device }
  const answer = await supertest(app.url).post('/sign-in').set(headers).type('form').send({ username, password: given })
  if (answer.status !== 303) throw new Error(`${username} could not sign in: ${answer.status}`)
  return agentWith(app, { Cookie: cookieOf(answer), Origin: app.url, ...headers })
}

/** A new session of anybody, as signing in leaves it. */
export async function sessionOf(app: TestApp, username: string): Promise<Agent> {
  const { id } = await app.ctx.db.selectFrom('users').select('id').where('username_key', '=', keyOf(username)).executeTakeFirstOrThrow()
  return agentWith(app, { Cookie: await newSession(app, id), Origin: app.url })
}

export const basicOf = (app: TestApp, username: string, given = password): Agent =>
  agentWith(app, { Authorization: `Basic ${Buffer.from(`${username}:${given}`).toString('base64')}` })

/** A new API key of whoever asks, as requests with it. */
export async function keyOfAgent(app: TestApp, agent: Agent, key: Readonly<Record<string, unknown>>): Promise<Agent> {
  const answer = await agent.post('/api/keys').send({ name: 'a key', ...key })
  if (answer.status !== 201) throw new Error(`No key was made: ${answer.text}`)
  return agentWith(app, { Authorization: `Bearer ${(answer.body as { key: string }).key}` })
}

/** A socket of a session, and how it was closed: with which code, after how many milliseconds. */
export async function socketOf(
  app: TestApp,
  { cookie }: Agent,
  path: string,
): Promise<Listener & { closed: Promise<{ code: number; at: number }> }> {
  const listener = await listen(`${app.url.replace('http', 'ws')}${path}`, { Cookie: cookie ?? '', Origin: app.url })
  const closed = new Promise<{ code: number; at: number }>((resolve) =>
    listener.socket.once('close', (code) => {
      resolve({ code, at: performance.now() })
    }),
  )
  return { ...listener, closed }
}

/** Wrong tries from here count no longer: they are forgotten after a quarter of an hour. */
export const afterTheThrottle = (app: TestApp): void => {
  app.advance(16 * 60_000)
}

/** What stands in the audit trail about an action, the oldest first. */
export async function auditOf(app: TestApp, action: string, subject?: string) {
  let query = app.ctx.db.selectFrom('audit').selectAll().where('action', '=', action)
  if (subject !== undefined) query = query.where('subject', '=', subject)
  const rows = await query.orderBy('at').orderBy('id').execute()
  return rows.map(({ org_id, actor_name, subject, subject_name, key_name, data }) => ({
    ...{ org_id, actor_name, subject, subject_name, key_name },
    data: data === null ? null : (JSON.parse(data) as Record<string, unknown>),
  }))
}

/** What was told to open pages while `work` ran, but for the points that charts get with time: "org topic subject" each. */
export async function changesDuring(app: TestApp, work: () => Promise<unknown>): Promise<string[]> {
  const newest = () => app.ctx.db.selectFrom('changes').selectAll().orderBy('seq')
  const before = (await newest().execute()).at(-1)?.seq ?? 0
  await work()
  const told = await newest().where('seq', '>', before).where('subject', '!=', 'charts').execute()
  return told.map(({ org_id, topic, subject }) => `${org_id} ${topic} ${subject}`)
}

/** All that a person, or one of the installation's people, is: to see that nothing of it was changed. */
export const everything = async (app: TestApp) => {
  const { db } = app.ctx
  const users = await db
    .selectFrom('users')
    .select(['id', 'username', 'handle', 'password_hash', 'created_at', 'disabled_at', 'instance_admin_at', 'theme', 'timezone'])
    .orderBy('id')
    .execute()
  const [memberships, invites, resets, roles, organisations] = await Promise.all([
    db.selectFrom('memberships').selectAll().orderBy('org_id').orderBy('user_id').execute(),
    db.selectFrom('invites').selectAll().orderBy('id').execute(),
    db.selectFrom('resets').selectAll().orderBy('id').execute(),
    db.selectFrom('roles').selectAll().orderBy('id').execute(),
    db.selectFrom('organisations').selectAll().orderBy('id').execute(),
  ])
  return { users, memberships, invites, resets, roles, organisations }
}
