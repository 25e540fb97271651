import { connect } from 'node:net'
import * as keys from '../services/keys'
import { password, startApp, type TestApp } from './helpers/app'
import { bodyOf, expectProblem, fieldsOf } from './helpers/routes'
import { until } from './helpers/until'

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

interface Made {
  id: string
  key: string
  start: string
  expires_at: string | null
  role: string
  scopes: string[] | null
}
interface Listed extends Omit<Made, 'key'> {
  name: string
  state: string
  owner: { id: string }
  used_at: string | null
  used_address: string | null
  replaced_by: string | null
}

type Person = 'alice' | 'bob' | 'carol' | 'dave'

const make = async (person: Person, input: object = {}) =>
  bodyOf<Made>(await (await app.as(person)).post('/api/keys').send({ name: 'deploy', role: 'viewer', ...input }), 'POST /api/keys')
const byKey = async (key: string) => {
  const nobody = await app.as(null)
  const headers = { Authorization: `Bearer ${key}` }
  return {
    get: (path: string) => nobody.get(path).set(headers),
    post: (path: string) => nobody.post(path).set(headers),
    delete: (path: string) => nobody.delete(path).set(headers),
  }
}
const statusOf = async (key: string, path = '/api/health') => (await (await byKey(key)).get(path)).status
const list = async (person: Person, query = '') =>
  bodyOf<{ items: Listed[]; next: string | null }>(await (await app.as(person)).get(`/api/keys${query}`), 'GET /api/keys')
const find = async (person: Person, id: string) => bodyOf<Listed>(await (await app.as(person)).get(`/api/keys/${id}`), 'GET /api/keys/:id')
const auditOf = (subject: string) =>
  app.ctx.db.selectFrom('audit').selectAll().where('subject', '=', subject).orderBy('at').orderBy('id').execute()
const minute = 60_000

