import { statSync } from 'node:fs'
import { longLog, tidy } from '../monitoring/db/tidy'
import * as events from '../services/events'
import * as health from '../services/health'
import * as metrics from '../services/metrics'
import { startApp, type TestApp } from './helpers/app'
import { disk, measured } from './helpers/machine'
import { until } from './helpers/until'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

const host = () => app.platform.config.hostName
const now = () => app.ctx.now()
const iso = (at: number) => new Date(at).toISOString()
const observe = (name: metrics.MetricName, at: number, value: number, subject = '') => {
  metrics.observe(app.ctx, host(), at, [{ name, subject, value }])
}
const page = async (path: string): Promise<string> => {
  const answer = await (await app.as('carol')).get(path)
  expect(answer.status).toBe(200)
  return answer.text
}
/** What a card of the page hands to the browser. */
function drawingOf(html: string, id: string) {
  const found = new RegExp(`id="history_${id}"[^>]*data-history-chart-value="([^"]*)"`).exec(html)?.[1]
  if (found === undefined) throw new Error(`there is no chart ${id}`)
  return JSON.parse(found.replaceAll('&quot;', '"').replaceAll('&amp;', '&').replaceAll('&#39;', "'")) as {
    step: number
    times: number[] | { from: number; count: number }
    lines: { label: string; values: (number | null)[]; low?: (number | null)[]; high?: (number | null)[]; before?: (number | null)[] }[]
  }
}
const known = (values: readonly (number | null)[] = []) => values.filter((value) => value !== null)

describe('a chart of the past', () => {
  test('shows averages with their extremes, leaves gaps, and compares with the period before', async () => {
    const to = now() - (now() % hour)
    for (const [ago, value] of [
      [30 * hour, 10],
      [26 * hour, 20],
      [3 * hour, 40],
      [3 * hour - minute, 60],
      [1 * hour, 90],
    ] as const)
      observe('memory.percent', to - ago, value)
    await metrics.flush(app.ctx)
    const html = await page(`/health/memory?from=${iso(to - 24 * hour)}&to=${iso(to)}&compare=1`)
    const [line] = drawingOf(html, 'memory').lines
    expect(known(line?.values)).toEqual([50, 90])
    expect([known(line?.low), known(line?.high)]).toEqual([
      [40, 90],
      [60, 90],
    ])
    expect(known(line?.before)).toEqual([10, 20])
    expect(html).toContain('not measured')
    // 70% on average, 15% before.
    expect(html).toMatch(/70%<\/span><span class="oc-delta">.*55 points/s)
  })

  test.each([
    ['1h', minute, 61],
    ['24h', 15 * minute, 97],
    ['7d', hour, 169],
    ['30d', 4 * hour, 181],
  ])('of %s has a point every %d ms, so that no range is slow or coarse', async (range, step, most) => {
    observe('memory.percent', now(), 50)
    await metrics.flush(app.ctx)
    const { times, step: given } = drawingOf(await page(`/health?range=${range}`), 'memory')
    expect(given).toBe(step)
    expect(Array.isArray(times) ? times.length : times.count).toBeLessThanOrEqual(most)
  })

  test('of a year has a point a day, each beginning at midnight of the installation', async () => {
    const { times } = drawingOf(await page(`/health?from=${iso(now() - 365 * day)}&to=${iso(now())}`), 'memory')
    expect(Array.isArray(times)).toBe(true)
    for (const at of (times as number[]).slice(0, 5)) expect(iso(at)).toMatch(/T18:30:00\.000Z$/)
  })

  test('of a year keeps the days that were written in another zone', async () => {
    // Midnight in UTC: half past five in the morning here.
    const first = now() - (now() % day) - 30 * day
    await app.ctx.transaction(({ db }) =>
      db
        .insertInto('metrics')
        .values(
          [11, 12, 13].map((value, index) => ({
            ...{ org_id: 'home', host: host(), name: 'swap.percent', subject: '', step: day, at: first + index * day, histogram: null },
            ...{ count: 1, sum: value, min: value, max: value, last: value },
          })),
        )
        .execute(),
    )
    const grid = metrics.gridOf(app.ctx, now() - 365 * day, now())
    const [found] = await metrics.trend(app.ctx, { name: 'swap.percent', grid })
    const days = grid.times.flatMap((at, index) => (found?.spans[index] ? [[at, found.spans[index].sum]] : []))
    const offset = 5.5 * hour
    expect(days).toEqual([11, 12, 13].map((value, index) => [first + index * day - offset, value]))
  })

  test('of more processes than can be told apart shows the highest, and says so', async () => {
    for (let n = 0; n < 8; n++) observe('process.cpu', now(), n, `worker-${n}`)
    await metrics.flush(app.ctx)
    const html = await page('/health?range=1h')
    expect(drawingOf(html, 'process-cpu').lines.map(({ label }) => label)).toEqual([
      'worker-7',
      'worker-6',
      'worker-5',
      'worker-4',
      'worker-3',
    ])
    expect(html).toContain('The 5 highest of 8')
  })

  test('adds interfaces up, and shows the ends of many cores', async () => {
    for (let core = 0; core < 16; core++) observe('cpu.core', now(), 5 * core, String(core))
    for (const name of ['eth0', 'wg0']) observe('network.rx', now(), 1000, name)
    await metrics.flush(app.ctx)
    const html = await page('/health?range=1h')
    expect(drawingOf(html, 'cores').lines.map(({ label, values }) => [label, known(values)])).toEqual([
      ['Busiest core', [75]],
      ['Least busy core', [0]],
    ])
    expect(known(drawingOf(html, 'network').lines[0]?.values)).toEqual([2000])
  })

  test.each([
    ['from=2026-02-31T10:00&to=2026-03-01T10:00', 'Give both moments as a date and a time.'],
    ['from=soon&to=later', 'Give both moments as a date and a time.'],
    ['from=2026-03-02T10:00&to=2026-03-01T10:00', 'The end must be after the beginning.'],
    ['from=2199-03-02T10:00&to=2199-03-03T10:00', 'The beginning is in the future.'],
    ['from=2001-03-02T10:00', 'Choose five years at the most.'],
  ])('for %s says what is wrong, and shows the last day', async (search, message) => {
    const html = await page(`/health?${search}`)
    expect(html).toContain(message)
    expect(drawingOf(html, 'memory').step).toBe(15 * minute)
  })

  test('that does not exist is not found, and nobody without the right sees any', async () => {
    expect((await (await app.as('carol')).get('/health/nothing')).status).toBe(404)
    expect((await (await app.as(null)).get('/health')).status).not.toBe(200)
  })
})

