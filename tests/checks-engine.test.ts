import { spawnSync } from 'node:child_process'
import { createServer, type AddressInfo } from 'node:net'
import type { Pm2Details } from '../monitoring/probes/pm2'
import * as checks from '../services/checks'
import { flushSteady } from '../services/checks/results'
import * as metrics from '../services/metrics'
import { startApp, type TestApp } from './helpers/app'
import { pm2Keeps, running } from './helpers/machine'
import { bodyOf } from './helpers/routes'
import { allowLoopback, checkNow, httpCheck, incidentsOf, makeCheck, startTarget, type Target } from './helpers/targets'
import { until } from './helpers/until'

const second = 1000

let app: TestApp
let target: Target
beforeAll(async () => {
  app = await startApp()
  await allowLoopback(app)
})
afterAll(() => app.close())
beforeEach(async () => {
  target = await startTarget()
})
afterEach(async () => {
  await target.close()
  for (const { id } of (await checks.list(app.ctx)).items) await checks.remove(app.ctx, id)
})

const after = async (seconds: number) => {
  app.advance(seconds * second)
  await checks.runDue(app.ctx)
}

describe('a check', () => {
  test('is looked at at once, then once in its interval', async () => {
    const { id } = await httpCheck(app, target)
    await after(0)
    expect(await checkNow(app, id)).toMatchObject({ state: 'up', word: 'Up', incident_id: null })
    expect(target.requests).toHaveLength(1)
    await after(59)
    expect(target.requests).toHaveLength(1)
    await after(2)
    expect(target.requests).toHaveLength(2)
    // However long nobody looked, it is looked at once.
    await after(3600)
    expect(target.requests).toHaveLength(3)
  })

  test('that fails is down, with one incident, one event and a verdict, and up again with the first success', async () => {
    const { id, name } = await httpCheck(app, target)
    await after(0)
    target.status(503)
    await after(60)
    const down = await checkNow(app, id)
    expect(down).toMatchObject({ state: 'down', word: 'Down', message: expect.stringContaining('503') as unknown })
    await after(60)
    const [incident, ...others] = await incidentsOf(app, id)
    expect(others).toEqual([])
    expect(incident).toMatchObject({ id: down.incident_id, title: `${name} is down`, cause: down.message, ended_at: null, ended_by: null })
    const health = (await (await app.as('carol')).get('/api/health')).body as { status: string; problems: { title: string }[] }
    expect(health).toMatchObject({ status: 'err', problems: [{ title: `${name} is down` }] })
    target.status(200)
    await after(60)
    expect(await checkNow(app, id)).toMatchObject({ state: 'up', incident_id: null })
    const [over] = await incidentsOf(app, id)
    expect(over).toMatchObject({ ended_by: 'recovered' })
    expect(Math.round((over?.duration_ms ?? 0) / 10_000)).toBe(12)
    const events = await app.ctx.db
      .selectFrom('events')
      .select(['type', 'severity', 'data'])
      .where('subject', '=', name)
      .orderBy('seq')
      .execute()
    expect(events.map(({ type, severity }) => [type, severity])).toEqual([
      ['check.down', 'error'],
      ['check.up', 'notice'],
    ])
    // The answer is the same for everybody for a moment.
    await until(async () => ((await (await app.as('carol')).get('/api/health')).body as { problems: unknown[] }).problems.length === 0)
  })

  test('with retries is failing first, and tried again sooner', async () => {
    const { id } = await httpCheck(app, target, { retries: 2, retry_s: 5 })
    await after(0)
    target.status(500)
    await after(60)
    expect(await checkNow(app, id)).toMatchObject({ state: 'up', word: 'Failing, try 1 of 3' })
    await after(5)
    expect(await checkNow(app, id)).toMatchObject({ state: 'up', word: 'Failing, try 2 of 3' })
    expect(await incidentsOf(app, id)).toEqual([])
    await after(5)
    expect(await checkNow(app, id)).toMatchObject({ state: 'down', word: 'Down' })
    expect(target.requests).toHaveLength(4)
    await after(59)
    expect(target.requests).toHaveLength(4)
  })

  test('that goes down after retries has an incident that begins with the first of the failures', async () => {
    const { id } = await httpCheck(app, target, { retries: 2, retry_s: 20 })
    await after(0)
    target.status(500)
    await after(60)
    const first = app.ctx.now()
    await after(20)
    await after(20)
    const [incident] = await incidentsOf(app, id)
    expect(Math.abs(Date.parse(incident?.started_at ?? '') - first)).toBeLessThan(10 * second)
    // A failure that was made good is not the beginning of the next.
    target.status(200)
    await after(60)
    target.status(500)
    await after(60)
    target.status(200)
    await after(20)
    target.status(500)
    await after(60)
    const again = app.ctx.now()
    await after(20)
    await after(20)
    const [latest] = await incidentsOf(app, id)
    expect(Math.abs(Date.parse(latest?.started_at ?? '') - again)).toBeLessThan(10 * second)
  })

  test('that another console found down is not overwritten by what was found before', async () => {
    const { id } = await httpCheck(app, target)
    await after(0)
    const other = { ...app.ctx, platform: { ...app.ctx.platform, keep: keeper() } }
    app.advance(60 * second)
    await checks.runDue(other)
    target.status(503)
    await after(60)
    const down = await checkNow(app, id)
    expect(down).toMatchObject({ state: 'down', message: expect.stringContaining('503') as unknown })
    await flushSteady(other)
    expect(await checkNow(app, id)).toEqual(down)
    const stored = await app.ctx.db.selectFrom('checks').select(['message', 'checked_at']).where('id', '=', id).executeTakeFirstOrThrow()
    expect(stored).toEqual({ message: down.message, checked_at: Date.parse(down.checked_at ?? '') })
  })

  test('of a job of PM2 is down when its last run ended badly, and up between good runs', async () => {
    const { id } = await makeCheck(app, { kind: 'process', spec: { name: 'nightly' }, retries: 0 })
    const ended = (exit_code: number | null) =>
      pm2Keeps(app, running(1, 'nightly', { status: 'stopped', pid: null, details: { ...job, exit_code } }))
    await ended(0)
    await checks.run(app.ctx, id)
    expect(await checkNow(app, id)).toMatchObject({ state: 'up', message: 'Stopped between runs' })
    await ended(3)
    await checks.run(app.ctx, id)
    expect(await checkNow(app, id)).toMatchObject({ state: 'down', message: 'Its last run ended with exit code 3' })
    await ended(null)
    await checks.run(app.ctx, id)
    expect(await checkNow(app, id)).toMatchObject({ state: 'up' })
    delete app.platform.probes.pm2
  })

  test('that was paused, deleted or changed while it was looked at does not hear of it any more', async () => {
    for (const deed of ['pause', 'delete', 'change'] as const) {
      target.status(200)
      const check = await httpCheck(app, target, { name: `dropped by ${deed}` })
      const { id } = check
      await after(0)
      let release = () => undefined as unknown
      const asked = new Promise<void>((resolve) => {
        target.answer = (_request, response) => {
          release = () => response.writeHead(500).end()
          resolve()
        }
      })
      app.advance(60 * second)
      const running = checks.runDue(app.ctx)
      await asked
      if (deed === 'pause') await checks.pause(app.ctx, [id])
      else if (deed === 'delete') await checks.remove(app.ctx, id)
      else await checks.update(app.ctx, id, { ...check, kind: 'http', spec: check.spec, tags: ['changed'] })
      release()
      await running
      expect(await incidentsOf(app, id)).toEqual([])
      const { items } = await checks.list(app.ctx, { q: 'dropped by' })
      expect(items.map(({ state }) => state)).toEqual(deed === 'delete' ? [] : [deed === 'pause' ? 'paused' : 'up'])
      await checks.remove(app.ctx, id).catch(() => undefined)
    }
  })

  test('is never looked at twice at a time, and two who ask at once have the same answer', async () => {
    const { id } = await httpCheck(app, target)
    let [now, most] = [0, 0]
    target.answer = (_request, response) => {
      most = Math.max(most, ++now)
      setImmediate(() => {
        now--
        response.end('fine')
      })
    }
    await Promise.all([...Array.from({ length: 10 }, () => checks.run(app.ctx, id)), checks.runDue(app.ctx), checks.runDue(app.ctx)])
    expect(most).toBe(1)
    expect(target.requests.length).toBeLessThanOrEqual(2)
  })

  test('of which two consoles see the end at once has one incident', async () => {
    const { id } = await httpCheck(app, target)
    await after(0)
    target.status(500)
    const other = { ...app.ctx, platform: { ...app.ctx.platform, keep: keeper() } }
    app.advance(60 * second)
    await Promise.all([checks.runDue(app.ctx), checks.runDue(other)])
    expect(await incidentsOf(app, id)).toHaveLength(1)
    expect(
      await app.ctx.db.selectFrom('events').select('id').where('type', '=', 'check.down').where('data', 'like', `%${id}%`).execute(),
    ).toHaveLength(1)
  })

  test.each(['incidents', 'events'])('whose flip breaks at %s stays as it was, whole, and is tried again', async (table) => {
    const { id } = await httpCheck(app, target, { name: `broken at ${table}` })
    await after(0)
    target.status(500)
    // A chore that comes by at that moment misses the table too.
    app.expectLog(/could not be stored|keep the last events aside/)
    app.advance(60 * second)
    const { schema } = app.ctx.db
    await schema.alterTable(table).renameTo(`${table}_away`).execute()
    await checks.runDue(app.ctx).finally(() => schema.alterTable(`${table}_away`).renameTo(table).execute())
    expect(await checkNow(app, id)).toMatchObject({ state: 'up', incident_id: null })
    expect(await incidentsOf(app, id)).toEqual([])
    await after(60)
    expect(await checkNow(app, id)).toMatchObject({ state: 'down' })
    expect(await incidentsOf(app, id)).toHaveLength(1)
  })
})

