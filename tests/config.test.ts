import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ConfigError, prepareDataDir, readConfig } from '../monitoring/config'
import { inProject } from '../monitoring/paths'
import { startApp } from './helpers/app'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'oc-config-'))
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

const fileWith = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const read = (environment: Record<string, string> = {}, dotEnv = '') => readConfig(environment, fileWith('.env', dotEnv))
const modeOf = (path: string): number => statSync(path).mode & 0o777

function problemsOf(work: () => unknown): readonly string[] {
  try {
    work()
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

const wrong = {
  PORT: 'http',
  HOST: 'two words',
  DATABASE_URL: 'mysql://user:canary-1@host/db',
  ADMIN_PASSWORD: 'short',
  SESSION_SECRET: 'canary-2',
  TRUST_PROXY: 'everybody',
  PUBLIC_URL: 'https://example.com/below',
  TIMEZONE: 'Mars/Phobos',
  API_RATE_LIMIT: '0',
  INGEST_RATE_LIMIT: 'many',
  LOG_LEVEL: 'loud',
}

describe('a wrong configuration', () => {
  test('is told all at once, with what was expected, and without the secrets', () => {
    const problems = problemsOf(() => read(wrong))
    for (const name of Object.keys(wrong)) expect(problems).toContainEqual(expect.stringMatching(new RegExp(`^${name} is .*: expected .`)))
    expect(problems).toContainEqual(expect.stringContaining('ADMIN_USERNAME is missing'))
    expect(problems).toHaveLength(Object.keys(wrong).length + 1)
    expect(problems.join('\n')).not.toMatch(/canary/)
  })

  test('ends the server before it opens anything', () => {
    const DATA_DIR = join(folder, 'data')
    const { status, stdout, stderr } = spawnSync(process.execPath, [inProject('dist/monitoring/dashboard/server.js')], {
      env: { ...wrong, DATA_DIR },
      encoding: 'utf8',
    })
    expect(status).toBe(1)
    expect(stdout).toBe('')
    for (const name of Object.keys(wrong)) expect(stderr).toContain(`${name} is `)
    expect(stderr).not.toMatch(/^\s+at |canary/m)
    expect(existsSync(DATA_DIR)).toBe(false)
  })

  test.each([
    ['of 31 characters', 'abcdefghijklmnopqrstuvwxyz01234'],
    ['of zeros', '0'.repeat(64)],
    ['of one word again and again', 'abc'.repeat(20)],
  ])('is a session secret %s', (_what, SESSION_SECRET) => {
    expect(problemsOf(() => read({ SESSION_SECRET }))).toEqual([expect.stringContaining('SESSION_SECRET')])
  })

  test.each(['nine char', 'e\u0301'.repeat(9)])('is a password of the first admin of fewer than ten characters: %j', (ADMIN_PASSWORD) => {
    expect(problemsOf(() => read({ ADMIN_USERNAME: 'alice', ADMIN_PASSWORD }))).toEqual([
      'ADMIN_PASSWORD is wrong: expected a password of 10 to 1,024 characters',
    ])
  })

  test('is a data folder that everybody shares', () => {
    expect(problemsOf(() => prepareDataDir(read({ DATA_DIR: tmpdir() })))).toEqual([expect.stringContaining('a folder of its own')])
    expect(statSync(tmpdir()).mode & 0o7777).toBe(0o1777)
  })

  test('is one half of the first admin', () => {
    expect(problemsOf(() => read({ ADMIN_USERNAME: 'alice' }))).toEqual([expect.stringContaining('ADMIN_PASSWORD is missing')])
    expect(problemsOf(() => read({ ADMIN_USERNAME: 'al\nice', ADMIN_PASSWORD: 'correct horse' }))[0]).toBe(
      'ADMIN_USERNAME is "al\\nice": expected a name of 1 to 64 characters',
    )
  })
})

describe('a value', () => {
  test('has a default, and an empty variable is none', () => {
    const config = read({ PORT: '', TIMEZONE: 'Asia/Kolkata' })
    expect(config).toMatchObject({ port: 8080, host: '0.0.0.0', databaseUrl: null, admin: null, apiRateLimit: 100, trustProxy: null })
    expect(config.dataDir).toBe(inProject('data'))
    expect(config.pm2Home).toMatch(/\/\.pm2$/)
  })

  test('comes from the environment first, then from .env, and says so', () => {
    const config = read({ PORT: '81' }, 'PORT=82\nHOST="127.0.0.1"\n# a comment\nTRUST_PROXY=loopback, 10.0.0.0/8\n')
    expect(config).toMatchObject({ port: 81, host: '127.0.0.1', trustProxy: ['loopback', '10.0.0.0/8'] })
    const sources = Object.fromEntries(config.settings.map(({ name, source }) => [name, source]))
    expect(sources).toMatchObject({ PORT: 'environment', HOST: '.env', LOG_LEVEL: 'default' })
  })

  test('of a secret may stand in a file', () => {
    const secret = 'q8Zr3vX1mN5kT7pW2sY9bC4dF6gH0jL1'
    const config = read(
      { SESSION_SECRET_FILE: fileWith('secret', `${secret}\n`) },
      `ADMIN_USERNAME=alice\nADMIN_PASSWORD_FILE=${fileWith('password', 'correct horse\n')}`,
    )
    expect(config.sessionSecret).toBe(secret)
    expect(config.admin).toEqual({ username: 'alice', password: 'correct horse' })
    expect(JSON.stringify(config.settings)).not.toMatch(new RegExp(`${secret}|correct horse`))
    const problems = problemsOf(() => read({ SESSION_SECRET: secret, SESSION_SECRET_FILE: join(folder, 'none') }))
    expect(problems).toEqual([
      'SESSION_SECRET and SESSION_SECRET_FILE are both set: expected one of them',
      'SESSION_SECRET_FILE cannot be read: expected a readable file (ENOENT)',
    ])
  })

  test.each([
    ['postgres://user:canary@db:5432/oc', 'postgres://•••••@db:5432/oc'],
    ['postgres://user:can@ry/canary@db/oc', '•••••'],
    ['postgres://db/oc?password=canary', 'postgres://•••••@db/oc'],
  ])('of a database address is shown without its password', (DATABASE_URL, expected) => {
    const shown = read({ DATABASE_URL }).settings.find(({ name }) => name === 'DATABASE_URL')?.value
    expect(shown).toBe(expected)
  })
})

describe('the data folder', () => {
  test('and the secret in it are made once, for their owner alone', () => {
    const DATA_DIR = join(folder, 'deep', 'data')
    const first = prepareDataDir(read({ DATA_DIR }))
    expect(first.sessionSecret.length).toBeGreaterThanOrEqual(43)
    expect(prepareDataDir(read({ DATA_DIR })).sessionSecret).toBe(first.sessionSecret)
    expect(modeOf(DATA_DIR)).toBe(0o700)
    expect(readFileSync(join(DATA_DIR, 'session-secret'), 'utf8')).toBe(first.sessionSecret)
    expect(modeOf(join(DATA_DIR, 'session-secret'))).toBe(0o600)
    expect(first.settings.find(({ name }) => name === 'SESSION_SECRET')).toMatchObject({ source: 'generated', value: '•••••' })
  })

  test('that others could read is closed', () => {
    const DATA_DIR = join(folder, 'open')
    mkdirSync(DATA_DIR, { mode: 0o755 })
    prepareDataDir(read({ DATA_DIR }))
    expect(modeOf(DATA_DIR)).toBe(0o700)
  })

  test('with a damaged secret is not started with', () => {
    const DATA_DIR = join(folder, 'data')
    mkdirSync(DATA_DIR)
    writeFileSync(join(DATA_DIR, 'session-secret'), '')
    expect(problemsOf(() => prepareDataDir(read({ DATA_DIR })))).toEqual([expect.stringContaining('is damaged')])
  })

  test('holds nothing that others can read while the console runs', async () => {
    const app = await startApp({ unclaimed: true })
    await app.ctx.db.insertInto('facts').values({ name: 'a', value: 'b', at: 1 }).execute()
    const files = readdirSync(app.dataDir, { recursive: true, withFileTypes: true }).map(({ parentPath, name }) => join(parentPath, name))
    const kinds = files.map((file) => /\.db(-wal|-shm)?$/.exec(file)?.[0])
    expect(kinds).toEqual(expect.arrayContaining(TEST_DIALECT === 'sqlite' ? ['.db', '.db-wal', '.db-shm'] : []))
    expect(files.length).toBeGreaterThan(0)
    expect(files.filter((file) => (modeOf(file) & 0o077) !== 0)).toEqual([])
    await app.close()
  })
})
