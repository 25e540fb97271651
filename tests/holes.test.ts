import { createHmac } from 'node:crypto'
import { connect } from 'node:net'
import type { Response } from 'supertest'
import { z } from 'zod'
import { declared } from '../monitoring/app'
import type { EndpointRoute } from '../monitoring/dashboard/endpoint'
import { listen, password, startApp, type Agent, type TestApp } from './helpers/app'
import { pm2Keeps, running } from './helpers/machine'
import { oneOfEach } from './helpers/one-of-each'
import { addPerson, agentWith, basicOf, sessionOf, socketOf } from './helpers/people'
import { actions, endpoints, expectProblem, fieldsOf, filled, pages } from './helpers/routes'

// Holes that consoles like this one really had: docs/security.md says which test is for which of them.

let app: TestApp
let alice: Agent
let nobody: Agent
/** Something that exists, for each feature that has an id in its addresses. */
let ids: Readonly<Record<string, string>>
beforeAll(async () => {
  app = await startApp({ env: { INGEST_RATE_LIMIT: '10000' } })
  await pm2Keeps(app, running(0, 'homely'))
  // A form that needs no field does its work when it is tried.
  Object.assign(app.platform.probes.pm2 ?? {}, { act: () => Promise.resolve() })
  ;[alice, nobody] = await Promise.all([app.as('alice'), app.as(null)])
  await alice.post('/api/events').send({ events: [{ type: 'deploy', source: 'ci', subject: 'shop' }] })
  ids = await oneOfEach(app)
})
afterAll(() => app.close())

const foreignOrigins = () => {
  const { port, host } = new URL(app.url)
  return [
    'https://evil.example',
    'null',
    `http://127.0.0.1:${Number(port) - 1}`,
    `http://${host}.evil.example`,
    `http://evil.example#${host}`,
  ]
}

/** The address with what is really there in place of its parameters. */
function addressOf(path: string): string {
  const feature = path.replace(/^\/api/, '').split('/')[1] ?? ''
  const id = ids[feature]
  if (path.includes(':') && id === undefined) throw new Error(`${path}: this test needs an id of ${feature}`)
  return filled(path, encodeURIComponent(id ?? ''))
}

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
const methodOf = (endpoint: EndpointRoute) => endpoint.method.toLowerCase() as Method
const changing = endpoints.filter(({ method }) => method !== 'GET')
/** What a job says with the address of its heartbeat is said with GET as well: of these nobody expects that they only read. */
const reading = endpoints.filter(({ method, head }) => method === 'GET' && head !== false)

/** Every row there is, but for what the product notes by itself: when somebody was seen, figures, the trail and its seal. */
async function stored(): Promise<string> {
  const { db } = app.ctx
  const without =
    (...names: string[]) =>
    (row: object) =>
      Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name)))
  const tables = await Promise.all([
    db.selectFrom('organisations').selectAll().orderBy('id').execute(),
    db.selectFrom('memberships').selectAll().orderBy('org_id').orderBy('user_id').execute(),
    db.selectFrom('roles').selectAll().orderBy('id').execute(),
    db.selectFrom('invites').selectAll().orderBy('id').execute(),
    db.selectFrom('resets').selectAll().orderBy('id').execute(),
    db.selectFrom('events').selectAll().where('source', '!=', 'console').orderBy('seq').execute(),
    db.selectFrom('users').selectAll().orderBy('id').execute(),
    db.selectFrom('sessions').selectAll().orderBy('id').execute(),
    db.selectFrom('keys').selectAll().orderBy('id').execute(),
    db.selectFrom('processes').selectAll().orderBy('id').execute(),
    db.selectFrom('checks').selectAll().orderBy('id').execute(),
    db.selectFrom('incidents').selectAll().orderBy('id').execute(),
    db.selectFrom('incident_notes').selectAll().orderBy('id').execute(),
    db.selectFrom('maintenances').selectAll().orderBy('id').execute(),
    db.selectFrom('snapshots').selectAll().orderBy('id').execute(),
    db.selectFrom('status_pages').selectAll().execute(),
  ])
  const [users = [], sessions = [], keys = [], processes = []] = tables.slice(6, 10)
  return JSON.stringify([
    ...tables.slice(0, 6),
    ...tables.slice(10),
    users.map(without('seen_at')),
    sessions.map(without('seen_at', 'expires_at')),
    keys.map(without('used_at', 'used_address')),
    processes.map(without('seen_at')),
  ])
}

