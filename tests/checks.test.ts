import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as checks from '../services/checks'
import * as metrics from '../services/metrics'
import { startApp, type Agent, type TestApp } from './helpers/app'
import { addOrganisation, addPerson, auditOf, changesDuring, everything, sessionOf } from './helpers/people'
import { bodyOf, expectProblem, fieldsOf } from './helpers/routes'
import { allowLoopback, checkNow, httpCheck, incidentsOf, makeCheck, startTarget, type CheckBody, type Target } from './helpers/targets'
import { until } from './helpers/until'

let app: TestApp
let alice: Agent
let target: Target
beforeAll(async () => {
  app = await startApp()
  alice = await app.as('alice')
  await allowLoopback(app)
  target = await startTarget()
})
afterAll(async () => {
  await target.close()
  await app.close()
})

const post = (body: object) => alice.post('/api/checks').send(body)
const list = async (search = '', agent = alice) =>
  bodyOf<{ items: CheckBody[]; next: string | null; counts: Record<string, number>; tags: string[] }>(
    await agent.get(`/api/checks?${search}`),
    'GET /api/checks',
  )

describe('making a check', () => {
  test('fills in what is usual, and leaves audit and change', async () => {
    let made: CheckBody | undefined
    const told = await changesDuring(app, async () => {
      made = await makeCheck(app, { name: '  My  site ', kind: 'http', spec: { url: 'https://example.com/a?b=c' } })
    })
    expect(made).toMatchObject({
      ...{ name: 'My  site', state: 'new', target: 'GET example.com/a', tags: [] },
      ...{ interval_s: 60, timeout_ms: 10_000, retries: 1, retry_s: 20, incident_id: null },
      spec: { method: 'GET', statuses: '200-299', redirects: 5, verify_certificate: true, certificate_days: 14 },
    })
    expect(told).toEqual([`home checks ${made?.id}`])
    expect(await auditOf(app, 'checks.create', made?.id)).toMatchObject([{ actor_name: 'alice', subject_name: 'My  site' }])
  })

  test.each([
    ['no name', { name: ' ' }, ['name']],
    ['an endless name', { name: 'x'.repeat(101) }, ['name']],
    ['no such kind', { kind: 'smtp' }, ['kind']],
    ['an unknown field', { state: 'up' }, ['state']],
    ['an unknown field of its kind', { spec: { url: 'https://example.com', port: 1 } }, ['spec.port']],
    ['no address', { spec: {} }, ['spec.url']],
    ['another protocol', { spec: { url: 'file:///etc/passwd' } }, ['spec.url']],
    ['a private address', { spec: { url: 'http://10.0.0.1/' } }, ['spec.url']],
    ['a metadata address in octal', { spec: { url: 'http://0251.0376.0251.0376/' } }, ['spec.url']],
    [
      'a header that the connection sets',
      { spec: { url: 'https://example.com', headers: [{ name: 'Host', value: 'x' }] } },
      ['spec.headers.0.name'],
    ],
    [
      'a header with a line break',
      { spec: { url: 'https://example.com', headers: [{ name: 'X', value: 'a\r\nb' }] } },
      ['spec.headers.0.value'],
    ],
    ['statuses that are none', { spec: { url: 'https://example.com', statuses: '2xx' } }, ['spec.statuses']],
    ['too short an interval', { interval_s: 4 }, ['interval_s']],
    ['too long an interval', { interval_s: 86_401 }, ['interval_s']],
    ['a timeout beyond the interval', { interval_s: 5, timeout_ms: 6000 }, ['timeout_ms']],
    ['too long a timeout', { interval_s: 600, timeout_ms: 60_001 }, ['timeout_ms']],
    ['half a retry', { retries: 0.5 }, ['retries']],
    ['a tag with a comma', { tags: ['a,b'] }, ['tags.0']],
    ['something that cannot be stored', { spec: { url: 'https://example.com', body: 'a\0b' } }, ['spec.body']],
  ])('says which field is wrong: %s', async (_what, body, fields) => {
    const before = await everything(app)
    const given = { name: 'wrong', kind: 'http', spec: { url: 'https://example.com' }, ...body }
    expect(fieldsOf(await post(given), 422)).toEqual(fields)
    expect(fieldsOf(await alice.post('/api/checks/test').send(given), 422)).toEqual(fields)
    expect(await everything(app)).toEqual(before)
  })

  test('takes a name once, however it is written', async () => {
    expect(fieldsOf(await post({ name: 'my SITE', kind: 'http', spec: { url: 'https://example.com' } }), 422)).toEqual(['name'])
    const answers = await Promise.all([1, 2, 3].map(() => post({ name: 'Raced', kind: 'http', spec: { url: 'https://example.com' } })))
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 422, 422])
  })

  test.each([
    ['tcp', { host: '127.0.0.1', port: 5432 }, '127.0.0.1:5432'],
    ['dns', { name: 'example.com', type: 'MX' }, 'MX example.com'],
    ['process', { name: 'webhook' }, 'PM2 process webhook'],
    ['disk', { mount: '/' }, '/ under 90 %'],
    ['postgres', { url: 'postgres://me:secret@127.0.0.1/db' }, 'PostgreSQL 127.0.0.1/db'],
    ['database', {}, 'the console’s own database'],
    ['redis', { url: 'redis://127.0.0.1:6379' }, 'Redis 127.0.0.1:6379'],
    ['heartbeat', { period_s: 3600 }, 'a ping every 1 h'],
    ['command', { name: 'backup age' }, 'command backup age'],
  ])('knows the kind %s', async (kind, spec, shown) => {
    const made = await makeCheck(app, { name: `a ${kind}`, kind, spec })
    expect(made).toMatchObject({ target: shown, state: 'new' })
    bodyOf(await alice.delete(`/api/checks/${made.id}`), 'DELETE /api/checks/:id')
  })

  test('of the machine is for the organisation that owns it', async () => {
    const dave = await app.as('dave')
    for (const [kind, spec] of [
      ['process', { name: 'a' }],
      ['disk', { mount: '/' }],
      ['database', {}],
      ['command', { name: 'a' }],
    ] as const)
      expect(fieldsOf(await dave.post('/api/checks').send({ name: kind, kind, spec }), 422)).toEqual(['kind'])
    // And what one organisation may reach, another may not.
    expect(fieldsOf(await dave.post('/api/checks').send({ name: 'mine', kind: 'http', spec: { url: target.url } }), 422)).toEqual([
      'spec.url',
    ])
  })
})

