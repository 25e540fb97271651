import { closeSync, openSync, readSync } from 'node:fs'

const buffer = Buffer.allocUnsafe(64 * 1024)

/** A small file of /proc or /sys in one piece; null when it is gone, or not ours to read. */
export function small(path: string): string | null {
  try {
    const descriptor = openSync(path, 'r')
    try {
      return buffer.toString('utf8', 0, readSync(descriptor, buffer, 0, buffer.length, 0))
    } finally {
      closeSync(descriptor)
    }
  } catch {
    return null
  }
}

/** Requests of others have their turn between two pieces of work. */
export const othersFirst = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** What comes from other programs: no control characters, and of a length that people read. */
export const clean = (text: string, most: number): string => {
  const plain = text
    .slice(0, most * 2)
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
    .toWellFormed()
  return plain.length > most ? `${plain.slice(0, most - 1)}…` : plain
}