describe('a key', () => {
  test('is given once, works as Bearer, and stands in no later answer, log line or audit row', async () => {
    const { id, key, start } = await make('bob', { role: 'operator', expires_at: '2099-01-01T00:00:00Z' })
    expect(key).toMatch(/^jug_bob_\d{13}_[0-9a-f]{64}$/)
    expect(key.startsWith(`${start}_`)).toBe(true)
    const answer = await (await byKey(key)).post('/api/events').send({ events: [{ type: 'a', source: 'b' }] })
    expect(answer.status).toBe(201)
    const rows = await until(async () => (await auditOf(id)).length === 2 && (await auditOf(id)))
    expect(rows).toMatchObject([
      { action: 'keys.make', actor_name: 'bob', subject_name: 'deploy', key_id: null },
      { action: 'keys.used', actor_name: 'bob', key_id: id, key_name: 'deploy', address: '127.0.0.1' },
    ])
    const signature = key.slice(-64)
    const alice = await app.as('alice')
    const pages = await Promise.all(['/api/keys?whose=all', `/api/keys/${id}`, '/keys?whose=all', '/api/me'].map((path) => alice.get(path)))
    expect(JSON.stringify([rows, app.log, pages.map(({ text }) => text)])).not.toContain(signature)
    expect(pages[0]?.text).toContain(start)
  })

  test('sent by hand over a raw connection works as by any client', async () => {
    const { key } = await make('carol')
    const { hostname, port } = new URL(app.url)
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), hostname, () => {
        socket.write(`GET /api/me HTTP/1.1\r\nHost: x\r\nauthorization: bearer   ${key} \r\nConnection: close\r\n\r\n`)
      })
      let text = ''
      socket.on('data', (data) => (text += data.toString()))
      socket.on('end', () => {
        resolve(text)
      })
      socket.on('error', reject)
    })
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/)
    expect(answer).toContain('"carol"')
  })

  test('is for the API: no page, form or poll takes it, and a cookie beside it counts for nothing', async () => {
    const { key } = await make('alice', { role: 'admin' })
    const program = await byKey(key)
    for (const path of ['/', '/keys', '/settings', '/sign-in', '/live/poll?topics=health']) {
      const answer = await program.get(path)
      expect([path, answer.status]).toEqual([path, 403])
      expect(answer.text).not.toContain('alice')
    }
    expect((await program.post('/keys/new').type('form').send({ name: 'x' })).status).toBe(403)
    const alice = await app.as('alice')
    expect((await alice.get('/api/me').set('Authorization', `Bearer ${key.slice(0, -1)}`)).status).toBe(401)
    expectProblem(await alice.get('/api/me').set('Authorization', 'Bearer nonsense'), 401)
  })

  test.each(['api_key', 'apikey', 'api-key', 'access_token', 'whatever'])(
    'in the query, as %s, is refused and the answer says where it belongs',
    async (name) => {
      const { key } = await make('carol')
      const nobody = await app.as(null)
      const problem = expectProblem(await nobody.get(`/api/health?${name}=${key}`), 400)
      expect(problem.detail).toContain('Authorization: Bearer')
      expect(expectProblem(await (await app.as('carol')).get(`/api/health?x=1&${name}=${key}`), 400).detail).toContain('Authorization')
    },
  )

  test('can be looked for by its start, which is no secret', async () => {
    const { id, start, key } = await make('carol')
    const carol = await app.as('carol')
    expect((await carol.get(`/api/keys?q=${start}`)).status).toBe(200)
    expect((await carol.get(`/keys?q=${start}`)).status).toBe(200)
    expect((await carol.get(`/api/health?by_api_key_name=${id}`)).text).not.toContain('does not belong in the address')
    for (const query of [`q=${key}`, `q=${encodeURIComponent(key).replaceAll('_', '%5F')}`, `q=Bearer%20${key}`, `${key}=1`])
      expect([query, expectProblem(await carol.get(`/api/keys?${query}`), 400).detail]).toEqual([
        query,
        expect.stringContaining('Authorization: Bearer'),
      ])
  })

  test('remembers when and from where it was used, once a minute', async () => {
    const { id, key } = await make('bob')
    expect(await find('bob', id)).toMatchObject({ used_at: null, used_address: null, state: 'active' })
    await statusOf(key)
    const first = await until(async () => (await find('bob', id)).used_at)
    await statusOf(key)
    app.advance(30_000)
    await statusOf(key)
    expect((await find('bob', id)).used_at).toBe(first)
    app.advance(31_000)
    await statusOf(key)
    expect(await until(async () => (await find('bob', id)).used_at !== first && (await find('bob', id)).used_address)).toBe('127.0.0.1')
    expect((await auditOf(id)).filter(({ action }) => action === 'keys.used')).toHaveLength(1)
  })

  test('works on, and others can be made, when the clock was set back', async () => {
    const { key } = await make('bob')
    expect(await statusOf(key)).toBe(200)
    app.advance(-60 * minute)
    expect(await statusOf(key)).toBe(200)
    const late = await make('bob', { password })
    app.advance(60 * minute)
    expect([await statusOf(key), await statusOf(late.key)]).toEqual([200, 200])
  })

  test('made in the same millisecond as others is another one', async () => {
    const alice = app.basic('alice')
    expect((await alice.get('/api/me')).status).toBe(200)
    const now = Date.now()
    const clock = jest.spyOn(Date, 'now').mockReturnValue(now)
    const answers = await Promise.all(Array.from({ length: 5 }, () => alice.post('/api/keys').send({ name: 'at once', role: 'viewer' })))
    clock.mockRestore()
    const made = answers.map((answer) => bodyOf<Made>(answer, 'POST /api/keys'))
    expect(new Set(made.map(({ start }) => start)).size).toBe(5)
    expect(await Promise.all(made.map(({ key }) => statusOf(key)))).toEqual([200, 200, 200, 200, 200])
  })
})

