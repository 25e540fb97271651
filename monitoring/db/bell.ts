import { Client } from 'pg'
import type { Log } from '../log'

/** Says that there is something new in `changes`, without saying what: the table is the truth. */
export interface Bell {
  /** Called after a commit in this process. */
  ring(): void
  /** Returns how to stop listening. */
  onRing(listener: () => void): () => void
  close(): void
}

const pollMs = 500

function localBell(): Bell & { listeners: Set<() => void> } {
  const listeners = new Set<() => void>()
  return {
    listeners,
    ring: () => {
      for (const listener of listeners) listener()
    },
    onRing(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close: () => {
      listeners.clear()
    },
  }
}

/** Other processes on the same file are noticed by SQLite's own change counter, twice a second. */
export function sqliteBell(dataVersion: () => unknown): Bell {
  const bell = localBell()
  let seen = dataVersion()
  const timer = setInterval(() => {
    try {
      const version = dataVersion()
      if (version === seen) return
      seen = version
    } catch {
      // Locked for a moment, or a broken disk: whoever reads next finds out, and says so.
      return
    }
    bell.ring()
  }, pollMs).unref()
  return {
    ...bell,
    close() {
      clearInterval(timer)
      bell.close()
    },
  }
}

/** Other processes ring by NOTIFY in their transaction. A listener that is lost polls until it is back. */
export async function postgresBell(connectionString: string, log: Log): Promise<Bell> {
  const bell = localBell()
  let client: Client | undefined
  let connecting = false
  let closed = false

  async function listen(): Promise<void> {
    connecting = true
    const next = new Client({ connectionString, keepAlive: true, connectionTimeoutMillis: 5000 })
    const lost = () => {
      if (closed || client !== next) return
      client = undefined
      log.warn('lost the connection that listens for changes; looking twice a second until it is back')
    }
    next.on('notification', () => bell.ring())
    next.on('error', lost)
    next.on('end', lost)
    try {
      await next.connect()
      await next.query('listen changes')
    } catch (error) {
      void next.end().catch(() => undefined)
      throw error
    } finally {
      connecting = false
    }
    if (closed) void next.end().catch(() => undefined)
    else client = next
    // What was committed between losing the old connection and listening again.
    bell.ring()
  }

  await listen()
  let ticks = 0
  const timer = setInterval(() => {
    ticks += 1
    if (!client && !connecting) listen().catch(() => undefined)
    // Once in five seconds in any case: a connection that the network forgot looks open, and hears nothing.
    if (!client || ticks % 10 === 0) bell.ring()
  }, pollMs).unref()

  return {
    ...bell,
    close() {
      closed = true
      clearInterval(timer)
      bell.close()
      void client?.end().catch(() => undefined)
    },
  }
}