/** As PM2 describes a process that it starts by the clock. */
const job: Pm2Details = {
  ...{ script: '/srv/nightly.js', args: null, cwd: '/srv', interpreter: 'node', node: '22.0.0', version: null, user: 'me', instances: 1 },
  ...{ cron: '30 20 * * *', autorestart: false, watch: false, max_memory: null, restart_delay: null, exit_code: 0 },
  ...{ unstable_restarts: 0, created_at: null, git: null, out_log: null, err_log: null },
}

/** The memory of another process. */
function keeper() {
  const kept = new Map<string, unknown>()
  return <T>(key: string, make: () => T): T => {
    if (!kept.has(key)) kept.set(key, make())
    return kept.get(key) as T
  }
}

test('a paused check ends its incident, is not looked at, and begins anew when it is resumed', async () => {
  const { id } = await httpCheck(app, target)
  target.status(500)
  await after(0)
  expect(await checkNow(app, id)).toMatchObject({ state: 'down' })
  const bob = await app.as('bob')
  expect(bodyOf(await bob.post(`/api/checks/${id}/pause`), 'POST /api/checks/:id/pause')).toMatchObject({
    state: 'paused',
    incident_id: null,
  })
  expect(await incidentsOf(app, id)).toMatchObject([{ ended_by: 'paused' }])
  const asked = target.requests.length
  await after(600)
  expect(target.requests).toHaveLength(asked)
  bodyOf(await bob.post(`/api/checks/${id}/resume`), 'POST /api/checks/:id/resume')
  await after(0)
  expect(await checkNow(app, id)).toMatchObject({ state: 'down' })
  expect(await incidentsOf(app, id)).toHaveLength(2)
})

