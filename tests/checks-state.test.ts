import fc from 'fast-check'
import { afterProbe, afterWaiting, expectation, type Standing } from '../services/checks/state'

const fresh: Standing = { state: 'new', failures: 0 }

/** The rules of docs/checks.md, told another way: by counting the failures at the end of what was found so far. */
function expected(oks: readonly boolean[], retries: number): { state: 'up' | 'down' | 'new'; downs: number; ups: number } {
  let [state, run, downs, ups]: ['up' | 'down' | 'new', number, number, number] = ['new', 0, 0, 0]
  for (const ok of oks) {
    run = ok ? 0 : run + 1
    if (ok && state === 'down') ups++
    if (ok) state = 'up'
    else if (run === retries + 1) {
      state = 'down'
      downs++
    }
  }
  return { state, downs, ups }
}

describe('a check', () => {
  test('goes down after as many failures as it may have and one, and up with the first success, whatever is found', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 200 }), fc.integer({ min: 0, max: 5 }), (oks, retries) => {
        let standing = fresh
        let [downs, ups] = [0, 0]
        for (const ok of oks) {
          const step = afterProbe(standing, ok, { retries, maintenance: false })
          if (step.flip === 'down') downs++
          if (step.flip === 'up') ups++
          standing = step
        }
        expect({ state: standing.state, downs, ups }).toEqual(expected(oks, retries))
      }),
    )
  })

  test('has an incident at most at a time: every down is followed by an up or a maintenance before the next', () => {
    const found = fc.record({ ok: fc.boolean(), maintenance: fc.boolean() })
    fc.assert(
      fc.property(fc.array(found, { maxLength: 200 }), fc.integer({ min: 0, max: 3 }), (all, retries) => {
        let standing = fresh
        let open = false
        for (const { ok, maintenance } of all) {
          const step = afterProbe(standing, ok, { retries, maintenance })
          // Nothing goes down that is down, ends that is not, or goes down while it is worked on.
          expect({ flip: step.flip, open, maintenance }).not.toMatchObject({ flip: 'down', open: true })
          expect({ flip: step.flip, open, maintenance }).not.toMatchObject({ flip: 'up', open: false })
          expect({ flip: step.flip, open, maintenance }).not.toMatchObject({ flip: 'maintenance', open: false })
          expect({ flip: step.flip, open, maintenance }).not.toMatchObject({ flip: 'down', maintenance: true })
          if (step.flip !== null) open = step.flip === 'down'
          expect(step.state === 'down').toBe(open)
          expect(step.counts).toBe(maintenance ? 'maintenance' : 'uptime')
          standing = step
        }
      }),
    )
  })

  test('that fails in maintenance begins anew afterwards', () => {
    const options = { retries: 1, maintenance: false }
    const failing = afterProbe({ state: 'up', failures: 0 }, false, options)
    expect(failing).toMatchObject({ state: 'up', failures: 1, flip: null })
    const within = afterProbe(failing, false, { ...options, maintenance: true })
    expect(within).toMatchObject({ state: 'up', failures: 0, flip: null })
    expect(afterProbe(within, false, options)).toMatchObject({ state: 'up', failures: 1 })
  })
})

describe('a heartbeat', () => {
  const at = expectation(1_000_000, { period_s: 60, grace_s: 30 })
  const wait = (before: Standing, now: number, maintenance = false) => afterWaiting(before, now, at, maintenance)
  const up: Standing = { state: 'up', failures: 0 }

  test('is late after its period, and down after its grace, to the millisecond', () => {
    expect(at).toEqual({ late_at: 1_060_000, down_at: 1_090_000 })
    expect(wait(up, 1_059_999)).toBeNull()
    expect(wait(up, 1_060_000)).toMatchObject({ state: 'late', flip: null })
    expect(wait({ state: 'late', failures: 0 }, 1_089_999)).toBeNull()
    expect(wait({ state: 'late', failures: 0 }, 1_090_000)).toMatchObject({ state: 'down', flip: 'down' })
    expect(wait({ state: 'down', failures: 1 }, 2_000_000)).toBeNull()
    expect(wait(up, 1_090_000)).toMatchObject({ state: 'down', flip: 'down' })
  })

  test('expects nothing before its first ping, and nothing in maintenance', () => {
    expect(afterWaiting(fresh, 9_000_000, null, false)).toBeNull()
    expect(wait(up, 1_090_000, true)).toBeNull()
    // Nobody knows how it is: it is new, but not forgotten.
    const within = wait({ state: 'down', failures: 1 }, 2_000_000, true)
    expect(within).toMatchObject({ state: 'new', failures: 0, flip: 'maintenance' })
    expect(within && wait(within, 1_089_999)).toBeNull()
    expect(within && wait(within, 1_090_000)).toMatchObject({ state: 'down', flip: 'down' })
  })

  test('has an incident at most at a time, and none that begins in maintenance, whenever it is looked at', () => {
    const moment = fc.record({ now: fc.integer({ min: 1_000_000, max: 1_200_000 }), maintenance: fc.boolean(), pinged: fc.boolean() })
    fc.assert(
      fc.property(fc.array(moment, { maxLength: 100 }), (all) => {
        let [standing, open] = [fresh, false]
        let heard: number | null = null
        for (const { now, maintenance, pinged } of all.sort((a, b) => a.now - b.now)) {
          if (pinged) heard = now
          const limits = heard === null ? null : expectation(heard, { period_s: 60, grace_s: 30 })
          const step = pinged ? afterProbe(standing, true, { retries: 0, maintenance }) : afterWaiting(standing, now, limits, maintenance)
          if (!step) continue
          expect({ flip: step.flip, open, maintenance }).not.toMatchObject({ flip: 'down', open: true })
          expect({ flip: step.flip, open, maintenance }).not.toMatchObject({ flip: 'down', maintenance: true })
          if (step.flip !== null) open = step.flip === 'down'
          expect(step.state === 'down').toBe(open)
          standing = step
        }
      }),
    )
  })
})
