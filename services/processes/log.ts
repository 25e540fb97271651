import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readdir, stat, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { cursorOf, placeOf } from '../../monitoring/cursor'
import { followKeys, hidden, maskText } from '../../monitoring/probes/mask'

export const streams = ['out', 'err'] as const
export type Stream = (typeof streams)[number]

/** What has happened to the file since the part before. */
export type Turn = 'rotated' | 'truncated' | 'replaced' | null

export interface LogPart {
  path: string | null
  state: 'ok' | 'missing' | 'refused' | 'none'
  /** Why there is nothing, in words. */
  hint: string | null
  lines: string[]
  /** What is written of the last line so far. */
  unfinished: string | null
  /** With this, the next part begins where this one ended. */
  next: string
  turn: Turn
  /** So many of the lines are from before that. */
  turn_at: number
  /** Bytes that were left out, because they came faster than they can be read. */
  left_out: number
  size: number | null
  changed_at: number | null
}

const mostBytes = 256 * 1024
const longestLine = 4000
const printBytes = 64

/** Which file (by its number), how far, and what stood before: a file that was emptied and written again has another past. */
const Place = z.tuple([z.string().regex(/^\d{1,40}:\d{1,40}$/), z.int().nonnegative(), z.string().max(20)])
const nowhere = '0:0'

type Place = z.output<typeof Place>

interface Opened {
  file: FileHandle
  id: string
  size: number
  changedAt: number
}

const idOf = ({ dev, ino }: { dev: bigint; ino: bigint }): string => `${dev}:${ino}`

/** null: it is not there. A pipe or a device is never opened for longer than it takes to see that it is one. */
async function openFile(path: string): Promise<Opened | 'refused' | 'special' | null> {
  let file: FileHandle
  try {
    if (!(await stat(path)).isFile()) return 'special'
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT' || code === 'ENOTDIR' ? null : 'refused'
  }
  const found = await file.stat({ bigint: true })
  if (found.isFile()) return { file, id: idOf(found), size: Number(found.size), changedAt: Number(found.mtimeMs) }
  await file.close()
  return 'special'
}

async function bytesAt(file: FileHandle, from: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(Math.max(0, length))
  let filled = 0
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, from + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return buffer.subarray(0, filled)
}

async function printOf(file: FileHandle, position: number): Promise<string> {
  const from = Math.max(0, position - printBytes)
  const before = await bytesAt(file, from, position - from)
  return createHash('sha1').update(before).digest('base64url').slice(0, 12)
}

/** Colours and other commands to a terminal; they come from programs, and a terminal is not here. */
// eslint-disable-next-line no-control-regex -- what they begin with
const commands = /\u001b(?:\[[0-?]{0,40}[ -/]{0,10}[@-~]|\][^\u0007\u001b]{0,500}(?:\u0007|\u001b\\)|[@-Z\\-_])/g

/** One line as it may be shown: nothing in it that acts, hides or is a secret. */
export function plainLine(bytes: Buffer): string {
  const cut = bytes.length > longestLine
  const raw = bytes.toString('utf8', 0, Math.min(bytes.length, longestLine)).replace(commands, '')
  // What a progress bar has overwritten is not what is left of it.
  const last =
    raw
      .replace(/\r+$/, '')
      .split('\r')
      .findLast((part) => part !== '') ?? ''
  const visible = last.replace(
    /[^\P{C}\t\u{d800}-\u{dfff}]|[\u2028\u2029]/gu,
    (letter) => `\\u{${(letter.codePointAt(0) ?? 0).toString(16)}}`,
  )
  return `${maskText(visible)}${cut ? `… (${bytes.length} bytes)` : ''}`
}

/** Private keys are longer than a line: what has begun is hidden until it ends. */
function plainLines(lines: readonly Buffer[], rest: Buffer, { before, most = Infinity }: { before: Buffer; most?: number }) {
  const isInside = followKeys()
  const text = (bytes: Buffer): string => bytes.toString('latin1', 0, longestLine)
  for (const line of linesBefore(before)) isInside(line)
  const inside = lines.map((line) => isInside(text(line)))
  const first = Math.max(0, lines.length - most)
  return {
    lines: lines.slice(first).map((line, index) => (inside[first + index] ? hidden : plainLine(line))),
    unfinished: rest.length === 0 ? null : isInside(text(rest)) ? hidden : plainLine(rest),
  }
}

/** As much as the largest key. */
const keyBytes = 8192
const linesBefore = (bytes: Buffer): string[] => bytes.toString('latin1').split('\n').slice(0, -1)
const beforePart = (file: FileHandle, from: number): Promise<Buffer> => {
  const start = Math.max(0, from - keyBytes)
  return bytesAt(file, start, from - start)
}

/** The whole lines of a piece, and what is left behind the last of them. A line without an end is broken where it gets too long. */
function linesOf(bytes: Buffer): { lines: Buffer[]; used: number; rest: Buffer } {
  const lines: Buffer[] = []
  let start = 0
  for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
    lines.push(bytes.subarray(start, end))
    start = end + 1
  }
  const rest = bytes.subarray(start)
  if (rest.length < 64 * 1024) return { lines, used: start, rest }
  lines.push(rest)
  return { lines, used: bytes.length, rest: Buffer.alloc(0) }
}

