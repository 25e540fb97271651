import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { doctor } from '../monitoring/doctor'
import { inProject } from '../monitoring/paths'
import { open as openClaim } from '../services/claim'
import { emptyDatabase, startApp } from './helpers/app'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'oc-cli-'))
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

const examine = async (environment: Record<string, string>) => {
  const lines: string[] = []
  const code = await doctor(
    (line) => lines.push(line),
    { DATA_DIR: join(folder, 'data'), PM2_HOME: folder, PORT: '1', ...environment },
    '/nonexistent/.env',
  )
  return { code, text: lines.join('\n') }
}

describe('operations-center doctor', () => {
  test('shows the effective values without the secrets, and finds a running console well', async () => {
    const app = await startApp({ unclaimed: true })
    const { databaseUrl } = app.platform.config
    const token = await openClaim(app.ctx)
    const { code, text } = await examine({
      DATA_DIR: app.dataDir,
      PORT: new URL(app.url).port,
      SESSION_SECRET: 'canary-q8Zr3vX1mN5kT7pW2sY9bC4dF6',
      ADMIN_USERNAME: 'root',
      ADMIN_PASSWORD: 'canary-password',
      ...(databaseUrl === null ? {} : { DATABASE_URL: databaseUrl }),
    })
    expect(code).toBe(0)
    expect(text).toMatch(/SESSION_SECRET +••••• {2}\(environment\)/)
    expect(text).toMatch(/LOG_LEVEL +info {2}\(default\)/)
    expect(text).toMatch(/ok {4}(SQLite|PostgreSQL): answers; schema 0003_health/)
    expect(text).toContain('Port: ' + new URL(app.url).port + ' answers')
    expect(text).toContain('no daemon runs in')
    expect(text).toContain(`nobody has claimed this console yet: http://127.0.0.1:${new URL(app.url).port}/claim?token=${token ?? ''}`)
    expect(text).not.toContain('canary')
    await app.close()
  })

  test('says what the first start will make, and makes nothing', async () => {
    const { url, drop } = await emptyDatabase()
    const { code, text } = await examine(url === null ? {} : { DATABASE_URL: url })
    expect(code).toBe(0)
    expect(text).toMatch(/note {2}DATA_DIR: .* is not there yet/)
    expect(text).toMatch(/note {2}(SQLite: .* is not there yet|PostgreSQL: answers and is empty)/)
    expect(text).toContain('Port: 1 is free')
    expect(text).toContain('no claim link is open')
    await drop()
  })

  test('fails when a dependency does: a damaged database, a database that does not answer, a folder that is a file', async () => {
    writeFileSync(join(folder, 'operations-center.db'), 'this is not a database, but long enough to look at'.repeat(50))
    const damaged = await examine({ DATA_DIR: folder })
    expect([damaged.code, /FAIL {2}SQLite: .+/.test(damaged.text)]).toEqual([1, true])
    const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const away = await examine({ DATABASE_URL: `postgres://user:canary@127.0.0.1:${port}/db` })
    server.close()
    expect([away.code, /FAIL {2}PostgreSQL: .+/.test(away.text), away.text.includes('canary')]).toEqual([1, true, false])
    const file = await examine({ DATA_DIR: join(folder, 'operations-center.db') })
    expect([file.code, file.text.includes('is not a folder')]).toEqual([1, true])
  })

  test('says all that is wrong with the configuration', async () => {
    const { code, text } = await examine({ PORT: 'x', TIMEZONE: 'y', SESSION_SECRET: 'canary' })
    expect(code).toBe(1)
    for (const name of ['PORT', 'TIMEZONE', 'SESSION_SECRET']) expect(text).toContain(`${name} is `)
    expect(text).not.toContain('canary')
  })
})

test('operations-center answers help, its version, and 2 for what it does not know', () => {
  const run = (...argv: string[]) =>
    spawnSync(process.execPath, [inProject('dist/monitoring/cli.js'), ...argv], { encoding: 'utf8', env: { DATA_DIR: folder } })
  expect(run('--help')).toMatchObject({ status: 0, stdout: expect.stringContaining('doctor') as string })
  expect(run('version')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string })
  for (const unknown of ['nonsense', 'constructor']) {
    const { status, stdout, stderr } = run(unknown)
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toContain(`There is no command “${unknown}”`)
  }
})
