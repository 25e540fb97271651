import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { inProject } from '../monitoring/paths'
import { startApp, type Agent, type TestApp } from './helpers/app'
import { bodyOf, expectProblem } from './helpers/routes'
import { until } from './helpers/until'

// A real PM2 in a folder of its own, with processes that end with exit code 7 when they are told to.
let app: TestApp
let alice: Agent
let bob: Agent
let carol: Agent

interface Process {
  id: string
  name: string
  pm_id: number
  pid: number | null
  status: string
  restarts: number
  crashes_10m: number
  mode: string
  memory_bytes: number | null
}
interface List {
  items: Process[]
  state: string
  hint: string | null
  next: string | null
}

const list = async (search = ''): Promise<List> => bodyOf<List>(await carol.get(`/api/processes${search}`), 'GET /api/processes')
const named = async (name: string): Promise<Process | undefined> => (await list()).items.find((one) => one.name === name)
const online = (name: string, but: number | null = null) =>
  until(async () => {
    const found = await named(name)
    return found?.status === 'online' && found.pid !== but ? found : undefined
  }, 15_000)
const eventsOf = async (type: string, subject: string) =>
  (await carol.get(`/api/events?type=${type}&subject=${subject}`)).body as {
    items: { data: Record<string, unknown>; severity: string; source: string }[]
  }
const auditOf = (action: string) =>
  app.ctx.db.selectFrom('audit').select(['actor_name', 'subject', 'data']).where('action', '=', `processes.${action}`).execute()

/** The processes of this folder: the daemon, its apps, our helper. */
function ours(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(app.pm2Home) ||
          readFileSync(`/proc/${pid}/environ`, 'utf8').includes(app.pm2Home)
        )
      } catch {
        return false
      }
    })
    .map(Number)
}

async function startDaemon(): Promise<void> {
  const script = join(app.pm2Home, 'app.js')
  const file = join(app.pm2Home, 'apps.json')
  writeFileSync(
    script,
    `const { existsSync, unlinkSync } = require('node:fs')
    const command = ${JSON.stringify(join(app.pm2Home, 'crash-'))} + process.env.name
    setInterval(() => { if (existsSync(command)) { unlinkSync(command); process.exit(7) } }, 20)
    if (process.env.exec_mode === 'cluster_mode') require('node:http').createServer().listen(0)`,
  )
  const apps = [
    { name: 'web', script },
    { name: 'cluster', script, exec_mode: 'cluster', instances: 1 },
    { name: 'twin', script },
    { name: 'twin', script },
  ]
  writeFileSync(file, JSON.stringify({ apps }))
  const env = { PATH: process.env['PATH'], HOME: app.pm2Home, PM2_HOME: app.pm2Home }
  await promisify(execFile)(process.execPath, [inProject('node_modules/pm2/bin/pm2'), 'start', file, '--force'], { env })
}

beforeAll(async () => {
  if (!existsSync(inProject('dist/monitoring/probes/pm2-helper.js')))
    throw new Error('The helper is forked from dist: run “npm run build” first')
  app = await startApp({ probes: { system: false, pm2: true } })
  ;[alice, bob, carol] = await Promise.all([app.as('alice'), app.as('bob'), app.as('carol')])
}, 40_000)

afterAll(async () => {
  await app.platform.probes.pm2?.stop()
  for (const pid of ours()) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // Gone already: with the daemon its apps end.
    }
  }
  await until(() => ours().length === 0)
  await app.close()
})

test('without a daemon the list says so, says what starts one, and starts none', async () => {
  const { items, state, hint } = await until(async () => {
    const found = await list()
    return found.state === 'no-daemon' ? found : undefined
  })
  expect([items, state]).toEqual([[], 'no-daemon'])
  expect(hint).toBe(`PM2_HOME=${app.pm2Home} pm2 start ecosystem.config.js`)
  expectProblem(await bob.post('/api/processes/web/restart'), 404)
  expect(existsSync(join(app.pm2Home, 'rpc.sock'))).toBe(false)
})

test('every process is listed, page by page', async () => {
  const page = await app.live('carol', '/live?topics=processes')
  await startDaemon()
  const { items } = await until(async () => {
    const found = await list()
    return found.items.length === 4 && found.items.every(({ status }) => status === 'online') ? found : undefined
  }, 20_000)
  expect(items.map(({ id, name, mode }) => [id, name, mode])).toEqual(
    [
      ['web', 'fork'],
      ['cluster', 'cluster'],
      ['twin', 'fork'],
      ['twin', 'fork'],
    ].map(([name, mode], index) => [`${app.platform.config.hostName}:${index}`, name, mode]),
  )
  await page.frame((frame) => frame.includes(`id="process_${items[0]?.id ?? ''}"`))
  const first = await list('?limit=3')
  const second = await list(`?limit=3&cursor=${first.next}`)
  expect([...first.items, ...second.items].map(({ id }) => id)).toEqual(items.map(({ id }) => id))
  expect(second.next).toBeNull()
})

