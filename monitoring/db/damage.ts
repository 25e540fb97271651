import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Unavailable } from '../errors'

/** Whether a page turned out to be damaged while the console runs. From then on nothing is written: every write could make it worse. */
export class Damage {
  #message: string | null = null

  constructor(private readonly tell: (message: string) => void) {}

  see(error: unknown): void {
    const { code, message } = error as { code?: unknown; message?: string }
    if (this.#message !== null || typeof code !== 'string' || !/^SQLITE_(?:CORRUPT|NOTADB)/.test(code)) return
    this.#message = message ?? code
    this.tell(this.#message)
  }

  refuseWrites(): void {
    if (this.#message !== null) throw this.unavailable()
  }

  unavailable(cause?: unknown): Unavailable {
    const message =
      'The database is damaged, so nothing is written into it any more. What can be read is shown. Start the console again: it looks at all of it, and offers what there is to put in its place.'
    return new Unavailable('The database', message, cause === undefined ? {} : { cause })
  }
}

const note = (dataDir: string): string => join(dataDir, 'damaged')

/** The next start looks at the whole file before it does anything with it. */
export function noteDamage(dataDir: string, message: string): void {
  try {
    writeFileSync(note(dataDir), message, { mode: 0o600 })
  } catch {
    // The log has it.
  }
}

export const damageIn = (dataDir: string): string | null => (existsSync(note(dataDir)) ? readFileSync(note(dataDir), 'utf8') : null)

export const forgetDamage = (dataDir: string): void => {
  rmSync(note(dataDir), { force: true })
}
