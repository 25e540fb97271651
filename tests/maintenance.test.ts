import * as checks from '../services/checks'
import * as maintenance from '../services/maintenance'
import * as metrics from '../services/metrics'
import { occurrenceAt } from '../services/maintenance/occurrence'
import { startApp, type Agent, type TestApp } from './helpers/app'
import { auditOf, changesDuring, everything } from './helpers/people'
import { bodyOf, expectProblem, fieldsOf } from './helpers/routes'
import { allowLoopback, checkNow, httpCheck, incidentsOf, startTarget, type Target } from './helpers/targets'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

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

interface WindowBody {
  id: string
  state: string
  next: { from: string; to: string } | null
  covers: object
}

const iso = (inMs: number) => new Date(app.ctx.now() + inMs).toISOString()
const given = (more: object = {}) => ({ name: 'Upgrade', starts_at: iso(-minute), ends_at: iso(hour), covers: { all: true }, ...more })
const plan = async (more: object = {}) =>
  bodyOf<WindowBody>(await alice.post('/api/maintenance').send(given(more)), 'POST /api/maintenance')
const look = async (id: string, ok: boolean) => {
  target.status(ok ? 200 : 500)
  await checks.run(app.ctx, id)
}

describe('in maintenance', () => {
  test('what fails is no incident and does not count, and an open one ends; afterwards everything counts again', async () => {
    const { id } = await httpCheck(app, target, { tags: ['db'] })
    const { id: other } = await httpCheck(app, target)
    await look(id, false)
    const window = await plan({ covers: { tags: ['db'] } })
    expect(window).toMatchObject({ state: 'now', covers: { checks: [], tags: ['db'] } })
    await look(id, false)
    await look(id, false)
    expect(await checkNow(app, id)).toMatchObject({
      state: 'new',
      word: 'In maintenance',
      maintenance: { id: window.id, name: 'Upgrade' },
      incident_id: null,
    })
    expect(await incidentsOf(app, id)).toMatchObject([{ ended_by: 'maintenance' }])
    // What is not covered fails as ever.
    await look(other, false)
    expect(await checkNow(app, other)).toMatchObject({ state: 'down', maintenance: null })
    await metrics.flush(app.ctx)
    expect((await checks.uptimes(app.ctx, id))[0]).toMatchObject({ probes: 1, up: 0 })
    expect((await checks.history(app.ctx, id, { range: '24h' })).strip.reduce((sum, { maintenance }) => sum + maintenance, 0)).toBe(2)
    bodyOf(await alice.post(`/api/maintenance/${window.id}/cancel`), 'POST /api/maintenance/:id/cancel')
    await look(id, false)
    expect(await checkNow(app, id)).toMatchObject({ state: 'down', maintenance: null })
    expect(await incidentsOf(app, id)).toHaveLength(2)
  })
})

describe('planning', () => {
  test('leaves audit and change, once', async () => {
    let made: WindowBody | undefined
    const told = await changesDuring(app, async () => {
      made = await plan({ name: 'Later', starts_at: iso(hour), ends_at: iso(2 * hour) })
    })
    expect(made).toMatchObject({ state: 'planned' })
    // The machine is still being looked at for an incident of before.
    const own = told.filter((one) => !/ (?:snapshots|incidents) /.test(one))
    expect(own).toEqual(['home checks list', `home maintenance ${made?.id}`])
    const bob = await app.as('bob')
    bodyOf(
      await bob.put(`/api/maintenance/${made?.id}`).send(given({ name: 'Sooner', starts_at: iso(minute) })),
      'PUT /api/maintenance/:id',
    )
    for (let n = 0; n < 2; n++)
      expect(bodyOf(await bob.post(`/api/maintenance/${made?.id}/cancel`), 'POST /api/maintenance/:id/cancel')).toMatchObject({
        state: 'cancelled',
        next: null,
      })
    for (const action of ['plan', 'change', 'cancel']) expect(await auditOf(app, `maintenance.${action}`, made?.id)).toHaveLength(1)
    expectProblem(await alice.put(`/api/maintenance/${made?.id}`).send(given()), 409)
    expectProblem(await (await app.as('carol')).post('/api/maintenance').send(given()), 403)
    const dave = await app.as('dave')
    for (const answer of [await dave.get(`/api/maintenance/${made?.id}`), await dave.post(`/api/maintenance/${made?.id}/cancel`)])
      expectProblem(answer, 404)
    expect(bodyOf(await dave.get('/api/maintenance'), 'GET /api/maintenance')).toEqual({ items: [], next: null })
  })

  test.each([
    ['an end before the start', { ends_at: '2020-01-01T00:00:00Z' }, 'ends_at'],
    ['more than a month', { ends_at: '2999-01-01T00:00:00Z' }, 'ends_at'],
    ['a day that lasts longer than until the next', { repeats: 'daily', ends_at: '2999-01-01T00:00:00Z' }, 'ends_at'],
    ['nothing that it is about', { covers: { checks: [], tags: [] } }, 'covers'],
    ['no name', { name: ' ' }, 'name'],
    ['no zone', { timezone: 'Mars/Base' }, 'timezone'],
    ['another field', { state: 'over' }, 'state'],
  ])('refuses %s', async (_what, more, field) => {
    const before = await everything(app)
    expect(fieldsOf(await alice.post('/api/maintenance').send(given(more)), 422)[0]).toBe(field)
    expect(await everything(app)).toEqual(before)
  })
})