test('restart: an operator does it, a viewer does not; it is audited, told and shown', async () => {
  const before = await online('web')
  expectProblem(await carol.post(`/api/processes/${before.id}/restart`), 403)
  expect((await carol.post(`/processes/${before.id}/restart`).type('form').send({})).status).toBe(403)
  expect(await auditOf('restart')).toEqual([])
  const page = await app.live('carol', '/live?topics=processes,events')
  const after = bodyOf<Process>(await bob.post(`/api/processes/${before.id}/restart`), 'POST /api/processes/:id/restart')
  expect(after).toMatchObject({ id: before.id, name: 'web', restarts: 1 })
  expect(after.pid).not.toBe(before.pid)
  expect(() => process.kill(before.pid ?? 0, 0)).toThrow()
  expect(await auditOf('restart')).toEqual([{ actor_name: 'bob', subject: before.id, data: '{"name":"web"}' }])
  expect((await eventsOf('process.restart', 'web')).items).toMatchObject([{ source: 'console', severity: 'notice', data: { by: 'bob' } }])
  await page.frame((frame) => frame.includes(`target="process_${before.id}"`))
  await page.frame((frame) => frame.includes('bob restarted web'))
})

test('stop and start, by form: the page asks first and says what happens then', async () => {
  const { id } = await online('web')
  const asked = await bob.get(`/processes/${id}/stop`)
  expect(asked.status).toBe(200)
  for (const words of [
    'Stop web?',
    'PM2 does not start it again until somebody asks for it',
    'What it serves is not served meanwhile',
    'Leave it running',
  ])
    expect(asked.text).toContain(words)
  const stopped = await bob.post(`/processes/${id}/stop`).type('form').send({})
  expect([stopped.status, stopped.headers['location']]).toEqual([303, '/'])
  expect(await named('web')).toMatchObject({ status: 'stopped', pid: null, memory_bytes: null })
  expect((await bob.get(`/processes/${id}/start`)).text).toContain('Leave it stopped')
  const started = bodyOf<Process>(await alice.post(`/api/processes/${id}/start`), 'POST /api/processes/:id/start')
  expect(started.status).toBe('online')
  expect((await auditOf('stop')).map((row) => row.actor_name)).toEqual(['bob'])
  expect((await auditOf('start')).map((row) => row.actor_name)).toEqual(['alice'])
  // What people asked for is no crash.
  expect((await eventsOf('process.crashed', 'web')).items).toEqual([])
})

test('reload: a process in cluster mode gets a successor; by its name', async () => {
  const before = await online('cluster')
  expect((await bob.get('/processes/cluster/reload')).text).toContain('A new one starts first, then the old one ends')
  expect((await bob.get('/processes/web/reload')).text).not.toContain('A new one starts first')
  const after = bodyOf<Process>(await bob.post('/api/processes/cluster/reload'), 'POST /api/processes/:id/reload')
  expect(after.status).toBe('online')
  expect(after.pid).not.toBe(before.pid)
})

test('a crash is noticed, told and counted, and the new process is there', async () => {
  const before = await online('web')
  const page = await app.live('carol', '/live?topics=processes,events')
  writeFileSync(join(app.pm2Home, 'crash-web'), '')
  const after = await online('web', before.pid)
  expect(after.restarts).toBe(before.restarts + 1)
  const { items } = await until(async () => {
    const found = await eventsOf('process.crashed', 'web')
    return found.items.length > 0 ? found : undefined
  })
  expect(items).toMatchObject([{ source: 'pm2', severity: 'error', data: { pm_id: 0, exit_code: 7 } }])
  expect((await named('web'))?.crashes_10m).toBe(1)
  await page.frame((frame) => frame.includes('web crashed with exit code 7'))
})

test('a name that two have is refused with their ids; one that nobody has is not found', async () => {
  const { detail } = expectProblem(await bob.post('/api/processes/twin/restart'), 409)
  expect(detail).toContain(`${app.platform.config.hostName}:2, ${app.platform.config.hostName}:3`)
  expectProblem(await bob.post('/api/processes/nobody/restart'), 404)
  expect((await bob.get('/processes/twin/restart')).status).toBe(409)
  expect((await bob.post('/processes/nobody/restart').type('form').send({})).status).toBe(404)
})

test('two people at once: both are answered, each leaves a row', async () => {
  const answers = await Promise.all([bob.post('/api/processes/web/restart'), alice.post('/api/processes/web/restart')])
  expect(answers.map(({ status }) => status)).toEqual([200, 200])
  expect((await auditOf('restart')).map((row) => row.actor_name).sort()).toEqual(['alice', 'bob', 'bob'])
})

test('as long as nothing changes, no row and no open page is written to', async () => {
  await online('web')
  const rows = () => app.ctx.db.selectFrom('processes').select(['id', 'seen_at', 'pid']).orderBy('id').execute()
  const changes = async () => (await app.ctx.db.selectFrom('changes').select('seq').where('topic', '=', 'processes').execute()).length
  const { pm2 } = app.platform.probes
  await pm2?.refresh()
  const before = [await rows(), await changes()]
  for (let look = 0; look < 3; look++) await pm2?.refresh()
  expect([await rows(), await changes()]).toEqual(before)
})

test('when the daemon is gone the last list stays, and acting is refused with what to do', async () => {
  app.expectLog(/PM2/)
  for (const pid of ours().filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('God Daemon')))
    process.kill(pid, 'SIGKILL')
  const { items, hint } = await until(async () => {
    const found = await list()
    return found.state === 'no-daemon' ? found : undefined
  }, 15_000)
  expect(items.map(({ name, pid }) => [name, pid])).toEqual([
    ['web', null],
    ['cluster', null],
    ['twin', null],
    ['twin', null],
  ])
  const refused = await bob.post('/api/processes/web/restart')
  expect(expectProblem(refused, 503)).toMatchObject({ title: 'PM2 is not available', detail: hint })
  expect(refused.headers['retry-after']).toBe('5')
  expect((await bob.post('/processes/web/restart').type('form').send({})).status).toBe(503)
  expect((await eventsOf('pm2.no-daemon', 'pm2')).items).toHaveLength(1)
})