describe('secrets', () => {
  const secret = 'hunter2-that-nobody-may-see'
  const spec = {
    url: `https://user:${secret}@example.com/x?token=${secret}&page=2`,
    method: 'POST',
    headers: [
      { name: 'Authorization', value: `Bearer ${secret}` },
      { name: 'Accept', value: 'text/plain' },
    ],
    body: `{"password":"${secret}"}`,
  }

  test('are seen by nobody again, and stored encrypted', async () => {
    const made = await makeCheck(app, { name: 'secretive', kind: 'http', spec })
    expect(made.spec).toMatchObject({
      url: 'https://user:•••••@example.com/x?token=•••••&page=2',
      headers: [
        { name: 'Authorization', value: '•••••' },
        { name: 'Accept', value: 'text/plain' },
      ],
      body: '•••••',
    })
    for (const person of ['alice', 'bob', 'carol'] as const)
      for (const path of [`/api/checks/${made.id}`, '/api/checks', '/api/events'])
        expect((await (await app.as(person)).get(path)).text).not.toContain(secret)
    expect(JSON.stringify(await everything(app))).not.toContain(secret)
    const audit = await app.ctx.db.selectFrom('audit').selectAll().execute()
    expect(JSON.stringify([audit, app.log])).not.toContain(secret)
  })

  test.each([
    ['a hook', { url: 'https://hooks.slack.com/services/T01234567/B01234567/aBcD1eFgH2iJkL3mNoP4qRsT' }, 'aBcD1eFgH2iJkL3mNoP4qRsT'],
    [
      'a bot',
      { url: 'https://api.telegram.org/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/getMe' },
      'AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw',
    ],
    ['a proof', { url: 'https://example.com/x?appsecret_proof=short-1' }, 'short-1'],
    ['a word made of two', { url: 'https://example.com/x?accesstoken=short-2' }, 'short-2'],
    ['a parameter that looks so', { url: 'https://example.com/x?c=0123456789abcdef0123456789abcdef' }, '0123456789abcdef0123456789abcdef'],
    ['a header of any name', { headers: [{ name: 'X-Custom', value: 'Bearer short-3' }] }, 'short-3'],
    ['a keyword', { keyword: 'sk_live_abcdefgh12345678' }, 'sk_live_abcdefgh12345678'],
    ['a value', { json_path: '$.key', json_equals: 'sk_live_abcdefgh12345678' }, 'sk_live_abcdefgh12345678'],
  ])('in an unusual place stay out of pages, answers and the trail: %s', async (what, more, hidden) => {
    const given = { name: `hides ${what}`, kind: 'http', spec: { url: 'https://example.com/x', ...more } }
    const { id } = await makeCheck(app, given)
    for (const person of ['bob', 'carol'] as const)
      for (const path of [`/api/checks/${id}`, '/api/checks', `/checks/${id}`, '/checks', '/api/events'])
        expect((await (await app.as(person)).get(path)).text).not.toContain(hidden)
    const audit = await app.ctx.db.selectFrom('audit').selectAll().execute()
    expect(JSON.stringify([audit, app.log])).not.toContain(hidden)
    await checks.remove(app.ctx, id)
  })

  test('and what a target is asked are for those who may change it; others see where it looks', async () => {
    const tcp = await makeCheck(app, { name: 'asks', kind: 'tcp', spec: { host: '127.0.0.1', port: 1, send: 'knock', expect: 'who' } })
    const { id } = await makeCheck(app, { name: 'looks', kind: 'http', spec: { ...spec, keyword: 'fine' } })
    const seen = async (id: string) => bodyOf<CheckBody>(await (await app.as('bob')).get(`/api/checks/${id}`), 'GET /api/checks/:id').spec
    expect(await seen(tcp.id)).toEqual({ host: '127.0.0.1', port: 1 })
    expect(await seen(id)).toEqual({ host: 'example.com', method: 'POST' })
    expect((await list('q=looks', await app.as('carol'))).items.map(({ spec }) => spec)).toEqual([{ host: 'example.com', method: 'POST' }])
    for (const one of [tcp.id, id]) await checks.remove(app.ctx, one)
  })

  test('of a path are kept where the dots stay, reach the target, and are not repeated by what it says', async () => {
    const piece = 'aBcD1eFgH2iJkL3mNoP4qRsT'
    const { id, spec: shown } = await makeCheck(app, {
      ...{ name: 'a hook of ours', kind: 'http', retries: 0 },
      spec: { url: target.url.replace('/health', `/services/${piece}?c=1`), json_path: '$.said', json_equals: 'fine' },
    })
    expect(shown).toMatchObject({ url: target.url.replace('/health', '/services/•••••?c=1') })
    const changed = { spec: { ...shown, json_equals: 'well' } }
    bodyOf(await alice.patch(`/api/checks/${id}`).send(changed), 'PATCH /api/checks/:id')
    target.answer = (request, response) => response.end(JSON.stringify({ said: `no ${request.url}` }))
    await checks.run(app.ctx, id)
    expect(target.requests.at(-1)?.url).toBe(`/services/${piece}?c=1`)
    const { message, target: where } = await checkNow(app, id)
    expect([where, message]).toEqual([expect.stringContaining('/services/•••••'), expect.stringContaining('•••••')])
    expect(`${where} ${message} ${JSON.stringify(await incidentsOf(app, id))}`).not.toContain(piece)
    await checks.remove(app.ctx, id)
    target.answer = (_request, response) => response.end('{"status":"fine"}')
  })

  test('stay where the dots stay, and have to be entered again for another address', async () => {
    const [check] = (await list('q=secretive')).items
    const { id = '', spec: shown = {} } = check ?? {}
    bodyOf(await alice.patch(`/api/checks/${id}`).send({ spec: { ...shown, keyword: 'fine' } }), 'PATCH /api/checks/:id')
    const stolen = { ...shown, url: 'https://user:•••••@evil.example/x?token=•••••&page=2' }
    expect(fieldsOf(await alice.patch(`/api/checks/${id}`).send({ spec: stolen }), 422)).toEqual(['spec.url'])
    expect(fieldsOf(await alice.post('/api/checks/test').send({ id, name: 'x', kind: 'http', spec: stolen }), 422)).toEqual(['spec.url'])
    expect(fieldsOf(await alice.patch(`/api/checks/${id}`).send({ spec: { ...shown, url: 'https://evil.example/' } }), 422)).toEqual([
      'spec.headers.0.value',
    ])
    expect(fieldsOf(await post({ name: 'dots', kind: 'http', spec: { url: 'https://example.com', body: '•••••' } }), 422)).toEqual([
      'spec.body',
    ])
  })

  test('reach the target that they are for', async () => {
    const url = target.url.replace('://', `://user:${secret}@`)
    const { id } = await makeCheck(app, {
      name: 'with a password',
      kind: 'http',
      spec: { url, headers: [{ name: 'X-Api-Key', value: secret }] },
    })
    await checks.run(app.ctx, id)
    const headers = target.requests.at(-1)?.headers ?? {}
    expect(headers['x-api-key']).toBe(secret)
    expect(Buffer.from(headers.authorization?.replace('Basic ', '') ?? '', 'base64').toString()).toBe(`user:${secret}`)
    // A copy has them too, and not the dots.
    const copy = bodyOf<CheckBody>(await alice.post(`/api/checks/${id}/clone`), 'POST /api/checks/:id/clone')
    expect(copy).toMatchObject({ name: 'with a password (copy)' })
    await checks.run(app.ctx, copy.id)
    expect(target.requests.at(-1)?.headers['x-api-key']).toBe(secret)
    for (const one of [id, copy.id]) bodyOf(await alice.delete(`/api/checks/${one}`), 'DELETE /api/checks/:id')
  })

  test('that do not open any more make a red check that says so, not a crash', async () => {
    const { id } = await makeCheck(app, { name: 'sealed', kind: 'http', spec: { url: target.url.replace('://', '://a:b@') }, retries: 0 })
    await app.ctx.db.updateTable('checks').set({ secrets: 'v1.00000000.AAAA.AAAA' }).where('id', '=', id).execute()
    await checks.run(app.ctx, id)
    expect(await checkNow(app, id)).toMatchObject({ state: 'down', message: expect.stringContaining('SERVER_SECRET') as unknown })
    await checks.remove(app.ctx, id)
  })
})

