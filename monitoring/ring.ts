import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** What happened, in a line: an event, or what the console itself had to say. */
export interface RingEntry {
  readonly at: number
  readonly severity: string
  /** Whose words these are: the source of an event, or `console`. */
  readonly source: string
  readonly text: string
}

export interface Ring {
  add(entry: RingEntry): void
  close(): void
}

const slotBytes = 512
const slots = 1024
const longest = 300

export const ringFile = (dataDir: string): string => join(dataDir, 'last-events')

/**
 * Opens the file of the last events: a thousand places of the same size that are written in turn. All of it takes its space
 * at once, so that a full disk does not keep it from being written, and nothing in it is needed to open the database. Where
 * it cannot be had, the console runs without it.
 */
export function openRing(dataDir: string): Ring {
  let file: number | null = null
  let next = 0
  try {
    const known = readSlots(dataDir)
    next = known.length === 0 ? 0 : Math.max(...known.map(({ no }) => no)) + 1
    file = openFile(ringFile(dataDir))
  } catch {
    file = null
  }
  return {
    add({ at, severity, source, text }) {
      if (file === null) return
      const line = fit({ no: next, at, severity, source: source.slice(0, 60), text: text.slice(0, longest) })
      try {
        writeSync(file, line, 0, slotBytes, (next % slots) * slotBytes)
        next += 1
      } catch {
        // Only what is shown when nothing else can be is lost.
      }
    },
    close() {
      if (file !== null) closeSync(file)
      file = null
    },
  }
}

function openFile(path: string): number {
  let file: number
  try {
    file = openSync(path, 'r+')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    file = openSync(path, 'wx+', 0o600)
  }
  try {
    const missing = slots * slotBytes - fstatSync(file).size
    // Written, not only lengthened: a hole takes no space, and needs it when it is filled.
    if (missing > 0) writeSync(file, Buffer.alloc(missing, 0x20), 0, missing, slots * slotBytes - missing)
    else if (missing < 0) ftruncateSync(file, slots * slotBytes)
  } catch {
    // A part of it is better than nothing: what cannot be written is left out.
  }
  return file
}

/** A line of exactly one place. Text of many bytes is shortened until it fits. */
function fit(entry: Slot): Buffer {
  let { text } = entry
  for (;;) {
    const line = Buffer.from(JSON.stringify({ ...entry, text }))
    if (line.length < slotBytes) return Buffer.concat([line, Buffer.alloc(slotBytes - 1 - line.length, 0x20), Buffer.from('\n')])
    text = text.slice(0, Math.floor(text.length / 2))
  }
}

interface Slot extends RingEntry {
  readonly no: number
}

function readSlots(dataDir: string): Slot[] {
  let text: string
  try {
    text = readWhole(ringFile(dataDir))
  } catch {
    return []
  }
  return text.split('\n').flatMap((line) => {
    // One that was cut off by a power loss is no line of ours any more.
    const slot = parse(line.trim())
    return slot ? [slot] : []
  })
}

function readWhole(path: string): string {
  const file = openSync(path, 'r')
  try {
    const buffer = Buffer.alloc(Math.min(fstatSync(file).size, slots * slotBytes))
    return buffer.toString('utf8', 0, readSync(file, buffer, 0, buffer.length, 0))
  } finally {
    closeSync(file)
  }
}

function parse(line: string): Slot | null {
  if (!line.startsWith('{')) return null
  try {
    const { no, at, severity, source, text } = JSON.parse(line) as Partial<Slot>
    return typeof no === 'number' &&
      typeof at === 'number' &&
      typeof severity === 'string' &&
      typeof source === 'string' &&
      typeof text === 'string'
      ? { no, at, severity, source, text }
      : null
  } catch {
    return null
  }
}

/** What was written last, the newest first. Nothing of it has to be whole. */
export const readRing = (dataDir: string, count: number): RingEntry[] =>
  readSlots(dataDir)
    .sort((a, b) => b.no - a.no)
    .slice(0, count)
    .map(({ at, severity, source, text }) => ({ at, severity, source, text }))
