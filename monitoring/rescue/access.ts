import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Who may do something in rescue mode: whoever can read the log of the server, or its data folder. */
export interface Access {
  /** The token of the link that is good now. */
  readonly token: string
  isToken(given: string): boolean
  /** Uses the link up: answers the id of a session, and there is a new link. */
  enter(given: string): string | null
  isSession(id: string | undefined): boolean
  end(): void
}

export const rescueTokenFile = (dataDir: string): string => join(dataDir, 'rescue-token')

const longest = 8 * 3_600_000

/** `salt`: different for each start, so that a link which was used is not good again after the next. */
export function openAccess(dataDir: string, { salt, now }: { salt: string; now: () => number }): Access {
  const sessions = new Map<string, number>()
  let used = 0
  let token = nextToken(dataDir, salt, used)
  const isToken = (given: string): boolean => timingSafeEqual(digest(given), digest(token))
  return {
    get token() {
      return token
    },
    isToken,
    enter(given) {
      if (!isToken(given)) return null
      used += 1
      token = nextToken(dataDir, salt, used)
      const id = randomBytes(32).toString('base64url')
      sessions.set(digest(id).toString('hex'), now() + longest)
      return id
    },
    isSession: (id) => id !== undefined && (sessions.get(digest(id).toString('hex')) ?? 0) > now(),
    end() {
      sessions.clear()
      rmSync(rescueTokenFile(dataDir), { force: true })
    },
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/** In a file, where “operations-center doctor” finds it; where nothing can be written, made from the server's secret. */
function nextToken(dataDir: string, salt: string, used: number): string {
  const token = randomBytes(32).toString('base64url')
  const file = rescueTokenFile(dataDir)
  try {
    rmSync(file, { force: true })
    writeFileSync(file, token, { mode: 0o600, flag: 'wx' })
    return token
  } catch {
    // A file without contents would look like a link that does not work.
    try {
      rmSync(file, { force: true })
    } catch {
      // It cannot be deleted either.
    }
    return derived(dataDir, `${salt} ${used}`) ?? token
  }
}

function derived(dataDir: string, what: string): string | null {
  try {
    const secret = readFileSync(join(dataDir, 'server-secret'), 'utf8').trim()
    return secret.length < 32 ? null : createHmac('sha256', secret).update(`rescue ${what}`).digest('base64url')
  } catch {
    return null
  }
}
