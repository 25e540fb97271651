import { sql } from 'kysely'
import * as metrics from '../services/metrics'
import { dayStartOf } from '../services/metrics/days'
import { startApp, type TestApp } from './helpers/app'
import { bodyOf, fieldsOf } from './helpers/routes'

const minute = 60_000
const hour = 60 * minute

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

interface Series {
  name: string
  host: string
  subject: string
  unit: string
  step_s: number
  points: { at: string; average: number; min: number; max: number; last: number; count: number }[]
}

const host = () => app.platform.config.hostName
/** Each test has a subject of its own. */
const observe = (subject: string, at: number, value: number | null) => {
  metrics.observe(app.ctx, host(), at, [{ name: 'disk.percent', subject, value }])
}
const read = async (search: string): Promise<Series[]> =>
  bodyOf<{ items: Series[] }>(await app.basic('carol').get(`/api/metrics?${search}`), 'GET /api/metrics').items
const points = async (subject: string, search = 'range=1h') =>
  (await read(`name=disk.percent&subject=${subject}&${search}`))[0]?.points ?? []
const thisMinute = () => app.ctx.now() - (app.ctx.now() % minute)

/** Moves the clock to a full hour of UTC, so that spans are where the test says. */
function toFullHour(): number {
  const now = app.ctx.now()
  const next = now - (now % hour) + hour
  app.advance(next - now)
  return next
}

describe('a series', () => {
  test('has average, extremes, last value and count of each minute, over several writes', async () => {
    const at = thisMinute() - 5 * minute
    for (const [second, value] of [
      [0, 10],
      [1, 40],
    ] as const)
      observe('plain', at + second * 1000, value)
    await metrics.flush(app.ctx)
    for (const [second, value] of [
      [2, 5],
      [3, 25],
    ] as const)
      observe('plain', at + second * 1000, value)
    await metrics.flush(app.ctx)
    expect(await points('plain')).toEqual([{ at: new Date(at).toISOString(), average: 20, min: 5, max: 40, last: 25, count: 4 }])
  })

  test('leaves gaps where nothing was measured, and takes no measurement for a zero', async () => {
    const at = thisMinute() - 10 * minute
    observe('gaps', at, 0)
    observe('gaps', at + minute, null)
    observe('gaps', at + 2 * minute, Number.NaN)
    observe('gaps', at + 3 * minute, 4)
    await metrics.flush(app.ctx)
    expect((await points('gaps')).map((point) => [Date.parse(point.at) - at, point.average])).toEqual([
      [0, 0],
      [3 * minute, 4],
    ])
  })

  test('is added up to longer steps, rightly weighed', async () => {
    const at = toFullHour()
    for (let index = 0; index < 20; index++) observe('steps', at + index * minute, index)
    observe('steps', at + 2 * minute + 1, 100)
    app.advance(hour)
    await metrics.flush(app.ctx)
    expect(
      (await points('steps', 'step=5m&range=24h')).map((point) => [point.average, point.min, point.max, point.last, point.count]),
    ).toEqual([
      [110 / 6, 0, 100, 4, 6],
      [7, 5, 9, 9, 5],
      [12, 10, 14, 14, 5],
      [17, 15, 19, 19, 5],
    ])
    for (const [step, counts] of [
      ['15m', [16, 5]],
      ['1h', [21]],
      ['1d', [21]],
    ] as const)
      expect((await points('steps', `step=${step}&range=7d`)).map(({ count }) => count)).toEqual(counts)
  })

  test('is kept apart by name, host and subject', async () => {
    const at = thisMinute()
    observe('/', at, 1)
    observe('/data', at, 2)
    metrics.observe(app.ctx, 'vm-2', at, [
      { name: 'disk.percent', subject: '/', value: 3 },
      { name: 'disk.used', subject: '/', value: 4 },
    ])
    await metrics.flush(app.ctx)
    const last = async (search: string) => (await read(search)).map(({ subject, unit, points }) => [subject, unit, points.at(-1)?.last])
    expect(await last('name=disk.percent,disk.used&subject=/')).toEqual([['/', '%', 1]])
    expect(await last('name=disk.percent&subject=/data')).toEqual([['/data', '%', 2]])
    expect(await last('name=disk.percent,disk.used,disk.percent&host=vm-2')).toEqual([
      ['/', '%', 3],
      ['/', 'bytes', 4],
    ])
  })

  test('loses nothing when it cannot be written for a while, and keeps its last value', async () => {
    const at = thisMinute()
    // The product's own writing, every ten seconds, may meet the same fault.
    app.expectLog(/a chore failed/)
    await sql`alter table metrics rename to metrics_away`.execute(app.ctx.db)
    observe('away', at, 10)
    const failing = metrics.flush(app.ctx)
    observe('away', at + 1000, 30)
    await expect(failing).rejects.toMatchObject({ message: expect.stringContaining('metrics') as string })
    await sql`alter table metrics_away rename to metrics`.execute(app.ctx.db)
    await metrics.flush(app.ctx)
    expect(await points('away')).toEqual([{ at: new Date(at).toISOString(), average: 20, min: 10, max: 30, last: 30, count: 2 }])
  })

  test('that is too old for minutes is read from what is still kept', async () => {
    const at = toFullHour()
    observe('old', at, 50)
    await metrics.flush(app.ctx)
    app.advance(10 * 24 * hour)
    await metrics.prune(app.ctx)
    const [found] = await read(`name=disk.percent&subject=old&from=${new Date(at).toISOString()}&to=${new Date(at + hour).toISOString()}`)
    expect([found?.step_s, found?.points.map(({ last }) => last)]).toEqual([900, [50]])
  })

  test('is forgotten tier by tier: minutes after three days, quarters after sixty', async () => {
    observe('forgotten', thisMinute(), 50)
    await metrics.flush(app.ctx)
    const tiers = async () =>
      (await app.ctx.db.selectFrom('metrics').select('step').where('subject', '=', 'forgotten').orderBy('step').execute()).map(
        ({ step }) => step / minute,
      )
    for (const [days, left] of [
      [2, [1, 15, 1440]],
      [2, [15, 1440]],
      [60, [1440]],
      [5 * 365, []],
    ] as const) {
      app.advance(days * 24 * hour)
      await metrics.prune(app.ctx)
      expect(await tiers()).toEqual(left)
    }
  })
})

