import type { z } from 'zod'
import { Malformed } from './errors'

/** Where a list goes on: the last row's place in its order, opaque to whoever asks. */
export const cursorOf = (place: readonly (string | number)[]): string => Buffer.from(JSON.stringify(place)).toString('base64url')

export function placeOf<Place>(schema: z.ZodType<Place>, cursor: string): Place {
  try {
    return schema.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString()))
  } catch {
    const message = 'This is not a cursor that a list has given.'
    throw Object.assign(new Malformed(`cursor: ${message}`), { fields: [{ field: 'cursor', message }] })
  }
}
