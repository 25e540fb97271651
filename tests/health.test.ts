import type { Pm2Process } from '../monitoring/probes/pm2'
import type { SystemSample } from '../monitoring/probes/system'
import * as events from '../services/events'
import * as health from '../services/health'
import * as metrics from '../services/metrics'
import * as processes from '../services/processes'
import { startApp, type StartOptions, type TestApp } from './helpers/app'
import { disk, measured, memory, pm2Keeps, pm2Says, running, sampleOf } from './helpers/machine'
import { bodyOf } from './helpers/routes'
import { until } from './helpers/until'

const minute = 60_000

let app: TestApp
const start = async (options: StartOptions = {}) => {
  app = await startApp(options)
}
afterEach(() => app.close())

const flips = async () =>
  (await events.list(app.ctx, { filter: { source: 'console' }, limit: 100, cursor: undefined })).items
    .filter(({ type }) => type.startsWith('health.'))
    .map(({ type, subject, severity }) => [type, subject, severity])
    .reverse()

const verdictOf = async ({ system = {}, pm2 = [] }: { system?: Partial<SystemSample>; pm2?: Pm2Process[] }): Promise<string> => {
  measured(app, system)
  await pm2Keeps(app, ...pm2)
  const { state, title, detail } = await health.verdict(app.ctx)
  return `${state} | ${title} | ${detail}`
}

describe('the verdict', () => {
  beforeEach(() => start())

  test('says what is wrong, what it means, and what is not affected', async () => {
    const fine = 'CPU 12%, memory 40%, disk 50%'
    expect((await health.verdict(app.ctx)).title).toBe('Taking the first measurements')
    expect(await verdictOf({})).toBe(`ok | All systems operational | ${fine}.`)
    expect(await verdictOf({ pm2: [running(0, 'web'), running(1, 'mail')] })).toBe(
      `ok | All systems operational | 2 of 2 processes are online, ${fine}.`,
    )
    expect(await verdictOf({ system: { disks: [disk(50), disk(92, '/data')] } })).toBe(
      'warn | Attention: Disk /data is 92% full | 8 GB of 100 GB are left. When it is full, nothing can be stored: make room. Otherwise: CPU 12%, memory 40%, disk 92%.',
    )
    expect(await verdictOf({ system: { disks: [disk(96)], memory: memory(91) } })).toMatch(
      /^err \| Urgent: Disk \/ is 96% full \| .* 1 more thing needs you\. Otherwise: /,
    )
    expect(await verdictOf({ system: { memory: memory(98) } })).toMatch(/^err \| Urgent: Memory is 98% used \| 205 MB are available\./)
    expect(await verdictOf({ pm2: [running(0, 'web', { status: 'errored', pid: null, restarts: 16 }), running(1, 'mail')] })).toBe(
      `err | Urgent: web is down | PM2 gave it up after 16 restarts. Look at its log, then restart it. Otherwise: 1 of 2 processes are online, ${fine}.`,
    )
    expect(await verdictOf({ pm2: [running(0, 'web', { status: 'waiting restart', pid: null })] })).toMatch(
      /^warn \| Attention: web is down \| It crashed; PM2 waits/,
    )
  })

  test('tells a process that is stopped by hand from one that fails', async () => {
    expect(await verdictOf({ pm2: [running(0, 'web', { status: 'stopped', pid: null })] })).toMatch(
      /^ok \| All systems operational \| 0 of 1 processes are online/,
    )
  })

  test('tells of a process that crashes again and again, though it is online', async () => {
    for (let count = 0; count < 3; count++)
      await processes.takeEvent(app.ctx, {
        at: app.ctx.now(),
        event: 'exit',
        name: 'web',
        pm_id: 0,
        exit_code: 7,
        signal: null,
        manually: false,
      })
    expect(await verdictOf({ pm2: [running(0, 'web')] })).toMatch(/^warn \| Attention: web keeps crashing \| It crashed 3 times in 10 min/)
    app.advance(11 * minute)
    expect(await verdictOf({ pm2: [running(0, 'web')] })).toMatch(/^ok/)
  })

  test('calls the CPU busy after minutes, not after a moment', async () => {
    const busy = { cpu: { percent: 97, cores: [97], load: [5.2, 3, 2] as [number, number, number] } }
    for (let index = 0; index < 3; index++) {
      expect(await verdictOf({ system: busy })).toMatch(/^ok/)
      await metrics.flush(app.ctx)
      app.advance(minute)
    }
    expect(await verdictOf({ system: busy })).toMatch(/^warn \| Attention: The CPU is busy \| 97% on average over 5 min, load 5\.2/)
  })

  test('says when PM2 is gone or does not answer', async () => {
    await verdictOf({ pm2: [running(0, 'web'), running(1, 'mail')] })
    await pm2Says(app, { state: 'unreachable', at: app.ctx.now(), reason: 'PM2 did not answer within 5 s' })
    expect(await health.verdict(app.ctx)).toMatchObject({ state: 'warn', title: 'Attention: PM2 does not answer' })
    await pm2Says(app, { state: 'no-daemon', at: app.ctx.now(), hint: 'pm2 resurrect' })
    expect(await health.verdict(app.ctx)).toMatchObject({
      state: 'err',
      title: 'Urgent: PM2 is not running',
      action: { href: '#processes' },
    })
    expect((await health.verdict(app.ctx)).detail).toMatch(/^The 2 processes it kept are gone\. pm2 resurrect/)
  })

  test('says when the machine is not measured any more, or never was', async () => {
    measured(app)
    app.advance(11_000)
    expect(await health.verdict(app.ctx)).toMatchObject({ state: 'warn', title: 'Attention: This machine is not being measured' })
    app.platform.probes.system = { start: () => undefined, stop: () => undefined, latest: undefined }
    expect((await health.problems(app.ctx)).map(({ key }) => key)).toEqual(['system-silent'])
  })
})