describe('testing before saving', () => {
  test('says what was found, and stores nothing', async () => {
    const given = { name: 'tried', kind: 'http', spec: { url: target.url, json_path: '$.status', json_equals: 'fine' } }
    const rows = () => app.ctx.db.selectFrom('checks').selectAll().execute()
    const before = await rows()
    expect(bodyOf(await alice.post('/api/checks/test').send(given), 'POST /api/checks/test')).toMatchObject({
      ok: true,
      details: { status: 200 },
    })
    const wrong = { ...given, spec: { ...given.spec, json_equals: 'bad' } }
    expect(bodyOf(await alice.post('/api/checks/test').send(wrong), 'POST /api/checks/test')).toMatchObject({ ok: false })
    expect(await rows()).toEqual(before)
    expectProblem(await (await app.as('bob')).post('/api/checks/test').send(given), 403)
  })
})

describe('the list', () => {
  test('puts what is down first, counts everything, and finds by name, target, tag and kind', async () => {
    const down = await httpCheck(app, { url: target.url.replace('/health', '/down') }, { name: 'zz down', tags: ['edge'] })
    const up = await httpCheck(app, target, { name: 'aa up', tags: ['edge', 'core'] })
    target.answer = (request, response) => response.writeHead(request.url === '/down' ? 500 : 200).end()
    await checks.run(app.ctx, down.id)
    await checks.run(app.ctx, up.id)
    const { items, counts, tags } = await list()
    expect(items[0]).toMatchObject({ id: down.id })
    expect(items.slice(-3).map(({ state }) => state)).toEqual(['unset', 'unset', 'unset'])
    expect(counts).toMatchObject({ down: 1, unset: 3 })
    expect(tags).toEqual(['core', 'edge'])
    for (const state of ['down', 'up', 'paused', 'unset', 'warn'])
      expect([state, (await list(`state=${state}`)).items.length]).toEqual([state, counts[state]])
    expect((await list('tag=edge&sort=name&order=desc')).items.map(({ name }) => name)).toEqual(['zz down', 'aa up'])
    expect((await list('q=%2Fdown')).items.map(({ id }) => id)).toEqual([down.id])
    expect((await list('kind=redis')).items).toEqual([])
    const [first, second] = [await list('limit=2'), await list('limit=2')]
    expect(first.items).toEqual(second.items)
    const rest = await list(`limit=500&cursor=${first.next}`)
    expect(new Set([...first.items, ...rest.items].map(({ id }) => id)).size).toBe(items.length)
    expectProblem(await alice.get('/api/checks?cursor=nonsense'), 400)
  })

  test('is of one’s own organisation', async () => {
    expect((await list('', await app.as('dave'))).items).toEqual([])
    const id = (await list()).items[0]?.id ?? ''
    const dave = await app.as('dave')
    for (const answer of [
      await dave.get(`/api/checks/${id}`),
      await dave.get(`/api/checks/${id}/uptime`),
      await dave.get(`/api/checks/${id}/history`),
      await dave.patch(`/api/checks/${id}`).send({ name: 'mine' }),
      await dave.delete(`/api/checks/${id}`),
      await dave.post(`/api/checks/${id}/run`),
      await dave.post(`/api/checks/${id}/pause`),
      await dave.post(`/api/checks/${id}/clone`),
    ])
      expectProblem(answer, 404)
    expect(bodyOf(await dave.post('/api/checks/bulk').send({ ids: [id], action: 'delete' }), 'POST /api/checks/bulk')).toEqual({
      changed: 0,
    })
  })
})