/** What was written into the audit trail while `work` ran. */
async function actsDuring(work: () => Promise<void>): Promise<string[]> {
  const { db } = app.ctx
  const known = new Set((await db.selectFrom('audit').select('id').execute()).map(({ id }) => id))
  await work()
  const now = await db.selectFrom('audit').select(['id', 'action']).execute()
  return now.filter(({ id }) => !known.has(id)).map(({ action }) => action)
}

/** The fields that a form, a body or an address takes. */
function fieldsIn(schema: z.ZodType | undefined): Readonly<Record<string, z.ZodType>> {
  if (schema instanceof z.ZodPipe) return fieldsIn(schema.in as z.ZodType)
  return schema instanceof z.ZodObject ? schema.shape : {}
}

describe('a socket', () => {
  let key: Agent
  let authorization: string
  beforeAll(async () => {
    const made = await alice.post('/api/keys').send({ name: 'follower', role: 'viewer' })
    authorization = `Bearer ${(made.body as { key: string }).key}`
    key = agentWith(app, { Authorization: authorization })
    expect((await key.get('/api/me')).status).toBe(200)
  })

  const answer = (path: string, headers: Record<string, string>): Promise<number> =>
    listen(`${app.url.replace('http', 'ws')}${path}?topics=health`, headers).then(
      (listener) => {
        listener.close()
        return 101
      },
      (error: unknown) => Number(/\d+$/.exec((error as Error).message)?.[0]),
    )

  test.each(['/live', '/ws/events'])('%s opens in the handshake or not at all: by who asks, and from where', async (path) => {
    const credentials: Readonly<Record<string, Record<string, string>>> = {
      none: {},
      cookie: { Cookie: alice.cookie ?? '' },
      Basic: { Authorization: `Basic ${Buffer.from(`alice:${password}`).toString('base64')}` },
      key: { Authorization: authorization },
    }
    const found: Record<string, number[]> = {}
    for (const [name, headers] of Object.entries(credentials)) {
      const foreign = new Set<number>()
      for (const Origin of foreignOrigins()) foreign.add(await answer(path, { ...headers, Origin }))
      found[name] = [await answer(path, { ...headers, Origin: app.url }), await answer(path, headers), ...foreign]
    }
    // From a page of its own, without an Origin as programs are, and from any other site.
    expect(found).toEqual({ none: [401, 401, 401], cookie: [101, 403, 403], Basic: [101, 101, 403], key: [101, 101, 403] })
  })
})

