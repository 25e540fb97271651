import { closeSync, constants, copyFileSync, existsSync, fsyncSync, openSync, chmodSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { forgetDamage } from './damage'
import { copiesIn, forgetFirstStart, namesIn, noteFirstStart, verifyCopy, type Copy } from './inspect'
import { sqliteFile } from './open'

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0

export const logBytes = (dataDir: string): number => sizeOf(`${sqliteFile(dataDir)}-wal`)

function withDatabase<T>(dataDir: string, readonly: boolean, work: (db: Database.Database) => T): T {
  const db = new Database(sqliteFile(dataDir), { fileMustExist: true, readonly, timeout: 1000 })
  try {
    return work(db)
  } finally {
    db.close()
  }
}

/** Writes what waits in the write-ahead log into the database and gives the log's space back. Answers the bytes. */
export function checkpoint(dataDir: string): number {
  const before = logBytes(dataDir)
  withDatabase(dataDir, false, (db) => {
    const [answer] = db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[]
    if (answer?.busy) throw new Error('another program is reading the database')
  })
  return before - logBytes(dataDir)
}

/** Tables of which the oldest rows may be let go, and when a row was written. */
const oldRows = {
  events: { column: 'received_at', days: 30 },
  snapshots: { column: 'at', days: 7 },
} as const
export type OldRows = keyof typeof oldRows
export const daysKept = (table: OldRows): number => oldRows[table].days

/** How many rows are old, and about how much they take. */
export function measureOld(dataDir: string, table: OldRows, now: number): { rows: number; bytes: number } {
  try {
    return withDatabase(dataDir, true, (db) => {
      const { column, days } = oldRows[table]
      const of = (where: string, ...given: number[]) =>
        db
          .prepare(`select count(*) from ${table} ${where}`)
          .pluck()
          .get(...given) as number
      const rows = of(`where ${column} < ?`, now - days * 86_400_000)
      if (rows === 0) return { rows, bytes: 0 }
      // With its indexes. Counting pages reads them all, so that only this table's are read.
      const pages = db
        .prepare(`select sum(pgsize) from dbstat where aggregate = 1 and name in (select name from sqlite_master where tbl_name = ?)`)
        .pluck()
        .get(table) as number | null
      return { rows, bytes: Math.round(((pages ?? 0) * rows) / of('')) }
    })
  } catch {
    return { rows: 0, bytes: 0 }
  }
}

const piece = 500
const breath = () => new Promise((resolve) => setImmediate(resolve))

/** Lets the old rows go in pieces, and gives their pages back to the disk. Answers the bytes. */
export async function dropOld(dataDir: string, table: OldRows, now: number): Promise<number> {
  const file = sqliteFile(dataDir)
  const before = sizeOf(file) + logBytes(dataDir)
  const { column, days } = oldRows[table]
  const db = new Database(file, { fileMustExist: true, timeout: 1000 })
  try {
    db.pragma('foreign_keys = ON')
    const some = db.prepare(
      `delete from ${table} where rowid in (select rowid from ${table} where ${column} < ? order by ${column} limit ${piece})`,
    )
    while (some.run(now - days * 86_400_000).changes === piece) {
      db.pragma('incremental_vacuum')
      // After each piece, so that the log does not grow on a disk that has no room for it.
      db.pragma('wal_checkpoint(TRUNCATE)')
      await breath()
    }
    db.pragma('incremental_vacuum')
    db.pragma('wal_checkpoint(TRUNCATE)')
  } finally {
    db.close()
  }
  return before - sizeOf(file) - logBytes(dataDir)
}

/** What an interrupted copy or restore left behind. */
export const leftovers = (dataDir: string): string[] =>
  namesIn(dataDir)
    .filter((name) => name.startsWith(basename(sqliteFile(dataDir))) && /\.(?:part|restoring)$/.test(name))
    .map((name) => join(dataDir, name))

export function copyNamed(dataDir: string, name: string): Copy | undefined {
  return copiesIn(dataDir).find((copy) => copy.name === name)
}

/**
 * Puts a copy in the place of the database. What is there now is renamed, never deleted, with its log: a log beside a database
 * that it does not belong to would be written into it. Killed at any point, there is the old database, or none, or the copy.
 * Answers what the old one is called now.
 */
export function restoreCopy(dataDir: string, copy: Copy, now: number): string | null {
  const file = sqliteFile(dataDir)
  const part = `${file}.restoring`
  try {
    rmSync(part, { force: true })
    copyFileSync(copy.file, part, constants.COPYFILE_FICLONE)
    chmodSync(part, 0o600)
    sync(part)
    // What was read before is not what has been written now.
    const verdict = verifyCopy(part)
    if (!verdict.ok) throw new Error(verdict.why)
  } catch (error) {
    for (const ending of ['', '-wal', '-shm', '-journal']) rmSync(part + ending, { force: true })
    throw error
  }
  const aside = putAside(dataDir, now)
  renameSync(part, file)
  sync(dirname(file))
  return aside
}

/** Leaves no database behind, so that the next start makes an empty one. */
export function beginAnew(dataDir: string, now: number): string | null {
  const aside = putAside(dataDir, now)
  noteFirstStart(dataDir)
  return aside
}

function putAside(dataDir: string, now: number): string | null {
  const file = sqliteFile(dataDir)
  const aside = `${file}.aside-${new Date(now).toISOString().replace(/[:.]/g, '-')}`
  // The database first: without it, nothing is written into, and the next start says that it is missing.
  const there = existsSync(file)
  for (const ending of ['', '-wal', '-shm', '-journal']) if (existsSync(file + ending)) renameSync(file + ending, aside + ending)
  forgetDamage(dataDir)
  forgetFirstStart(dataDir)
  sync(dataDir)
  return there ? aside : null
}

function sync(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