describe('asking', () => {
  test.each([
    ['name=cpu', 400, 'name'],
    ['name=', 400, 'name'],
    ['name=cpu.percent,,disk.used', 400, 'name'],
    ['range=2h', 400, 'range'],
    ['step=2m', 400, 'step'],
    ['from=yesterday', 400, 'from'],
    ['range=7d&step=1m', 422, 'step'],
    ['from=1970-01-01T00:00:00Z', 422, 'step'],
    ['from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z', 422, 'from'],
  ])('for %s is refused, and says why', async (search, status, field) => {
    expect(fieldsOf(await app.basic('carol').get(`/api/metrics?${search}`), status)).toEqual([field])
  })
})

describe('a day', () => {
  test('begins at midnight of the installation: half past six in UTC for India', async () => {
    const midnight = dayStartOf(app.ctx.now(), 'Asia/Kolkata')
    expect(new Date(midnight).toISOString()).toMatch(/T18:30:00\.000Z$/)
    for (const offset of [-31, -1, 0, 29]) observe('day', midnight + offset * minute, offset)
    await metrics.flush(app.ctx)
    expect((await points('day', 'step=1d&range=7d')).map(({ at, count }) => [at, count])).toEqual([
      [new Date(dayStartOf(midnight - 1, 'Asia/Kolkata')).toISOString(), 2],
      [new Date(midnight).toISOString(), 2],
    ])
  })

  // Clocks change at 1:00 UTC, at midnight (there is no 0:00, or it is there twice), by half an hour; and never.
  test.each([
    ['Asia/Kolkata', '2026-03-10'],
    ['Europe/Berlin', '2026-03-28'],
    ['Europe/Berlin', '2026-10-24'],
    ['Africa/Cairo', '2026-04-23'],
    ['Africa/Cairo', '2026-10-28'],
    ['America/Havana', '2026-10-31'],
    ['Australia/Lord_Howe', '2026-04-04'],
    ['Asia/Kathmandu', '2026-01-01'],
    ['UTC', '2026-12-31'],
  ])('in %s around %s begins where the date changes, whenever it is asked', (zone, date) => {
    const dates = new Intl.DateTimeFormat('en-CA', { timeZone: zone, dateStyle: 'short' })
    const from = Date.parse(`${date}T00:00:00Z`) - 24 * hour
    const seen: string[] = []
    const computed: string[] = []
    let start: number | undefined
    for (let at = from; at < from + 96 * hour; at += 5 * minute) {
      if (dates.format(at) !== dates.format(at - 5 * minute)) start = at
      if (start === undefined) continue
      seen.push(new Date(start).toISOString())
      computed.push(new Date(dayStartOf(at + 4 * minute, zone)).toISOString())
    }
    expect(new Set(seen).size).toBe(4)
    expect(computed).toEqual(seen)
  })
})
