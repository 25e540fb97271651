import { monitorEventLoopDelay } from 'node:perf_hooks'
import * as checks from '../services/checks'
import * as maintenance from '../services/maintenance'
import * as metrics from '../services/metrics'
import * as status from '../services/status'
import { startApp, type Agent, type TestApp } from './helpers/app'
import { auditOf, changesDuring, everything, sessionOf } from './helpers/people'
import { bodyOf, expectProblem, fieldsOf } from './helpers/routes'
import { allowLoopback, httpCheck, incidentsOf, startTarget, type CheckBody, type Target } from './helpers/targets'

let app: TestApp
let alice: Agent
let nobody: Agent
let target: Target
let check: CheckBody
beforeAll(async () => {
  app = await startApp()
  ;[alice, nobody] = await Promise.all([app.as('alice'), app.as(null)])
  await allowLoopback(app)
  target = await startTarget()
  check = await httpCheck(app, target, { name: 'internal-name' })
})
afterAll(async () => {
  await target.close()
  await app.close()
})

interface View {
  word: string
  state: string
  stale: boolean
  updated_at: string | null
  checks: { name: string; word: string; strip: string[]; uptime_90d: { percent: number | null; probes: number } }[]
  maintenance: { name: string }[]
  incidents: { title: string; ended_at: string | null; notes: { text: string }[] }[]
}

const seen = async () => {
  // It is the same for everybody for two seconds.
  app.advance(2001)
  return bodyOf<View>(await nobody.get('/api/status'), 'GET /api/status')
}
const save = (body: object, agent = alice) => agent.put('/api/status-page').send(body)
const page = () => ({ title: 'Our services', intro: 'How we are.', checks: [{ id: check.id, name: 'Shop' }] })

test('nobody sees a page before it is published, and it cannot be published empty', async () => {
  expectProblem(await nobody.get('/api/status'), 404)
  expect(bodyOf(await alice.get('/api/status-page'), 'GET /api/status-page')).toMatchObject({
    title: 'Status of Home',
    checks: [],
    published_at: null,
  })
  expectProblem(await alice.post('/api/status-page/publish'), 409)
  bodyOf(await save(page()), 'PUT /api/status-page')
  expectProblem(await nobody.get('/api/status'), 404)
  const told = await changesDuring(app, async () => {
    for (let n = 0; n < 2; n++) bodyOf(await alice.post('/api/status-page/publish'), 'POST /api/status-page/publish')
  })
  expect(told).toEqual(['home status home'])
  expect(await auditOf(app, 'status.publish', 'home')).toHaveLength(1)
})

test('it says how the chosen checks are, without a word on how they are made', async () => {
  expect(await seen()).toMatchObject({ word: 'Nothing was looked at yet', updated_at: null, stale: false })
  await checks.run(app.ctx, check.id)
  const up = await seen()
  expect(up).toMatchObject({ state: 'ok', word: 'All systems operational', stale: false, checks: [{ name: 'Shop', word: 'Up' }] })
  expect(up.checks[0]?.strip).toHaveLength(90)
  target.status(500)
  await checks.run(app.ctx, check.id)
  const [incident] = await incidentsOf(app, check.id)
  for (const [text, publish] of [
    ['the password of the database is hunter2', false],
    ['We are on it.', true],
  ] as const)
    bodyOf(await alice.post(`/api/incidents/${incident?.id}/notes`).send({ text, publish }), 'POST /api/incidents/:id/notes')
  const down = await seen()
  expect(down).toMatchObject({
    ...{ state: 'err', word: 'Everything is down', checks: [{ word: 'Down' }] },
    incidents: [{ title: 'Shop is down', ended_at: null, notes: [{ text: 'We are on it.' }] }],
  })
  const said = JSON.stringify(down)
  for (const secret of ['hunter2', '127.0.0.1', 'internal-name', '500', check.id]) expect(said).not.toContain(secret)
})

test('it says when the console last looked, and that this is long ago', async () => {
  const before = (await seen()).updated_at
  app.advance(10 * 60_000)
  const later = await seen()
  expect(later).toMatchObject({ stale: true, updated_at: before })
  await checks.run(app.ctx, check.id)
  expect(await seen()).toMatchObject({ stale: false })
})

test('it is changed by admins only, with checks that there are', async () => {
  expectProblem(await save(page(), await app.as('bob')), 403)
  const before = await everything(app)
  expect(fieldsOf(await save({ ...page(), title: ' ' }), 422)).toEqual(['title'])
  expect(fieldsOf(await save({ ...page(), checks: [{ id: 'nothing', name: 'x' }] }), 422)).toEqual(['checks.0.id'])
  expect(fieldsOf(await save({ ...page(), checks: [...page().checks, ...page().checks] }), 422)).toEqual(['checks.1.id'])
  expect(fieldsOf(await save({ ...page(), published_at: null }), 422)).toEqual(['published_at'])
  expect(await everything(app)).toEqual(before)
  // Another organisation has its own, and knows nothing of these checks.
  const dave = await app.as('dave')
  expect(fieldsOf(await save(page(), dave), 422)).toEqual(['checks.0.id'])
  expectProblem(await nobody.get('/api/status/other'), 404)
  expectProblem(await nobody.get('/api/status/nothing'), 404)
})

