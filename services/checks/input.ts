import { z } from 'zod'
import type { Context } from '../../monitoring/context'
import { Invalid, type FieldError } from '../../monitoring/errors'
import { guard } from '../../monitoring/probes/checks/targets'
import type { CheckInput } from './check'
import { kinds, specs, type Told } from './kinds'
import { allowedTargets, mayUse } from './probing'
import type { CheckRow } from './queries'
import type { Secrets } from './seal'
import { fill } from './secrets'

/** A check as it was before it was edited. */
export interface Before {
  row: CheckRow
  /** null: nobody has configured it. */
  hidden: Told | null
  secrets: Secrets
}

/** What was given, complete and allowed. */
export interface Checked {
  name: string
  /** With its secrets. */
  check: Told
  tags: string[]
  interval_s: number
  timeout_ms: number
  retries: number
  retry_s: number
}

const whole = (least: number, most: number, unit: string) =>
  z
    .int(`This is not a whole number from ${least} to ${most}.`)
    .min(least, `At least ${least} ${unit}.`)
    .max(most, `At the most ${most} ${unit}.`)

const tag = z
  .string()
  .trim()
  .min(1, 'A tag has at least one character.')
  .max(40, 'A tag has 40 characters at the most.')
  .regex(/^[^\p{C}\p{Zl}\p{Zp},]*$/u, 'A tag has no commas and nothing that cannot be seen.')

const Common = z.object({
  name: z
    .string()
    .trim()
    .min(1, 'Give it a name.')
    .max(100, 'Use 100 characters at the most.')
    .regex(/^[^\p{C}\p{Zl}\p{Zp}]*$/u, 'Leave out the characters that cannot be seen.'),
  kind: z.enum(kinds, 'Choose one of these.'),
  tags: z.array(tag).max(20, 'At the most 20 tags.').optional(),
  interval_s: whole(5, 86_400, 's').optional(),
  timeout_ms: whole(100, 60_000, 'ms').optional(),
  retries: whole(0, 10, 'retries').optional(),
  retry_s: whole(1, 3600, 's').optional(),
})

export const tagOf = (text: string): string => parsed(tag, text, ['tag'])

function parsed<S extends z.ZodType>(schema: S, given: unknown, path: readonly string[]): z.output<S> {
  const result = schema.safeParse(given)
  if (result.success) return result.data
  throw new Invalid(
    result.error.issues.slice(0, 20).flatMap((issue): FieldError[] => {
      const field = (last: readonly PropertyKey[]) => [...path, ...issue.path, ...last].map(String).join('.').slice(0, 200)
      return issue.code === 'unrecognized_keys'
        ? issue.keys.slice(0, 5).map((key) => ({ field: field([key]), message: 'There is no such field.' }))
        : [{ field: field([]), message: issue.message }]
    }),
  )
}

/** Throws with what is wrong, by field: `name`, `interval_s`, `spec.url`. */
export async function checked(ctx: Context, input: CheckInput, before: Before | null): Promise<Checked> {
  const { name, kind, tags, ...given } = parsed(Common, input, [])
  if (before?.hidden && before.hidden.kind !== kind)
    throw new Invalid([{ field: 'kind', message: 'The kind of a check stays. Make another one.' }])
  if (!mayUse(ctx, kind)) throw new Invalid([{ field: 'kind', message: 'Only the organisation that owns this machine can check this.' }])
  const check = fill(
    { kind, spec: parsed(specs[kind], input.spec, ['spec']) } as Told,
    before?.hidden ? { hidden: before.hidden, secrets: before.secrets } : null,
  )
  await insistOnTarget(ctx, check)
  const interval_s = check.kind === 'heartbeat' ? check.spec.period_s : (given.interval_s ?? before?.row.interval_s ?? 60)
  const usual = (value: number | undefined, most: number) => Math.min(value ?? most, most)
  const timeout_ms = given.timeout_ms ?? usual(before?.row.timeout_ms, Math.min(10, interval_s) * 1000)
  const retry_s = given.retry_s ?? usual(before?.row.retry_s, Math.min(20, interval_s))
  if (check.kind !== 'heartbeat') {
    if (timeout_ms > interval_s * 1000)
      throw new Invalid([{ field: 'timeout_ms', message: 'It cannot wait longer than until the next look.' }])
    if (retry_s > interval_s) throw new Invalid([{ field: 'retry_s', message: 'A retry comes before the next look.' }])
  }
  return {
    ...{ name, check, interval_s, timeout_ms, retry_s },
    tags: [...new Set(tags ?? before?.row.tags ?? [])].sort(),
    retries: check.kind === 'heartbeat' ? 0 : (given.retries ?? before?.row.retries ?? 1),
  }
}

/** What can be said of an address without asking anybody; the rest is said when it is dialled. */
async function insistOnTarget(ctx: Context, { kind, spec }: Told): Promise<void> {
  const [field, host] =
    kind === 'http' || kind === 'postgres' || kind === 'redis'
      ? ['spec.url', hostOf(spec.url)]
      : kind === 'tcp'
        ? ['spec.host', spec.host]
        : kind === 'dns' && spec.server !== null
          ? ['spec.server', spec.server.replace(/^\[(.*)\](?::\d+)?$/, '$1').replace(/^([^:]*):\d+$/, '$1')]
          : []
  if (field === undefined || host === undefined || host === '') return
  const reason = guard({ allowed: await allowedTargets(ctx) }).refusal(host)
  if (reason !== null) throw new Invalid([{ field, message: `${reason}.` }])
}

const hostOf = (url: string): string => (URL.canParse(url) ? new URL(url).hostname.replace(/^\[(.*)\]$/, '$1') : '')