const nothing = { lines: [] as string[], unfinished: null, turn: null, turn_at: 0, left_out: 0, size: null, changed_at: null }

/** The file that a rotation has renamed: beside the old name, and beginning like it. */
async function findRenamed(path: string, id: string): Promise<string | null> {
  const folder = dirname(path)
  const name = basename(path)
  const stem = name.replace(/\.log$/, '')
  const names = await readdir(folder).catch(() => [])
  for (const one of names.filter((other) => other.startsWith(name) || other.startsWith(`${stem}__`)).slice(0, 500)) {
    const found = await stat(join(folder, one), { bigint: true }).catch(() => null)
    if (found?.isFile() && idOf(found) === id) return join(folder, one)
  }
  return null
}

/** The last lines of a log file, or with `after` what has come since: at most 256 kB, however large the file is or how fast it grows. */
export async function readLogFile(
  path: string,
  { after, most }: { after?: string | undefined; most: number },
): Promise<Omit<LogPart, 'path'>> {
  const before = after === undefined ? undefined : placeOf(Place, after)
  const opened = await openFile(path)
  if (opened === 'refused')
    return { ...nothing, state: 'refused', hint: 'The user of this console may not read it.', next: cursorOf([nowhere, 0, '']) }
  if (opened === 'special')
    return { ...nothing, state: 'none', hint: 'It is no file: what is written there is not kept.', next: cursorOf([nowhere, 0, '']) }
  try {
    const old = before && before[0] !== nowhere && before[0] !== opened?.id ? await restOfRenamed(path, before) : null
    if (!opened) {
      // Between the rename and the new file the program goes on writing into the old one.
      if (old) return { ...nothing, state: 'ok', hint: null, ...old.part, next: old.next }
      return { ...nothing, state: 'missing', hint: 'Nothing has been written yet.', next: cursorOf(before ?? [nowhere, 0, '']) }
    }
    const part = before === undefined ? await tail(opened, most) : await follow(opened, before, old !== null)
    const ended = [...(old?.part.lines ?? []), ...(old?.part.unfinished ? [old.part.unfinished] : [])]
    const lines = [...ended, ...part.lines]
    const left_out = part.left_out + (old?.part.left_out ?? 0)
    return {
      ...part,
      lines,
      turn_at: ended.length,
      left_out,
      state: 'ok',
      hint: null,
      size: opened.size,
      changed_at: Math.round(opened.changedAt),
    }
  } finally {
    if (opened) await opened.file.close()
  }
}

type Part = Pick<LogPart, 'lines' | 'unfinished' | 'next' | 'turn' | 'left_out'>

async function tail({ file, id, size }: Opened, most: number): Promise<Part> {
  const from = Math.max(0, size - mostBytes)
  const bytes = await bytesAt(file, from, size - from)
  const { lines, used, rest } = linesOf(bytes)
  // The first one is the end of a line.
  const whole = from > 0 && lines.length > 0 ? lines.slice(1) : lines
  const at = from + used
  return {
    ...plainLines(whole, rest, { before: await beforePart(file, from), most }),
    next: cursorOf([id, at, await printOf(file, at)]),
    ...{ turn: null, left_out: 0 },
  }
}

async function follow({ file, id, size }: Opened, [oldId, oldAt, print]: Place, renamed: boolean): Promise<Part> {
  let start = oldAt
  let turn: Turn = null
  if (oldId !== id) {
    start = 0
    turn = oldId === nowhere ? null : renamed ? 'rotated' : 'replaced'
  } else if (size < oldAt || (await printOf(file, oldAt)) !== print) {
    start = 0
    turn = 'truncated'
  }
  return { ...(await partFrom({ file, id, size }, start)), turn }
}

async function partFrom({ file, id, size }: Pick<Opened, 'file' | 'id' | 'size'>, start: number): Promise<Part> {
  const from = Math.max(start, size - mostBytes)
  const bytes = await bytesAt(file, from, size - from)
  const { lines, used, rest } = linesOf(bytes)
  const at = from + used
  const whole = from > start && lines.length > 0 ? lines.slice(1) : lines
  return {
    ...plainLines(whole, rest, { before: await beforePart(file, from) }),
    next: cursorOf([id, at, await printOf(file, at)]),
    ...{ turn: null, left_out: from - start },
  }
}

async function restOfRenamed(path: string, [id, at, print]: Place): Promise<{ part: Part; next: string } | null> {
  const renamed = await findRenamed(path, id)
  const opened = renamed === null ? null : await openFile(renamed)
  if (opened === null || typeof opened === 'string') return null
  try {
    if (opened.id !== id || opened.size < at || (await printOf(opened.file, at)) !== print) return null
    const part = await partFrom(opened, at)
    return { part, next: part.next }
  } finally {
    await opened.file.close()
  }
}
