import { passes, type Trouble } from './trouble'

/** The attempts to start the console: when somebody asks, and every few seconds where it can help by itself. */
export interface Attempts {
  readonly trouble: Trouble
  /** When it is tried again by itself. */
  readonly nextAt: number | null
  /** Resolves when the console has started. */
  readonly over: Promise<void>
  begin(): void
  /** Tries now; true: the console has started. */
  make(): Promise<boolean>
  stop(): Promise<void>
}

export interface AttemptsOptions {
  readonly trouble: Trouble
  readonly now: () => number
  /** Tries to start the console. Null: it did. */
  readonly retry: () => Promise<Trouble | null>
  readonly everyMs: number
}

export function openAttempts({ trouble: first, now, retry, everyMs }: AttemptsOptions): Attempts {
  let trouble = first
  let nextAt: number | null = null
  let timer: NodeJS.Timeout | undefined
  let running: Promise<boolean> | null = null
  let stopped = false
  let tellOver: () => void = () => undefined
  const over = new Promise<void>((resolve) => (tellOver = resolve))

  function plan(): void {
    clearTimeout(timer)
    nextAt = passes(trouble) && !stopped ? now() + everyMs : null
    if (nextAt !== null) timer = setTimeout(() => void make(), everyMs)
  }

  async function attempt(): Promise<boolean> {
    const found = await retry()
    if (found === null) {
      clearTimeout(timer)
      tellOver()
      return true
    }
    trouble = found
    plan()
    return false
  }

  function make(): Promise<boolean> {
    if (stopped) return Promise.resolve(false)
    running ??= attempt().finally(() => (running = null))
    return running
  }

  return {
    get trouble() {
      return trouble
    },
    get nextAt() {
      return nextAt
    },
    over,
    begin: plan,
    make,
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
  }
}
