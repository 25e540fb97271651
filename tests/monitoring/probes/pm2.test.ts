import { execFile, fork, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import {
  pm2Event,
  pm2Probe,
  pm2Process,
  type Pm2Event,
  type Pm2Probe,
  type Pm2Process,
  type Pm2State,
} from '../../../monitoring/probes/pm2'

const root = resolve(__dirname, '../../..')
const built = join(root, 'dist/monitoring/probes')

// Not os.tmpdir(): the path of a unix socket may have 107 characters, and temporary folders are long on some machines
const folder = mkdtempSync('/tmp/pm2-')
const home = join(folder, 'home')
const secret = 'a-secret-of-an-app'

let probe: Pm2Probe
let states: Pm2State[] = []
let events: Pm2Event[] = []
const errors: unknown[] = []

function probeOf(pm2Home: string): Pm2Probe {
  return pm2Probe({
    home: pm2Home,
    every: 400,
    now: Date.now,
    onState: (state) => states.push(state),
    onEvent: (event) => events.push(event),
    onError: (error) => errors.push(error),
  })
}

/** Every process that carries our private folder in its environment or command: daemons, apps and helpers. */
function ours(kind = ''): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        return command.includes(kind) && (command.includes(folder) || readFileSync(`/proc/${pid}/environ`, 'utf8').includes(folder))
      } catch {
        return false
      }
    })
    .map(Number)
}

const daemons = (): number[] => ours('God Daemon')
const helpers = (): number[] => ours('operations-center: pm2 helper')

function only(pids: number[]): number {
  expect(pids).toHaveLength(1)
  return pids[0] ?? 0
}

async function until<T>(what: string, condition: () => T | undefined | false): Promise<T> {
  const deadline = Date.now() + 15_000
  for (;;) {
    const value = condition()
    if (value !== undefined && value !== false) return value
    if (Date.now() > deadline) throw new Error(`${what} did not happen; ${JSON.stringify(states.at(-1))}; ${errors.join()}`)
    await new Promise((wake) => setTimeout(wake, 20))
  }
}

/** The process `name`, once it is as wanted in a state that was seen after this call. */
function seen(name: string, wanted: (process: Pm2Process) => boolean = () => true): Promise<Pm2Process> {
  const from = states.length
  return until(`${name} as wanted`, () =>
    states
      .slice(from)
      .flatMap((state) => (state.state === 'ok' ? state.processes : []))
      .find((process) => process.name === name && wanted(process)),
  )
}

function state<Word extends Pm2State['state']>(word: Word): Promise<Extract<Pm2State, { state: Word }>> {
  const from = states.length
  return until(`state ${word}`, () => states.slice(from).find((found): found is Extract<Pm2State, { state: Word }> => found.state === word))
}

function crash(name: string): void {
  writeFileSync(join(folder, `crash-${name}`), '')
}

async function startDaemon(): Promise<void> {
  const file = join(folder, 'apps.json')
  const script = join(folder, 'app.js')
  writeFileSync(
    script,
    `const { existsSync, unlinkSync } = require('node:fs')
    const command = ${JSON.stringify(join(folder, 'crash-'))} + process.env.name
    setInterval(() => { if (existsSync(command)) { unlinkSync(command); process.exit(7) } }, 20)
    if (process.env.exec_mode === 'cluster_mode') require('node:http').createServer().listen(0)`,
  )
  const apps = [
    { name: 'web', script, env: { SECRET: secret, PORT: '4321' } },
    { name: 'patient', script, restart_delay: 60_000 },
    { name: 'cluster', script, exec_mode: 'cluster', instances: 1 },
  ]
  writeFileSync(file, JSON.stringify({ apps }))
  const env = { PATH: process.env['PATH'], HOME: folder, PM2_HOME: home }
  await promisify(execFile)(process.execPath, [join(root, 'node_modules/pm2/bin/pm2'), 'start', file], { env })
}

beforeAll(async () => {
  if (!existsSync(join(built, 'pm2-helper.js'))) throw new Error('The helper is forked from dist: run "npm run build" first')
  await startDaemon()
  process.env['OPERATIONS_TEST_SECRET'] = 'a-secret-of-the-console'
  probe = probeOf(home)
  probe.start()
  await state('ok')
})

