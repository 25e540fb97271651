/** A check between two probes. `failures`: one after the other, of which the last `retries` did not make it down. */
export interface Standing {
  readonly state: 'new' | 'up' | 'late' | 'down'
  readonly failures: number
}

export interface Step extends Standing {
  /** What people are told: it went down, it is up again, or its trouble ends with the maintenance that began. */
  readonly flip: 'down' | 'up' | 'maintenance' | null
  /** In which series the probe counts. */
  readonly counts: 'uptime' | 'maintenance'
}

/** What one probe makes of a check. Pure, so that a whole day can be played through. */
export function afterProbe(before: Standing, ok: boolean, { retries, maintenance }: { retries: number; maintenance: boolean }): Step {
  const counts = maintenance ? 'maintenance' : 'uptime'
  if (ok) return { state: 'up', failures: 0, flip: before.state === 'down' || before.state === 'late' ? 'up' : null, counts }
  // What fails in maintenance is expected: it is neither down nor on the way there, and begins anew afterwards.
  if (maintenance)
    return {
      state: before.state === 'up' ? 'up' : 'new',
      failures: 0,
      flip: before.state === 'down' || before.state === 'late' ? 'maintenance' : null,
      counts,
    }
  const failures = before.failures + 1
  if (before.state === 'down') return { state: 'down', failures: before.failures, flip: null, counts }
  if (failures <= retries) return { state: before.state, failures, flip: null, counts }
  return { state: 'down', failures, flip: 'down', counts }
}

/** When what is expected from outside becomes late, and when it is down. */
export interface Expectation {
  readonly late_at: number
  readonly down_at: number
}

export const expectation = (pinged_at: number, { period_s, grace_s }: { period_s: number; grace_s: number }): Expectation => ({
  late_at: pinged_at + period_s * 1000,
  down_at: pinged_at + (period_s + grace_s) * 1000,
})

/**
 * What the time makes of a check that waits for pings. `expected`: null until the first one, when nothing is. One that
 * was down when a maintenance began is new in it: nobody knows how it is, and afterwards it has as long as any other.
 */
export function afterWaiting(before: Standing, now: number, expected: Expectation | null, maintenance: boolean): Step | null {
  if (!expected) return null
  if (maintenance) {
    if (before.state === 'up' || before.state === 'new') return null
    return { state: before.state === 'down' ? 'new' : 'up', failures: 0, flip: 'maintenance', counts: 'maintenance' }
  }
  if (now >= expected.down_at)
    return before.state === 'down' ? null : { state: 'down', failures: before.failures + 1, flip: 'down', counts: 'uptime' }
  if (now >= expected.late_at && before.state === 'up') return { state: 'late', failures: 0, flip: null, counts: 'uptime' }
  return null
}
