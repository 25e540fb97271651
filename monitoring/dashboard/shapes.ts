import { z } from 'zod'

/** A moment in an answer. */
export const iso = z.iso.datetime()

const firstMoment = Date.parse('0000-01-01T00:00:00.000Z')
const lastMoment = Date.parse('9999-12-31T23:59:59.999Z')

/** A moment in a request: ISO 8601 with a zone, as epoch milliseconds afterwards. */
export const isoToMoment = z.iso
  .datetime({ offset: true, error: 'This is not a moment like 2026-03-08T14:05:00Z.' })
  .transform((text) => Date.parse(text))
  // At the ends of time a zone leads to years that ISO 8601 writes with a sign.
  .refine((at) => at >= firstMoment && at <= lastMoment, 'This is not a moment like 2026-03-08T14:05:00Z.')

/** Text that both databases can hold: PostgreSQL takes no NUL, and neither takes half of a surrogate pair. */
export const text = (most: number) =>
  z
    .string()
    .max(most)
    .refine((value) => !value.includes('\0') && value.isWellFormed(), 'This contains characters that cannot be stored.')

export const limit = z
  .string()
  .regex(/^\d{1,4}$/, 'This is not a number from 1 to 500.')
  .transform(Number)
  .refine((value) => value >= 1 && value <= 500, 'This is not a number from 1 to 500.')
  .describe('How many at the most, 1 to 500')
