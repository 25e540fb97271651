import { statfsSync } from 'node:fs'
import { asError } from '../errors'
import { MigrationFailed, NewerSchema } from '../db/migrate'
import { NotOurDatabase } from '../db/inspect'

/** What keeps the console from starting, in words for whoever has to mend it. */
export interface Trouble {
  readonly kind: 'full' | 'denied' | 'locked' | 'damaged' | 'missing' | 'foreign' | 'newer' | 'migration' | 'unreachable'
  readonly title: string
  /** What it means. */
  readonly detail: string
  /** What to do, in this order. */
  readonly steps: readonly string[]
  /** As the system says it. */
  readonly cause: string
}

/** These pass without anybody doing something in the console: it looks again by itself. */
export const passes = ({ kind }: Trouble): boolean => ['full', 'denied', 'locked', 'unreachable'].includes(kind)

/** Another database in the place of this one could help. */
export const mayRestore = ({ kind }: Trouble): boolean => ['damaged', 'missing', 'foreign', 'newer', 'migration'].includes(kind)

type Words = Omit<Trouble, 'kind' | 'cause'>

const untouched = 'Nothing was changed.'

function words(kind: Trouble['kind'], dataDir: string): Words {
  const known: Readonly<Record<Trouble['kind'], Words>> = {
    full: {
      title: 'The disk is full',
      detail: `There is no room left in ${dataDir}, so nothing can be stored. What was acknowledged is there.`,
      steps: [
        'Free space with the steps below, or delete what you do not need elsewhere on the machine.',
        'The console starts by itself when there is room.',
      ],
    },
    denied: {
      title: 'The data folder cannot be written',
      detail: `The account of the console may not write into ${dataDir}, or the file system was mounted read-only, as Linux does after a disk error.`,
      steps: ['Look at the owner of the folder, and at “mount” and “dmesg”.', 'The console starts by itself when it may write.'],
    },
    locked: {
      title: 'Another program has locked the database',
      detail: 'It has had it for more than 5 s: a backup tool, an open sqlite3, or a second console. Nothing is damaged.',
      steps: [`Find it with “fuser -v” on the files in ${dataDir}, and end it.`, 'The console starts by itself when the database is free.'],
    },
    damaged: {
      title: 'The database is damaged',
      detail: `${untouched} The console does not start on it, because every write could make it worse.`,
      steps: [
        'Copy the data folder to another disk first.',
        'Put back a copy from below, or a backup of your own.',
        'The damaged file is kept beside it: sqlite3’s “.recover” may get more out of it.',
      ],
    },
    missing: {
      title: 'The database is gone',
      detail: `This console has worked in ${dataDir} before, and its database is not there or has no contents. No empty one was made in its place.`,
      steps: [
        'Was the folder moved, or a volume not mounted? Put it back and try again.',
        'Otherwise put back a copy from below, or a backup of your own.',
      ],
    },
    foreign: {
      title: 'This is not the console’s database',
      detail: `The file of that name in ${dataDir} belongs to another program. ${untouched}`,
      steps: ['Check DATA_DIR.', 'Otherwise put back a copy from below, or a backup of your own.'],
    },
    newer: {
      title: 'A newer version wrote this database',
      detail: `This version does not know how to read it. ${untouched}`,
      steps: [
        'Start the newer version again: that loses nothing.',
        'Or put back the copy that was made before the upgrade. What came after it is then in the file beside it only.',
      ],
    },
    migration: {
      title: 'The upgrade of the database failed',
      detail: 'It was undone whole: the database is as it was before.',
      steps: ['Start the version before: it works on this database as it is.', 'Or mend the cause that is named here, and try again.'],
    },
    unreachable: {
      title: 'The database server does not answer',
      detail: 'PostgreSQL cannot be reached or does not let the console in. Nothing is lost that was acknowledged.',
      steps: ['Look whether PostgreSQL runs, and at DATABASE_URL.', 'The console starts by itself when it answers.'],
    },
  }
  return known[kind]
}

/** What this error means for a start; null when it is none that a rescue could help with. */
export function troubleOf(thrown: unknown, { dataDir, databaseUrl }: { dataDir: string; databaseUrl: string | null }): Trouble | null {
  const chain = causesOf(thrown)
  const cause = (chain.find((error) => codeOf(error) !== '') ?? asError(thrown)).message
  const be = (kind: Trouble['kind'], said = cause): Trouble => ({ kind, ...words(kind, dataDir), cause: said })
  for (const error of chain) {
    if (error instanceof NewerSchema) return be('newer', error.message)
    if (error instanceof NotOurDatabase) return be(error.what === 'empty' ? 'missing' : error.what, error.message)
    const kind = kindOf(codeOf(error), dataDir, databaseUrl)
    if (kind) return be(kind)
  }
  const failed = chain.find((error) => error instanceof MigrationFailed)
  if (failed) return be('migration', failed.message)
  // A table or a column that has to be there is not.
  return chain.some((error) => codeOf(error).startsWith('SQLITE_')) ? be('damaged') : null
}

function causesOf(thrown: unknown): Error[] {
  const chain: Error[] = []
  for (let error: unknown = thrown; error instanceof Error && chain.length < 10; error = error.cause) chain.push(error)
  return chain
}

const codeOf = (error: Error): string => {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? code : ''
}

function kindOf(code: string, dataDir: string, databaseUrl: string | null): Trouble['kind'] | null {
  if (/^(?:ENOSPC|EDQUOT|SQLITE_FULL)$/.test(code)) return 'full'
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) return 'locked'
  if (/^SQLITE_(?:CORRUPT|NOTADB)/.test(code)) return 'damaged'
  // SQLite says these for many reasons, of which the file system knows which one it is.
  if (/^(?:EROFS|EACCES|EPERM|SQLITE_(?:CANTOPEN|IOERR|READONLY|PERM|AUTH))/.test(code)) return hasRoom(dataDir) ? 'denied' : 'full'
  if (databaseUrl !== null && /^(?:ECONN|EHOST|ENET|ENOTFOUND|EAI_|ETIMEDOUT|EPIPE|08|28|3D|53|57P)/.test(code)) return 'unreachable'
  return null
}

function hasRoom(dataDir: string): boolean {
  try {
    const { bavail, files, ffree } = statfsSync(dataDir)
    return bavail > 0 && (files === 0 || ffree > 0)
  } catch {
    return true
  }
}
