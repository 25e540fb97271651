import fc from 'fast-check'
import * as metrics from '../services/metrics'
import { startApp, type TestApp } from './helpers/app'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

/** The start of the span that runs; the clock is read once. */
const startOf = (step: number, now = app.ctx.now()): number => now - (now % step)

const exact = (values: readonly number[], percent: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(1, Math.ceil((percent / 100) * sorted.length)) - 1] ?? Number.NaN
}
const observe = (name: metrics.MetricName, subject: string, at: number, value: number) => {
  metrics.observe(app.ctx, 'any', at, [{ name, subject, value }])
}
const totalsOf = async (name: metrics.MetricName, subject: string, from: number, to: number, histograms = false) =>
  (await metrics.totals(app.ctx, { name, subjects: [subject], from, to, histograms })).get(subject)

describe('percentiles of durations', () => {
  test('are within 5 % of the exact ones, over spans that were written in any order and several times', async () => {
    let round = 0
    const one = fc.oneof(fc.double({ min: 0.01, max: 120_000, noNaN: true }), fc.integer({ min: 0, max: 300 }))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(one, { minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 8 }), async (batches) => {
        const subject = `random ${round++}`
        const base = startOf(day)
        for (const [index, batch] of batches.entries()) {
          for (const value of batch) observe('check.duration', subject, base - ((index * 7) % 5) * minute, value)
          await metrics.flush(app.ctx)
        }
        const all = batches.flat()
        const total = await totalsOf('check.duration', subject, base - hour, base + hour, true)
        expect(total?.count).toBe(all.length)
        for (const percent of [1, 50, 95, 99, 100]) {
          const [found] = metrics.percentilesOf(total ? [total] : [], [percent])
          const right = exact(all, percent)
          expect(Math.abs((found ?? Number.NaN) - right)).toBeLessThanOrEqual(0.05 * right + 1e-3)
        }
      }),
      { numRuns: 25 },
    )
  })

  test('are none where nothing was measured', () => {
    expect(metrics.percentilesOf([], [50, 99])).toEqual([null, null])
  })

  test('come with the points of the API, for what is a duration and for nothing else', async () => {
    const at = startOf(minute)
    for (let value = 1; value <= 100; value++) observe('check.duration', 'api', at, value)
    observe('check.up', 'api', at, 1)
    await metrics.flush(app.ctx)
    const response = await app.basic('carol').get('/api/metrics?name=check.duration,check.up&subject=api')
    const { items } = response.body as { items: { name: string; points: Record<string, number>[] }[] }
    const point = (name: string) => items.find((one) => one.name === name)?.points[0]
    expect(point('check.duration')).toMatchObject({ average: 50.5, min: 1, max: 100, count: 100 })
    expect(Math.abs((point('check.duration')?.['p95'] ?? 0) - 95)).toBeLessThanOrEqual(5)
    expect(Object.keys(point('check.up') ?? {})).toEqual(['at', 'average', 'min', 'max', 'last', 'count'])
  })
})

describe('totals', () => {
  test('count each reading of the range once, whichever tiers they come from', async () => {
    // Days of India begin at half past six in the evening of UTC: days, their edges and quarters do not fall together.
    const end = startOf(hour)
    const readings: number[] = []
    for (let at = end - 12 * day; at < end; at += 37 * minute) {
      readings.push(at)
      observe('check.up', 'whole', at, readings.length % 3 === 0 ? 0 : 1)
    }
    await metrics.flush(app.ctx)
    for (const [from, to] of [
      [end - 11 * day, end],
      [end - 3 * day - 5 * hour, end - day - hour],
      [end - 6 * hour, end],
      [end - 2 * hour, end - hour],
    ] as const) {
      const inRange = readings.map((at, index) => ({ at, up: (index + 1) % 3 === 0 ? 0 : 1 })).filter(({ at }) => at >= from && at < to)
      const up = inRange.reduce((sum, one) => sum + one.up, 0)
      for (const subjects of [['whole'], undefined])
        expect(
          (await metrics.totals(app.ctx, { name: 'check.up', ...(subjects ? { subjects } : {}), from, to })).get('whole'),
        ).toMatchObject({
          count: inRange.length,
          sum: up,
          min: 0,
          max: 1,
        })
    }
  })

  test('of long ago are whole days, because nothing finer is kept', async () => {
    const at = app.ctx.now()
    observe('check.up', 'long', at, 1)
    await metrics.flush(app.ctx)
    app.advance(80 * day)
    await metrics.prune(app.ctx)
    expect(await totalsOf('check.up', 'long', at, app.ctx.now())).toMatchObject({ count: 1, sum: 1 })
    expect(await totalsOf('check.up', 'long', at + 3 * day, app.ctx.now())).toBeUndefined()
  })

  test('are one series whichever machine measured, where the thing belongs to none', async () => {
    const at = app.ctx.now()
    metrics.observe(app.ctx, 'vm-1', at, [{ name: 'check.up', subject: 'two hosts', value: 1 }])
    metrics.observe(app.ctx, 'vm-2', at, [{ name: 'check.up', subject: 'two hosts', value: 0 }])
    await metrics.flush(app.ctx)
    expect(await totalsOf('check.up', 'two hosts', at - hour, at + hour)).toMatchObject({ count: 2, sum: 1 })
  })

  test('are apart for each organisation, and of each what it observed is written', async () => {
    const at = app.ctx.now()
    const other = { ...app.ctx, org: 'elsewhere' }
    metrics.observe(other, 'vm-1', at, [{ name: 'check.up', subject: 'theirs', value: 1 }])
    await metrics.flush(app.ctx)
    expect(await totalsOf('check.up', 'theirs', at - hour, at + hour)).toBeUndefined()
    expect((await metrics.totals(other, { name: 'check.up', from: at - hour, to: at + hour })).get('theirs')?.count).toBe(1)
  })
})

describe('the last day', () => {
  const countsOf = async (subject: string) => {
    const { from, step, subjects } = await metrics.lastDay(app.ctx, 'check.up')
    return [...(subjects.get(subject)?.counts ?? [])].flatMap((count, index) => (count > 0 ? [[from + index * step, count]] : []))
  }

  test('moves on with the clock, takes what is new and forgets what is older', async () => {
    app.advance(day)
    // A minute into a quarter.
    app.advance(16 * minute - (app.ctx.now() % (15 * minute)))
    const at = startOf(15 * minute)
    observe('check.up', 'moving', at, 1)
    await metrics.flush(app.ctx)
    expect(await countsOf('moving')).toEqual([[at, 1]])
    app.advance(20 * minute)
    observe('check.up', 'moving', at + 1, 0)
    observe('check.up', 'moving', app.ctx.now(), 1)
    await metrics.flush(app.ctx)
    const next = startOf(15 * minute)
    expect(await countsOf('moving')).toEqual([
      [at, 2],
      [next, 1],
    ])
    app.advance(day)
    expect(await countsOf('moving')).toEqual([[next, 1]])
    app.advance(2 * day)
    expect(await countsOf('moving')).toEqual([])
  })
})
