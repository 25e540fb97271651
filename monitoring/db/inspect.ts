import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { damageIn, forgetDamage } from './damage'
import { migrations } from './migrate'
import { sqliteFile } from './open'
import { sqliteCode } from './sqlite'

/** Where an installation was, its database is not there, holds nothing, or holds something else. */
export class NotOurDatabase extends Error {
  constructor(
    readonly what: 'missing' | 'empty' | 'foreign' | 'damaged',
    message: string,
  ) {
    super(message)
    this.name = 'NotOurDatabase'
  }
}

const startNote = 'first-start'

/** Whether a console has run in this folder before. Asked before anything is made in it. */
export function hasInstallation(dataDir: string): boolean {
  if (existsSync(join(dataDir, startNote))) return false
  return ['server-secret', 'session-secret', 'last-events'].some((name) => existsSync(join(dataDir, name))) || copiesIn(dataDir).length > 0
}

/** A first start that is interrupted may be begun again; without this, what it left would be taken for an installation. */
export const noteFirstStart = (dataDir: string): void => {
  writeFileSync(join(dataDir, startNote), '', { mode: 0o600 })
}

export const forgetFirstStart = (dataDir: string): void => {
  rmSync(join(dataDir, startNote), { force: true })
}

/** Looks at SQLite's file without changing it, and throws when a console must not start on it. `installed`: see above. */
export function inspectDatabase(dataDir: string, { installed, patience }: { installed: boolean; patience: number }): void {
  const file = sqliteFile(dataDir)
  const found = statSync(file, { throwIfNoEntry: false })
  if (!found) {
    if (installed) throw new NotOurDatabase('missing', `There is no database in ${dataDir}, where this console has worked before.`)
    return
  }
  // SQLite deletes the write-ahead log beside a file of no bytes, so it is not even asked about one.
  if (found.size === 0) {
    if (installed) throw new NotOurDatabase('empty', `The database file ${file} has no contents.`)
    return
  }
  const db = new Database(file, { readonly: true, timeout: patience })
  try {
    look(db)
  } catch (error) {
    // What SQLite calls an error of ours is a file that it cannot make sense of: nothing else was asked of it.
    if (sqliteCode(error) === 'SQLITE_ERROR') throw new NotOurDatabase('damaged', `${file}: ${(error as Error).message}`)
    throw error
  } finally {
    db.close()
  }

  function look(db: Database.Database): void {
    const tables = db.prepare(`select name from sqlite_master where type = 'table' and name not like 'sqlite_%'`).pluck().all()
    if (tables.length === 0) {
      if (installed) throw new NotOurDatabase('empty', `The database file ${file} has no tables.`)
    } else if (!tables.includes('migrations'))
      throw new NotOurDatabase('foreign', `The database file ${file} was not made by Operations Center.`)
    if (damageIn(dataDir) !== null) {
      const verdict = db.pragma('quick_check(3)') as { quick_check: string }[]
      if (verdict[0]?.quick_check !== 'ok')
        throw new NotOurDatabase(
          'damaged',
          `The database file ${file} is damaged: ${verdict.map((line) => line.quick_check).join('; ')}`.slice(0, 400),
        )
      forgetDamage(dataDir)
    }
  }
}

/** A copy of the database, as it was made before an upgrade. */
export interface Copy {
  /** Its file's name, which is how a page asks for it. */
  readonly name: string
  readonly file: string
  readonly at: number
  readonly bytes: number
}

/** The newest first. */
export function copiesIn(dataDir: string): Copy[] {
  const file = sqliteFile(dataDir)
  return namesIn(dirname(file))
    .filter((name) => name.startsWith(`${basename(file)}.before-`) && !name.endsWith('.part'))
    .flatMap((name) => {
      const found = statSync(join(dirname(file), name), { throwIfNoEntry: false })
      return found?.isFile() ? [{ name, file: join(dirname(file), name), at: found.mtimeMs, bytes: found.size }] : []
    })
    .sort((a, b) => b.at - a.at || (a.name < b.name ? 1 : -1))
}

export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

export type Verdict =
  | { readonly ok: true; readonly schema: string; readonly rows: Readonly<Record<string, number>>; readonly newest: number | null }
  | { readonly ok: false; readonly why: string }

const counted = ['users', 'organisations', 'events'] as const

/** Reads all of a copy: whether every page of it is sound, whether it is one of ours, and what is in it. */
export function verifyCopy(file: string): Verdict {
  let db: Database.Database | undefined
  try {
    const opened = new Database(file, { readonly: true, fileMustExist: true })
    db = opened
    const sound = db.pragma('integrity_check(1)', { simple: true })
    if (sound !== 'ok') return { ok: false, why: `it is damaged (${String(sound)})` }
    const tables = db.prepare(`select name from sqlite_master where type = 'table'`).pluck().all()
    const missing = ['migrations', ...counted].filter((table) => !tables.includes(table))
    if (missing.length > 0) return { ok: false, why: `it has no table ${missing.join(', ')}` }
    const done = db.prepare('select name from migrations order by name').pluck().all() as string[]
    const unknown = done.filter((name) => !migrations.some((one) => one.name === name))
    if (unknown.length > 0) return { ok: false, why: `a newer version wrote it (${unknown.join(', ')})` }
    const count = (table: string) => opened.prepare(`select count(*) from ${table}`).pluck().get() as number
    const rows = Object.fromEntries(counted.map((table) => [table, count(table)]))
    const newest = db.prepare('select max(received_at) from events').pluck().get() as number | null
    return { ok: true, schema: done.at(-1) ?? 'none', rows, newest }
  } catch (error) {
    return { ok: false, why: sqliteCode(error) === 'SQLITE_NOTADB' ? 'it is no database' : (error as Error).message }
  } finally {
    db?.close()
  }
}