describe('making one', () => {
  test('asks for the password when it was typed more than five minutes ago', async () => {
    const carol = await app.as('carol')
    const input = { name: 'deploy', role: 'viewer' }
    app.advance(6 * minute)
    expect(expectProblem(await carol.post('/api/keys').send(input), 403).detail).toContain('`password`')
    expect(fieldsOf(await carol.post('/api/keys').send({ ...input, password: 'wrong' }), 422)).toEqual(['password'])
    expect((await carol.post('/api/keys').send({ ...input, password })).status).toBe(201)
    const { id } = await make('bob', { password })
    expectProblem(await (await app.as('bob')).post(`/api/keys/${id}/rotate`).send({}), 403)
    expect((await app.basic('carol').post('/api/keys').send(input)).status).toBe(201)
    const refused = (await auditOf('user-carol')).filter(({ action }) => action.endsWith('.refused'))
    expect(refused).toMatchObject([{ action: 'keys.make.refused', actor_name: 'carol', data: '{"reason":"password"}' }])
  })

  test('counts wrong passwords as tries', async () => {
    const dave = await app.as('dave')
    // On a busy machine the first waits are over before the next try is compared; they double.
    let answer
    let tries = 0
    do answer = await dave.post('/api/keys').send({ name: 'x', role: 'viewer', password: `guess ${tries++}` })
    while (answer.status === 422 && tries < 12)
    expect(answer.status).toBe(429)
    expect(tries).toBeGreaterThan(5)
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
    app.advance(minute)
  })

  test.each<[string, object, string]>([
    ['a role that may more than its maker', { role: 'admin' }, 'role'],
    ['a role that there is not', { role: 'root' }, 'role'],
    ['a scope beyond the role', { scopes: ['events.report'] }, 'scopes'],
    ['a scope that there is not', { scopes: ['everything'] }, 'scopes'],
    ['no scope at all', { scopes: [] }, 'scopes'],
    ['an end in the past', { expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
    ['an end that is no moment', { expires_at: 'tomorrow' }, 'expires_at'],
    ['a name of blanks', { name: '   ' }, 'name'],
    ['a name with a line break', { name: 'a\nb' }, 'name'],
    ['an endless name', { name: 'x'.repeat(101) }, 'name'],
    ['a host name as address', { addresses: ['build.example.com'] }, 'addresses'],
    ['an address with too many bits', { addresses: ['10.0.0.0/33'] }, 'addresses'],
    ['too many addresses', { addresses: Array.from({ length: 51 }, (_, i) => `10.0.0.${i}`) }, 'addresses'],
    ['a limit of nothing', { limit_per_minute: 0 }, 'limit_per_minute'],
    ['a limit above everybody’s', { limit_per_minute: 10_001 }, 'limit_per_minute'],
  ])('refuses %s, and says so', async (_what, input, field) => {
    const bob = await app.as('bob')
    const answer = await bob.post('/api/keys').send({ name: 'deploy', role: 'viewer', password, ...input })
    expect(fieldsOf(answer, 422).map((name) => name.split('.')[0])).toEqual([field])
  })

  test('takes no field that is not its maker’s to set', async () => {
    const fields = [
      'id',
      'org_id',
      'user_id',
      'owner',
      'handle',
      'stamp',
      'key',
      'created_at',
      'revoked_at',
      'used_at',
      'replaces',
      'rights',
      'instance_admin',
    ]
    const bob = await app.as('bob')
    for (const field of fields)
      expect(fieldsOf(await bob.post('/api/keys').send({ name: 'x', role: 'viewer', password, [field]: 'user-alice' }), 422)).toEqual([
        field,
      ])
  })

  test('ends at a hundred that work', async () => {
    const { id } = await make('dave', { password })
    const row = await app.ctx.db.selectFrom('keys').selectAll().where('id', '=', id).executeTakeFirstOrThrow()
    await app.ctx.db
      .insertInto('keys')
      .values(Array.from({ length: 99 }, (_, i) => ({ ...row, id: `many-${i}`, stamp: i + 1 })))
      .execute()
    const dave = await app.as('dave')
    expect(expectProblem(await dave.post('/api/keys').send({ name: 'x', role: 'viewer', password }), 409).detail).toContain('100 keys')
    expect((await dave.delete('/api/keys/many-1')).status).toBe(200)
    expect((await dave.post('/api/keys').send({ name: 'x', role: 'viewer', password })).status).toBe(201)
    const rotate = (overlap_minutes: number) => dave.post('/api/keys/many-2/rotate').send({ password, overlap_minutes })
    expect(expectProblem(await rotate(60), 409).detail).toContain('100 keys')
    expect((await find('dave', 'many-2')).expires_at).toBeNull()
    expect((await rotate(0)).status).toBe(201)
  })

  test('by a key is refused, whatever it may', async () => {
    const { key } = await make('alice', { role: 'admin', password })
    const problem = expectProblem(await (await byKey(key)).post('/api/keys').send({ name: 'x', role: 'viewer', password }), 403)
    expect(problem.detail).toContain('cannot make keys')
  })
})

describe('the list', () => {
  test('has one’s own keys; everybody’s for an admin; nobody’s of another organisation', async () => {
    const { id } = await make('bob', { name: 'Listed 100%', password })
    expect((await list('bob')).items.every(({ owner }) => owner.id === 'user-bob')).toBe(true)
    expect((await list('alice', '?whose=all&q=listed%20100%25')).items.map((key) => key.id)).toEqual([id])
    expect((await list('alice', '?whose=all&q=BOB')).items.map((key) => key.id)).toContain(id)
    expect((await list('alice', '?q=listed')).items).toEqual([])
    expectProblem(await (await app.as('bob')).get('/api/keys?whose=all'), 403)
    expect((await list('dave', '?whose=all&limit=500')).items.every(({ owner }) => owner.id === 'user-dave')).toBe(true)
    for (const person of ['carol', 'dave'] as const) {
      const agent = await app.as(person)
      const answers = [
        await agent.get(`/api/keys/${id}`),
        await agent.delete(`/api/keys/${id}`),
        await agent.post(`/api/keys/${id}/rotate`).send({ password }),
        await agent.get(`/keys/${id}/revoke`),
        await agent.post(`/keys/${id}/revoke`).type('form').send({}),
        await agent.get(`/keys/${id}/rotate`),
      ]
      expect(answers.map(({ status }) => status)).toEqual([404, 404, 404, 404, 404, 404])
    }
    expect((await find('bob', id)).state).toBe('active')
  })

  test('is read a page at a time, by state and in order', async () => {
    for (const name of ['b', 'A', 'c'])
      await make('carol', { name, password, ...(name === 'c' ? { expires_at: new Date(app.ctx.now() + minute).toISOString() } : {}) })
    app.advance(2 * minute)
    const names: string[] = []
    let cursor = ''
    do {
      const { items, next } = await list('carol', `?sort=name&order=asc&limit=2${cursor}`)
      names.push(...items.map(({ name }) => name))
      cursor = next === null ? '' : `&cursor=${next}`
    } while (cursor !== '')
    expect(names.slice(0, 3)).toEqual(['A', 'b', 'c'])
    expect(names).toHaveLength(new Set((await list('carol', '?limit=500')).items.map(({ id }) => id)).size)
    expect((await list('carol', '?state=expired')).items.map(({ name }) => name)).toEqual(['c'])
    expect((await list('carol', '?state=active&sort=expires')).items.some(({ state }) => state !== 'active')).toBe(false)
    expect(fieldsOf(await (await app.as('carol')).get('/api/keys?cursor=x'), 400)).toEqual(['cursor'])
  })
})

describe('the end of a key', () => {
  test('is its expiry, to the moment', async () => {
    const { id, key } = await make('bob', { password, expires_at: new Date(app.ctx.now() + minute).toISOString() })
    expect(await statusOf(key)).toBe(200)
    app.advance(minute)
    expect(await statusOf(key)).toBe(401)
    expect((await find('bob', id)).state).toBe('expired')
    expectProblem(await (await app.as('bob')).post(`/api/keys/${id}/rotate`).send({ password }), 409)
  })

  test('is revoking it, at once; a second time does nothing', async () => {
    const { id, key } = await make('bob', { password })
    expect(await statusOf(key)).toBe(200)
    const alice = await app.as('alice')
    const revoked = bodyOf<{ revoked_at: string }>(await alice.delete(`/api/keys/${id}`), 'DELETE /api/keys/:id')
    expect(await statusOf(key)).toBe(401)
    expect(bodyOf(await alice.delete(`/api/keys/${id}`), 'DELETE /api/keys/:id')).toMatchObject({ revoked_at: revoked.revoked_at })
    await statusOf(key)
    await statusOf(key)
    const rows = await auditOf(id)
    expect(rows.filter(({ action }) => action === 'keys.revoke')).toMatchObject([{ actor_name: 'alice', subject_name: 'deploy' }])
    expect(rows.filter(({ action }) => action === 'keys.refused')).toMatchObject([{ data: '{"reason":"revoked"}', address: '127.0.0.1' }])
  })

  test('can be asked for by the key itself, not by another', async () => {
    const [one, other] = [await make('alice', { password, scopes: ['health.read'] }), await make('alice', { password, role: 'admin' })]
    expectProblem(await (await byKey(other.key)).delete(`/api/keys/${one.id}`), 403)
    expect((await (await byKey(one.key)).get(`/api/keys/${one.id}`)).status).toBe(200)
    expect((await (await byKey(one.key)).get(`/api/keys/${other.id}`)).status).toBe(404)
    expect((await (await byKey(one.key)).delete(`/api/keys/${one.id}`)).status).toBe(200)
    expect(await statusOf(one.key)).toBe(401)
  })
})

describe('rotation', () => {
  const rotate = async (person: Person, id: string, body: object = {}) =>
    (await app.as(person)).post(`/api/keys/${id}/rotate`).send({ password, ...body })

  test('gives a key that may the same; both work for the overlap, then only the new one', async () => {
    const rules = {
      name: 'nightly',
      role: 'operator',
      scopes: ['events.report', 'health.read'],
      addresses: ['127.0.0.0/8'],
      limit_per_minute: 50,
    }
    const old = await make('bob', { ...rules, password, expires_at: new Date(app.ctx.now() + 90 * minute).toISOString() })
    app.advance(30 * minute)
    const answer = bodyOf<Made>(await rotate('bob', old.id, { overlap_minutes: 10 }), 'POST /api/keys/:id/rotate')
    expect(answer).toMatchObject(rules)
    expect(Math.round((Date.parse(answer.expires_at ?? '') - app.ctx.now()) / minute)).toBe(90)
    expect(await find('bob', old.id)).toMatchObject({ replaced_by: answer.id, state: 'active' })
    expect([await statusOf(old.key), await statusOf(answer.key)]).toEqual([200, 200])
    expectProblem(await rotate('bob', old.id), 409)
    app.advance(10 * minute)
    expect([await statusOf(old.key), await statusOf(answer.key)]).toEqual([401, 200])
    const rows = await auditOf(old.id)
    expect(rows.filter(({ action }) => action === 'keys.rotate').map(({ data }) => JSON.parse(data ?? '') as unknown)).toMatchObject([
      { replaced_by: answer.id },
    ])
  })

  test('without overlap ends the old one now; of two at once one wins', async () => {
    const { id, key } = await make('bob', { password })
    const answers = await Promise.all([rotate('bob', id, { overlap_minutes: 0 }), rotate('bob', id, { overlap_minutes: 0 })])
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409])
    expect(await statusOf(key)).toBe(401)
  })

  test('is for the owner and the key itself: an admin would get a key in somebody else’s name', async () => {
    const { id, key } = await make('bob', { password, scopes: ['health.read'] })
    expectProblem(await rotate('alice', id), 403)
    const mine = bodyOf<Made>(await (await byKey(key)).post(`/api/keys/${id}/rotate`).send({}), 'POST /api/keys/:id/rotate')
    expect(await statusOf(mine.key)).toBe(200)
    expect(await auditOf(id)).toEqual(
      expect.arrayContaining([expect.objectContaining({ action: 'keys.rotate', key_id: id, actor_name: 'bob' })]),
    )
  })
})