describe('the figures behind a chart', () => {
  test('come as CSV, a line per point, with formulas disarmed', async () => {
    const at = now() - (now() % minute)
    observe('disk.percent', at, 61, '=cmd()')
    await metrics.flush(app.ctx)
    const answer = await app.basic('carol').get('/api/metrics?name=disk.percent&range=1h&format=csv')
    expect(answer.headers['content-type']).toContain('text/csv')
    expect(answer.headers['content-disposition']).toMatch(/attachment; filename="disk\.percent-\d{4}-\d\d-\d\d\.csv"/)
    const [header, ...lines] = answer.text.trim().split('\n')
    expect(header).toBe('at,name,host,subject,unit,average,min,max,last,count,p50,p95,p99')
    expect(lines.find((line) => line.includes('cmd'))).toBe(`${iso(at)},disk.percent,${host()},'=cmd(),%,61,61,61,61,1,,,`)
  })
})

describe('what happened', () => {
  const marksOf = async (from: number, to = now() + 1) => await health.marks(app.ctx, { from, to, close: minute })

  test('is marked: deploys that are reported, crashes and restarts that the console saw, nothing else', async () => {
    const at = now() - 5 * hour
    await app
      .basic('bob')
      .post('/api/events')
      .send({
        events: [
          { type: 'deploy', source: 'ci', subject: 'build-31', at: iso(at), data: { message: 'the new parser' } },
          { type: 'process.crashed', source: 'somebody', subject: 'a lie', at: iso(at) },
          { type: 'backup.finished', source: 'cron', at: iso(at) },
        ],
      })
      .expect(201)
    await app.ctx.transaction((ctx) =>
      events.record(ctx, {
        type: 'process.crashed',
        source: 'pm2',
        subject: 'web',
        severity: 'error',
        at: at + 1000,
        data: { exit_code: 1 },
      }),
    )
    expect((await marksOf(at - hour, at + hour)).map(({ kind, text }) => [kind, text])).toEqual([
      ['deploy', 'ci deployed build-31: the new parser'],
      ['crash', 'web crashed with exit code 1'],
    ])
    const html = await page(`/health?from=${iso(at - hour)}&to=${iso(at + hour)}`)
    expect(html).toContain('ci deployed build-31: the new parser')
  })

  test('again and again is one mark with its count, and hides nothing before it', async () => {
    const at = now() - 10 * hour
    await app.ctx.transaction(async (ctx) => {
      for (let n = 0; n < 200; n++)
        await events.record(ctx, { type: 'process.crashed', source: 'pm2', subject: 'loop', severity: 'error', at: at + n * 100 })
      await events.record(ctx, { type: 'process.restart', source: 'console', subject: 'web', at: at - minute, data: { by: 'bob' } })
    })
    const found = await marksOf(at - hour, at + hour)
    expect(found.map(({ kind, count }) => [kind, count])).toEqual([
      ['restart', 1],
      ['crash', 60],
    ])
  })
})