test('uptimes say how many looks they are made of', async () => {
  const { id } = await httpCheck(app, target)
  await after(0)
  for (let n = 0; n < 3; n++) await after(60)
  target.status(500)
  await after(60)
  await metrics.flush(app.ctx)
  const { items } = bodyOf<{ items: unknown[] }>(
    await (await app.as('carol')).get(`/api/checks/${id}/uptime`),
    'GET /api/checks/:id/uptime',
  )
  expect(items).toEqual(['24h', '7d', '30d', '90d'].map((period) => ({ period, percent: 80, probes: 5, up: 4 })))
  const history = bodyOf<{ strip: { up: number; down: number }[]; percentiles_ms: { count: number } }>(
    await (await app.as('carol')).get(`/api/checks/${id}/history?range=24h`),
    'GET /api/checks/:id/history',
  )
  const sum = (of: 'up' | 'down') => history.strip.reduce((sum, mark) => sum + mark[of], 0)
  expect([sum('up'), sum('down')]).toEqual([4, 1])
  expect(history.percentiles_ms.count).toBe(4)
})

test('the engine looks by itself: from a target that dies to a red check within its interval and a second', async () => {
  const live = await startApp({ probes: { system: false, pm2: false, checks: true } })
  await allowLoopback(live)
  const { id } = await httpCheck(live, target, { interval_s: 5, timeout_ms: 2000 })
  await until(async () => (await checkNow(live, id)).state === 'up', 2000)
  const pages = await live.live('carol', '/live?topics=health')
  await target.close()
  const died = performance.now()
  await until(async () => (await checkNow(live, id)).state === 'down', 7000)
  expect(performance.now() - died).toBeLessThan(6000)
  await pages.frame((frame) => frame.includes('is down'))
  await live.close()
  target = await startTarget()
}, 20_000)

