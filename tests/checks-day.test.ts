import fc from 'fast-check'
import * as checks from '../services/checks'
import * as metrics from '../services/metrics'
import { startApp, type TestApp } from './helpers/app'
import { sessionOf } from './helpers/people'
import { bodyOf } from './helpers/routes'
import { allowLoopback, httpCheck, incidentsOf, startTarget, type Target } from './helpers/targets'

const second = 1000
const interval = 300
const looks = 24 * 12

let app: TestApp
let target: Target
beforeAll(async () => {
  app = await startApp()
  await allowLoopback(app)
  target = await startTarget()
})
afterAll(async () => {
  await target.close()
  await app.close()
})

/** Stretches of up and down that fill a day of looks every five minutes. */
const day = fc
  .array(fc.record({ ok: fc.boolean(), length: fc.integer({ min: 1, max: 40 }) }), { minLength: 8, maxLength: 60 })
  .map((stretches) => {
    const oks = stretches.flatMap(({ ok, length }) => Array.from({ length }, () => ok))
    return Array.from({ length: looks }, (_, n) => oks[n % oks.length] ?? true)
  })

test('a day of random ups and downs gives exactly the uptime and the incidents that it had', async () => {
  await fc.assert(
    fc.asyncProperty(day, async (oks) => {
      const { id } = await httpCheck(app, target, { interval_s: interval })
      const starts: number[] = []
      const ends: number[] = []
      let wasUp = true
      for (const [n, ok] of oks.entries()) {
        target.status(ok ? 200 : 500)
        const asked = target.requests.length
        await checks.runDue(app.ctx)
        expect(target.requests.length - asked).toBe(1)
        if (wasUp && !ok) starts.push(n)
        if (!wasUp && ok) ends.push(n)
        wasUp = ok
        app.advance(interval * second)
        if (n % 50 === 0) await metrics.flush(app.ctx)
      }
      await metrics.flush(app.ctx)
      const incidents = (await incidentsOf(app, id)).sort((a, b) => (a.started_at < b.started_at ? -1 : 1))
      expect(incidents).toHaveLength(starts.length)
      const first = Date.parse(incidents[0]?.started_at ?? new Date(0).toISOString())
      // Real time goes on beside the clock that the test moves: to the look, not to the millisecond.
      const lookOf = (moment: string) => Math.round((Date.parse(moment) - first) / (interval * second)) + (starts[0] ?? 0)
      expect(incidents.map(({ started_at }) => lookOf(started_at))).toEqual(starts)
      const over = incidents.flatMap(({ ended_at, ended_by }) => (ended_at === null ? [] : [{ at: lookOf(ended_at), ended_by }]))
      expect(over).toEqual(ends.map((at) => ({ at, ended_by: 'recovered' })))
      const up = oks.filter(Boolean).length
      const { items } = bodyOf<{ items: { period: string; percent: number; probes: number; up: number }[] }>(
        await (await sessionOf(app, 'carol')).get(`/api/checks/${id}/uptime`),
        'GET /api/checks/:id/uptime',
      )
      // 24 hours are whole half hours: the day may have begun in the one before.
      const longer = items.filter(({ period }) => period !== '24h')
      expect(longer).toEqual(['7d', '30d', '90d'].map((period) => ({ period, probes: looks, up, percent: (up / looks) * 100 })))
      await checks.remove(app.ctx, id)
    }),
    { numRuns: 3, endOnFailure: true },
  )
}, 120_000)
