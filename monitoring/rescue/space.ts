import { randomBytes } from 'node:crypto'
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { copiesIn, namesIn } from '../db/inspect'
import { checkpoint, daysKept, dropOld, leftovers, logBytes, measureOld, type OldRows } from '../db/repair'
import { bytes, plural } from '../markup'
import type { Trouble } from './trouble'

export interface Space {
  readonly total: number
  readonly free: number
  /** Files and folders that can still be made; null where the file system does not count them. */
  readonly inodes: number | null
  /** What stands in the data folder, the largest first. */
  readonly files: readonly { readonly name: string; readonly bytes: number }[]
}

export function spaceOf(dataDir: string): Space | null {
  try {
    const { bsize, blocks, bavail, files, ffree } = statfsSync(dataDir)
    const own = namesIn(dataDir)
      .flatMap((name) => {
        const found = statSync(join(dataDir, name), { throwIfNoEntry: false })
        return found?.isFile() ? [{ name, bytes: found.size }] : []
      })
      .sort((a, b) => b.bytes - a.bytes)
    return { total: bsize * blocks, free: bsize * bavail, inodes: files === 0 ? null : ffree, files: own.slice(0, 12) }
  } catch {
    return null
  }
}

// ---- A reserve, so that there is room to tidy up in when there is none for anything else

const reserveBytes = 8 * 1024 * 1024
const reserveFile = (dataDir: string): string => join(dataDir, 'reserve')

/** Keeps some space for the day on which the disk is full; only where it is a small part of what is free. */
export async function keepReserve(dataDir: string): Promise<void> {
  const { bsize, bavail } = statfsSync(dataDir)
  if (statSync(reserveFile(dataDir), { throwIfNoEntry: false })?.size === reserveBytes || bsize * bavail < 20 * reserveBytes) return
  // Random, because a file system that compresses would give nothing back for zeros.
  await writeFile(reserveFile(dataDir), randomBytes(reserveBytes), { mode: 0o600 })
}

// ---- Steps, the cheapest first

export interface Step {
  readonly id: string
  readonly title: string
  readonly detail: string
  /** About what it frees. */
  readonly bytes: number
  readonly consequences: readonly string[]
  readonly button: string
  readonly run: () => Promise<number> | number
}

export interface StepsOf {
  readonly dataDir: string
  /** Where PM2 writes what the console prints. */
  readonly logs: readonly string[]
  readonly trouble: Trouble
  readonly now: number
}

/** What can be let go here, each with what it frees. */
export function stepsOf({ dataDir, logs, trouble, now }: StepsOf): Step[] {
  const [newest, ...older] = copiesIn(dataDir)
  const needed = trouble.kind !== 'full'
  const steps = [
    files('reserve', [reserveFile(dataDir)], {
      title: 'Release the reserve',
      detail: 'The console keeps it for this day.',
      consequences: ['The other steps have room to work in.', 'It is made again when there is room.'],
      button: 'Release the reserve',
    }),
    files('leftovers', leftovers(dataDir), {
      title: 'Delete unfinished copies',
      detail: 'A copy that was interrupted left them behind.',
      consequences: ['Nothing needs them.'],
      button: 'Delete unfinished copies',
    }),
    ...(needed
      ? []
      : [
          logStep(dataDir),
          files(
            'copies',
            older.map(({ file }) => file),
            {
              title: `Delete ${plural(older.length, 'older copy', 'older copies')}`,
              detail: 'From before upgrades; the newest one stays.',
              consequences: ['You cannot go back to these versions any more.', `${newest?.name ?? ''} stays.`],
              button: 'Delete the older copies',
            },
          ),
        ]),
    ownLogs(logs),
    ...(needed ? [] : [rowsStep(dataDir, 'snapshots', now), rowsStep(dataDir, 'events', now)]),
    ...(needed || !newest
      ? []
      : [
          files('copy', [newest.file], {
            title: 'Delete the newest copy',
            detail: 'The database as it was before the last upgrade.',
            consequences: ['If this version turns out to be wrong, there is no way back to the one before.'],
            button: 'Delete the newest copy',
          }),
        ]),
  ]
  return steps.filter((step) => step.bytes > 0)
}

type Words = Pick<Step, 'title' | 'detail' | 'consequences' | 'button'>

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0

function files(id: string, paths: readonly string[], words: Words): Step {
  const size = paths.reduce((sum, path) => sum + sizeOf(path), 0)
  return {
    ...{ id, ...words, bytes: size },
    run() {
      for (const path of paths) rmSync(path, { force: true })
      return size
    },
  }
}

const logStep = (dataDir: string): Step => ({
  id: 'log',
  title: 'Write the log into the database',
  detail: 'What is committed waits in the write-ahead log; written into its place, the log’s space is free.',
  bytes: logBytes(dataDir),
  consequences: ['Nothing is lost.', 'On a disk without any room it can fail, and then nothing has changed.'],
  button: 'Write it into the database',
  run: () => checkpoint(dataDir),
})

function rowsStep(dataDir: string, table: OldRows, now: number): Step {
  const { rows, bytes } = measureOld(dataDir, table, now)
  const [one, many] = table === 'events' ? ['event', 'events'] : ['snapshot', 'snapshots']
  return {
    id: table,
    title: `Delete ${many} older than ${daysKept(table)} days`,
    detail: `${plural(rows, one, many)}, measured by what the table takes.`,
    bytes,
    consequences: [`${plural(rows, one, many)} will be gone.`, 'Needs a little room to work in: release the reserve first.'],
    button: `Delete these ${many}`,
    run: () => dropOld(dataDir, table, now),
  }
}

const tailBytes = 64 * 1024

function ownLogs(paths: readonly string[]): Step {
  const size = paths.reduce((sum, path) => sum + Math.max(0, sizeOf(path) - tailBytes), 0)
  return {
    id: 'own-logs',
    title: 'Shorten the console’s own log files',
    detail: paths.map((path) => basename(path)).join(', '),
    bytes: size,
    consequences: [`All but the last ${bytes(tailBytes)} of each is gone.`],
    button: 'Shorten them',
    run() {
      for (const path of paths) shorten(path)
      return size
    },
  }
}

/** In place: PM2 holds the file open, and goes on writing at its end. */
function shorten(path: string): void {
  const file = openSync(path, 'r+')
  try {
    const { size } = fstatSync(file)
    if (size <= tailBytes) return
    const tail = Buffer.alloc(tailBytes)
    const read = readSync(file, tail, 0, tailBytes, size - tailBytes)
    ftruncateSync(file, 0)
    writeSync(file, tail, tail.indexOf('\n') + 1, read - tail.indexOf('\n') - 1, 0)
  } finally {
    closeSync(file)
  }
}
