import { createHash } from 'node:crypto'
import bcrypt from 'bcrypt'

export const minimumLength = 10
const cost = 12

/** At most two at once: each holds a thread that files and name look-ups need too, for a sixth of a second. */
const atOnce = 2
let running = 0
const waiting: (() => void)[] = []

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= atOnce) await new Promise<void>((resolve) => waiting.push(resolve))
  else running++
  try {
    return await work()
  } finally {
    const next = waiting.shift()
    if (next) next()
    else running--
  }
}

/** How many wait for a turn. */
export const waitingTurns = (): number => waiting.length

/** bcrypt reads 72 bytes and stops at a NUL: a digest makes every byte of a long password count. */
const digest = (password: string): string => createHash('sha384').update(password.normalize('NFC')).digest('base64')

export const hashPassword = (password: string): Promise<string> => inTurn(() => bcrypt.hash(digest(password), cost))

export const matchesPassword = (password: string, hash: string): Promise<boolean> => inTurn(() => bcrypt.compare(digest(password), hash))

/** Compared when there is no such account, so that the answer takes as long. It is a hash of random bytes of that cost. */
export const nobodysHash = '$2b$12$C6UzMDM.H6dfI/f/IKcEeO7ZBnHyDdrTVXrBkPWGpPTq8CgDFz1pa'