describe('a key that rotates itself', () => {
  test('needs no body, and an empty one is none; what is no JSON is refused', async () => {
    const rotated = async (key: string, id: string, headers: Readonly<Record<string, string>> = {}) =>
      bodyOf<Made>(await (await byKey(key)).post(`/api/keys/${id}/rotate`).set(headers), 'POST /api/keys/:id/rotate')
    const first = await make('bob', { password })
    const second = await rotated(first.key, first.id)
    const third = await rotated(second.key, second.id, { 'Content-Type': 'application/json', 'Content-Length': '0' })
    const { replaced_by, expires_at } = await find('bob', second.id)
    expect([replaced_by, Math.round((Date.parse(expires_at ?? '') - app.ctx.now()) / minute)]).toEqual([third.id, 60])
    const agent = await byKey(third.key)
    expectProblem(await agent.post(`/api/keys/${third.id}/rotate`).type('text/plain').send('{}'), 415)
    expectProblem(await agent.post(`/api/keys/${third.id}/rotate`).type('json').send(' '), 400)
    expectProblem(await (await app.as('bob')).post('/api/keys'), 415)
  })

  const rotateItself = async ({ id, key }: { id: string; key: string }) =>
    bodyOf<Made>(await (await byKey(key)).post(`/api/keys/${id}/rotate`).send({}), 'POST /api/keys/:id/rotate')

  test('never lives longer than a person said', async () => {
    const expires_at = new Date(app.ctx.now() + 90 * minute).toISOString()
    const first = await make('bob', { password, expires_at })
    app.advance(30 * minute)
    const second = await rotateItself(first)
    app.advance(30 * minute)
    const third = await rotateItself(second)
    expect([second.expires_at, third.expires_at]).toEqual([expires_at, expires_at])
    app.advance(30 * minute)
    expect(await statusOf(third.key)).toBe(401)
  })

  test('ends with all that it made when it is revoked, and without what its owner made of those', async () => {
    const first = await make('bob', { name: 'chained', password })
    const second = await rotateItself(first)
    const third = await rotateItself(second)
    const bob = await app.as('bob')
    const mine = bodyOf<Made>(await bob.post(`/api/keys/${third.id}/rotate`).send({ password }), 'POST /api/keys/:id/rotate')
    const fourth = await rotateItself(mine)
    expect((await bob.get(`/keys/${first.id}/revoke`)).text).toContain('2 keys that it made end with it')
    expect((await bob.get(`/keys/${fourth.id}/revoke`)).text).not.toContain('that it made')
    expect((await bob.delete(`/api/keys/${first.id}`)).status).toBe(200)
    expect(await Promise.all([first, second, third, mine, fourth].map(({ key }) => statusOf(key)))).toEqual([401, 401, 401, 200, 200])
    const [row] = (await auditOf(first.id)).filter(({ action }) => action === 'keys.revoke')
    expect(JSON.parse(row?.data ?? '')).toEqual({ made_by_itself_and_revoked: [second.id, third.id] })
  })

  test('is caught by being revoked at the same moment', async () => {
    const first = await make('bob', { name: 'raced', password })
    const program = await byKey(first.key)
    const bob = await app.as('bob')
    const [rotated] = await Promise.all([program.post(`/api/keys/${first.id}/rotate`).send({}), bob.delete(`/api/keys/${first.id}`)])
    expect([201, 401, 409]).toContain(rotated.status)
    expect((await list('bob', '?q=raced&state=active')).items).toEqual([])
  })
})