describe('when a session ends, nothing takes its cookie any more, and its sockets close', () => {
  const doors = async ({ get, post, patch, cookie }: Agent): Promise<Record<string, unknown>> => {
    const socket = (path: string) =>
      listen(`${app.url.replace('http', 'ws')}${path}?topics=health`, { Cookie: cookie ?? '', Origin: app.url }).then(
        (listener) => {
          listener.close()
          return 101
        },
        (error: unknown) => (error as Error).message,
      )
    const [page, form] = [await get('/profile'), await post('/profile/theme').type('form').send({ theme: 'dark' })]
    return {
      page: [page.status, page.headers['location']],
      form: [form.status, form.headers['location']],
      reading: (await get('/api/me')).status,
      changing: (await patch('/api/me').send({ theme: 'dark' })).status,
      polling: (await get('/live/poll?topics=health')).status,
      sockets: [await socket('/live'), await socket('/ws/events')],
    }
  }
  const shut = {
    page: [303, '/sign-in?next=%2Fprofile'],
    form: [303, '/sign-in'],
    ...{ reading: 401, changing: 401, polling: 401 },
    sockets: ['refused with 401', 'refused with 401'],
  }
  const sessionIdOf = async (user: string): Promise<string> => {
    const row = app.ctx.db.selectFrom('sessions').select('id').where('user_id', '=', user).orderBy('created_at')
    return (await row.executeTakeFirstOrThrow()).id
  }

  test.each<[string, (person: { id: string; agent: Agent; other: Agent }) => Promise<Response>]>([
    ['by signing out', ({ agent }) => agent.post('/sign-out').type('form').send({})],
    [
      'by a new password, elsewhere',
      ({ other }) => other.post('/api/me/password').send({ current: password, password: 'a quite new password' }),
    ],
    ['by ending it in the list, elsewhere', async ({ id, other }) => other.delete(`/api/sessions/${await sessionIdOf(id)}`)],
    ['by ending all others, elsewhere', ({ other }) => other.delete('/api/sessions')],
    ['by an admin who ends them all', ({ id }) => alice.post(`/api/users/${id}/sign-out`)],
    ['by an admin who disables the account', ({ id }) => alice.post(`/api/users/${id}/disable`)],
    ['by an admin who removes the person', ({ id }) => alice.delete(`/api/users/${id}`)],
    [
      'by a link for a new password',
      async ({ id }) => {
        const { link } = (await alice.post(`/api/users/${id}/reset`)).body as { link: string }
        const token = new URL(link).searchParams.get('token') ?? ''
        return nobody.post('/reset').type('form').send({ token, password: 'a quite new password', repeat: 'a quite new password' })
      },
    ],
  ])('%s', async (what, end) => {
    const id = await addPerson(app, what.replace(/\W/g, '-'), { role: 'operator' })
    const agent = await sessionOf(app, what.replace(/\W/g, '-'))
    // So that it is the older one.
    app.advance(1000)
    const other = await sessionOf(app, what.replace(/\W/g, '-'))
    const sockets = [await socketOf(app, agent, '/live?topics=health'), await socketOf(app, agent, '/ws/events?topics=health')]
    expect((await agent.get('/api/me')).status).toBe(200)
    const from = performance.now()
    expect((await end({ id, agent, other })).status).toBeLessThan(400)
    expect(await doors(agent)).toEqual(shut)
    for (const { closed } of sockets) {
      const { code, at } = await closed
      expect([code, at - from < 5000]).toEqual([4401, true])
    }
    expect(await doors(agent)).toEqual(shut)
  })
})

test('three hundred requests, each from another address as they say, are those of one client: a hundred are answered', async () => {
  const usual = await startApp({ env: { API_RATE_LIMIT: '' } })
  const answers: number[] = []
  for (let i = 0; i < 300; i++) {
    const address = i % 3 === 0 ? `203.0.113.${i % 256}` : i % 3 === 1 ? `2001:db8::${i.toString(16)}` : `::ffff:198.51.100.${i % 256}`
    const headers = {
      'X-Forwarded-For': i % 2 === 0 ? address : `${address}, 10.0.0.${i % 256}`,
      'X-Real-IP': address,
      Forwarded: `for="[${address}]"`,
      'CF-Connecting-IP': address,
      'True-Client-IP': address,
    }
    answers.push((await agentWith(usual, headers).get('/api/health')).status)
  }
  expect(answers.indexOf(429)).toBe(100)
  expect(new Set(answers.slice(100))).toEqual(new Set([429]))
  expect(new Set(answers.slice(0, 100))).toEqual(new Set([401]))
  await usual.close()
})

test('the time of a refused sign-in does not tell whether there is such an account', async () => {
  const other = await startApp()
  const stranger = await other.as(null)
  const once = async (username: string): Promise<number> => {
    // So that nobody has to wait for the tries before.
    other.advance(16 * 60_000)
    const from = performance.now()
    const { status } = await stranger.post('/sign-in').type('form').send({ username, password: 'a wrong password' })
    expect(status).toBe(401)
    return performance.now() - from
  }
  const median = (times: number[]) => times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0
  const tried: string[] = []
  let isAlike = false
  for (let attempt = 0; attempt < 3 && !isAlike; attempt++) {
    const [known, unknown]: [number[], number[]] = [[], []]
    for (let i = 0; i < 12; i++) {
      const both = [async () => known.push(await once('carol')), async () => unknown.push(await once(`nobody-${attempt}-${i}`))]
      for (const each of i % 2 === 0 ? both : both.toReversed()) await each()
    }
    const [one, two] = [median(known), median(unknown)]
    isAlike = Math.abs(one - two) < Math.min(25, 0.1 * Math.max(one, two))
    tried.push(`${one.toFixed(1)} and ${two.toFixed(1)} ms`)
  }
  await other.close()
  expect([isAlike, tried]).toEqual([true, tried])
}, 60_000)