describe('many at once', () => {
  test('are paused, resumed, tagged and deleted, each once', async () => {
    const ids: string[] = []
    for (let n = 0; n < 3; n++) ids.push((await httpCheck(app, target, { name: `many ${n}` })).id)
    const bulk = async (body: object) =>
      bodyOf<{ changed: number }>(await alice.post('/api/checks/bulk').send({ ids, ...body }), 'POST /api/checks/bulk').changed
    expect([await bulk({ action: 'pause' }), await bulk({ action: 'pause' })]).toEqual([3, 0])
    expect([await bulk({ action: 'tag', tag: 'night' }), await bulk({ action: 'tag', tag: 'night' })]).toEqual([3, 0])
    expect((await list('tag=night&state=paused')).items).toHaveLength(3)
    expect([await bulk({ action: 'untag', tag: 'night' }), await bulk({ action: 'resume' })]).toEqual([3, 3])
    expect(fieldsOf(await alice.post('/api/checks/bulk').send({ ids, action: 'tag' }), 422)).toEqual(['tag'])
    expect([await bulk({ action: 'delete' }), await bulk({ action: 'delete' })]).toEqual([3, 0])
    expect(await auditOf(app, 'checks.delete', ids[0])).toHaveLength(1)
    expectProblem(await (await app.as('bob')).post('/api/checks/bulk').send({ ids, action: 'pause' }), 403)
  })
})

