import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'

setPriority(0, 10)

/** Pages per transaction: writers of the console wait for a few milliseconds at the most, without holding anything else up. */
const piece = 200
const mostPieces = 250
/** Everything takes as long as it takes, but for this. */
const mostMs = 90_000
/** Between two pieces, so that others come to write. */
const pause = 5

const { file, whole, checkpoint } = workerData as { file: string; whole: boolean; checkpoint: boolean }
const db = new Database(file, { timeout: 2000, fileMustExist: true })
const rest = new Int32Array(new SharedArrayBuffer(4))
const free = (): number => db.pragma('freelist_count', { simple: true }) as number

try {
  const before = free()
  const end = performance.now() + mostMs
  for (let left = before, pieces = 0; left > 0 && (whole || pieces < mostPieces) && performance.now() < end; pieces++) {
    db.pragma(`incremental_vacuum(${piece})`)
    const now = free()
    // A file that was made without incremental vacuum gives nothing back.
    if (now === left) break
    left = now
    Atomics.wait(rest, 0, 0, pause)
  }
  if (checkpoint) {
    // Nobody waits for the first, which does the work; the second has little left to do and cuts the file.
    db.pragma('wal_checkpoint(PASSIVE)')
    db.pragma('wal_checkpoint(TRUNCATE)')
  }
  parentPort?.postMessage(before - free())
} finally {
  db.close()
}