describe('a maintenance that repeats', () => {
  const at = (text: string) => Date.parse(text)
  const daily = {
    repeats: 'daily',
    timezone: 'Europe/Berlin',
    starts_at: at('2026-03-20T02:30:00+01:00'),
    ends_at: at('2026-03-20T04:00:00+01:00'),
  } as const

  test('is at the same time of day, also where the clocks change', () => {
    expect(occurrenceAt(daily, at('2026-03-28T12:00:00Z'))?.from).toBe(at('2026-03-29T03:30:00+02:00'))
    expect(occurrenceAt(daily, at('2026-03-29T12:00:00Z'))?.from).toBe(at('2026-03-30T02:30:00+02:00'))
    expect(occurrenceAt(daily, at('2026-10-25T12:00:00Z'))?.from).toBe(at('2026-10-26T02:30:00+01:00'))
  })

  test('is now while it lasts, and then next time', () => {
    for (let n = 0; n < 30; n++) {
      const now = at('2026-05-01T02:29:59+02:00') + n * day
      expect(occurrenceAt(daily, now)?.from).toBe(now + 1000)
      expect(occurrenceAt(daily, now + 1000)?.from).toBe(now + 1000)
      expect(occurrenceAt(daily, now + 90 * minute)?.from).toBe(now + 1000)
      expect(occurrenceAt(daily, now + 90 * minute + 1000)?.from).toBe(now + 1000 + day)
    }
    const weekly = { ...daily, repeats: 'weekly' } as const
    expect(occurrenceAt(weekly, at('2026-05-02T00:00:00Z'))?.from).toBe(at('2026-05-08T02:30:00+02:00'))
    expect(occurrenceAt({ ...daily, repeats: 'never' }, daily.ends_at)).toBeNull()
  })

  const nightly = {
    repeats: 'daily',
    timezone: 'Europe/Berlin',
    starts_at: at('2026-10-01T22:00:00+02:00'),
    ends_at: at('2026-10-02T06:00:00+02:00'),
  } as const

  test('ends at the same time of day too, though the night is longer or shorter', () => {
    expect(occurrenceAt(nightly, at('2026-10-24T23:00:00+02:00'))).toEqual({
      from: at('2026-10-24T22:00:00+02:00'),
      to: at('2026-10-25T06:00:00+01:00'),
    })
    expect(occurrenceAt(nightly, at('2026-10-25T05:30:00+01:00'))?.to).toBe(at('2026-10-25T06:00:00+01:00'))
    expect(occurrenceAt(nightly, at('2026-10-25T06:00:00+01:00'))?.from).toBe(at('2026-10-25T22:00:00+01:00'))
    expect(occurrenceAt(nightly, at('2027-03-28T01:00:00+01:00'))).toEqual({
      from: at('2027-03-27T22:00:00+01:00'),
      to: at('2027-03-28T06:00:00+02:00'),
    })
    expect(occurrenceAt(nightly, at('2027-03-28T06:00:00+02:00'))?.from).toBe(at('2027-03-28T22:00:00+02:00'))
  })

  test('of a whole day has no hole, where the clocks go back and where they go forward', () => {
    const always = { ...nightly, ends_at: nightly.starts_at + day }
    for (const from of ['2026-10-24T00:00:00Z', '2027-03-27T00:00:00Z'])
      for (let now = at(from); now < at(from) + 3 * day; now += 15 * minute) {
        const time = occurrenceAt(always, now)
        expect([time && time.from <= now, time && time.to > now]).toEqual([true, true])
      }
  })

  test('of a time that a night does not have lasts as long as ever', () => {
    const short = { ...nightly, starts_at: at('2026-10-02T02:30:00+02:00'), ends_at: at('2026-10-02T03:00:00+02:00') }
    const time = occurrenceAt(short, at('2027-03-28T00:00:00Z'))
    expect((time?.to ?? 0) - (time?.from ?? 0)).toBe(30 * minute)
  })

  test('is as long as the clock says: a day that has 25 hours is a day', async () => {
    const given = {
      ...{ repeats: 'daily', timezone: 'Europe/Berlin', name: 'Always', covers: { all: true } },
      ...{ starts_at: '2030-10-26T22:00:00+02:00', ends_at: '2030-10-27T22:00:00+01:00' },
    }
    const { id } = bodyOf<WindowBody>(await alice.post('/api/maintenance').send(given), 'POST /api/maintenance')
    await maintenance.cancel(app.ctx, id)
    expect(fieldsOf(await alice.post('/api/maintenance').send({ ...given, ends_at: '2030-10-27T22:30:00+01:00' }), 422)).toEqual([
      'ends_at',
    ])
  })
})

