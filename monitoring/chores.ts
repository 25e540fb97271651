import type { Log } from './log'
import { asError } from './errors'

/** What a chore did last. */
export interface ChoreState {
  readonly name: string
  readonly everyMs: number
  /** null: not yet. */
  readonly endedAt: number | null
  readonly tookMs: number | null
  readonly runs: number
  readonly failures: number
  readonly failedAt: number | null
  readonly failure: string | null
  readonly running: boolean
}

/** Runs `work` again and again, never twice at once; a failure is logged and tried again next time. */
export interface Chores {
  every(ms: number, name: string, work: () => Promise<unknown>): void
  list(): ChoreState[]
  /** Stops, and waits for what is running. */
  stop(): Promise<void>
}

export function startChores(log: Log, now: () => number): Chores {
  const timers = new Set<NodeJS.Timeout>()
  const running = new Set<Promise<unknown>>()
  const states = new Map<string, ChoreState>()
  let stopped = false

  async function once(name: string, work: () => Promise<unknown>, everyMs: number): Promise<void> {
    const before = states.get(name) ?? { name, everyMs, endedAt: null, tookMs: null, runs: 0, failures: 0, failedAt: null, failure: null }
    states.set(name, { ...before, running: true })
    const from = performance.now()
    let failed = {}
    try {
      await work()
    } catch (error) {
      failed = { failures: before.failures + 1, failedAt: now(), failure: asError(error).message }
      if (!stopped) log.error({ err: asError(error), chore: name }, 'a chore failed; it is tried again')
    }
    const ended = { endedAt: now(), tookMs: performance.now() - from, runs: before.runs + 1, running: false }
    states.set(name, { ...before, ...ended, ...failed })
  }

  return {
    every(ms, name, work) {
      states.set(name, {
        ...{ name, everyMs: ms, endedAt: null, tookMs: null, runs: 0 },
        ...{ failures: 0, failedAt: null, failure: null, running: false },
      })
      function again(): void {
        const timer = setTimeout(() => {
          timers.delete(timer)
          const run = once(name, work, ms).finally(() => {
            running.delete(run)
            if (!stopped) again()
          })
          running.add(run)
        }, ms)
        timers.add(timer.unref())
      }
      again()
    },
    list: () => [...states.values()],
    async stop() {
      stopped = true
      for (const timer of timers) clearTimeout(timer)
      await Promise.all(running)
    },
  }
}
