import { createHmac, timingSafeEqual } from 'node:crypto'

/** What stands in a key besides its signature: whose it is, and which of theirs. */
export interface Stamp {
  /** The owner's, which never changes. It may hold `_`. */
  readonly handle: string
  /** Epoch milliseconds, unique per owner. */
  readonly stamp: number
}

// Read from the right, because only the handle may hold what separates the parts.
const look = /^jug_([a-z0-9._-]{1,80})_([1-9]\d{0,14})_([0-9a-f]{64})$/

export function parse(key: string): (Stamp & { readonly signature: string }) | null {
  const [, handle, stamp, signature] = look.exec(key) ?? []
  return handle === undefined || stamp === undefined || signature === undefined ? null : { handle, stamp: Number(stamp), signature }
}

/** The part of a key that is no secret, by which people recognise it. */
export const startOf = ({ handle, stamp }: Stamp): string => `jug_${handle}_${stamp}`

export const assemble = (key: Stamp, signature: string): string => `${startOf(key)}_${signature}`

export type Sign = (key: Stamp & { readonly id: string }) => string

/**
 * Signs with a secret of the server's, so that nothing in the database is enough to make a key that works.
 * The id binds it to its row; as JSON, no two keys are the same text.
 */
export function signer(serverSecret: string): Sign {
  const secret = createHmac('sha256', serverSecret).update('api keys').digest()
  return ({ id, handle, stamp }) =>
    createHmac('sha256', secret)
      .update(JSON.stringify([id, handle, stamp]))
      .digest('hex')
}

export function isSame(given: string, right: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(right)]
  return one.length === other.length && timingSafeEqual(one, other)
}
