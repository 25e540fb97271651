import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ConfigError, prepareDataDir, readConfig } from '../monitoring/config'
import { holdDataDir } from '../monitoring/db/hold'
import { migrate, migrations } from '../monitoring/db/migrate'
import { openStore } from '../monitoring/db/open'
import { openLog } from '../monitoring/log'
import { inProject } from '../monitoring/paths'
import { makeToken } from '../services/accounts'
import * as claim from '../services/claim'
import { emptyDatabase, password, startApp } from './helpers/app'
import { agentWith } from './helpers/people'
import { until } from './helpers/until'

const modeOf = (path: string): number => statSync(path).mode & 0o777
const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true }).map(({ parentPath, name }) => join(parentPath, name))

describe('a secret', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'oc-secrets-'))
  })
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const read = (environment: Record<string, string>) => readConfig(environment, join(folder, 'none'))
  const names = ['SESSION_SECRET', 'SERVER_SECRET'] as const
  const weak = ['a'.repeat(32), '0'.repeat(64), 'x1'.repeat(40), 'abcdefghijklmnopqrstuvwxyz01234', 'changeme', 'secret']

  test.each(names.flatMap((name) => weak.map((value) => [name, value] as const)))('%s is not “%s”', (name, value) => {
    const problems = (work: () => unknown): readonly string[] => {
      try {
        work()
      } catch (error) {
        if (error instanceof ConfigError) return error.problems
      }
      return []
    }
    const expected = `${name} is wrong: expected at least 32 random characters`
    expect(problems(() => read({ [name]: value }))).toEqual([expected])
    const file = join(folder, 'given')
    writeFileSync(file, `${value}\n`)
    expect(problems(() => read({ [`${name}_FILE`]: file }))).toEqual([expected])
    // Nor where the console keeps its own.
    const kept = join(folder, name.toLowerCase().replace('_', '-'))
    writeFileSync(kept, value)
    expect(problems(() => prepareDataDir(read({ DATA_DIR: folder })))).toEqual([expect.stringContaining(`${kept} is damaged`)])
  })

  test('that is made is another one for each purpose and each console, and for the owner of the folder alone', () => {
    const made = ['one', 'two'].map((name) => {
      const config = prepareDataDir(read({ DATA_DIR: join(folder, name) }))
      for (const file of ['session-secret', 'server-secret']) expect(modeOf(join(folder, name, file))).toBe(0o600)
      return [config.sessionSecret, config.serverSecret]
    })
    expect(new Set(made.flat()).size).toBe(4)
    for (const secret of made.flat()) expect(Buffer.from(secret, 'base64url').length).toBe(32)
  })

  test('stands in no file that comes with the product', () => {
    expect(readdirSync(inProject()).filter((name) => name.startsWith('.env'))).toEqual([])
    for (const file of ['README.md', 'ecosystem.config.js', 'docs/security.md', 'docs/architecture.md', 'package.json']) {
      const given = [...readFileSync(inProject(file), 'utf8').matchAll(/(?:SESSION|SERVER)_SECRET\s*[=:]\s*['"]?([^\s'"`|]+)/g)]
      expect([file, given.map(([, value = '']) => value).filter((value) => value.length >= 32)]).toEqual([file, []])
    }
  })
})

test('after everything was used, no file of the data folder is open to others, however lax the account is', async () => {
  const before = process.umask(0)
  const dataDir = join(mkdtempSync(join(tmpdir(), 'oc-open-')), 'data')
  const database = await emptyDatabase()
  try {
    // From an older version, so that there is a copy from before the upgrade.
    prepareDataDir(readConfig({ DATA_DIR: dataDir }, '/nonexistent/.env'))
    const store = await openStore({ dataDir, databaseUrl: database.url, log: openLog('silent') })
    await migrate(store, () => 1, migrations.slice(0, 1))
    await store.close()
    const app = await startApp({ unclaimed: true, dataDir, ...(database.url === null ? {} : { databaseUrl: database.url }) })
    const giveBack = holdDataDir(dataDir, process.pid, null)
    const nobody = await app.as(null)
    await nobody.get('/claim')
    const token = (await claim.open(app.ctx)) ?? ''
    expect(modeOf(join(dataDir, 'claim-token'))).toBe(0o600)
    const claimed = await nobody.post('/claim').type('form').send({ token, username: 'owner', password })
    expect([claimed.status, existsSync(join(dataDir, 'claim-token'))]).toEqual([303, false])
    const cookie = (claimed.headers['set-cookie'] as unknown as string[])[0]?.split(';')[0] ?? ''
    const owner = agentWith(app, { Cookie: cookie, Origin: app.url })
    const made = [
      await owner.post('/api/events').send({ events: [{ type: 'deploy', source: 'ci' }] }),
      await owner.post('/api/keys').send({ name: 'a key', role: 'viewer' }),
      await owner.post('/api/invites').send({ role: 'viewer' }),
      await owner.post('/api/roles').send({ name: 'on call', actions: ['health.read'] }),
      await owner.get('/api/audit/export'),
      await owner.get('/api/health'),
    ]
    expect(made.map(({ status }) => status)).toEqual([201, 201, 201, 201, 200, 200])
    app.platform.store.sqlite?.pragma('wal_checkpoint(TRUNCATE)')
    await owner.post('/api/events').send({ events: [{ type: 'deploy', source: 'ci' }] })

    const files = filesIn(dataDir)
    const endings = files.map((file) => file.slice(dataDir.length + 1).replace(/^.*(?=\.before-)|^[^.]*(?=\.db)/, ''))
    const wanted = ['session-secret', 'server-secret', 'console.lock', 'console.json']
    const copy = migrations[0] ? `.before-${migrations[1]?.name ?? ''}` : ''
    expect(endings).toEqual(expect.arrayContaining(TEST_DIALECT === 'sqlite' ? [...wanted, '.db', '.db-wal', '.db-shm', copy] : wanted))
    expect([dataDir, ...files].filter((file) => (modeOf(file) & 0o077) !== 0)).toEqual([])
    giveBack()
    await app.stop()
    expect(filesIn(dataDir).filter((file) => (modeOf(file) & 0o077) !== 0)).toEqual([])
  } finally {
    process.umask(before)
    await database.drop()
    rmSync(join(dataDir, '..'), { recursive: true, force: true })
  }
})

test('a mistake that nobody caught is logged once and ends the console, which starts again on what it had', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'oc-drill-'))
  const [trap, flag] = [join(folder, 'trap.js'), join(folder, 'now')]
  writeFileSync(
    trap,
    `const { existsSync } = require('node:fs')
    const timer = setInterval(() => {
      if (!existsSync(${JSON.stringify(flag)})) return
      clearInterval(timer)
      throw new Error('a drill')
    }, 20)`,
  )
  const env = { PATH: process.env['PATH'], DATA_DIR: join(folder, 'data'), PM2_HOME: join(folder, 'pm2'), PORT: '0', HOST: '127.0.0.1' }
  const start = async () => {
    const child = spawn(process.execPath, ['--require', trap, inProject('dist/monitoring/dashboard/server.js')], { env })
    let said = ''
    child.stdout.on('data', (part: Buffer) => (said += part.toString()))
    child.stderr.on('data', (part: Buffer) => (said += part.toString()))
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    const address = await until(() => /"address":"([^"]+)"/.exec(said)?.[1], 20_000)
    expect((await fetch(`${address}/healthz`)).status).toBe(200)
    return { child, ended, said: () => said }
  }
  const first = await start()
  writeFileSync(flag, '')
  expect(await first.ended).toBe(1)
  expect(first.said().match(/a mistake that nobody caught/g)).toHaveLength(1)
  rmSync(flag)
  const second = await start()
  expect(second.said()).not.toContain('damaged')
  second.child.kill('SIGTERM')
  expect(await second.ended).toBe(0)
  rmSync(folder, { recursive: true, force: true })
}, 60_000)