describe('what another site makes a browser send', () => {
  test.each<[string, () => Record<string, string>]>([
    ['a cookie', () => ({ Cookie: alice.cookie ?? '' })],
    ['Basic', () => ({ Authorization: `Basic ${Buffer.from(`alice:${password}`).toString('base64')}` })],
  ])('is refused by every form and every endpoint that changes something, with %s', async (_what, credentials) => {
    const before = await stored()
    const attacks = [
      { Origin: 'https://evil.example' },
      { Origin: 'null' },
      { 'Sec-Fetch-Site': 'cross-site', Origin: app.url },
      { 'Sec-Fetch-Site': 'same-site' },
    ]
    const answered: [string, number][] = []
    for (const attack of attacks) {
      const agent = agentWith(app, { ...credentials(), ...attack })
      for (const { path } of actions) {
        const { status } = await agent.post(addressOf(path)).type('form').send({ password, username: 'x', theme: 'dark', role: 'admin' })
        answered.push([`POST ${path}`, status])
      }
      for (const endpoint of changing) {
        const { status } = await agent[methodOf(endpoint)](addressOf(endpoint.path)).type('json').send('{}')
        answered.push([`${endpoint.method} ${endpoint.path}`, status])
      }
    }
    expect(answered.length).toBe(attacks.length * (actions.length + changing.length))
    expect(answered.filter(([, status]) => status !== 403)).toEqual([])
    expect(await stored()).toBe(before)
  })

  test('as a form or as plain text is not taken for JSON, whoever sends it', async () => {
    const before = await stored()
    const types = ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'text/plain; a=application/json']
    for (const endpoint of endpoints.filter(({ body }) => body))
      for (const type of types) {
        const answer = await alice[methodOf(endpoint)](addressOf(endpoint.path))
          .set('Content-Type', type)
          .send(JSON.stringify(bodies()[nameOf(endpoint)]))
        expect([nameOf(endpoint), type, answer.status]).toEqual([nameOf(endpoint), type, 415])
      }
    expect(await stored()).toBe(before)
  })

  test('as an address to be opened changes nothing: no page and no endpoint that reads does', async () => {
    const before = await stored()
    const addresses = [
      ...[...pages, ...reading].map(({ path }) => addressOf(path)),
      ...['/healthz', '/openapi.json', '/docs', '/redoc', '/favicon.ico', '/live/poll?topics=health', '/api/audit/export?format=csv'],
    ]
    const told = await actsDuring(async () => {
      for (const agent of [alice, basicOf(app, 'alice'), nobody])
        for (const path of addresses) expect([path, (await agent.get(path)).status < 500]).toEqual([path, true])
      // A method in the address or in a header is none.
      await alice.get('/api/keys?_method=DELETE').set('X-HTTP-Method-Override', 'DELETE')
      await alice.get(addressOf('/users/:id/disable?confirm=1&_method=POST')).set('X-HTTP-Method', 'POST')
    })
    // That the trail was exported is an entry of it, and that somebody looked at what a process was started with.
    expect(new Set(told)).toEqual(new Set(['audit.export', 'processes.environment']))
    expect(await stored()).toBe(before)
  })
})

const nameOf = ({ method, path }: EndpointRoute) => `${method} ${path}`

const planned = {
  ...{ name: 'Upgrade', starts_at: '2999-01-01T00:00:00Z', ends_at: '2999-01-01T01:00:00Z' },
  ...{ repeats: 'never', timezone: 'UTC', covers: { all: true } },
}

