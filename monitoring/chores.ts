import type { Log } from './log'
import { asError } from './errors'

/** Runs `work` again and again, never twice at once; a failure is logged and tried again next time. */
export interface Chores {
  every(ms: number, name: string, work: () => Promise<unknown>): void
  /** Stops, and waits for what is running. */
  stop(): Promise<void>
}

export function startChores(log: Log): Chores {
  const timers = new Set<NodeJS.Timeout>()
  const running = new Set<Promise<unknown>>()
  let stopped = false
  return {
    every(ms, name, work) {
      function again(): void {
        const timer = setTimeout(() => {
          timers.delete(timer)
          const run = work()
            .catch((error: unknown) => {
              if (!stopped) log.error({ err: asError(error), chore: name }, 'a chore failed; it is tried again')
            })
            .finally(() => {
              running.delete(run)
              if (!stopped) again()
            })
          running.add(run)
        }, ms)
        timers.add(timer.unref())
      }
      again()
    },
    async stop() {
      stopped = true
      for (const timer of timers) clearTimeout(timer)
      await Promise.all(running)
    },
  }
}
