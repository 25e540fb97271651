import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync, chmodSync } from 'node:fs'
import { homedir, hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { parseEnv } from 'node:util'
import proxyAddr from 'proxy-addr'
import { z } from 'zod'
import { inProject } from './paths'

/** Where a value came from, for the settings page and the doctor. */
export type Source = 'default' | 'environment' | '.env' | 'file' | 'generated'

export interface Config {
  readonly port: number
  readonly host: string
  readonly hostName: string
  readonly dataDir: string
  /** null: SQLite in `dataDir`. */
  readonly databaseUrl: string | null
  readonly admin: { readonly username: string; readonly password: string } | null
  /** null until `prepareDataDir` has read or made one. */
  readonly sessionSecret: string | null
  /** null until `prepareDataDir` has read or made one. */
  readonly serverSecret: string | null
  /** Number of proxies in front, or their addresses; null: nobody's X-Forwarded-For is believed. */
  readonly trustProxy: number | readonly string[] | null
  readonly publicUrl: URL | null
  readonly timezone: string
  readonly pm2Home: string
  /** Requests to /api per client and minute. */
  readonly apiRateLimit: number
  /** Requests to POST /api/events per client and minute. */
  readonly ingestRateLimit: number
  /** POSTs to sign-in, claim, invite and reset per address and minute. */
  readonly signInRateLimit: number
  /** Foreign origins whose pages may use the API with a key. */
  readonly corsOrigins: readonly string[]
  readonly auditRetentionDays: number
  readonly eventRetentionDays: number
  /** Which commands checks may run; null: the file in `dataDir`, if there is one. */
  readonly checkCommandsFile: string | null
  readonly logLevel: string
  /** Every variable as it took effect, secrets hidden. */
  readonly settings: readonly Setting[]
}

export interface Setting {
  readonly name: string
  readonly value: string
  readonly source: Source
  readonly secret: boolean
  readonly help: string
}

/** All that is wrong with the environment, a line each. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'))
    this.name = 'ConfigError'
  }
}

const port = z
  .string()
  .regex(/^\d{1,5}$/)
  .transform(Number)
  .refine((value) => value <= 65535)
const positive = z
  .string()
  .regex(/^[1-9]\d{0,8}$/)
  .transform(Number)

const timezone = z.string().refine((zone) => {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone })
    return true
  } catch {
    return false
  }
})

const webAddress = z.string().transform((text, check) => {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url && /^https?:$/.test(url.protocol) && url.pathname === '/' && !url.search && !url.username) return url
  check.addIssue({ code: 'custom', message: 'not an address' })
  return z.NEVER
})

const proxies = z.string().transform((text, check): number | string[] => {
  if (/^\d{1,2}$/.test(text)) return Number(text)
  const addresses = text.split(',').map((part) => part.trim())
  try {
    proxyAddr.compile(addresses)
    return addresses
  } catch {
    check.addIssue({ code: 'custom', message: 'not addresses' })
    return z.NEVER
  }
})

const origins = z.string().transform((text, check): string[] => {
  const given = text.split(',').map((part) => part.trim())
  for (const origin of given)
    if (!/^https?:/.test(origin) || !URL.canParse(origin) || new URL(origin).origin !== origin)
      check.addIssue({ code: 'custom', message: 'not origins' })
  return given
})

/** Names that a shell's tilde or a relative path may stand in. */
const folder = (base: string) => z.string().transform((text) => resolve(base, text.replace(/^~(?=$|\/)/, homedir())))

/** Long, and not a few characters again and again. */
const isStrong = (secret: string): boolean => secret.length >= 32 && new Set(secret).size >= 8

interface Variable<T> {
  readonly schema: z.ZodType<T, string>
  readonly expected: string
  readonly help: string
  readonly default?: string
  readonly secret?: boolean
}

const variable = <T>(description: Variable<T>): Variable<T> => description

/** Every variable that is read, what is accepted, and what it is for. The README's table says the same. */
const variables = {
  PORT: variable({ schema: port, default: '8080', expected: 'a port number from 0 to 65535', help: 'Port of the console.' }),
  HOST: variable({
    schema: z.string().regex(/^[\w.:-]+$/),
    default: '0.0.0.0',
    expected: 'an address or host name',
    help: 'Address to listen on.',
  }),
  DATA_DIR: variable({
    schema: folder(inProject()),
    default: './data',
    expected: 'a folder',
    help: 'Database, secrets and copies; only the owner can read it.',
  }),
  DATABASE_URL: variable({
    schema: z
      .string()
      .regex(/^postgres(ql)?:\/\/\S+$/)
      .refine((text) => URL.canParse(text)),
    secret: true,
    expected: 'postgres://user:password@host:port/database',
    help: 'PostgreSQL instead of SQLite in DATA_DIR.',
  }),
  ADMIN_USERNAME: variable({
    schema: z
      .string()
      .trim()
      .min(1)
      .max(64)
      .regex(/^\P{Cc}+$/u),
    expected: 'a name of 1 to 64 characters',
    help: 'With ADMIN_PASSWORD: creates the first admin without the claim page.',
  }),
  ADMIN_PASSWORD: variable({
    // Counted as the forms count it.
    schema: z
      .string()
      .max(1024)
      .refine((password) => password.normalize('NFC').length >= 10),
    secret: true,
    expected: 'a password of 10 to 1,024 characters',
    help: 'Password of the first admin; looked at further, and used, only while there is no account.',
  }),
  SESSION_SECRET: variable({
    schema: z.string().refine(isStrong),
    secret: true,
    expected: 'at least 32 random characters',
    help: 'Signs the session cookie. Absent: made once and kept in DATA_DIR.',
  }),
  SERVER_SECRET: variable({
    schema: z.string().refine(isStrong),
    secret: true,
    expected: 'at least 32 random characters',
    help: 'Signs API keys and seals the audit trail. Absent: made once and kept in DATA_DIR. With another one, all keys are void.',
  }),
  TRUST_PROXY: variable({
    schema: proxies,
    expected: 'a number of proxies, or their addresses separated by commas (loopback, 10.0.0.0/8, …)',
    help: 'The reverse proxies whose X-Forwarded-For is believed. Absent: none.',
  }),
  PUBLIC_URL: variable({
    schema: webAddress,
    expected: 'http:// or https://, a host, and no path',
    help: 'The address people use; https turns on secure cookies and HSTS.',
  }),
  TIMEZONE: variable({
    schema: timezone,
    default: Intl.DateTimeFormat().resolvedOptions().timeZone,
    expected: 'a zone like Asia/Kolkata',
    help: 'Zone of the organisation: of its days and of times in live panels.',
  }),
  PM2_HOME: variable({
    schema: folder(homedir()),
    default: '~/.pm2',
    expected: 'a folder',
    help: 'Where the PM2 daemon to watch keeps its sockets.',
  }),
  API_RATE_LIMIT: variable({
    schema: positive,
    default: '100',
    expected: 'a number of requests',
    help: 'Requests to /api per client in 60 s.',
  }),
  INGEST_RATE_LIMIT: variable({
    schema: positive,
    default: '6000',
    expected: 'a number of requests',
    help: 'Requests to POST /api/events per client in 60 s (each carries up to 1,000 events).',
  }),
  SIGN_IN_RATE_LIMIT: variable({
    schema: positive,
    default: '60',
    expected: 'a number of requests',
    help: 'Tries to sign in, claim, accept an invitation or reset a password per address in 60 s.',
  }),
  CORS_ORIGINS: variable({
    schema: origins,
    expected: 'origins like https://status.example.com, separated by commas',
    help: 'Other sites whose pages may use the API, with a key and never with a cookie. Absent: none.',
  }),
  AUDIT_RETENTION_DAYS: variable({
    schema: positive.refine((days) => days >= 30 && days <= 36_500),
    default: '400',
    expected: 'a number of days from 30 to 36500',
    help: 'How long the audit trail is kept.',
  }),
  EVENT_RETENTION_DAYS: variable({
    schema: positive.refine((days) => days <= 3650),
    default: '90',
    expected: 'a number of days from 1 to 3650',
    help: 'How long events are kept.',
  }),
  CHECK_COMMANDS_FILE: variable({
    schema: folder(inProject()),
    expected: 'a file',
    help: 'The commands that checks may run, as JSON (docs/checks.md). Absent: check-commands.json in DATA_DIR, if there is one.',
  }),
  LOG_LEVEL: variable({
    schema: z.enum(['debug', 'info', 'warn', 'error', 'silent']),
    default: 'info',
    expected: 'debug, info, warn, error or silent',
    help: 'How much the server log says.',
  }),
} as const

type Name = keyof typeof variables
type Value<N extends Name> = z.output<(typeof variables)[N]['schema']>

/** Of a database, where it is; of any other secret, only that it is there. */
function showSecret(name: Name, value: string | undefined): string {
  if (value === undefined) return 'not set'
  if (name !== 'DATABASE_URL' || !URL.canParse(value)) return '•••••'
  const { protocol, host, pathname } = new URL(value)
  // A password with a slash ends up in the path.
  return pathname.includes('@') ? '•••••' : `${protocol}//•••••@${host}${pathname}`
}

/** Reads and checks the whole environment at once. Opens and creates nothing. */
export function readConfig(environment: NodeJS.ProcessEnv = process.env, dotEnvFile = inProject('.env')): Config {
  const problems: string[] = []
  const settings: Setting[] = []
  let dotEnv: NodeJS.Dict<string> = {}
  try {
    if (existsSync(dotEnvFile)) dotEnv = parseEnv(readFileSync(dotEnvFile, 'utf8'))
  } catch (error) {
    problems.push(`.env cannot be read: ${(error as Error).message}`)
  }

  function find(name: Name): { text: string | undefined; source: Source } {
    const description: Variable<unknown> = variables[name]
    const places = [
      [environment, 'environment'],
      [dotEnv, '.env'],
    ] as const
    for (const [values, source] of places) {
      // An empty variable counts as absent: that is how shells and unit files unset one.
      const text = values[name]
      const file = description.secret ? values[`${name}_FILE`] : undefined
      if (text && file) problems.push(`${name} and ${name}_FILE are both set: expected one of them`)
      if (file) return { text: readSecret(name, file), source: 'file' }
      if (text) return { text, source }
    }
    return { text: description.default, source: 'default' }
  }

  function readSecret(name: Name, file: string): string | undefined {
    try {
      return readFileSync(file, 'utf8').trim()
    } catch (error) {
      problems.push(`${name}_FILE cannot be read: expected a readable file (${(error as NodeJS.ErrnoException).code ?? 'error'})`)
      return undefined
    }
  }

  function read<N extends Name>(name: N): Value<N> | null {
    const description: Variable<unknown> = variables[name]
    const { text, source } = find(name)
    const secret = description.secret ?? false
    settings.push({ name, value: secret ? showSecret(name, text) : (text ?? 'not set'), source, secret, help: description.help })
    if (text === undefined) return null
    const parsed = description.schema.safeParse(text)
    if (parsed.success) return parsed.data as Value<N>
    problems.push(`${name} is ${secret ? 'wrong' : JSON.stringify(text)}: expected ${description.expected}`)
    return null
  }

  const values = {
    port: read('PORT') ?? 0,
    host: read('HOST') ?? '',
    hostName: hostname(),
    dataDir: read('DATA_DIR') ?? '',
    databaseUrl: read('DATABASE_URL'),
    sessionSecret: read('SESSION_SECRET'),
    serverSecret: read('SERVER_SECRET'),
    trustProxy: read('TRUST_PROXY'),
    publicUrl: read('PUBLIC_URL'),
    timezone: read('TIMEZONE') ?? 'UTC',
    pm2Home: read('PM2_HOME') ?? '',
    apiRateLimit: read('API_RATE_LIMIT') ?? 0,
    ingestRateLimit: read('INGEST_RATE_LIMIT') ?? 0,
    signInRateLimit: read('SIGN_IN_RATE_LIMIT') ?? 0,
    corsOrigins: read('CORS_ORIGINS') ?? [],
    auditRetentionDays: read('AUDIT_RETENTION_DAYS') ?? 0,
    eventRetentionDays: read('EVENT_RETENTION_DAYS') ?? 0,
    checkCommandsFile: read('CHECK_COMMANDS_FILE'),
    logLevel: read('LOG_LEVEL') ?? 'info',
  }
  const username = read('ADMIN_USERNAME')
  const password = read('ADMIN_PASSWORD')
  const given = (name: Name) => settings.find((setting) => setting.name === name)?.value !== 'not set'
  if (given('ADMIN_USERNAME') !== given('ADMIN_PASSWORD'))
    problems.push(
      `${given('ADMIN_USERNAME') ? 'ADMIN_PASSWORD' : 'ADMIN_USERNAME'} is missing: expected both or neither of ADMIN_USERNAME and ADMIN_PASSWORD`,
    )
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze({ ...values, admin: username && password ? { username, password } : null, settings })
}

/** What `prepareDataDir` adds: nothing runs without these. */
export interface Secrets {
  readonly sessionSecret: string
  readonly serverSecret: string
}

const secretFiles = {
  sessionSecret: { name: 'SESSION_SECRET', file: 'session-secret', without: 'Delete it to sign everybody out and make a new one' },
  serverSecret: { name: 'SERVER_SECRET', file: 'server-secret', without: 'Delete it to void all API keys and make a new one' },
} as const

/** Makes the data folder, for its owner only, and the secrets that were not given. */
export function prepareDataDir(config: Config): Config & Secrets {
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 })
  const { mode } = statSync(config.dataDir)
  // A sticky folder is one that everybody shares, like /tmp: closing it would lock the others out.
  if ((mode & 0o1000) !== 0)
    throw new ConfigError([`DATA_DIR is ${JSON.stringify(config.dataDir)}, which is shared: expected a folder of its own`])
  if ((mode & 0o077) !== 0) chmodSync(config.dataDir, 0o700)
  const secrets = { sessionSecret: secretOf(config, 'sessionSecret'), serverSecret: secretOf(config, 'serverSecret') }
  const made = Object.entries(secretFiles).flatMap(([key, { name }]) => (config[key as keyof Secrets] === null ? [name as string] : []))
  const settings = config.settings.map((setting) =>
    made.includes(setting.name) ? { ...setting, value: '•••••', source: 'generated' as const } : setting,
  )
  return { ...config, ...secrets, settings }
}