/** A body for every endpoint that takes one, as it should be. */
const bodies = (): Readonly<Record<string, Record<string, unknown>>> => ({
  'POST /api/checks': { name: 'another', kind: 'heartbeat', spec: {}, tags: ['shop'], interval_s: 60 },
  'PATCH /api/checks/:id': { name: 'watched' },
  'POST /api/checks/bulk': { ids: ['none'], action: 'pause' },
  'POST /api/checks/test': { name: 'another', kind: 'process', spec: { name: 'homely' } },
  'PUT /api/checks/targets': { allowed: [] },
  'POST /api/events': { events: [{ type: 'deploy', source: 'ci' }] },
  'POST /api/incidents/:id/notes': { text: 'It was the disk.', publish: false },
  'POST /api/invites': { role: 'viewer', name: 'somebody', days: 1 },
  'POST /api/keys': { name: 'another', role: 'viewer', scopes: ['health.read'], addresses: ['127.0.0.1'], limit_per_minute: 10 },
  'POST /api/keys/:id/rotate': { overlap_minutes: 5, password },
  'POST /api/maintenance': planned,
  'PUT /api/maintenance/:id': planned,
  'PATCH /api/me': { username: 'alice', theme: 'auto', timezone: null },
  'POST /api/me/password': { current: 'not this one', password: 'a quite new password' },
  'POST /api/organisations': { name: 'another' },
  'PATCH /api/organisations/:id': { name: 'Home' },
  'POST /api/roles': { name: 'another', actions: ['health.read'] },
  'PUT /api/roles/:id': { name: 'on call', actions: ['health.read'] },
  'PUT /api/status-page': { title: 'Status', intro: '', checks: [] },
  'PATCH /api/users/:id': { role: 'operator', instance_admin: false },
})
const taking = endpoints.filter(({ body }) => body)

test('every endpoint that takes a body has one in this file', () => {
  expect(Object.keys(bodies()).sort()).toEqual(taking.map(nameOf).sort())
  // Each is one that the endpoint takes: what is refused below is refused for what was added.
  for (const endpoint of taking)
    expect([nameOf(endpoint), endpoint.body?.safeParse(bodies()[nameOf(endpoint)]).success]).toEqual([nameOf(endpoint), true])
})

