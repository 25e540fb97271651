import { readFileSync } from 'node:fs'
import supertest from 'supertest'
import { declared } from '../monitoring/app'
import { actionTable, routeTable } from '../monitoring/dashboard/permits'
import { inProject } from '../monitoring/paths'
import { actions as everyAction, isAction, rightsTo, roles, type Action } from '../monitoring/permissions'
import * as users from '../services/users'
import { cookieOf, listen, password, startApp, type TestApp } from './helpers/app'
import { pm2Keeps, running } from './helpers/machine'
import { oneOfEach } from './helpers/one-of-each'
import { filled } from './helpers/routes'

// docs/security.md is what people read: it is taken as the truth here, and the product is held against it.

const document = readFileSync(inProject('docs/security.md'), 'utf8')
const tableOf = (name: string): string[][] =>
  (new RegExp(`<!-- ${name} -->\\n([^]*?)\\n<!-- /${name} -->`).exec(document)?.[1] ?? '')
    .split('\n')
    .slice(2)
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim().replace(/^`|`$/g, '')),
    )

const permitted = new Map(tableOf('actions').map(([action = '', , ...yes]) => [action, yes.map((cell) => cell === 'yes')]))
const routes = tableOf('routes').map(([kind = '', route = '', asks = '']) => ({ kind, route, asks }))

/** Who asks: by HTTP Basic, which no route can end, by a key, or by a session from before the account was disabled. */
interface Asker {
  readonly name: string
  readonly authorization: string | null
  readonly cookie?: string
  /** By role, in the order of the table; null: nobody. */
  readonly rank: number | null
  /** What a key is narrowed to. */
  readonly scopes?: readonly Action[]
  readonly isKey?: boolean
}

const wrongKey = `Bearer jug_erin_1_${'0'.repeat(64)}`
const everything = rightsTo(everyAction)

let app: TestApp
let askers: Asker[]
const basicOf = (name: string) => `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`

beforeAll(async () => {
  app = await startApp()
  await pm2Keeps(app, running(0, 'homely'))
  const { db } = app.ctx
  const bob = await db.selectFrom('users').selectAll().where('username', '=', 'bob').executeTakeFirstOrThrow()
  for (const name of ['erin', 'frank']) {
    const id = `user-${name}`
    await db
      .insertInto('users')
      .values({ ...bob, id, username: name, username_key: name, handle: name })
      .execute()
    await db.insertInto('memberships').values({ org_id: 'home', user_id: id, role: 'admin', created_at: 0 }).execute()
  }
  const keyOf = async (role: string, scopes?: readonly Action[]) => {
    const body = { name: role, role, ...(scopes ? { scopes } : {}) }
    const made = await supertest(app.url).post('/api/keys').set('Authorization', basicOf('erin')).send(body)
    expect([made.status, made.text]).toEqual([201, expect.stringContaining('jug_erin_')])
    return `Bearer ${(made.body as { key: string }).key}`
  }
  const signedIn = await supertest(app.url).post('/sign-in').type('form').send({ username: 'frank', password })
  await users.disable({ ...app.ctx, actor: { ...app.ctx.actor, rights: everything } }, 'user-frank')
  // From where somebody has signed in before, the wrong keys of others do not count.
  await supertest(app.url).get('/api/me').set('Authorization', basicOf('dave')).expect(200)
  const scopes: Action[] = ['events.report', 'processes.read']
  askers = [
    { name: 'a stranger', authorization: null, rank: null },
    { name: 'a disabled admin', authorization: null, cookie: cookieOf(signedIn), rank: null },
    { name: 'a viewer', authorization: basicOf('carol'), rank: 0 },
    { name: 'an operator', authorization: basicOf('bob'), rank: 1 },
    { name: 'an admin', authorization: basicOf('erin'), rank: 2 },
    { name: 'an instance admin', authorization: basicOf('alice'), rank: 3 },
    ...(await Promise.all(
      roles.map(async (role, rank) => ({ name: `a key of a ${role}`, authorization: await keyOf(role), rank, isKey: true })),
    )),
    { name: 'a key narrowed by scopes', authorization: await keyOf('admin', scopes), rank: 2, scopes, isKey: true },
    { name: 'a key that is none', authorization: wrongKey, rank: null, isKey: true },
  ]
})
afterAll(() => app.close())

type Verdict = 'let in' | 'refused' | 'sent to sign in'

function expected({ rank, scopes, isKey }: Asker, kind: string, asks: string): Verdict {
  if (asks === 'public') return 'let in'
  if (rank === null) return 'sent to sign in'
  if (isKey && kind !== 'API' && kind !== 'topic') return 'refused'
  if (asks === 'anyone') return 'let in'
  if (asks === 'self') return isKey ? 'refused' : 'let in'
  const may = permitted.get(asks)?.[rank] === true || (rank === 3 && permitted.get(asks)?.[2] === true)
  return may && (!scopes || scopes.includes(asks as Action)) ? 'let in' : 'refused'
}

async function verdict({ authorization, cookie }: Asker, method: string, path: string): Promise<Verdict> {
  const request = supertest(app.url)[method.toLowerCase() as 'get'](path).redirects(0)
  if (authorization !== null) void request.set('Authorization', authorization)
  if (cookie !== undefined) void request.set({ Cookie: cookie, Origin: app.url })
  if (method !== 'GET') void request.type(path.startsWith('/api/') ? 'json' : 'form').send(path.startsWith('/api/') ? '{}' : '')
  const { status, headers, text } = await request
  if (status >= 500 && status !== 503) throw new Error(`${method} ${path}: ${status} ${text.slice(0, 200)}`)
  // Many wrong keys from one address have to wait, as wrong passwords have.
  if (
    status === 401 ||
    (status === 429 && authorization === wrongKey) ||
    (status === 303 && headers['location']?.startsWith('/sign-in') && path !== '/sign-out')
  )
    return 'sent to sign in'
  return status === 403 ? 'refused' : 'let in'
}