describe('a forecast', () => {
  test('says when a disk will be full and by how many days of growth, and nothing while too little is known', async () => {
    const gigabyte = 1024 ** 3
    measured(app, { disks: [disk(60, '/srv')] })
    expect(await health.forecastOf(app.ctx, '/srv')).toBeNull()
    for (let ago = 20; ago >= 0; ago--) observe('disk.used', now() - ago * day, (60 - ago + (ago === 7 ? 30 : 0)) * gigabyte, '/srv')
    await metrics.flush(app.ctx)
    // 40 GB are free, a gigabyte goes each day; one day's big file changes nothing.
    const forecast = await health.forecastOf(app.ctx, '/srv')
    expect(forecast?.daysLeft).toBeGreaterThanOrEqual(38)
    expect(forecast?.daysLeft).toBeLessThanOrEqual(41)
    expect(forecast?.text).toMatch(/^\/srv full in \d+ days \(by the growth of 21 days, 1 GB a day\)$/)
  })

  test('of a disk that shrinks says that it does not fill up', async () => {
    measured(app, { disks: [disk(30, '/tmp')] })
    for (let ago = 10; ago >= 0; ago--) observe('disk.used', now() - ago * day, 1e9 * (30 + ago), '/tmp')
    await metrics.flush(app.ctx)
    expect(await health.forecastOf(app.ctx, '/tmp')).toMatchObject({
      daysLeft: null,
      text: expect.stringContaining('does not fill up') as string,
    })
  })
})

describe('keeping house', () => {
  test('drops events when their time is over, of every organisation, and keeps the rest', async () => {
    const old = await startApp({ env: { EVENT_RETENTION_DAYS: '30' } })
    try {
      const report = (count: number) =>
        Promise.all(
          ['home', 'other'].map((org) =>
            events.report(
              { ...old.ctx, org },
              Array.from({ length: count }, () => ({ type: 'note', source: 'test' })),
            ),
          ),
        )
      await report(600)
      old.advance(31 * day)
      await report(5)
      expect(await events.prune(old.ctx)).toBeGreaterThanOrEqual(1200)
      const left = await old.ctx.db.selectFrom('events').select('org_id').where('type', '=', 'note').execute()
      expect(left.length).toBe(10)
      expect(await events.prune(old.ctx)).toBe(0)
    } finally {
      await old.close()
    }
  })

  if (TEST_DIALECT === 'sqlite')
    test('gives space back and shortens a long log, while requests go on', async () => {
      const { file } = app.platform.store
      if (file === null) throw new Error('no file')
      const text = 'x'.repeat(20_000)
      await events.report(
        app.ctx,
        Array.from({ length: 2000 }, (_, n) => ({ type: 'bulk', source: 'test', subject: `n${n}`, data: { text } })),
      )
      expect(statSync(`${file}-wal`).size).toBeGreaterThan(longLog)
      const before = statSync(file).size
      app.advance(400 * day)
      await events.prune(app.ctx)
      const tidying = tidy(app.platform.store)
      for (let n = 0; n < 20; n++) await app.basic('carol').get('/api/health').expect(200)
      await app
        .basic('bob')
        .post('/api/events')
        .send({ events: [{ type: 'note', source: 'test' }] })
        .expect(201)
      const done = await tidying
      expect(done?.pages).toBeGreaterThan(5000)
      expect(done?.log?.before).toBeGreaterThan(longLog)
      await until(async () => {
        await tidy(app.platform.store)
        return statSync(`${file}-wal`).size < longLog && statSync(file).size <= Math.max(before, 8_000_000)
      })
    })
  else
    test('leaves what PostgreSQL does by itself to PostgreSQL', async () => {
      expect(await tidy(app.platform.store)).toBeNull()
    })
})