describe('fields that are not there', () => {
  const foreign: Readonly<Record<string, unknown>> = {
    ...{ id: 'user-alice', user_id: 'user-alice', org_id: 'other', organisation: 'other', organisation_id: 'other', owner: 'user-alice' },
    ...{ role: 'admin', roles: ['admin'], role_id: 'admin', is_admin: true, admin: true, instance_admin: true, instance_admin_at: 1 },
    ...{ rights: ['users.manage'], permissions: ['*'], actions: ['users.manage'], scopes: null, username_key: 'alice', handle: 'alice' },
    ...{ password_hash: 'x', token_hash: 'x', token: 'x', created_at: 1, created_by: 'user-alice', disabled_at: null, expires_at: null },
    ...{
      revoked_at: null,
      used_at: null,
      seen_at: 1,
      stamp: 1,
      replaces: null,
      confirmed_at: 1,
      builtin: true,
      key: 'x',
      no: 1,
      hash: 'x',
    },
    ...{ constructor: { prototype: { role: 'admin' } }, prototype: {}, toString: 'x' },
  }

  const forms = (): Record<string, string> =>
    Object.fromEntries(Object.entries(foreign).map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)]))

  test('are refused by name in every body, beside what is right, and change nothing', async () => {
    expect(Object.keys(foreign).length).toBeGreaterThan(23)
    const before = await stored()
    for (const endpoint of taking) {
      const own = Object.keys(fieldsIn(endpoint.body))
      for (const [field, value] of Object.entries(foreign)) {
        if (own.includes(field)) continue
        const answer = await alice[methodOf(endpoint)](addressOf(endpoint.path)).send({ ...bodies()[nameOf(endpoint)], [field]: value })
        expect([nameOf(endpoint), field, fieldsOf(answer, 422)]).toEqual([nameOf(endpoint), field, [field]])
      }
    }
    for (const [field, value] of Object.entries({ ...foreign, seq: 1, received_at: 1 })) {
      // A reporter's own.
      if (field === 'id') continue
      const answer = await alice.post('/api/events').send({ events: [{ type: 'deploy', source: 'ci', [field]: value }] })
      expect([field, fieldsOf(answer, 422)]).toEqual([field, [`events.0.${field}`]])
    }
    expect(await stored()).toBe(before)
  })

  test('reach nothing behind a form: what is not declared is left out', () => {
    const taken: [string, string[]][] = []
    for (const { path, body } of actions) {
      if (!body) continue
      const own = Object.keys(fieldsIn(body))
      expect([path, own.length > 0]).toEqual([path, true])
      const object = (body instanceof z.ZodPipe ? body.in : body) as z.ZodObject
      const { catchall } = object.def
      // Left out, or refused.
      if (catchall && !(catchall instanceof z.ZodNever)) taken.push([path, own])
    }
    // Each check has fields of its own there: those that are nobody’s are seen to be left out below.
    expect(taken).toEqual([['/status-page', ['title', 'intro', 'checks']]])
  })

  test('do not come in by the form of the status page, which has fields for each check', async () => {
    const more = {
      ...forms(),
      name_nothing: 'x',
      no_nothing: '1',
      published_at: '1',
      [`no_${ids['checks']}`]: '1',
      title: 'Mine',
      intro: 'x',
    }
    const sent = await alice
      .post('/status-page')
      .type('form')
      .send({ ...more, checks: ids['checks'], [`name_${ids['checks']}`]: 'Shop' })
    expect(sent.status).toBe(303)
    expect((await alice.get('/api/status-page')).body).toEqual({
      ...{ title: 'Mine', intro: 'x', published_at: null },
      checks: [{ id: ids['checks'], name: 'Shop' }],
    })
  })

  test('do not come in by a form of one’s own account, nor by the one for a role', async () => {
    const id = await addPerson(app, 'grace', { role: 'viewer' })
    const grace = await sessionOf(app, 'grace')
    const more = forms()
    const row = async () => ({
      ...(await app.ctx.db.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirstOrThrow()),
      ...{ theme: null, timezone: null, seen_at: null, devices_seen_at: null },
    })
    const belongs = () => app.ctx.db.selectFrom('memberships').selectAll().where('user_id', '=', id).execute()
    const [was, wasIn] = [await row(), await belongs()]
    for (const [path, form] of [
      ['/profile', { theme: 'dark', timezone: '' }],
      ['/profile/theme', { theme: 'light' }],
      ['/profile/devices', {}],
      ['/profile/sessions/end', {}],
      ['/organisations/other/switch', {}],
      ['/organisations/home/switch', {}],
    ] as const)
      expect([
        path,
        (
          await grace
            .post(path)
            .type('form')
            .send({ ...more, ...form })
        ).status < 500,
      ]).toEqual([path, true])
    expect([await row(), await belongs()]).toEqual([was, wasIn])
    const changed = await alice
      .post(`/users/${id}/role`)
      .type('form')
      .send({ ...more, role: 'operator' })
    expect(changed.status).toBe(303)
    expect([await row(), await belongs()]).toEqual([was, wasIn.map((one) => ({ ...one, role: 'operator' }))])
  })
})

describe('a value of another kind', () => {
  const odd: readonly unknown[] = [[], ['admin'], [['x']], {}, { a: 'b' }, { toString: 'x' }, 0, -1, 1e300, 0.5, true, null, '']

  test('in any field of any body is refused by name, and is no mistake of ours', async () => {
    const before = await stored()
    for (const endpoint of taking) {
      const send = (body: unknown) => alice[methodOf(endpoint)](addressOf(endpoint.path)).type('json').send(JSON.stringify(body))
      const valid = bodies()[nameOf(endpoint)]
      for (const [field, schema] of Object.entries(fieldsIn(endpoint.body)))
        for (const value of odd) {
          if (schema.safeParse(value).success) continue
          const [first = ''] = fieldsOf(await send({ ...valid, [field]: value }), 422)
          expect([nameOf(endpoint), value, first.split('.')[0]]).toEqual([nameOf(endpoint), value, field])
        }
      for (const body of [[], [valid], 'x', 1, true, null]) expectProblem(await send(body), 422)
    }
    expect(await stored()).toBe(before)
  })

  test('in a field of a form, which is given twice, as a list or as an object, is refused or not there', async () => {
    const before = await stored()
    for (const { path, body, permission } of actions) {
      const fields = fieldsIn(body)
      const names = Object.keys(fields)
      for (const [name, schema] of Object.entries(fields)) {
        // What can be ticked more than once, and what is taken as it comes because nothing depends on it.
        if (schema.safeParse(['a', 'b']).success) continue
        const others = names.filter((one) => one !== name)
        const rest = others.map((one) => `${one}=x`)
        // Whatever else it is called is not the field: where the form is complete without, there is nothing to refuse.
        const complete = body?.safeParse(Object.fromEntries(others.map((one) => [one, 'x']))).success
        const called = complete ? [] : [`${name}[]=a`, `${name}[0]=a&${name}[1]=b`, `${name}[a]=b`, `${name}.a=b`]
        for (const odd of [`${name}=a&${name}=b`, ...called]) {
          const form = [odd, ...rest].join('&')
          const { status } = await (permission === 'public' ? nobody : alice).post(addressOf(path)).type('form').send(form)
          expect([path, form, status >= 400 && status < 500]).toEqual([path, form, true])
        }
      }
    }
    expect(await stored()).toBe(before)
  }, 60_000)
})