afterAll(async () => {
  delete process.env['OPERATIONS_TEST_SECRET']
  await probe.stop()
  // Daemons first, or they would start their apps again
  for (const pid of [...daemons(), ...ours()]) process.kill(pid, 'SIGKILL')
  await until('the end of all processes', () => ours().length === 0)
  rmSync(folder, { recursive: true, force: true })
})

beforeEach(() => {
  states = []
  events = []
})

afterEach(() => {
  expect(errors.splice(0)).toEqual([])
})

test('the list has chosen fields, and nothing of the environments', async () => {
  const web = await seen('web')
  expect(web).toEqual({
    pm_id: 0,
    name: 'web',
    pid: expect.any(Number) as number,
    status: 'online',
    cpu: expect.any(Number) as number,
    memory: expect.any(Number) as number,
    restarts: 0,
    started_at: expect.any(Number) as number,
    mode: 'fork',
    script: join(folder, 'app.js'),
    out_log: join(home, 'logs/web-out.log'),
    err_log: join(home, 'logs/web-error.log'),
    port: 4321,
    details: expect.objectContaining({ script: join(folder, 'app.js'), autorestart: true, cron: null, exit_code: null }) as object,
  })
  expect((await seen('cluster')).mode).toBe('cluster')
  expect(JSON.stringify(states)).not.toContain(secret)
})

test('a crash is told with its exit code, and a kill with its signal', async () => {
  const { pid, restarts } = await seen('web')
  crash('web')
  const exit = await until('the exit', () => events.find(({ event }) => event === 'exit'))
  expect(exit).toMatchObject({ name: 'web', pm_id: 0, exit_code: 7, signal: null, manually: false })
  expect(Math.abs(Date.now() - exit.at)).toBeLessThan(5_000)
  const next = await seen('web', (web) => web.restarts === restarts + 1 && web.pid !== pid)

  events = []
  process.kill(next.pid ?? 0, 'SIGKILL')
  const kill = await until('the kill', () => events.find(({ event }) => event === 'exit'))
  expect(kill).toMatchObject({ name: 'web', exit_code: null, signal: 'SIGKILL', manually: false })
  await seen('web', (web) => web.restarts === restarts + 2)
  expect(JSON.stringify(events)).not.toContain(secret)
})

test('stop, start, restart and reload are done, and are told as wanted', async () => {
  const before = await seen('web')
  await probe.act('stop', 0)
  await seen('web', ({ status, pid, cpu, started_at }) => status === 'stopped' && pid === null && cpu === null && started_at === null)
  expect(events.filter(({ event }) => event === 'exit')).toEqual([expect.objectContaining({ name: 'web', manually: true })])
  await probe.act('start', 0)
  const started = await seen('web', ({ status }) => status === 'online')
  await expect(probe.act('start', 0)).rejects.toThrow('The process runs already')
  await probe.act('restart', 0)
  const after = await seen('web', ({ status, pid }) => status === 'online' && pid !== started.pid)
  expect(after.restarts).toBe(before.restarts + 1)

  const cluster = await seen('cluster')
  await probe.act('reload', cluster.pm_id)
  await seen('cluster', ({ pid }) => pid !== cluster.pid)
  await until('all events', () =>
    ['stop', 'start', 'restart', 'reload'].every((word) => events.some(({ event, manually }) => event === word && manually)),
  )
  expect(events.filter(({ event, manually }) => event === 'exit' && !manually)).toEqual([])
})

test('an action on a process that is gone says so', async () => {
  await expect(probe.act('restart', 99)).rejects.toThrow('PM2 has no process 99 any more')
})

test('two actions at once are done one after the other', async () => {
  await Promise.all([probe.act('restart', 0), probe.act('stop', 0)])
  await seen('web', ({ status }) => status === 'stopped')
  await probe.act('start', 0)
  expect(events.filter(({ manually, event }) => manually && event !== 'exit').map(({ event }) => event)).toEqual([
    'restart',
    'stop',
    'start',
  ])
})

test('a process that waits for its delayed restart can be started at once, and runs once', async () => {
  const patient = await seen('patient')
  crash('patient')
  await seen('patient', ({ status, pid }) => status === 'waiting restart' && pid === null)
  await probe.act('start', patient.pm_id)
  const again = await seen('patient', ({ status }) => status === 'online')
  crash('patient')
  await seen('patient', ({ status }) => status === 'waiting restart')
  await probe.act('restart', patient.pm_id)
  await seen('patient', ({ status, pid }) => status === 'online' && pid !== again.pid)
  const { processes } = await state('ok')
  const pids = processes.map(({ pid }) => pid ?? 0)
  await until('as many apps as PM2 keeps', () => ours('app.js').length === pids.length)
  expect(ours('app.js').sort()).toEqual(pids.sort())
})