describe('open pages', () => {
  test('are told when a maintenance begins and when it ends, once, in its organisation', async () => {
    await maintenance.noticeTurns(app.ctx)
    const { id } = await plan({ starts_at: iso(hour), ends_at: iso(2 * hour), covers: { tags: ['nobody'] } })
    const told = ['home checks list', `home maintenance ${id}`]
    // The console notices every five seconds by itself: whichever is first tells.
    const after = async (ms: number) => {
      const changes = await changesDuring(app, () => {
        app.advance(ms)
        return maintenance.noticeTurns(app.ctx)
      })
      return changes.filter((one) => !/ (?:snapshots|incidents) /.test(one))
    }
    expect(await after(0)).toEqual([])
    expect([await after(hour), await after(0)]).toEqual([told, []])
    expect([await after(hour), await after(0)]).toEqual([told, []])
    // What somebody did was told by that.
    await plan({ covers: { tags: ['nobody'] } })
    expect(await after(0)).toEqual([])
  })
})

describe('after years', () => {
  test('what is over counts no longer, is still found, and goes away after a year', async () => {
    const at = app.ctx.now()
    const row = (index: number) => ({
      ...{ id: `old-${index}`, org_id: 'home', name: `Old ${index}`, starts_at: at - 2 * hour - index, ends_at: at - hour - index },
      ...{ repeats: index % 2 ? 'never' : 'daily', timezone: 'UTC', covers: '{"all":true}', created_at: at },
      cancelled_at: index % 2 ? null : at - hour,
    })
    await app.ctx.transaction(async ({ db }) => {
      for (let done = 0; done < 1200; done += 600)
        await db
          .insertInto('maintenances')
          .values(Array.from({ length: 600 }, (_, index) => row(done + index)))
          .execute()
    })
    const { id } = await plan({ starts_at: iso(hour), ends_at: iso(2 * hour) })
    const { items } = bodyOf<{ items: WindowBody[] }>(await alice.get('/api/maintenance?limit=5&state=planned'), 'GET /api/maintenance')
    expect(items.map((one) => one.id)).toContain(id)
    await maintenance.prune(app.ctx)
    const count = async () => (await app.ctx.db.selectFrom('maintenances').select('id').where('id', 'like', 'old-%').execute()).length
    expect(await count()).toBe(1200)
    app.advance(366 * day)
    const always = await maintenance.plan(app.ctx, {
      ...{ name: 'Always', starts_at: at - 400 * day, ends_at: at - 400 * day + hour, repeats: 'daily', covers: { all: true } },
    })
    await maintenance.prune(app.ctx)
    expect(await count()).toBe(0)
    expect((await maintenance.find(app.ctx, always.id)).next).not.toBeNull()
    await maintenance.cancel(app.ctx, always.id)
  })
})
