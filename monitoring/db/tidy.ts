import { statSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { inProject } from '../paths'
import type { Store } from './open'

export interface Tidied {
  /** Given back to the disk. */
  readonly pages: number
  /** How long the write-ahead log was before and is now, in bytes; null: it was short, and left alone. */
  readonly log: { readonly before: number; readonly after: number } | null
}

/** From here on the write-ahead log is emptied: with a reader that never rests it would otherwise grow for ever. */
export const longLog = 16 * 1024 * 1024

const patienceMs = 120_000

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0

/** One after the other: two threads at once would only wait for each other. */
const lines = new WeakMap<Store, Promise<unknown>>()

/**
 * Gives free pages back to the disk and shortens a long write-ahead log; PostgreSQL does both by itself. In a thread and on a
 * connection of its own: both take as long as the disk takes. `whole`: all pages, and a short log too.
 */
export function tidy(store: Store, { whole = false } = {}): Promise<Tidied | null> {
  const { file } = store
  if (file === null) return Promise.resolve(null)
  const next = async () => {
    const tidied = await tidyFile(file, whole)
    // What this connection was asked is what it optimizes for; in the middle of somebody's transaction it would be part of that.
    if (!whole && store.sqlite?.open && !store.sqlite.inTransaction) store.sqlite.pragma('optimize')
    return tidied
  }
  const turn = (lines.get(store) ?? Promise.resolve()).then(next, next)
  lines.set(store, turn)
  return turn
}

async function tidyFile(file: string, whole: boolean): Promise<Tidied> {
  const wal = `${file}-wal`
  const before = sizeOf(wal)
  const checkpoint = whole || before > longLog
  const pages = await inWorker({ file, whole, checkpoint })
  return { pages, log: checkpoint ? { before, after: sizeOf(wal) } : null }
}

function inWorker(task: { file: string; whole: boolean; checkpoint: boolean }): Promise<number> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(inProject('dist', 'monitoring', 'db', 'tidy-worker.js'), { workerData: task })
    worker.unref()
    const timer = setTimeout(() => {
      void worker.terminate()
      reject(new Error('the database could not be tidied within two minutes'))
    }, patienceMs).unref()
    const done = (settle: () => void) => {
      clearTimeout(timer)
      settle()
    }
    worker.once('message', (pages: number) => {
      done(() => {
        resolve(pages)
      })
    })
    worker.once('error', (error) => {
      done(() => {
        reject(error)
      })
    })
  })
}