test('a note gets on the public page only through those who may publish there: not by the form, and not by the API', async () => {
  const bob = await app.as('bob')
  const path = `/incidents/${ids['incidents']}/notes`
  const notes = () => app.ctx.db.selectFrom('incident_notes').select(['text', 'published_at']).execute()
  expectProblem(await bob.post(`/api${path}`).send({ text: 'by the API', publish: true }), 403)
  expect((await bob.post(path).type('form').send({ text: 'by the form', publish: 'on' })).status).toBe(303)
  expect(await notes()).toEqual([{ text: 'by the form', published_at: null }])
  expect((await alice.post(`/api${path}`).send({ text: 'by an admin', publish: true })).status).toBe(201)
  expect(await notes()).toContainEqual({ text: 'by an admin', published_at: expect.any(Number) as unknown })
})

test('nothing that is sent gets into the prototype of all objects', async () => {
  const clean = () => {
    const empty: Record<string, unknown> = {}
    expect([empty['polluted'], empty['role'], ([] as unknown[] & { polluted?: unknown }).polluted]).toEqual([
      undefined,
      undefined,
      undefined,
    ])
  }
  const poison = ['"__proto__":{"polluted":1,"role":"admin"}', '"constructor":{"prototype":{"polluted":1}}']
  for (const endpoint of taking) {
    const valid = JSON.stringify({ ...bodies()[nameOf(endpoint)] })
    for (const bad of [...poison, poison.join(',')]) {
      const text = `{${bad},${valid.slice(1)}`
      const { status } = await alice[methodOf(endpoint)](addressOf(endpoint.path)).type('json').send(text)
      expect([nameOf(endpoint), status === 422 || status === 429]).toEqual([nameOf(endpoint), true])
      clean()
    }
  }
  const flat = '__proto__[polluted]=1&__proto__.polluted=1&constructor[prototype][polluted]=1&constructor.prototype.polluted=1&__proto__=1'
  for (const { path, body, permission } of actions.filter(({ body }) => body)) {
    const names = Object.keys(fieldsIn(body)).map((name) => `${name}=x&${name}[__proto__][polluted]=1`)
    const { status } = await (permission === 'public' ? nobody : alice)
      .post(addressOf(path))
      .type('form')
      .send([flat, ...names].join('&'))
    expect([path, status < 500]).toEqual([path, true])
    clean()
  }
  for (const { path } of [...pages, ...endpoints.filter(({ method }) => method === 'GET')]) {
    const { status } = await alice.get(`${addressOf(path)}?${flat}`)
    expect([path, status < 500]).toEqual([path, true])
    clean()
  }
})

