/** Slows wrong tries down: after a few free ones, each further one has to wait twice as long. */
export interface Throttle {
  /** Milliseconds until the next try is allowed; 0 when it is now. */
  wait(key: string, now: number): number
  /** No wrong try of it is remembered. */
  isNew(key: string, now: number): boolean
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
    isNew: (key, now) => current(key, now) === undefined,
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

/** What many share: so many tries at once, and one more every so often. It is never shut for good. */
export interface Budget {
  /** Milliseconds until there is a try left; 0 when there is one now. */
  wait(key: string, now: number, isNew: boolean): number
  take(key: string, now: number): void
  giveBack(key: string): void
  /** Gives all of it back. */
  refill(key: string): void
}

export interface BudgetOptions {
  readonly most: number
  /** Of these, the last ones are for those who are new: who tries again and again does not use them up. */
  readonly forNew: number
  /** After this long, one that was taken is there again. */
  readonly every: number
}

export function budget({ most, forNew, every }: BudgetOptions): Budget {
  const budgets = new Map<string, { left: number; at: number }>()
  const leftOf = (key: string, now: number): number => {
    const known = budgets.get(key)
    // A clock that was set back: what was taken then says nothing about now.
    return !known || now < known.at ? most : Math.min(most, known.left + (now - known.at) / every)
  }
  return {
    wait: (key, now, isNew) => Math.max(0, (isNew ? 1 : 1 + forNew) - leftOf(key, now)) * every,
    take(key, now) {
      const left = leftOf(key, now) - 1
      budgets.delete(key)
      budgets.set(key, { left, at: now })
      if (budgets.size > capacity) budgets.delete(budgets.keys().next().value ?? '')
    },
    giveBack(key) {
      const known = budgets.get(key)
      if (known) budgets.set(key, { ...known, left: known.left + 1 })
    },
    refill: (key) => void budgets.delete(key),
  }
}