test('all of somebody’s keys in one organisation end for good', async () => {
  const [one, other] = [await make('carol', { password }), await make('carol', { password })]
  const bobs = await make('bob', { password })
  const active = (await list('carol', '?state=active&limit=500')).items.length
  const there = { ...app.ctx, org: 'other' }
  expect(await there.transaction((ctx) => keys.revokeAllOf(ctx, 'user-carol'))).toBe(0)
  expect(await app.ctx.transaction((ctx) => keys.revokeAllOf(ctx, 'user-carol'))).toBe(active)
  await until(async () => (await statusOf(one.key)) === 401)
  expect([await statusOf(other.key), await statusOf(bobs.key), (await find('carol', one.id)).state]).toEqual([401, 200, 'revoked'])
})

describe('the pages', () => {
  const form = {
    name: 'from the page',
    role: 'operator',
    scopes: ['health.read', 'events.report'],
    expires: '30',
    addresses: '127.0.0.1\n10.0.0.0/8',
    limit: '20',
  }
  const send = async (fields: object, path = '/keys/new') => (await app.as('bob')).post(path).type('form').send(fields)

  test('make a key when the password is right, show it once, and keep what was typed when it is wrong', async () => {
    const empty = await (await app.as('bob')).get('/keys/new')
    expect(empty.status).toBe(200)
    expect(empty.text).not.toContain('value="admin"')
    const wrong = await send({ ...form, password: 'not this one' })
    expect(wrong.status).toBe(422)
    for (const kept of ['from the page', '10.0.0.0/8', 'This is not your password.']) expect(wrong.text).toContain(kept)
    expect(wrong.text).not.toContain('not this one')
    const made = await send({ ...form, password })
    expect([made.status, made.headers['cache-control']]).toEqual([200, 'no-store'])
    const [key = ''] = /jug_bob_\d+_[0-9a-f]{64}/.exec(made.text) ?? []
    expect(await statusOf(key)).toBe(200)
    expect((await list('bob', '?q=from%20the%20page')).items).toMatchObject([
      {
        role: 'operator',
        scopes: ['events.report', 'health.read'].sort().reverse(),
        addresses: ['127.0.0.1', '10.0.0.0/8'],
        limit_per_minute: 20,
      },
    ])
    const after = await (await app.as('bob')).get('/keys')
    expect(after.text).toContain('from the page')
    expect(after.text).not.toContain(key)
  })

  test('say which field is wrong', async () => {
    for (const [fields, message] of [
      [{ role: 'admin' }, 'may do things that you may not'],
      [{ addresses: 'nowhere' }, 'neither an address'],
      [{ limit: '0' }, 'not a number from 1'],
      [{ scopes: 'users.manage' }, 'does not allow'],
      [{ expires: '9999' }, 'Choose one of these'],
    ] as const) {
      const answer = await send({ ...form, password, ...fields })
      expect([answer.status, answer.text.includes(message)]).toEqual([422, true])
    }
  })

  test('rotate and revoke', async () => {
    const { id, key, start } = await make('bob', { name: 'paged', password })
    const asked = await (await app.as('bob')).get(`/keys/${id}/rotate`)
    expect(asked.text).toContain(start)
    expect((await send({ overlap: '60', password: 'not this one' }, `/keys/${id}/rotate`)).status).toBe(422)
    const rotated = await send({ overlap: '60', password }, `/keys/${id}/rotate`)
    expect(rotated.status).toBe(200)
    const [other = ''] = /jug_bob_\d+_[0-9a-f]{64}/.exec(rotated.text) ?? []
    expect([await statusOf(key), await statusOf(other)]).toEqual([200, 200])
    expect((await (await app.as('alice')).get(`/keys/${id}/revoke`)).text).toContain('Revoke paged')
    const revoked = await (await app.as('alice')).post(`/keys/${id}/revoke`).type('form').send({})
    expect([revoked.status, revoked.headers['location']]).toEqual([303, '/keys?whose=all'])
    expect([await statusOf(key), await statusOf(other)]).toEqual([401, 200])
  })
})