describe('what may be reached', () => {
  test('is said by an admin of the installation only, in networks that are networks', async () => {
    await addPerson(app, 'erin', { role: 'admin' })
    const erin = await sessionOf(app, 'erin')
    expectProblem(await erin.put('/api/checks/targets').send({ allowed: ['10.0.0.0/8'] }), 403)
    expect(fieldsOf(await alice.put('/api/checks/targets').send({ allowed: ['10.0.0.0/8', 'everything'] }), 422)).toEqual(['allowed.1'])
    expect(bodyOf(await erin.get('/api/checks/targets'), 'GET /api/checks/targets')).toEqual({ allowed: ['127.0.0.0/8', '::1/128'] })
    expect(await auditOf(app, 'checks.targets')).toHaveLength(1)
  })

  test('an address that is not allowed any more is refused when it is dialled', async () => {
    const { id } = await httpCheck(app, target, { name: 'forbidden later' })
    bodyOf(await alice.put('/api/checks/targets').send({ allowed: [] }), 'PUT /api/checks/targets')
    await checks.run(app.ctx, id)
    expect(await checkNow(app, id)).toMatchObject({ state: 'down', message: expect.stringContaining('loopback') as unknown })
    await allowLoopback(app)
    await checks.remove(app.ctx, id)
  })
})