test('of what nobody looks at it says so, and no planned work on anything else', async () => {
  const other = await httpCheck(app, target, { tags: ['inside'] })
  bodyOf(await save({ ...page(), checks: [...page().checks, { id: other.id, name: 'Mail' }] }), 'PUT /api/status-page')
  target.status(200)
  for (const { id } of [check, other]) await checks.run(app.ctx, id)
  expect(await seen()).toMatchObject({ state: 'ok', word: 'All systems operational' })
  await checks.pause(app.ctx, [other.id])
  expect(await seen()).toMatchObject({
    word: '1 of 2 operational, 1 not watched now',
    checks: [{ word: 'Up' }, { word: 'Not watched now' }],
  })
  await checks.pause(app.ctx, [check.id])
  expect(await seen()).toMatchObject({ state: 'idle', word: 'Nothing is watched now' })
  await checks.resume(app.ctx, [check.id, other.id])
  const hidden = await httpCheck(app, target)
  const times = { starts_at: app.ctx.now() + 60_000, ends_at: app.ctx.now() + 120_000, repeats: 'never' as const }
  for (const [name, covers] of [
    ['Move of the mail', { checks: [], tags: ['inside'] }],
    ['A secret project', { checks: [hidden.id], tags: ['nothing'] }],
  ] as const)
    await maintenance.plan(app.ctx, { name, ...times, covers: { checks: [...covers.checks], tags: [...covers.tags] } })
  expect((await seen()).maintenance).toMatchObject([{ name: 'Move of the mail' }])
  await checks.remove(app.ctx, other.id)
  await checks.remove(app.ctx, hidden.id)
})

test('it counts what was found today and on the days before, also what comes after those were read', async () => {
  bodyOf(await save(page()), 'PUT /api/status-page')
  await metrics.flush(app.ctx)
  const before = (await seen()).checks[0]?.uptime_90d.probes ?? 0
  for (const days of [1, 2, 80]) {
    metrics.observe(app.ctx, '', app.ctx.now() - days * 86_400_000, [{ name: 'check.up', subject: check.id, value: 0 }])
    await metrics.flush(app.ctx)
  }
  bodyOf(await save(page()), 'PUT /api/status-page')
  const [shop] = (await seen()).checks
  expect(shop?.uptime_90d.probes).toBe(before + 3)
  expect([88, 87, 9].map((index) => shop?.strip[index])).toEqual(['err', 'err', 'err'])
  metrics.observe(app.ctx, '', app.ctx.now(), [{ name: 'check.up', subject: check.id, value: 1 }])
  await metrics.flush(app.ctx)
  expect((await seen()).checks[0]?.uptime_90d.probes).toBe(before + 4)
  app.advance(86_400_000)
  // Sessions end meanwhile.
  alice = await sessionOf(app, 'alice')
  const [later] = (await seen()).checks
  expect([87, 86, 8].map((index) => later?.strip[index])).toEqual(['err', 'err', 'err'])
})

test('strangers who ask without end keep nobody waiting, with a hundred checks and ninety days of each', async () => {
  const many: { id: string; name: string }[] = []
  for (let n = 0; n < 100; n++) many.push({ id: (await httpCheck(app, target)).id, name: `Service ${n}` })
  const today = metrics.dayStartOf(app.ctx.now(), app.platform.config.timezone)
  const rows = many.flatMap(({ id: subject }) =>
    Array.from({ length: 90 }, (_, ago) => today - ago * 86_400_000).flatMap((at) =>
      (['check.up', 'check.maintenance'] as const).map((name) => ({
        ...{ org_id: 'home', host: '', name, subject, step: 86_400_000, at, count: 1440, sum: 1440, min: 1, max: 1, last: 1 },
        histogram: null,
      })),
    ),
  )
  for (let done = 0; done < rows.length; done += 1000)
    await app.ctx.transaction(({ db }) =>
      db
        .insertInto('metrics')
        .values(rows.slice(done, done + 1000))
        .execute(),
    )
  bodyOf(await save({ ...page(), checks: many }), 'PUT /api/status-page')
  app.advance(2001)
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  const took: number[] = []
  for (let n = 0; n < 3; n++) {
    const began = performance.now()
    const views = await Promise.all(Array.from({ length: 50 }, () => status.publicView(app.ctx, 'home')))
    took.push(Math.round(performance.now() - began))
    expect(new Set(views.map((view) => view?.checks.length))).toEqual(new Set([100]))
    app.advance(2001)
  }
  delay.disable()
  const view = await seen()
  expect(view.checks.every(({ strip, uptime_90d }) => strip.length === 90 && uptime_90d.probes === 90 * 1440)).toBe(true)
  expect(took[0]).toBeLessThan(1500)
  // Days that are over are not read again.
  expect(Math.max(...took.slice(1))).toBeLessThan(500)
  expect(delay.max / 1e6).toBeLessThan(400)
  // Who asks while it is made is given the one before.
  app.advance(2001)
  const first = status.publicView(app.ctx, 'home')
  const began = performance.now()
  await status.publicView(app.ctx, 'home')
  expect(performance.now() - began).toBeLessThan(5)
  await first
  bodyOf(await save(page()), 'PUT /api/status-page')
})

test('it goes away when it is taken back, and what is deleted is not on it', async () => {
  const other = await httpCheck(app, target)
  bodyOf(await save({ ...page(), checks: [...page().checks, { id: other.id, name: '' }] }), 'PUT /api/status-page')
  expect((await seen()).checks.map(({ name }) => name)).toEqual(['Shop', other.name])
  await checks.remove(app.ctx, other.id)
  expect((await seen()).checks.map(({ name }) => name)).toEqual(['Shop'])
  bodyOf(await alice.post('/api/status-page/unpublish'), 'POST /api/status-page/unpublish')
  expectProblem(await nobody.get('/api/status'), 404)
})