describe('every answer says how a browser is to treat it', () => {
  function look(what: string, headers: Readonly<Record<string, string | undefined>>, kept = false): void {
    const policy = headers['content-security-policy'] ?? ''
    expect([
      what,
      policy.includes("frame-ancestors 'none'"),
      policy.includes("base-uri 'none'"),
      policy.includes("script-src 'self'"),
    ]).toEqual([what, ...[true, true, true]])
    expect([what, /unsafe-eval|script-src[^;]*(unsafe|\*|data:)/.test(policy)]).toEqual([what, false])
    expect([what, headers['x-content-type-options'], headers['x-frame-options'], headers['referrer-policy']]).toEqual([
      what,
      ...['nosniff', 'DENY', 'same-origin'],
    ])
    expect([what, headers['cache-control']]).toEqual([what, kept ? expect.stringMatching(/max-age/) : 'no-store'])
    expect([what, headers['x-powered-by'], headers['server'], headers['access-control-allow-origin']]).toEqual([
      what,
      undefined,
      undefined,
      undefined,
    ])
    // A redirect may have nothing to say.
    const type = headers['content-length'] === '0' || kept ? '; charset=utf-8' : headers['content-type']
    expect([what, type]).toEqual([what, expect.stringMatching(/; ?charset=utf-8$/)])
  }

  test('on every route: read, refused, in the wrong way and by nobody', async () => {
    const declaredPaths = [
      ...new Set(declared.flatMap(({ pages, actions, endpoints }) => [...pages, ...actions, ...endpoints].map(({ path }) => path))),
    ]
    const seen = new Set<number>()
    for (const agent of [alice, nobody]) {
      for (const path of declaredPaths) {
        for (const method of ['get', 'post', 'put', 'patch', 'delete'] as const) {
          // Refused before it does anything.
          const call = agent[method](addressOf(path))
          const answer = await (method === 'get'
            ? call
            : call.set({ Origin: 'https://evil.example', Cookie: agent.cookie ?? 'operations-center=x' }))
          seen.add(answer.status)
          look(`${method} ${path} ${answer.status}`, answer.headers)
        }
      }
      for (const path of [
        '/nowhere',
        '/api/nowhere',
        '/assets/none.js',
        '/%zz',
        '/healthz',
        '/docs',
        '/openapi.json',
        '/live/poll',
        '/favicon.ico',
      ]) {
        const answer = await agent.get(path)
        look(`${path} ${answer.status}`, answer.headers)
      }
      for (const path of ['/.env', '/.git/config', '/package.json', '/assets/assets.json', '/assets/app.css.map', '/assets/'])
        expect([path, (await agent.get(path)).status]).toEqual([path, 404])
    }
    expect([...seen]).toEqual(expect.arrayContaining([200, 303, 401, 403, 404, 405]))
    const file = /\/assets\/app-[\w-]+\.css/.exec((await nobody.get('/sign-in')).text)?.[0] ?? ''
    const asset = await nobody.get(file)
    expect(asset.status).toBe(200)
    look(file, asset.headers, true)
  }, 60_000)

  test('also where a socket was refused, and where a method is none', async () => {
    const { hostname, port, host } = new URL(app.url)
    const ask = (text: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connect(Number(port), hostname)
        let said = ''
        socket.setEncoding('utf8').on('data', (part) => (said += String(part)))
        socket.on('error', reject).on('close', () => {
          resolve(said)
        })
        socket.write(text)
      })
    const upgrade = (path: string, more = '') =>
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}\r\n`
    const cookie = `Cookie: ${alice.cookie ?? ''}\r\n`
    const wrong = createHmac('sha256', 'x').update('x').digest('hex')
    for (const [text, status] of [
      [upgrade('/live?topics=health'), 401],
      [upgrade('/ws/events?topics=health', `Authorization: Bearer jug_alice_1_${wrong}\r\n`), 401],
      [upgrade('/live?topics=health', `${cookie}Origin: https://evil.example\r\n`), 403],
      [upgrade('/nowhere', cookie), 404],
      [upgrade('/live?topics=none', `${cookie}Origin: ${app.url}\r\n`), 400],
      [`PROPFIND / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`, 405],
      [`TRACE / HTTP/1.1\r\nHost: ${host}\r\nX-Secret: canary\r\nConnection: close\r\n\r\n`, 405],
    ] as const) {
      const [head = '', ...body] = (await ask(text)).split('\r\n\r\n')
      const [line = '', ...headers] = head.split('\r\n')
      expect([text.slice(0, 40), Number(line.split(' ')[1])]).toEqual([text.slice(0, 40), status])
      const named = headers.map((header): [string, string] => [
        header.slice(0, header.indexOf(':')).toLowerCase(),
        header.slice(header.indexOf(':') + 2),
      ])
      look(text.slice(0, 40), Object.fromEntries(named))
      expect(body.join('')).not.toContain('canary')
    }
  })
})
