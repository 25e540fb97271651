import * as checks from '../services/checks'
import * as metrics from '../services/metrics'
import { startApp, type TestApp } from './helpers/app'
import { sessionOf } from './helpers/people'
import { bodyOf, expectProblem } from './helpers/routes'
import { checkNow, incidentsOf, makeCheck, type CheckBody } from './helpers/targets'

const second = 1000

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

const heartbeat = (spec: object = { period_s: 60, grace_s: 30 }, more: object = {}) => makeCheck(app, { kind: 'heartbeat', spec, ...more })
const pathOf = ({ push_url }: CheckBody, ending = '') => `${new URL(push_url ?? '').pathname}${ending}`
const ping = async (check: CheckBody, ending = '') => (await app.as(null)).post(pathOf(check, ending))
const after = async (seconds: number) => {
  app.advance(seconds * second)
  await checks.runDue(app.ctx)
}

test('a heartbeat waits for its first ping, is up with it, late after its period, and down after its grace', async () => {
  const check = await heartbeat()
  const { id } = check
  expect(check).toMatchObject({ state: 'new', word: 'Waiting for the first ping', interval_s: 60 })
  await after(3600)
  expect(await checkNow(app, id)).toMatchObject({ state: 'new' })
  expect(bodyOf(await ping(check), 'POST /api/push/:token')).toEqual({ status: 'OK' })
  expect(await checkNow(app, id)).toMatchObject({ state: 'up', word: 'Up' })
  await after(59)
  expect(await checkNow(app, id)).toMatchObject({ state: 'up' })
  await after(2)
  expect(await checkNow(app, id)).toMatchObject({ state: 'late', word: 'Late', message: 'No ping within 1 min' })
  expect(await incidentsOf(app, id)).toEqual([])
  await after(30)
  expect(await checkNow(app, id)).toMatchObject({ state: 'down', message: 'No ping within 1 min and 30 s of grace' })
  expect(await incidentsOf(app, id)).toMatchObject([{ cause: 'No ping within 1 min and 30 s of grace', ended_at: null }])
  await after(60)
  await after(60)
  await ping(check)
  expect(await checkNow(app, id)).toMatchObject({ state: 'up', incident_id: null })
  expect(await incidentsOf(app, id)).toMatchObject([{ ended_by: 'recovered' }])
  await metrics.flush(app.ctx)
  // Two pings, the one that did not come, and two more that did not come while it was down.
  expect((await checks.uptimes(app.ctx, id))[1]).toMatchObject({ probes: 5, up: 2 })
})

test('a ping by GET counts, by HEAD does not; a word of the job and how long it took are kept', async () => {
  const check = await heartbeat()
  const nobody = await app.as(null)
  const { status } = await fetch(`${app.url}${pathOf(check)}`, { method: 'HEAD' })
  expect([status, (await checkNow(app, check.id)).state]).toEqual([405, 'new'])
  bodyOf(await nobody.get(`${pathOf(check)}?msg=42%20rows&status=up&ping=`), 'GET /api/push/:token')
  expect(await checkNow(app, check.id)).toMatchObject({ state: 'up', message: '42 rows', duration_ms: null })
  await ping(check, '/start')
  app.advance(5 * second)
  await ping(check)
  const { duration_ms } = await checkNow(app, check.id)
  expect(Math.round((duration_ms ?? 0) / second)).toBe(5)
})

test('a job that says that it failed is down at once, with its own words as the cause', async () => {
  const check = await heartbeat()
  await ping(check)
  bodyOf(await (await app.as(null)).post(`${pathOf(check, '/fail')}?msg=no%20disk`), 'POST /api/push/:token/fail')
  expect(await checkNow(app, check.id)).toMatchObject({ state: 'down', message: 'no disk' })
  expect(await incidentsOf(app, check.id)).toMatchObject([{ cause: 'no disk' }])
})

test('an address that was never given out, or whose heartbeat is deleted, is not there; too many pings are refused', async () => {
  const nobody = await app.as(null)
  expectProblem(await nobody.post('/api/push/nothing'), 404)
  expectProblem(await nobody.post(`/api/push/${'A'.repeat(43)}`), 404)
  const check = await heartbeat()
  const stored = await app.ctx.db.selectFrom('checks').selectAll().where('id', '=', check.id).executeTakeFirstOrThrow()
  const token = pathOf(check).split('/').at(-1) ?? ''
  expect(token).toHaveLength(43)
  expect(JSON.stringify(stored)).not.toContain(token)
  const answers = []
  for (let n = 0; n < 62; n++) answers.push((await ping(check)).status)
  expect(answers.filter((status) => status === 200).length).toBeGreaterThanOrEqual(59)
  expect(answers).toContain(429)
  await checks.remove(app.ctx, check.id)
  expectProblem(await ping(check), 404)
})