test('the helper has a name and an environment of its own', () => {
  const environment = readFileSync(`/proc/${only(helpers())}/environ`, 'utf8')
  const names = environment.split('\0').map((line) => line.split('=')[0])
  expect(names.filter((name) => name && !name.startsWith('NODE_CHANNEL'))).toEqual(['PATH', 'HOME', 'PM2_HOME', 'NODE_ENV', 'LANG'])
})

test('a helper that hangs is replaced', async () => {
  const hung = only(helpers())
  process.kill(hung, 'SIGSTOP')
  expect((await state('unreachable')).reason).toMatch(/did not answer|does not answer/)
  await state('ok')
  expect(only(helpers())).not.toBe(hung)
})

test('a helper that dies is replaced, and the state stays known', async () => {
  const dead = only(helpers())
  process.kill(dead, 'SIGKILL')
  await until('another helper', () => helpers().some((pid) => pid !== dead))
  await state('ok')
  expect(daemons()).toHaveLength(1)
})

test('a daemon that hangs is unreachable, is left alone, and is seen again when it goes on', async () => {
  const daemon = only(daemons())
  const helper = only(helpers())
  process.kill(daemon, 'SIGSTOP')
  try {
    const stopped = Date.now()
    expect((await state('unreachable')).reason).toBe('PM2 did not answer within 3 s')
    expect(Date.now() - stopped).toBeLessThan(6_000)
    await expect(probe.act('restart', 0)).rejects.toThrow('PM2 did not answer within 3 s')
  } finally {
    process.kill(daemon, 'SIGCONT')
  }
  await state('ok')
  expect(daemons()).toEqual([daemon])
  expect(helpers()).toEqual([helper])
})

test('a daemon that is killed is reported, not started, and found when somebody starts it', async () => {
  const killed = Date.now()
  process.kill(only(daemons()), 'SIGKILL')
  const { hint } = await state('no-daemon')
  expect(Date.now() - killed).toBeLessThan(10_000)
  expect(hint).toBe(`PM2_HOME=${home} pm2 start ecosystem.config.js`)
  await expect(probe.act('restart', 0)).rejects.toThrow(`PM2 is not running. Start it with: ${hint}`)
  await until('three more looks', () => states.filter((found) => found.state === 'no-daemon').length >= 4)
  expect(states.some((found) => found.state === 'ok')).toBe(false)
  expect(daemons()).toEqual([])
  expect(helpers()).toEqual([])

  // The apps of a killed daemon live on without a master
  for (const pid of ours()) process.kill(pid, 'SIGKILL')
  await startDaemon()
  await seen('web', ({ status }) => status === 'online')
  expect(daemons()).toHaveLength(1)
})

test('a helper that comes too late starts no daemon', async () => {
  const empty = join(folder, 'late')
  mkdirSync(empty)
  const child = fork(join(built, 'pm2-helper.js'), [], {
    env: { PATH: '/usr/bin:/bin', HOME: folder, PM2_HOME: empty },
    execArgv: [],
    silent: true,
  })
  const code = await new Promise((exited) => child.once('exit', exited))
  expect(code).toBe(3)
  expect(daemons()).toHaveLength(1)
})

test('the helper ends with a console that is killed', async () => {
  const program = `const { pm2Probe } = require(${JSON.stringify(join(built, 'pm2.js'))})
    pm2Probe({ home: ${JSON.stringify(home)}, now: Date.now, onState: (s) => console.log(s.state), onEvent() {}, onError: console.error }).start()
    setInterval(() => {}, 1000)`
  const before = only(helpers())
  const console = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise((first) => console.stdout.once('data', first))
  expect(helpers()).toHaveLength(2)
  console.kill('SIGKILL')
  await until('the end of the helper', () => helpers().length === 1)
  expect(helpers()).toEqual([before])
})

