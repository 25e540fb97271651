import { isIP } from 'node:net'
import { z } from 'zod'
import { recordTypes } from '../../monitoring/probes/checks/probe'
import { dots, inPath } from './looks'

export const kinds = ['http', 'tcp', 'dns', 'process', 'disk', 'postgres', 'database', 'redis', 'heartbeat', 'command'] as const
export type Kind = (typeof kinds)[number]

const storable = (value: string) => !value.includes('\0') && value.isWellFormed()
const text = (most: number) =>
  z.string().max(most, `Use ${most} characters at the most.`).refine(storable, 'This contains characters that cannot be stored.')
/** What a form sends empty is not there. */
const optional = (most: number) =>
  text(most)
    .nullable()
    .default(null)
    .transform((value) => (value === '' ? null : value))
const whole = (least: number, most: number, what: string) =>
  z
    .int(`This is not a whole number from ${least} to ${most}${what}.`)
    .min(least, `At least ${least}${what}.`)
    .max(most, `At the most ${most}${what}.`)

const address = (protocols: readonly string[], example: string) =>
  text(2000)
    .trim()
    .refine((value) => {
      const url = URL.canParse(value) ? new URL(value) : null
      return url !== null && protocols.includes(url.protocol) && (url.hostname !== '' || protocols.includes('postgres:'))
    }, `This is not an address like ${example}.`)

const host = text(253)
  .trim()
  .transform((value) => (/^\[.*\]$/.test(value) ? value.slice(1, -1) : value))
  .refine((value) => isIP(value) !== 0 || /^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?$/i.test(value), 'This is not a host name or an address.')

const domain = text(253)
  .trim()
  .refine((value) => isIP(value) !== 0 || /^[a-z0-9_*](?:[a-z0-9_.-]*[a-z0-9_])?\.?$/i.test(value), 'This is not a domain name.')

const server = optional(300).refine(
  (value) => value === null || /^(?:\[[0-9a-f:.]+\]|[0-9a-f:]+|[a-z0-9_.-]+)(?::\d{1,5})?$/i.test(value),
  'This is not an address like 1.1.1.1 or 1.1.1.1:53.',
)

const statuses = text(200)
  .trim()
  .refine(
    (value) =>
      /^\d{3}(?:\s*[-–]\s*\d{3})?(?:\s*,\s*\d{3}(?:\s*[-–]\s*\d{3})?)*$/.test(value) &&
      [...value.matchAll(/\d{3}/g)].every(([status]) => Number(status) >= 100 && Number(status) <= 599),
    'Write statuses like 200-299, 401.',
  )

export const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

/** Set by the connection itself, or a way to speak to another server than the one that was allowed. */
const forbiddenHeaders = /^(?:host|connection|content-length|transfer-encoding|upgrade|te|trailer|keep-alive|expect|proxy-.*)$/i
const header = z.strictObject({
  name: text(100)
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'This is not the name of a header.')
    .refine((name) => !forbiddenHeaders.test(name), 'This header cannot be set.'),
  value: text(4000).regex(/^[\t\x20-\x7e\x80-\xff]*$|^•+$/, 'A header cannot contain these characters.'),
})

const jsonPath = optional(300).refine(
  (value) => value === null || value.trim().startsWith('$'),
  'A JSON path begins with $, like $.status.',
)

/** What each kind is told, as a person gives it; fields that are left out have these values. */
export const specs = {
  http: z.strictObject({
    url: address(['http:', 'https:'], 'https://example.com/health'),
    method: z.enum(methods, 'Choose one of these.').default('GET'),
    headers: z.array(header).max(30, 'At the most 30 headers.').default([]),
    body: optional(20_000),
    statuses: statuses.default('200-299'),
    keyword: optional(500),
    keyword_absent: z.boolean().default(false),
    json_path: jsonPath,
    json_equals: optional(500),
    redirects: whole(0, 10, ' redirects').default(5),
    certificate_days: whole(1, 365, ' days').nullable().default(14),
    verify_certificate: z.boolean().default(true),
  }),
  tcp: z.strictObject({ host, port: whole(1, 65_535, ''), send: optional(2000), expect: optional(500) }),
  dns: z.strictObject({ name: domain, type: z.enum(recordTypes, 'Choose one of these.').default('A'), server, expect: optional(500) }),
  process: z.strictObject({ name: text(200).min(1, 'Name a process that PM2 keeps.') }),
  disk: z.strictObject({ mount: text(500).startsWith('/', 'A mount begins with a slash.'), percent: whole(1, 99, ' %').default(90) }),
  postgres: z.strictObject({
    url: address(['postgres:', 'postgresql:'], 'postgres://user:password@host:5432/name'),
    query: optional(2000),
  }),
  database: z.strictObject({}),
  redis: z.strictObject({ url: address(['redis:', 'rediss:'], 'redis://host:6379') }),
  heartbeat: z.strictObject({
    period_s: whole(10, 31 * 86_400, ' s').default(86_400),
    grace_s: whole(0, 7 * 86_400, ' s').default(300),
  }),
  command: z.strictObject({ name: text(100).min(1, 'Choose a command.') }),
} as const satisfies Record<Kind, z.ZodType>

export type SpecOf<K extends Kind> = z.output<(typeof specs)[K]>
export type Spec = { [K in Kind]: SpecOf<K> }[Kind]

/** A check's kind together with what that kind is told. */
export type Told = { [K in Kind]: { kind: K; spec: SpecOf<K> } }[Kind]

/** What was stored was checked then; what is missing of it since has its usual value. */
export const told = (kind: Kind, spec: unknown): Told => ({ kind, spec: specs[kind].parse(spec) }) as Told

/** One line without secrets: "GET example.com/health". */
export function targetOf({ kind, spec }: Told): string {
  switch (kind) {
    case 'http':
      return `${spec.method} ${hostAndPath(spec.url)}`
    case 'tcp':
      return `${spec.host.includes(':') ? `[${spec.host}]` : spec.host}:${spec.port}`
    case 'dns':
      return `${spec.type} ${spec.name}${spec.server === null ? '' : ` at ${spec.server}`}`
    case 'process':
      return `PM2 process ${spec.name}`
    case 'disk':
      return `${spec.mount} under ${spec.percent} %`
    case 'postgres':
      return `PostgreSQL ${hostAndPath(spec.url)}`
    case 'database':
      return 'the console’s own database'
    case 'redis':
      return `Redis ${hostAndPath(spec.url)}`
    case 'heartbeat':
      return `a ping every ${spanInWords(spec.period_s)}`
    case 'command':
      return `command ${spec.name}`
  }
}

function hostAndPath(address: string): string {
  if (!URL.canParse(address)) return 'no address'
  const { host, pathname } = new URL(address)
  return `${host}${pathname === '/' ? '' : inPath(pathname, () => dots)}`
}

const spanInWords = (seconds: number): string =>
  seconds % 86_400 === 0
    ? `${seconds / 86_400} d`
    : seconds % 3600 === 0
      ? `${seconds / 3600} h`
      : seconds % 60 === 0
        ? `${seconds / 60} min`
        : `${seconds} s`