test('what nobody may guess comes from the generator that is made for it', () => {
  const sources = ['monitoring', 'services', 'routes'].flatMap((folder) =>
    filesIn(inProject(folder)).filter((file) => file.endsWith('.ts')),
  )
  expect(sources.length).toBeGreaterThan(100)
  expect(sources.filter((file) => readFileSync(file, 'utf8').includes('Math.random'))).toEqual([])
  const tokens = Array.from({ length: 10_000 }, () => makeToken().token)
  expect(new Set(tokens).size).toBe(10_000)
  expect(tokens.filter((token) => Buffer.from(token, 'base64url').length * 8 < 128)).toEqual([])
})

test('no dependency is older than the version in which a known hole was closed', () => {
  const { packages } = JSON.parse(readFileSync(inProject('package-lock.json'), 'utf8')) as {
    packages: Record<string, { version?: string }>
  }
  // A list for each: the first fixed version of every line that is in use.
  const floors: Readonly<Record<string, readonly string[]>> = {
    'body-parser': ['2.3.0'],
    qs: ['6.14.2'],
    express: ['5.2.0'],
    ws: ['8.17.1'],
    pm2: ['7.0.0'],
    ejs: ['3.1.10'],
    multer: ['2.2.0'],
    nodemailer: ['8.0.11'],
    passport: ['0.6.0'],
    'tar-fs': ['2.1.3', '3.0.9'],
  }
  const numbers = (version: string): number[] => version.split(/[.-]/).slice(0, 3).map(Number)
  const isBelow = (version: string, floor: string): boolean => {
    const [one, other] = [numbers(version), numbers(floor)]
    const first = one.findIndex((part, index) => part !== other[index])
    return first >= 0 && (one[first] ?? 0) < (other[first] ?? 0)
  }
  const found = Object.entries(packages).flatMap(([path, { version = '' }]) => {
    const name = path.split('node_modules/').at(-1) ?? ''
    return Object.hasOwn(floors, name) ? [{ name, version }] : []
  })
  expect(found.map(({ name }) => name)).toEqual(expect.arrayContaining(['express', 'ws', 'pm2']))
  const old = found.filter(({ name, version }) => {
    const lines = floors[name] ?? []
    // The floor of its own line, or of the newest one.
    const floor = lines.find((line) => numbers(line)[0] === numbers(version)[0]) ?? lines.at(-1) ?? ''
    return isBelow(version, floor)
  })
  expect(old).toEqual([])
})