test('only those who may change a heartbeat see its address', async () => {
  const { id } = await heartbeat()
  for (const person of ['bob', 'carol'] as const) {
    const seen = bodyOf<CheckBody>(await (await app.as(person)).get(`/api/checks/${id}`), 'GET /api/checks/:id')
    expect(seen.push_url).toBeUndefined()
  }
  expect(expectProblem(await (await app.as('dave')).get(`/api/checks/${id}`), 404).status).toBe(404)
})

test('a paused heartbeat takes pings without a word, and is expected again when it is resumed', async () => {
  const check = await heartbeat()
  await ping(check)
  await checks.pause(app.ctx, [check.id])
  await after(3600)
  expect((await ping(check)).status).toBe(200)
  expect(await checkNow(app, check.id)).toMatchObject({ state: 'paused' })
  await checks.resume(app.ctx, [check.id])
  await after(0)
  expect(await checkNow(app, check.id)).toMatchObject({ state: 'up' })
  await after(61)
  expect(await checkNow(app, check.id)).toMatchObject({ state: 'late' })
})

test('pings from all sides at once leave one state and no more incidents than there were', async () => {
  const check = await heartbeat()
  await ping(check)
  await after(91)
  expect(await checkNow(app, check.id)).toMatchObject({ state: 'down' })
  const answers = await Promise.all(Array.from({ length: 20 }, () => ping(check)))
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
  expect(await checkNow(app, check.id)).toMatchObject({ state: 'up' })
  const events = await app.ctx.db.selectFrom('events').select('type').where('subject', '=', check.name).execute()
  expect(events.map(({ type }) => type).sort()).toEqual(['check.down', 'check.up'])
})

describe('a heartbeat whose ping falls into a maintenance', () => {
  const windowOf = async (id: string, minutes: number) => {
    const at = app.ctx.now()
    const iso = (moment: number) => new Date(moment).toISOString()
    const given = { name: `For ${id}`, starts_at: iso(at - second), ends_at: iso(at + minutes * 60 * second), repeats: 'never' }
    const covers = { checks: [id], tags: [] }
    const alice = await sessionOf(app, 'alice')
    bodyOf(await alice.post('/api/maintenance').send({ ...given, covers }), 'POST /api/maintenance')
  }

  test('has a whole period from its end, and is down only then', async () => {
    const check = await heartbeat({ period_s: 600, grace_s: 60 })
    await ping(check)
    await after(300)
    await windowOf(check.id, 20)
    for (let n = 0; n < 19; n++) await after(60)
    expect(await checkNow(app, check.id)).toMatchObject({ state: 'up', word: 'In maintenance' })
    for (let n = 0; n < 10; n++) await after(60)
    expect(await checkNow(app, check.id)).toMatchObject({ state: 'up', word: 'Up' })
    await after(65)
    expect(await checkNow(app, check.id)).toMatchObject({ state: 'late' })
    await after(65)
    expect(await checkNow(app, check.id)).toMatchObject({ state: 'down' })
    expect(await incidentsOf(app, check.id)).toHaveLength(1)
  })

  test('and was down before is new in it, and has no second incident at its end, but one when it stays silent', async () => {
    const check = await heartbeat({ period_s: 600, grace_s: 60 })
    await ping(check)
    await after(661)
    expect(await checkNow(app, check.id)).toMatchObject({ state: 'down' })
    await windowOf(check.id, 30)
    // The down one is looked at again a period later.
    await after(601)
    expect(await checkNow(app, check.id)).toMatchObject({ state: 'new', incident_id: null })
    expect(await incidentsOf(app, check.id)).toMatchObject([{ ended_by: 'maintenance' }])
    for (let n = 0; n < 28; n++) await after(60)
    expect(await checkNow(app, check.id)).toMatchObject({ state: 'new', word: 'Waiting for a ping' })
    expect(await incidentsOf(app, check.id)).toHaveLength(1)
    await after(180)
    expect(await checkNow(app, check.id)).toMatchObject({ state: 'down' })
    expect(await incidentsOf(app, check.id)).toHaveLength(2)
  })
})