test('without a daemon the state says how to start one', async () => {
  const other = join(folder, "it's new")
  const idle = probeOf(other)
  expect(await idle.refresh()).toMatchObject({
    state: 'no-daemon',
    hint: `PM2_HOME='${other.replace("'", "'\\''")}' pm2 start ecosystem.config.js`,
  })
  mkdirSync(other)
  writeFileSync(join(other, 'dump.pm2'), '[]')
  expect(await idle.refresh()).toMatchObject({ state: 'no-daemon', hint: expect.stringMatching(/pm2 resurrect$/) as string })
  expect(idle.latest?.state).toBe('no-daemon')
  await idle.stop()
  expect(readdirSync(other)).toEqual(['dump.pm2'])
})

test('after stop there is no helper, and no more states', async () => {
  await probe.stop()
  expect(helpers()).toEqual([])
  const count = states.length
  expect((await probe.refresh()).state).toBe('unreachable')
  expect(states).toHaveLength(count)
  expect(helpers()).toEqual([])
})

describe('one entry of the list', () => {
  const entry = {
    pm_id: 3,
    name: 'web',
    pid: 10,
    monit: { cpu: 1.5, memory: 7 },
    pm2_env: { status: 'online', restart_time: 2, pm_uptime: 5 },
  }

  test('odd figures become null, not NaN', () => {
    const odd = pm2Process({
      ...entry,
      pid: -1,
      monit: { cpu: NaN, memory: -5 },
      pm2_env: { status: 'online', restart_time: NaN, pm_uptime: '5' },
    })
    expect(odd).toMatchObject({ pid: null, cpu: null, memory: null, restarts: 0, started_at: null })
    expect(pm2Process({ ...entry, monit: undefined })).toMatchObject({ pid: 10, cpu: null, memory: null })
    expect(pm2Process({ pm_id: 1 })).toEqual({
      pm_id: 1,
      name: 'process 1',
      pid: null,
      status: 'unknown',
      cpu: null,
      memory: null,
      restarts: 0,
      started_at: null,
      mode: 'fork',
      script: null,
      out_log: null,
      err_log: null,
      port: null,
      details: expect.objectContaining({ script: null, cron: null, max_memory: null, git: null, exit_code: null }) as object,
    })
  })

  test('names are cut and cleaned', () => {
    expect(pm2Process({ ...entry, name: 'x'.repeat(1_000_000) })?.name).toHaveLength(200)
    expect(pm2Process({ ...entry, name: 'a\u0000b\r\nc' })?.name).toBe('a b c')
    expect(pm2Process({ ...entry, name: '<b>' })?.name).toBe('<b>')
    expect(pm2Process({ ...entry, name: 42 })?.name).toBe('42')
    expect(pm2Process({ ...entry, name: {}, pm2_env: { name: 'inner' } })?.name).toBe('inner')
  })

  test('only processes with a number of their own count', () => {
    for (const pm_id of ['_old_3', null, undefined, 1.5, -1, NaN]) expect(pm2Process({ ...entry, pm_id })).toBeNull()
    for (const nonsense of [null, undefined, 'web', 7, []]) expect(pm2Process(nonsense)).toBeNull()
  })

  test('the port is that of the environment, if it is one', () => {
    const port = (value: unknown): number | null | undefined => pm2Process({ ...entry, pm2_env: { env: { PORT: value } } })?.port
    expect([port('8080'), port(8080), port('0'), port('70000'), port('pipe'), port(undefined)]).toEqual([
      8080,
      8080,
      null,
      null,
      null,
      null,
    ])
  })
})

describe('one event of the bus', () => {
  const packet = { event: 'exit', manually: false, at: 5, process: { name: 'web', pm_id: 1, status: 'stopped', exit_code: 1 } }

  test('an exit in the state "stopping", or of a reloaded worker, was wanted', () => {
    expect(pm2Event(packet)).toEqual({ at: 5, event: 'exit', name: 'web', pm_id: 1, exit_code: 1, signal: null, manually: false })
    expect(pm2Event({ ...packet, process: { ...packet.process, status: 'stopping' } })?.manually).toBe(true)
    expect(pm2Event({ ...packet, process: { ...packet.process, pm_id: '_old_1' } })).toMatchObject({ pm_id: 1, manually: true })
  })

  test('the exit code of an earlier life is not told again', () => {
    expect(pm2Event({ ...packet, event: 'online' })?.exit_code).toBeNull()
  })

  test('an event that names no process is dropped', () => {
    for (const nonsense of [null, {}, { event: 'exit' }, { ...packet, process: null }, { ...packet, event: '' }])
      expect(pm2Event(nonsense)).toBeNull()
  })
})
