import { z } from 'zod'
import type { Context } from '../../monitoring/context'
import { iso, isoOf, text } from '../../monitoring/dashboard/shapes'
import { may } from '../../monitoring/permissions'
import * as checks from '../../services/checks'

const Spec = z
  .record(z.string(), z.unknown())
  .describe(
    'What its kind is told; secrets are dots. docs/checks.md has the fields of each kind. Those who may not change the check get where it looks only: method, host, port',
  )

const shape = {
  id: z.string(),
  name: z.string(),
  kind: z.enum(checks.kinds),
  spec: Spec,
  target: z.string().describe('One line, without secrets'),
  builtin: z.enum(checks.builtinNames).nullable().describe('Which of the dependencies that every installation has'),
  tags: z.array(z.string()),
  interval_s: z.int(),
  timeout_ms: z.int(),
  retries: z.int().describe('How often it may fail before it is down'),
  retry_s: z.int(),
  state: z.enum(checks.checkStates),
  word: z.string().describe('The state in words: “Failing, try 2 of 3”'),
  state_at: iso,
  message: z.string().nullable().describe('What the last look found'),
  duration_ms: z.number().nullable(),
  certificate_at: iso.nullable().describe('When the certificate ends'),
  checked_at: iso.nullable(),
  next_at: iso.nullable(),
  maintenance: z.object({ id: z.string(), name: z.string(), ends_at: iso }).nullable(),
  incident_id: z.string().nullable().describe('The incident that is open'),
  created_at: iso,
  changed_at: iso,
}
export const ApiCheck = z
  .object({ ...shape, push_url: z.string().optional().describe('Of a heartbeat, for those who may change it: the address to ping') })
  .meta({ id: 'Check' })
export const Figure = {
  percent: z.number().nullable().describe('null: not looked at'),
  probes: z.int().describe('Looks that count: none in maintenance'),
  up: z.int(),
}
const Mark = z.enum(['ok', 'warn', 'err', 'none', 'idle'])
export const ListedCheck = z
  .object({
    ...shape,
    uptime_24h: z.object(Figure),
    strip: z.array(Mark).describe('48 half hours, the oldest first; idle: in maintenance'),
  })
  .meta({ id: 'ListedCheck' })

const seenByAll: Readonly<Record<checks.Kind, readonly string[]>> = {
  http: ['method'],
  tcp: ['host', 'port'],
  dns: ['name', 'type', 'server'],
  process: ['name'],
  disk: ['mount', 'percent'],
  postgres: [],
  database: [],
  redis: [],
  heartbeat: ['period_s', 'grace_s'],
  command: ['name'],
}

/** What a check is told, for those who may not change it: where it looks, and nothing of what it says or expects there. */
function outlineOf(kind: checks.Kind, spec: checks.Spec): Record<string, unknown> {
  const { url, ...given } = spec as Readonly<Record<string, unknown>>
  const place = typeof url === 'string' && URL.canParse(url) ? { host: new URL(url).host } : {}
  const shown = seenByAll[kind]
  return { ...place, ...Object.fromEntries(Object.entries(given).filter(([name]) => shown.includes(name))) }
}

function common({ actor }: Pick<Context, 'actor'>, given: checks.Check) {
  const { id, name, kind, builtin, tags, interval_s, timeout_ms, retries, retry_s, state, word, ...check } = given
  const spec = may(actor, 'checks.change') ? { ...check.spec } : outlineOf(kind, check.spec)
  return {
    ...{ id, name, kind, builtin, tags, interval_s, timeout_ms, retries, retry_s, state, word },
    ...{ target: check.target, message: check.message, incident_id: check.incident_id, spec },
    ...{ state_at: isoOf(check.state_at), checked_at: isoOf(check.checked_at), certificate_at: isoOf(check.certificate_at) },
    ...{ next_at: isoOf(check.next_at), created_at: isoOf(check.created_at), changed_at: isoOf(check.changed_at) },
    duration_ms: check.duration,
    maintenance: check.maintenance && { ...check.maintenance, ends_at: isoOf(check.maintenance.ends_at) },
  }
}

export const asJson = (ctx: Pick<Context, 'actor'>, check: checks.Check, origin: string): z.input<typeof ApiCheck> => ({
  ...common(ctx, check),
  ...(check.push_url === undefined ? {} : { push_url: `${origin}${check.push_url}` }),
})

export function listed(ctx: Pick<Context, 'actor'>, check: checks.ListedCheck): z.input<typeof ListedCheck> {
  const { percent, probes, up } = check.uptime_24h
  return { ...common(ctx, check), uptime_24h: { percent, probes, up }, strip: check.strip }
}

const fields = {
  tags: z.array(text(40)).max(20).optional(),
  interval_s: z.int().optional().describe('5 s to a day; 60 if left out. Of a heartbeat its period'),
  timeout_ms: z.int().optional().describe('100 ms to 60 s, and no longer than the interval; 10 s if left out'),
  retries: z.int().optional().describe('0 to 10; 1 if left out'),
  retry_s: z.int().optional().describe('How long after a failure it is tried again; 20 s if left out'),
}
export const Given = z.strictObject({ name: text(100), kind: z.enum(checks.kinds), spec: Spec.default({}), ...fields })
export const Changed = z
  .strictObject({ name: text(100).optional(), kind: z.enum(checks.kinds).optional(), spec: Spec.optional(), ...fields })
  .refine((body) => Object.values(body).some((value) => value !== undefined), 'Name what to change.')

export const Filter = {
  q: text(100).optional().describe('Part of the name, the target or a tag'),
  state: z
    .enum([...checks.checkStates, 'warn', 'maintenance'])
    .optional()
    .describe('warn: late, failing, or with a certificate that ends soon'),
  tag: text(40).optional(),
  kind: z.enum(checks.kinds).optional(),
  sort: z.enum(checks.checkSorts).default('state').describe('state: what is down comes first'),
  order: z.enum(['asc', 'desc']).default('asc'),
}