describe('dependencies that every installation has', () => {
  test('are listed with the way to configure them, until they are', async () => {
    const { items } = bodyOf<{ items: { name: string; check_id: string; steps: string[] }[] }>(
      await alice.get('/api/checks/builtins'),
      'GET /api/checks/builtins',
    )
    expect(items.map(({ name }) => name).sort()).toEqual(['sheets', 'webhook', 'whatsapp'])
    const { check_id = '', steps = [] } = items.find(({ name }) => name === 'webhook') ?? {}
    expect(steps.length).toBeGreaterThan(0)
    expect(await checkNow(app, check_id)).toMatchObject({ state: 'unset', word: 'Not configured', target: 'not configured' })
    expectProblem(await alice.post(`/api/checks/${check_id}/run`), 409)
    bodyOf(await alice.patch(`/api/checks/${check_id}`).send({ kind: 'http', spec: { url: target.url } }), 'PATCH /api/checks/:id')
    await checks.runDue(app.ctx)
    expect(await checkNow(app, check_id)).toMatchObject({ state: 'up', name: 'Story 3.2 webhook' })
    expect((await checks.builtins(app.ctx)).map(({ name }) => name)).not.toContain('webhook')
    // It cannot be lost: deleting it takes its configuration.
    bodyOf(await alice.delete(`/api/checks/${check_id}`), 'DELETE /api/checks/:id')
    expect(await checkNow(app, check_id)).toMatchObject({ state: 'unset' })
  })
})

test('commands are those of the file on the machine, and nothing that is typed', async () => {
  writeFileSync(join(app.dataDir, 'check-commands.json'), JSON.stringify({ 'is true': { run: ['/bin/true'], description: 'It is' } }), {
    mode: 0o600,
  })
  expect(bodyOf(await alice.get('/api/checks/commands'), 'GET /api/checks/commands')).toEqual({
    items: [{ name: 'is true', description: 'It is' }],
  })
  const tried = async (name: string) =>
    bodyOf<{ ok: boolean }>(
      await alice.post('/api/checks/test').send({ name: 'c', kind: 'command', spec: { name } }),
      'POST /api/checks/test',
    ).ok
  expect([await tried('is true'), await tried('/bin/true'), await tried('is true; id')]).toEqual([true, false, false])
})

test('of two who edit at once, one wins, and the other is told', async () => {
  const { id, spec } = await httpCheck(app, target, { name: 'fought over' })
  const answers = await Promise.all([1, 2, 3].map((n) => alice.patch(`/api/checks/${id}`).send({ name: `fought over ${n}`, spec })))
  const statuses = answers.map(({ status }) => status)
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(1)
  expect(statuses.every((status) => status === 200 || status === 409)).toBe(true)
  await checks.remove(app.ctx, id)
})

test('what was measured of a check goes with it, and one that is configured anew begins without a past', async () => {
  const { check_id: id = '' } = (await checks.builtins(app.ctx)).find(({ name }) => name === 'webhook') ?? {}
  const configure = async () =>
    bodyOf(await alice.patch(`/api/checks/${id}`).send({ kind: 'http', spec: { url: target.url } }), 'PATCH /api/checks/:id')
  const measured = () => app.ctx.db.selectFrom('metrics').select('name').where('subject', '=', id).execute()
  const probes = async () => (await checks.uptimes(app.ctx, id)).map(({ probes }) => probes)
  await configure()
  await checks.run(app.ctx, id)
  await metrics.flush(app.ctx)
  await checks.run(app.ctx, id)
  expect((await measured()).length).toBeGreaterThan(0)
  const [before = 0] = await probes()
  expect(before).toBeGreaterThan(0)
  await list()
  bodyOf(await alice.delete(`/api/checks/${id}`), 'DELETE /api/checks/:id')
  await until(async () => (await measured()).length === 0)
  await metrics.flush(app.ctx)
  expect(await measured()).toEqual([])
  await configure()
  expect(await probes()).toEqual([0, 0, 0, 0])
  expect((await list(`q=webhook`)).items).toMatchObject([{ id, uptime_24h: { probes: 0 } }])
  await checks.remove(app.ctx, id)
})

test('the history of a check outlives it', async () => {
  const { id, name } = await httpCheck(app, { url: target.url.replace('/health', '/down') }, { name: 'short-lived' })
  target.answer = (request, response) => response.writeHead(request.url === '/down' ? 500 : 200).end()
  await checks.run(app.ctx, id)
  bodyOf(await alice.delete(`/api/checks/${id}`), 'DELETE /api/checks/:id')
  expect(await incidentsOf(app, id)).toMatchObject([{ ended_by: 'deleted', check_name: null, title: `${name} is down` }])
})

test('an organisation that has no checks says so in figures', async () => {
  await addOrganisation(app, 'empty')
  await addPerson(app, 'emma', { org: 'empty', role: 'admin' })
  expect(await list('', await sessionOf(app, 'emma'))).toEqual({
    items: [],
    next: null,
    counts: { up: 0, down: 0, warn: 0, paused: 0, unset: 0 },
    tags: [],
  })
})