/** The one that was given; else the one in the data folder, made when there is none. */
function secretOf(config: Config, key: keyof Secrets): string {
  const given = config[key]
  if (given !== null) return given
  const { file: name, without } = secretFiles[key]
  const file = join(config.dataDir, name)
  try {
    // 'wx': of two processes that start at once, one writes it and the other reads it.
    writeFileSync(file, randomBytes(32).toString('base64url'), { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      // A full disk leaves an empty file, which the next start would take for a damaged secret.
      rmSync(file, { force: true })
      throw error
    }
  }
  const secret = readFileSync(file, 'utf8').trim()
  if (!isStrong(secret)) throw new ConfigError([`${file} is damaged: expected at least 32 random characters. ${without}`])
  return secret
}

/** Which of PM2's processes this is, when PM2 started it: a reload's new process and the old one have the same. */
export const pm2Place = ({ pm_id: id }: NodeJS.ProcessEnv = process.env): { daemon: number; id: string } | null =>
  id === undefined ? null : { daemon: process.ppid, id }

/** Where PM2 writes what this process prints. */
export const pm2Logs = ({ pm_out_log_path: out, pm_err_log_path: err }: NodeJS.ProcessEnv = process.env): string[] =>
  [...new Set([out, err])].filter((path): path is string => path !== undefined && existsSync(path) && statSync(path).isFile())