describe('trouble', () => {
  test('is announced once when it begins, again when it gets worse, and once when it is over', async () => {
    await start()
    measured(app)
    const page = await app.live('carol', '/live?topics=health')
    for (const percent of [50, 92, 92, 93, 96, 96, 50, 50]) {
      measured(app, { disks: [disk(percent)] })
      await health.review(app.ctx)
      await health.review(app.ctx)
    }
    expect(await flips()).toEqual([
      ['health.problem', 'disk /', 'warning'],
      ['health.problem', 'disk /', 'error'],
      ['health.recovered', 'disk /', 'notice'],
    ])
    await page.frame((frame) => frame.includes('Attention: Disk / is 9'))
    await page.frame((frame) => frame.includes('All systems operational') && frame.includes('Nothing needs you'))
  })

  test('knows since when it lasts, and is not announced again when the console comes back', async () => {
    await start()
    measured(app, { disks: [disk(92)] })
    const began = app.ctx.now()
    await health.review(app.ctx)
    const { since } = await health.verdict(app.ctx)
    expect(Math.abs((since ?? 0) - began)).toBeLessThan(5000)
    // What a new process knows: nothing but the database.
    app.platform.keep = keepAnew()
    await health.review(app.ctx)
    expect((await health.verdict(app.ctx)).since).toBe(since)
    measured(app)
    await health.review(app.ctx)
    expect((await flips()).map(([type]) => type)).toEqual(['health.problem', 'health.recovered'])
  })

  test('of a process is not over because PM2 cannot be asked', async () => {
    await start()
    measured(app)
    await pm2Keeps(app, running(0, 'web', { status: 'errored', pid: null }))
    await health.review(app.ctx)
    await pm2Says(app, { state: 'unreachable', at: app.ctx.now(), reason: 'no answer' })
    await health.review(app.ctx)
    await pm2Keeps(app, running(0, 'web'))
    await health.review(app.ctx)
    const id = `process ${app.platform.config.hostName}:0`
    expect((await flips()).map(([type, subject]) => `${type} ${subject}`)).toEqual([
      `health.problem ${id}`,
      'health.problem pm2',
      `health.recovered ${id}`,
      'health.recovered pm2',
    ])
  })
})

describe('the machine', () => {
  test('is really measured: figures for programs, tiles and charts for people', async () => {
    await start({ probes: { system: true, pm2: false } })
    const carol = await app.as('carol')
    const report = await until(async () => {
      const body = bodyOf<{
        status: string
        cpu: { percent: number | null } | null
        memory: { percent: number }
        disks: { mount: string }[]
      }>(await carol.get('/api/health'), 'GET /api/health')
      return body.cpu?.percent == null ? undefined : body
    })
    expect(report.memory.percent).toBeGreaterThan(0)
    expect(report.disks.map(({ mount }) => mount)).toContain('/')
    const points = await until(async () => {
      await metrics.flush(app.ctx)
      const chart = (await health.charts(app.ctx)).find(({ id }) => id === 'memory')
      return chart?.points.some(([, value]) => (value ?? 0) > 0) && chart.points
    })
    expect(points).toHaveLength(60)
    const now = await app.live('carol', '/live?topics=health.now')
    await now.frame((frame) => frame.includes('target="now_cpu"') && frame.startsWith('\n'))
  })

  test('has charts of sixty minutes with gaps, and ticks of forty-eight half hours', async () => {
    await start()
    const to = app.ctx.now() - (app.ctx.now() % (30 * minute))
    app.advance(to + 45 * minute - app.ctx.now())
    for (const [ago, percent] of [
      [30, 99],
      [10, 30],
      [9, 31],
      [5 * 60, 91],
      [26 * 60, 99],
    ] as const)
      health.takeSample(app.ctx, { ...sampleOf(app, { disks: [disk(percent), disk(1, '/boot')] }), at: to + 45 * minute - ago * minute })
    await metrics.flush(app.ctx)
    const points = (await health.charts(app.ctx)).find(({ id }) => id === 'disk')?.points ?? []
    expect([points.length, points.filter(([, value]) => value !== null).map(([, value]) => value)]).toEqual([60, [99, 30, 31]])
    expect(new Set(points.slice(1).map(([at], index) => at - (points[index]?.[0] ?? 0)))).toEqual(new Set([minute]))
    const history = (await health.tiles(app.ctx)).find(({ id }) => id === 'disk')?.history ?? []
    expect([history.length, history.filter((mark) => mark !== 'none')]).toEqual([48, ['warn', 'err', 'ok']])
    expect(history.slice(-2)).toEqual(['err', 'ok'])
  })
})

function keepAnew(): TestApp['platform']['keep'] {
  const kept = new Map<string, unknown>()
  return <T>(key: string, make: () => T): T => {
    if (!kept.has(key)) kept.set(key, make())
    return kept.get(key) as T
  }
}
