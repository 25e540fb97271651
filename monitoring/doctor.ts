import { existsSync, readFileSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { auditStatus, verifyAudit, version } from './app'
import { ConfigError, readConfig, type Config } from './config'
import { systemClock } from './context'
import { asError } from './errors'
import { openLog } from './log'
import { bytes, plural } from './markup'
import { inProject } from './paths'
import { openStore, sqliteFile, type Store } from './db/open'
import { rescueTokenFile } from './rescue/access'
import { spaceOf } from './rescue/space'

type Finding = readonly ['ok' | 'warn' | 'fail', string, string]

/** Shows the effective configuration and tries everything the console depends on; changes nothing, so that it may run beside it. */
export async function doctor(say: (line: string) => void, environment?: NodeJS.ProcessEnv, dotEnvFile?: string): Promise<number> {
  let config: Config
  try {
    config = readConfig(environment, dotEnvFile)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    say('The configuration is wrong:')
    for (const problem of error.problems) say(`  ${problem}`)
    return 1
  }
  say(`Operations Center ${version} on Node.js ${process.version}\n\nConfiguration`)
  const width = Math.max(...config.settings.map(({ name }) => name.length))
  for (const { name, value, source } of config.settings) say(`  ${name.padEnd(width)}  ${value}  (${source})`)
  say('\nDependencies')
  const findings = [
    nodeVersion(),
    build(),
    dataDir(config),
    ...(await database(config)),
    ...pm2Home(config),
    ...(await Promise.all([pm2(config), port(config)])),
    ...space(config),
    ...rescue(config),
    claim(config),
  ]
  const marks = { ok: 'ok  ', warn: 'note', fail: 'FAIL' }
  for (const [state, name, text] of findings) say(`  ${marks[state]}  ${name}: ${text}`)
  return findings.some(([state]) => state === 'fail') ? 1 : 0
}

function nodeVersion(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  return major > 20 || (major === 20 && minor >= 19)
    ? ['ok', 'Node.js', process.version]
    : ['fail', 'Node.js', `${process.version}; 20.19 or newer is needed`]
}

const build = (): Finding =>
  existsSync(inProject('public', 'build', 'assets.json')) ? ['ok', 'Build', 'there'] : ['fail', 'Build', 'missing: run “npm run build”']

function dataDir({ dataDir }: Config): Finding {
  const found = statSync(dataDir, { throwIfNoEntry: false })
  if (!found) return ['warn', 'DATA_DIR', `${dataDir} is not there yet: the first start makes it`]
  if (!found.isDirectory()) return ['fail', 'DATA_DIR', `${dataDir} is not a folder`]
  return (found.mode & 0o077) === 0
    ? ['ok', 'DATA_DIR', dataDir]
    : ['warn', 'DATA_DIR', `${dataDir} can be read by others: the next start closes it`]
}

async function database(config: Config): Promise<Finding[]> {
  const what = config.databaseUrl === null ? 'SQLite' : 'PostgreSQL'
  const file = sqliteFile(config.dataDir)
  if (config.databaseUrl === null && !existsSync(file)) return [['warn', what, `${file} is not there yet: the first start makes it`]]
  try {
    const store = await openStore({ dataDir: config.dataDir, databaseUrl: config.databaseUrl, log: openLog('silent') })
    try {
      const tables = await store.db.introspection.getTables()
      if (!tables.some(({ name }) => name === 'migrations'))
        return [['warn', what, 'answers and is empty: the first start makes the schema']]
      const newest = await store.db.selectFrom('migrations').select('name').orderBy('name', 'desc').limit(1).executeTakeFirst()
      const intact = (store.sqlite?.pragma('quick_check', { simple: true }) ?? 'ok') as string
      if (intact !== 'ok') return [['fail', what, `is damaged: ${intact}`]]
      const isSealed = tables.some(({ name, columns }) => name === 'audit' && columns.some((column) => column.name === 'hash'))
      return [['ok', what, `answers; schema ${newest?.name ?? 'empty'}`], ...(isSealed ? await auditTrail(store, config) : [])]
    } finally {
      await store.close()
    }
  } catch (error) {
    return [['fail', what, asError(error).message]]
  }
}

const waitsLong = 60_000

const what = 'Audit trail'

async function auditTrail(store: Store, { serverSecret, dataDir }: Config): Promise<Finding[]> {
  const file = join(dataDir, 'server-secret')
  const secret = serverSecret ?? (existsSync(file) ? readFileSync(file, 'utf8').trim() : null)
  if (secret === null) return [['warn', what, 'cannot be verified: there is no SERVER_SECRET yet']]
  const verdict = await verifyAudit(store, secret)
  const { waiting, oldest } = await auditStatus(store)
  return [
    ...(verdict.ok ? soundTrail(verdict) : [['fail', what, `is broken at entry no. ${verdict.no}: ${verdict.why}`] as const]),
    ...(oldest !== null && oldest < systemClock() - waitsLong
      ? [['warn', what, `${plural(waiting, 'entry waits', 'entries wait')} to be sealed: the console does that while it runs`] as const]
      : []),
  ]
}

type Sound = Extract<Awaited<ReturnType<typeof verifyAudit>>, { ok: true }>

function soundTrail({ count, no, hash, unverified, strangers }: Sound): Finding[] {
  const upTo = no === 0 ? '' : `, up to no. ${no} with the hash ${hash}`
  const findings: Finding[] = [
    ['ok', what, `${plural(count, 'sealed entry is as it was', 'sealed entries are as they were')} written${upTo}`],
  ]
  if (unverified !== null)
    findings.push(['warn', what, `entries up to no. ${unverified} were sealed with another SERVER_SECRET and are not verified`])
  if (strangers.count > 0) {
    const others = strangers.count > strangers.first.length ? ' and others' : ''
    const said = plural(strangers.count, 'entry was', 'entries were')
    findings.push(['fail', what, `${said} not written by the console: no. ${strangers.first.join(', ')}${others}`])
  }
  return findings
}

function pm2Home({ pm2Home }: Config): Finding[] {
  const found = statSync(pm2Home, { throwIfNoEntry: false })
  return found && (found.mode & 0o077) !== 0
    ? [['warn', 'PM2_HOME', `other accounts can get at ${pm2Home}, and so at the daemon: “chmod 700 ${pm2Home}” closes it`]]
    : []
}

async function pm2({ pm2Home }: Config): Promise<Finding> {
  return (await answers({ path: join(pm2Home, 'rpc.sock') }))
    ? ['ok', 'PM2', `the daemon of ${pm2Home} answers`]
    : ['warn', 'PM2', `no daemon runs in ${pm2Home}: nothing to watch there. “pm2 resurrect” or “pm2 start ecosystem.config.js” starts one`]
}

async function port({ port, host }: Config): Promise<Finding> {
  const taken = await answers({ port, host: host === '0.0.0.0' ? '127.0.0.1' : host })
  return ['ok', 'Port', taken ? `${port} answers: the console, or another program, runs there` : `${port} is free`]
}

/** Where the console asks for help, if it does. */
function rescue(config: Config): Finding[] {
  const file = rescueTokenFile(config.dataDir)
  if (!existsSync(file)) return []
  const base = config.publicUrl?.origin ?? `http://127.0.0.1:${config.port}`
  return [['warn', 'Rescue mode', `the console could not start, and waits here: ${base}/rescue?token=${readFileSync(file, 'utf8').trim()}`]]
}

const scarce = 200 * 1024 * 1024

function space({ dataDir }: Config): Finding[] {
  const found = spaceOf(dataDir)
  if (!found) return []
  const left = `${bytes(found.free)} of ${bytes(found.total)} are free`
  return found.free < scarce || (found.inodes !== null && found.inodes < 100)
    ? [
        [
          'fail',
          'Disk',
          `${left}${found.inodes === null ? '' : `, and room for ${plural(found.inodes, 'file', 'files')}`}: nothing can be stored when there is none`,
        ],
      ]
    : [['ok', 'Disk', left]]
}

function claim(config: Config): Finding {
  const file = join(config.dataDir, 'claim-token')
  if (!existsSync(file)) return ['ok', 'Claim', 'no claim link is open']
  const base = config.publicUrl?.origin ?? `http://127.0.0.1:${config.port}`
  return ['warn', 'Claim', `nobody has claimed this console yet: ${base}/claim?token=${readFileSync(file, 'utf8').trim()}`]
}

const answers = (target: { path: string } | { port: number; host: string }): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(target as { path: string })
    const end = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(1000)
    socket.once('connect', () => {
      end(true)
    })
    socket.once('error', () => {
      end(false)
    })
    socket.once('timeout', () => {
      end(false)
    })
  })
