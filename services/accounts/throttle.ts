/** Slows wrong tries down: after a few free ones, each further one has to wait twice as long. */
export interface Throttle {
  /** Milliseconds until the next try is allowed; 0 when it is now. */
  wait(key: string, now: number): number
  fail(key: string, now: number): void
  /** Forgets the wrong tries. */
  succeed(key: string): void
  /** Takes one try back, which turned out to be right; the others stay counted. */
  takeBack(key: string): void
}

interface Tries {
  failures: number
  until: number
  last: number
}

export interface ThrottleOptions {
  /** Wrong tries that cost nothing. */
  readonly free: number
  readonly firstWait: number
  readonly longestWait: number
  /** Without a further wrong try for this long, all is forgotten. */
  readonly forget: number
}

/** Names are given by strangers: the oldest are forgotten beyond this. */
const capacity = 10_000

export function throttle({ free, firstWait, longestWait, forget }: ThrottleOptions): Throttle {
  const tries = new Map<string, Tries>()
  const current = (key: string, now: number): Tries | undefined => {
    const known = tries.get(key)
    if (known && now - known.last > forget) tries.delete(key)
    // A clock that was set back must not lock anybody out for longer than the longest wait.
    return known && now - known.last <= forget && known.until - now <= longestWait ? known : undefined
  }
  return {
    wait: (key, now) => Math.max(0, (current(key, now)?.until ?? 0) - now),
    fail(key, now) {
      const failures = (current(key, now)?.failures ?? 0) + 1
      const wait = failures > free ? Math.min(firstWait * 2 ** (failures - free - 1), longestWait) : 0
      tries.delete(key)
      tries.set(key, { failures, until: now + wait, last: now })
      if (tries.size > capacity) tries.delete(tries.keys().next().value ?? '')
    },
    succeed: (key) => void tries.delete(key),
    takeBack(key) {
      const known = tries.get(key)
      if (known) tries.set(key, { ...known, failures: known.failures - 1, until: known.failures > free + 1 ? known.until : 0 })
    },
  }
}
