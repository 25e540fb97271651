'use strict'

// Every statement that a page or an endpoint runs, timed where it meets SQLite, on as many events as asked for. The built product runs
// in this process, with better-sqlite3's statements watched: what is measured is what the product really asks.

const Database = require('better-sqlite3')
const { join } = require('node:path')
const data = require('./data')
const root = join(__dirname, '..', '..')

const built = (file) => require(join(root, 'dist/monitoring', file))
const day = 86_400_000
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]

/** What ran since it was last emptied: SQL, parameters, milliseconds. */
let ran = []

function watchStatements() {
  const { prepare } = Database.prototype
  Database.prototype.prepare = function (sql) {
    const statement = prepare.call(this, sql)
    if (/^explain/i.test(sql)) return statement
    for (const method of ['all', 'get', 'run']) {
      const original = statement[method]
      statement[method] = function (...parameters) {
        const from = performance.now()
        const result = original.apply(this, parameters)
        ran.push({ sql, parameters, ms: performance.now() - from, rows: Array.isArray(result) ? result.length : 1 })
        return result
      }
    }
    return statement
  }
}

/** Whether the plan reads a whole table, and what else a person would want to know. */
function planOf(reader, { sql, parameters }) {
  const steps = reader
    .prepare(`explain query plan ${sql}`)
    .all(...parameters)
    .map(({ detail }) => detail)
  return {
    steps,
    scans: steps.some(
      (step) =>
        /^SCAN (?!.*(USING|CONSTANT|json_each|\())/.test(step) &&
        !/^SCAN (processes|organisations|users|memberships|some|subjects|one|checks)$/.test(step),
    ),
  }
}

/** Groups the runs of one target by statement; what not every other run asked belongs to a chore that came between. */
function byStatement(runs) {
  const statements = new Map()
  for (const run of runs) {
    const slowest = new Map()
    for (const one of run) {
      // The same text asks for many series: each is a statement of its own.
      const key = one.sql + (/\bmetrics\b/.test(one.sql) ? JSON.stringify(one.parameters.flat().slice(0, 4)) : '')
      if (!(slowest.get(key)?.ms > one.ms)) slowest.set(key, one)
    }
    for (const [key, one] of slowest) statements.set(key, { ...one, ms: [...(statements.get(key)?.ms ?? []), one.ms] })
  }
  const all = [...statements.values()]
  const isOwn = ({ ms }) => ms.length >= runs.length / 2
  return { own: all.filter(isOwn), others: all.filter((one) => !isOwn(one)) }
}

async function main({ events, points, repeats }) {
  watchStatements()
  const { openApp } = built('app.js')
  const metrics = require(join(root, 'dist/services/metrics.js'))
  const { prepareDataDir, readConfig } = built('config.js')
  const { openLog } = built('log.js')
  const open = () =>
    openApp(prepareDataDir(readConfig(process.env, '/nonexistent/.env')), { log: openLog('warn'), probes: { system: true, pm2: false } })
  const empty = await open()
  await empty.close()
  const db = data.open(process.env.DATA_DIR)
  const filled = performance.now()
  data.fillEvents(db, events)
  data.fillMetrics(db)
  const checks = data.fillPoints(db, points)
  db.exec('analyze')
  const insert = db.prepare(
    'insert into processes (id, org_id, host, pm_id, name, status, mode, pid, cpu, memory, port, restarts, started_at, seen_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  )
  const host = require('node:os').hostname()
  data.processNames.forEach((name, index) =>
    insert.run(
      `${host}:${index}`,
      'home',
      host,
      index,
      name,
      'online',
      'fork',
      100 + index,
      0.1,
      5e7,
      null,
      0,
      Date.now() - 1e7,
      Date.now(),
    ),
  )
  const fillSeconds = (performance.now() - filled) / 1000
  db.close()
  const app = await open()
  const url = await app.listen(0, '127.0.0.1')
  const headers = {
    Authorization: `Basic ${Buffer.from(`${process.env.ADMIN_USERNAME}:${process.env.ADMIN_PASSWORD}`).toString('base64')}`,
  }
  const reader = new Database(join(process.env.DATA_DIR, 'operations-center.db'), { readonly: true })
  const get = async (target) => {
    const response = await fetch(url + target, { headers })
    if (response.status !== 200) throw new Error(`${target} answered ${response.status}: ${await response.text()}`)
    return await response.text()
  }
  const wait = () => new Promise((resolve) => setTimeout(resolve, 260))
  await get('/')

  const now = Date.now()
  const iso = (daysAgo) => new Date(now - daysAgo * 86_400_000).toISOString()
  const deep = async () => {
    let cursor = ''
    for (let page = 0; page < 20; page++) cursor = JSON.parse(await get(`/api/events?limit=200${cursor && `&cursor=${cursor}`}`)).next
    return cursor
  }
  const targets = {
    'overview page': '/',
    'GET /api/health': '/api/health',
    'events, newest': '/api/events',
    'events, page 21': `/api/events?limit=50&cursor=${events > 5000 ? await deep() : ''}`,
    'events, common type': '/api/events?type=agent.finished',
    'events, rare type': '/api/events?type=security.alert',
    'events, unknown type': '/api/events?type=never',
    'events, common source': '/api/events?source=source-1',
    'events, subject': '/api/events?subject=worker-07',
    'events, common severity': '/api/events?severity=info',
    'events, rare severity': '/api/events?severity=critical',
    'events, one hour 20 days ago': `/api/events?from=${iso(20)}&to=${iso(20 - 1 / 24)}`,
    'events, until 29 days ago': `/api/events?to=${iso(29)}`,
    'events, type and source': '/api/events?type=backup.finished&source=source-9',
    'events, type and severity, rare together': '/api/events?type=security.alert&severity=critical',
    'events, common type, rare severity': '/api/events?type=agent.finished&severity=critical',
    'events, common type, unknown source': '/api/events?type=agent.finished&source=never',
    'events, unknown type, common source': '/api/events?type=never&source=source-1',
    'events, unknown type, common severity': '/api/events?type=never&severity=info',
    'events, all filters': `/api/events?type=job.finished&source=source-3&subject=worker-02&severity=error&from=${iso(10)}`,
    'metrics, 1 h': '/api/metrics?range=1h',
    'metrics, 24 h': '/api/metrics?range=24h',
    'metrics, 7 d': '/api/metrics?range=7d',
    'metrics, 30 d': '/api/metrics?range=30d',
    'metrics, 30 d of 20 processes': '/api/metrics?range=30d&name=process.cpu,process.memory',
    'metrics, 24 h by the minute': '/api/metrics?range=24h&step=1m',
    'metrics, 30 d of one check of many': '/api/metrics?range=30d&name=check.up,check.duration&subject=check-001',
    'metrics, 7 d of one check of many': '/api/metrics?range=7d&name=check.up,check.duration&subject=check-001',
    'health page, 1 h': '/health?range=1h',
    'health page, 24 h': '/health?range=24h',
    'health page, 7 d against the 7 before': '/health?range=7d&compare=1',
    'health page, 30 d against the 30 before': '/health?range=30d&compare=1',
    'uptime of one check, 90 d': () =>
      metrics.totals(app.ctx, { name: 'check.up', subjects: ['check-001'], from: now - 90 * day, to: now }),
    'percentiles of one check, 30 d': () =>
      metrics.totals(app.ctx, { name: 'check.duration', subjects: ['check-001'], from: now - 30 * day, to: now, histograms: true }),
    // What it knows is a second old before it looks again.
    [`last day of ${checks} checks, again`]: async () => {
      await new Promise((resolve) => setTimeout(resolve, 1010))
      await metrics.lastDay(app.ctx, 'check.up')
    },
  }
  const results = []
  const background = []
  for (const [name, target] of Object.entries(targets)) {
    if (typeof target === 'string' && target.endsWith('cursor=')) continue
    const runs = []
    for (let index = 0; index < repeats; index++) {
      if (target === '/' || target === '/api/health') await wait()
      ran = []
      await (typeof target === 'function' ? target() : get(target))
      runs.push(ran.filter(({ sql }) => /^\s*(select|with)/i.test(sql)))
    }
    const { own, others } = byStatement(runs)
    background.push(...others)
    const each = own
      .map((one) => ({ sql: one.sql, ms: median(one.ms), rows: one.rows, ...planOf(reader, one) }))
      .sort((a, b) => b.ms - a.ms)
    results.push({
      name,
      total: median(runs.map((run) => run.reduce((sum, { ms }) => sum + ms, 0))),
      statements: median(runs.map((run) => run.length)),
      slowest: each[0],
      scans: each.filter(({ scans }) => scans),
    })
  }
  const [slowest] = background
    .map((one) => ({ sql: one.sql, ms: Math.max(...one.ms), rows: one.rows, ...planOf(reader, one) }))
    .sort((a, b) => b.ms - a.ms)
  if (slowest) results.push({ name: 'in the background', total: slowest.ms, statements: 1, slowest, scans: [] })
  reader.close()
  await app.close()
  return { results, fillSeconds }
}

process.on('message', ({ id, options }) => {
  main(options).then(
    (result) => process.send({ id, result }),
    (error) => process.send({ id, error: error.stack }),
  )
})
process.on('disconnect', () => process.exit(0))