test('the document has the tables that the source makes', () => {
  expect(document).toContain(actionTable())
  expect(document).toContain(routeTable(declared))
  expect([...permitted.keys()].sort()).toEqual([...everyAction].sort())
  for (const { asks } of routes) expect(isAction(asks) || ['public', 'anyone', 'self'].includes(asks)).toBe(true)
})

/** What they answer depends on more than who asks; their own tests look at that. */
const others: readonly string[] = ['POST /claim', 'GET /claim', 'POST /sign-in', 'POST /sign-out']

test.each(routes.filter(({ kind, route }) => kind !== 'topic' && !others.includes(route)))(
  '$kind $route is for those that the document names',
  async ({ kind, route, asks }) => {
    const [method = '', path = ''] = route.split(' ')
    const found: Record<string, Verdict> = {}
    const documented: Record<string, Verdict> = {}
    for (const asker of askers) {
      documented[asker.name] = expected(asker, kind, asks)
      found[asker.name] = await verdict(asker, method, filled(path))
    }
    // A page for signing in leads on whoever is, and a wrong key is as good as none.
    if (asks === 'public')
      for (const { name, isKey } of askers) if (isKey || name === 'a disabled admin') found[name] = documented[name] ?? 'let in'
    expect(found).toEqual(documented)
  },
  30_000,
)

test.each(routes.filter(({ kind }) => kind === 'topic'))(
  'topic $route is followed by those that the document names',
  async ({ route, asks }) => {
    const isForPrograms = declared.some(({ topics }) => topics.get(route)?.data)
    for (const path of ['/live', ...(isForPrograms ? ['/ws/events'] : [])])
      for (const asker of askers) {
        const headers = asker.authorization === null ? {} : { Authorization: asker.authorization }
        const answer = await listen(`${app.url.replace('http', 'ws')}${path}?topics=${route}`, headers).then(
          (listener) => {
            listener.close()
            return 'let in'
          },
          (error: unknown) => (/401|429/.test((error as Error).message) ? 'sent to sign in' : 'refused'),
        )
        expect([asker.name, path, answer]).toEqual([asker.name, path, expected(asker, 'topic', asks)])
      }
  },
)

test('whatever has an id in its path does not exist for another organisation, and stays as it is', async () => {
  const ids = await oneOfEach(app)
  const rows = async () =>
    JSON.stringify(
      await Promise.all([
        app.ctx.db.selectFrom('users').selectAll().orderBy('id').execute(),
        app.ctx.db.selectFrom('memberships').selectAll().orderBy('user_id').orderBy('org_id').execute(),
        app.ctx.db.selectFrom('invites').selectAll().execute(),
        app.ctx.db.selectFrom('roles').selectAll().execute(),
        app.ctx.db.selectFrom('keys').select(['id', 'revoked_at', 'expires_at']).orderBy('id').execute(),
        app.ctx.db.selectFrom('sessions').select('id').where('user_id', '=', 'user-bob').execute(),
        app.ctx.db.selectFrom('organisations').selectAll().orderBy('id').execute(),
        app.ctx.db.selectFrom('checks').selectAll().orderBy('id').execute(),
        app.ctx.db.selectFrom('incidents').selectAll().execute(),
        app.ctx.db.selectFrom('incident_notes').selectAll().execute(),
        app.ctx.db.selectFrom('maintenances').selectAll().execute(),
        app.ctx.db.selectFrom('snapshots').select('id').execute(),
      ]),
    )
  const before = await rows()
  const withId = routes.filter(({ kind, route }) => kind !== 'topic' && route.includes('/:id'))
  expect(withId.length).toBeGreaterThan(20)
  for (const { route, asks } of withId) {
    const [method = '', path = ''] = route.split(' ')
    const feature = path.replace(/^\/api/, '').split('/')[1] ?? ''
    const id = ids[feature]
    if (id === undefined) throw new Error(`${route}: this test needs an id of ${feature}`)
    const request = supertest(app.url)[method.toLowerCase() as 'get'](filled(path, encodeURIComponent(id)))
    void request.set('Authorization', basicOf('dave')).redirects(0)
    const body = {
      ...{ role: 'viewer', name: 'taken over', actions: ['health.read'], overlap_minutes: 5, overlap: '60', password, text: 'a note' },
      ...{ starts_at: '2030-01-01T00:00:00Z', ends_at: '2030-01-01T01:00:00Z', covers: { all: true } },
    }
    if (method !== 'GET')
      void request.type(path.startsWith('/api/') ? 'json' : 'form').send(path.startsWith('/api/') ? pick(path, body) : body)
    const { status } = await request
    // Only an instance admin gets as far as asking for the id there.
    const answer = permitted.get(asks)?.[2] === false ? 403 : 404
    expect([route, status]).toEqual([route, answer])
  }
  expect(await rows()).toBe(before)
})

/** The fields that this endpoint takes: others would be refused before it looks for the id. */
function pick(path: string, body: Record<string, unknown>): Record<string, unknown> {
  const fields: Readonly<Record<string, readonly string[]>> = {
    '/api/users/:id': ['role'],
    '/api/roles/:id': ['name', 'actions'],
    '/api/organisations/:id': ['name'],
    '/api/keys/:id/rotate': ['overlap_minutes'],
    '/api/checks/:id': ['name'],
    '/api/incidents/:id/notes': ['text'],
    '/api/maintenance/:id': ['name', 'starts_at', 'ends_at', 'covers'],
  }
  return Object.fromEntries((fields[path] ?? []).map((name) => [name, body[name]]))
}