test('300 checks that hang, at one provider and at many, do not keep a quick one from its rhythm', async () => {
  const live = await startApp({ probes: { system: false, pm2: false, checks: true } })
  await allowLoopback(live)
  const hanging = createServer((socket) => void socket.on('error', () => undefined).resume())
  await new Promise<void>((resolve) => hanging.listen(0, '0.0.0.0', resolve))
  const { port } = hanging.address() as AddressInfo
  const slow = { kind: 'http', interval_s: 10, timeout_ms: 10_000, retries: 0 } as const
  for (let n = 0; n < 300; n++) {
    const host = n < 150 ? '127.0.0.1' : `127.0.1.${n - 149}`
    await checks.create(live.ctx, { ...slow, name: `hangs ${n}`, spec: { url: `http://${host}:${port}/` } })
  }
  const moments: number[] = []
  target.answer = (_request, response) => {
    moments.push(performance.now())
    response.end('fine')
  }
  await httpCheck(live, target, { interval_s: 5, timeout_ms: 2000 })
  await until(() => moments.length >= 5, 30_000)
  const pauses = moments.slice(1).map((at, index) => at - (moments[index] ?? 0))
  expect(Math.max(...pauses)).toBeLessThan(6500)
  await live.close()
  await new Promise((resolve) => hanging.close(resolve))
}, 60_000)

describe('a console that was killed', () => {
  const startAfter = async (pid: number, within: number) => {
    const live = await startApp()
    await allowLoopback(live)
    await live.ctx.db
      .insertInto('facts')
      .values({ name: 'checks.lease', value: `${pid} 1 it`, at: live.ctx.now() })
      .execute()
    await httpCheck(live, target, { interval_s: 5, timeout_ms: 2000 })
    const asked = target.requests.length
    const began = performance.now()
    const engine = checks.start(live.ctx)
    await until(() => target.requests.length > asked, within)
    const took = performance.now() - began
    await engine.stop()
    await live.close()
    return took
  }

  test('is not waited for by the next one on its file, and on a server no longer than ten seconds and a bit', async () => {
    const { pid } = spawnSync('true')
    expect(await startAfter(pid, 15_000)).toBeLessThan(process.env['TEST_DIALECT'] === 'postgres' ? 12_000 : 1500)
  }, 30_000)

  test('is not taken for dead while its process lives', async () => {
    const took = await startAfter(process.ppid, 15_000)
    expect(took).toBeGreaterThan(8000)
    expect(took).toBeLessThan(12_000)
  }, 30_000)
})
