import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { sqliteCode } from './sqlite'

/** Which process of PM2 this is; during a reload the old and the new one are the same. */
export interface Pm2Place {
  readonly daemon: number
  readonly id: string
}

const retryMs = 500

/**
 * Makes sure that one console alone writes into a data folder: two would measure the machine twice. The lock is one of the
 * operating system's, so it ends with the process however that ends. The two of a PM2 reload share the folder for a moment,
 * and the new one has it when the old one has left. Returns how to give it back.
 */
export function holdDataDir(dataDir: string, pid: number, place: Pm2Place | null): () => void {
  const note = join(dataDir, 'console.json')
  const lock = new Database(join(dataDir, 'console.lock'), { timeout: 0 })
  chmodSync(join(dataDir, 'console.lock'), 0o600)
  const take = (): boolean => {
    try {
      lock.exec('begin exclusive')
    } catch (error) {
      if (sqliteCode(error) === 'SQLITE_BUSY') return false
      throw error
    }
    try {
      writeFileSync(note, JSON.stringify({ pid, place }), { mode: 0o600 })
    } catch {
      // On a full disk: the lock holds all the same, and who has it is not known by name.
    }
    return true
  }
  let waiting: NodeJS.Timeout | undefined
  if (!take()) {
    const holder = readNote(note)
    if (!place || holder.place?.daemon !== place.daemon || holder.place.id !== place.id) {
      lock.close()
      throw new Error(
        `another console${holder.pid === undefined ? '' : ` (process ${holder.pid})`} already works in ${dataDir}. Stop it, or set DATA_DIR to another folder.`,
      )
    }
    waiting = setInterval(() => {
      if (take()) clearInterval(waiting)
    }, retryMs).unref()
  }
  return () => {
    clearInterval(waiting)
    lock.close()
  }
}

function readNote(file: string): { pid?: number; place?: Pm2Place | null } {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { pid?: number; place?: Pm2Place | null }
  } catch {
    return {}
  }
}
