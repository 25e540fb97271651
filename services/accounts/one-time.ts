import { createHash, randomBytes } from 'node:crypto'

/** A token that is shown once; only its hash is kept, so a stolen database lets nobody in. */
export function makeToken(): { token: string; hash: string } {
  const token = randomBytes(24).toString('base64url')
  return { token, hash: hashOf(token) }
}

export const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex')
