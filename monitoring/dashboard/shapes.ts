import { z } from 'zod'
import { systemActor, visitor } from '../context'
import type { Invalid } from '../errors'

/** A form's field that may be given any number of times. */
export const several = (one: z.ZodType<string>) =>
  z.preprocess((given) => (given === undefined ? [] : typeof given === 'string' ? [given] : given), z.array(one))

/** A moment in an answer. */
export const iso = z.iso.datetime()

/** A moment as an answer says it, if there is one. */
export const isoOf = <At extends number | null | undefined>(at: At) =>
  (typeof at === 'number' ? new Date(at).toISOString() : at) as string | Exclude<At, number>

const firstMoment = Date.parse('0000-01-01T00:00:00.000Z')
const lastMoment = Date.parse('9999-12-31T23:59:59.999Z')

/** A moment in a request: ISO 8601 with a zone, as epoch milliseconds afterwards. */
export const isoToMoment = z.iso
  .datetime({ offset: true, error: 'This is not a moment like 2026-03-08T14:05:00Z.' })
  .transform((text) => Date.parse(text))
  // At the ends of time a zone leads to years that ISO 8601 writes with a sign.
  .refine((at) => at >= firstMoment && at <= lastMoment, 'This is not a moment like 2026-03-08T14:05:00Z.')

export type Errors = Readonly<Record<string, string>>

/** What is wrong with a form, by field: of a list, whichever of its items it is. `names`: of fields that the form calls otherwise. */
export const errorsOf = (error: Invalid | undefined, names: Errors = {}): Errors =>
  Object.fromEntries(
    (error?.fields ?? []).map(({ field, message }) => {
      const [name = field] = field.split('.')
      return [names[name] ?? name, message]
    }),
  )

/** Text that both databases can hold: PostgreSQL takes no NUL, and neither takes half of a surrogate pair. */
export const text = (most: number) =>
  z
    .string()
    .max(most)
    .refine((value) => !value.includes('\0') && value.isWellFormed(), 'This contains characters that cannot be stored.')

/** What something can be called: nothing in it that cannot be seen, so that no two names look the same. */
export const name = (most: number) =>
  z
    .string()
    .trim()
    .max(most, `Use ${most} characters at the most.`)
    .regex(/^\P{Cc}*$/u, 'Leave out the control characters.')
    .refine((name) => !/[\p{Cf}\p{Zl}\p{Zp}]/u.test(name), 'Leave out the characters that cannot be seen.')
    .refine((name) => name.isWellFormed(), 'This contains characters that cannot be stored.')

/** As the audit trail calls those who are nobody. */
const reserved = new Set([systemActor.id, systemActor.name, visitor(null).name, 'whoever is looking'])

/** What somebody can be called. */
export const username = name(64)
  .min(1, 'Choose a name.')
  .refine(
    (name) => !reserved.has(name.normalize('NFKC').trim().toLowerCase().replace(/\s+/g, ' ')),
    'The console itself goes by this name. Choose another one.',
  )

export const Theme = z.enum(['auto', 'light', 'dark'], 'Choose one of the three.')

const zoneOf = (text: string): string | null => {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone
  } catch {
    return null
  }
}

/**
 * The platform's list names each zone once, in an older spelling for some, and leaves UTC out: all that work are accepted,
 * in any case of letters, and kept as the platform spells them.
 */
export const timezone = z
  .string()
  .refine((zone) => zoneOf(zone) !== null, 'There is no such zone.')
  .overwrite((zone) => zoneOf(zone) ?? zone)

export const limit = z
  .string()
  .regex(/^\d{1,4}$/, 'This is not a number from 1 to 500.')
  .transform(Number)
  .refine((value) => value >= 1 && value <= 500, 'This is not a number from 1 to 500.')
  .describe('How many at the most, 1 to 500')
