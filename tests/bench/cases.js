'use strict'

// What is measured, one function a subject. Each answers rows: { what, product, reference, unit, aim, ratio?, spread, note? }.

const fs = require('node:fs')
const path = require('node:path')
const { socketDelays, visit } = require('./browser')
const data = require('./data')
const { ask, childrenOf, cpuOf, cpus, end, folder, freePort, host, inRounds, median, rssOf, sleep, startNode } = require('./ground')
const { bigStart, manyChecks } = require('./checks')
const { basic, environment, request, startProduct, startReference, signIn } = require('./product')
const { alone, compared } = require('./rows')

const cookieHeader = (cookie) => `Cookie: ${cookie}\r\n`
const gzip = 'Accept-Encoding: gzip, deflate\r\n'
const overviewTopics = 'health,health.now,processes,processes.now,events,metrics'

/** Load on one server for a moment, with the processor time it cost the server. */
async function loaded(bench, server, options) {
  const before = server.cpu()
  const result = await ask(bench.load, options.rate ? 'open' : 'closed', { port: server.port, ...options })
  const cpu = server.cpu() - before
  if (result.bad > 0) bench.wrong(`${options.what}: ${result.bad} answers were wrong (${JSON.stringify(result.statuses ?? {})})`)
  return { ...result, cpu: cpu / result.answered }
}

const of = (results, name) => results.map((result) => result[name])

async function sizeOf(server, target, headers) {
  const response = await fetch(`http://${host}:${server.port}${target}`, { headers })
  if (response.status !== 200) throw new Error(`${target} answered ${response.status}`)
  return await response.text()
}

/** CPU per request of one target against a reference, at 32 connections. */
async function against(bench, { what, product, reference, options, rounds }) {
  const measure = (server, requests) => () => loaded(bench, server, { connections: 32, ms: bench.ms, requests, what, ...options })
  await measure(product.server, product.requests)()
  await measure(reference.server, reference.requests)()
  return await inRounds(rounds, {
    product: measure(product.server, product.requests),
    reference: measure(reference.server, reference.requests),
  })
}

async function overviewPage(bench) {
  const product = await bench.product()
  const cookie = await signIn(product)
  const html = await sizeOf(product, '/', { cookie })
  const reference = await startReference('page', { bytes: html.length })
  const { product: ours, reference: theirs } = await against(bench, {
    what: 'overview page',
    rounds: bench.rounds,
    product: { server: product, requests: [request('GET', '/', cookieHeader(cookie) + gzip)] },
    reference: { server: reference, requests: [request('GET', '/', cookieHeader(reference.cookie) + gzip)] },
  })
  const size = await ask(reference.child, 'size', { bytes: html.length })
  await reference.stop()
  const note = `${kB(html.length)} (reference ${kB(size)}), gzipped ${kB(of(ours, 'bytes')[0])} (${kB(of(theirs, 'bytes')[0])}) with headers`
  return [
    compared('overview page, CPU per request', 'µs', of(ours, 'cpu'), of(theirs, 'cpu'), { aim: 1.25, note }),
    compared('overview page, 32 connections', 'req/s', of(ours, 'rate'), of(theirs, 'rate'), { better: 'more' }),
  ]
}

const kB = (bytes) => `${(bytes / 1000).toFixed(1)} kB`

async function health(bench) {
  const product = await bench.product()
  const cookie = await signIn(product)
  const text = await sizeOf(product, '/api/health', { cookie })
  const reference = await startReference('json', { body: JSON.parse(text) })
  const { product: ours, reference: theirs } = await against(bench, {
    what: 'GET /api/health',
    rounds: bench.rounds,
    product: { server: product, requests: [request('GET', '/api/health', cookieHeader(cookie))] },
    reference: { server: reference, requests: [request('GET', '/api/health', cookieHeader(reference.cookie))] },
  })
  await reference.stop()
  return [
    compared('GET /api/health, CPU per request', 'µs', of(ours, 'cpu'), of(theirs, 'cpu'), {
      aim: 1,
      note: `${text.length} bytes of JSON`,
    }),
    compared('GET /api/health, 32 connections', 'req/s', of(ours, 'rate'), of(theirs, 'rate'), { better: 'more' }),
  ]
}

const eventsOf = (count) =>
  JSON.stringify({
    events: Array.from({ length: count }, (_, index) => ({
      type: 'job.finished',
      source: 'bench',
      subject: `job-${index}`,
      severity: 'info',
      data: { duration_ms: 1234, message: 'Run 17 is done' },
    })),
  })

/** How many events of the benchmark are stored. */
function storedEvents({ dataDir }) {
  const db = data.open(dataDir)
  try {
    return db.prepare("select count(*) as count from events where source = 'bench' and type = 'job.finished'").get().count
  } finally {
    db.close()
  }
}

async function ingest(bench) {
  const rows = []
  const shapes = [
    { name: 'pages', what: '100 pages listen', path: '/live?topics=events', sockets: 100, size: 1, aim: 0.65 },
    { name: 'programs', what: '100 programs listen', path: '/ws/events?topics=events', sockets: 100, size: 1, aim: null },
    { name: 'batches', what: 'batches of 100, 100 pages listen', path: '/live?topics=events', sockets: 100, size: 100, aim: null },
  ]
  for (const { name, what, path, sockets, size, aim } of shapes) {
    const product = await bench.product()
    const cookie = await signIn(product)
    const reference = await startReference('post', {})
    const origin = `Origin: http://${host}:${product.port}\r\n`
    const headers = path.startsWith('/ws/')
      ? [basic]
      : (bench.stage.cookies.length ? bench.stage.cookies : [cookie]).map((one) => cookieHeader(one) + origin)
    await ask(bench.sockets, 'listen', { name, port: product.port, path, headers, count: sockets })
    const before = storedEvents(bench.stage)
    const heardBefore = await ask(bench.sockets, 'heard', { name })
    const send = request('POST', '/api/events', `Cookie: ${cookie}\r\nOrigin: http://${host}\r\n`, eventsOf(size))
    let accepted = 0
    const product_ = {
      ...product,
      requests: [send],
    }
    const measure = (server, requests, counts) => async () => {
      const result = await loaded(bench, server, { connections: 32, ms: bench.ms, requests, what: `ingest, ${what}` })
      if (counts) accepted += result.answered * size
      return result
    }
    await measure(product_, product_.requests, true)()
    await measure(reference, [send], false)()
    const { product: ours, reference: theirs } = await inRounds(bench.rounds, {
      product: measure(product_, product_.requests, true),
      reference: measure(reference, [send], false),
    })
    await reference.stop()
    const stored = storedEvents(bench.stage) - before
    if (stored !== accepted) bench.wrong(`ingest, ${what}: ${accepted} events were acknowledged, ${stored} are stored`)
    const heard = await settled(bench, name)
    if (heard.closed > 0) bench.wrong(`ingest, ${what}: ${heard.closed} sockets were closed`)
    if (Math.min(...heard.frames) === 0) bench.wrong(`ingest, ${what}: a socket heard nothing`)
    // Sockets of one role hear the same; users are added with the three roles in turn.
    if ([0, 1, 2].some((role) => new Set(heard.bytes.filter((_, index) => index % 3 === role)).size > 1))
      bench.wrong(`ingest, ${what}: sockets heard different things`)
    if (name === 'programs' && heard.items - heardBefore.items !== stored)
      bench.wrong(`ingest, ${what}: ${stored} events are stored, ${heard.items - heardBefore.items} were pushed`)
    await ask(bench.sockets, 'leave', { name })
    const note = `p50 ${median(of(ours, 'p50')).toFixed(1)} ms; ${stored.toLocaleString('en')} events stored, none lost`
    rows.push(
      compared(`ingest, ${what}: requests`, 'req/s', of(ours, 'rate'), of(theirs, 'rate'), { aim, better: 'more', note }),
      compared(`ingest, ${what}: CPU per request`, 'µs', of(ours, 'cpu'), of(theirs, 'cpu')),
    )
    if (size > 1) rows.at(-2).note += `; ${Math.round(median(of(ours, 'rate')) * size).toLocaleString('en')} events/s`
  }
  return rows
}

/** What the sockets heard, once nothing more comes. */
async function settled(bench, name) {
  let last = await ask(bench.sockets, 'heard', { name })
  for (;;) {
    await sleep(700)
    const next = await ask(bench.sockets, 'heard', { name })
    if (next.frames.join() === last.frames.join()) return next
    last = next
  }
}

async function fanOut(bench) {
  const clients = 1000
  const fires = 10
  const home = folder('no-pm2')
  const dataDir = folder('hub')
  fs.cpSync(bench.stage.dataDir, dataDir, { recursive: true })
  const hub = startNode(path.join(__dirname, 'hub.js'), [], { cpu: cpus.server, env: environment(dataDir, await freePort(), home) })
  const port = await ask(hub, 'start')
  const reference = await startReference('ws', {})
  const origin = `Origin: http://${host}:${port}\r\n`
  // One audience: an organisation and role gets the same bytes, as it does from a broadcast server.
  // Of several people, because each has a limited number of sockets; the roles follow in turn.
  const headers = bench.stage.cookies.filter((_, index) => index % 3 === 0).map((cookie) => cookieHeader(cookie) + origin)
  await ask(bench.sockets, 'listen', { name: 'hub', port, path: '/live?topics=health.now', headers, count: clients })
  await ask(bench.sockets, 'listen', { name: 'ws', port: reference.port, path: '/', headers: [''], count: clients })
  await ask(hub, 'publish')
  await sleep(300)
  const { bytes } = await ask(bench.sockets, 'heard', { name: 'hub' })
  const measure = (child, name, call, pid) => async () => {
    await ask(bench.sockets, 'delays', { name, sent: [] })
    const sent = []
    const before = cpuOf(pid)
    for (let index = 0; index < fires; index++) {
      sent.push(await ask(child, call, { bytes: bytes[0] }))
      await sleep(100)
    }
    await sleep(200)
    const cpu = cpuOf(pid) - before
    const result = await ask(bench.sockets, 'delays', { name, sent })
    if (result.missing > 0) bench.wrong(`fan-out (${name}): ${result.missing} frames did not arrive`)
    return { ...result, cpu: cpu / (fires * clients) }
  }
  const rounds = await inRounds(bench.rounds, {
    product: measure(hub, 'hub', 'publish', hub.pid),
    reference: measure(reference.child, 'ws', 'broadcast', reference.pid),
  })
  for (const name of ['hub', 'ws']) await ask(bench.sockets, 'leave', { name })
  await Promise.all([end(hub), reference.stop()])
  const note = `frames of ${bytes[0]} bytes, painted for each broadcast`
  return [
    compared('fan-out to 1,000 sockets, p50', 'ms', of(rounds.product, 'p50'), of(rounds.reference, 'p50'), { aim: 1.3, note }),
    compared('fan-out to 1,000 sockets, p99', 'ms', of(rounds.product, 'p99'), of(rounds.reference, 'p99'), { aim: 2 }),
    compared('fan-out to 1,000 sockets, CPU per delivery', 'µs', of(rounds.product, 'cpu'), of(rounds.reference, 'cpu')),
  ]
}

async function eventToBrowser(bench) {
  const product = await bench.product()
  const cookie = await signIn(product)
  const origin = `Origin: http://${host}:${product.port}\r\n`
  const headers = cookieHeader(cookie) + origin
  const body = JSON.stringify({ events: [{ type: 'bench.mark', source: 'bench', subject: 'MARK-MARK-MARK-MARK' }] })
  const rounds = []
  for (let round = 0; round < bench.rounds; round++) {
    rounds.push(
      await ask(bench.sockets, 'latency', {
        port: product.port,
        events: request('POST', '/api/events', cookieHeader(cookie) + `Origin: http://${host}\r\n`, body),
        headers,
        sockets: [{ path: `/live?topics=${overviewTopics}` }, { path: '/ws/events?topics=events' }],
        count: bench.quick ? 8 : 25,
        gapMs: 300,
        folder: bench.stage.dataDir,
      }),
    )
  }
  for (const { missing } of rounds) if (missing > 0) bench.wrong(`event to browser: ${missing} frames did not arrive`)
  const p50 = (which) => rounds.map((round) => which(round).p50)
  const fsync = median(p50((round) => round.fsync))
  const note = `fsync of 4 kB on the same disk meanwhile: p50 ${fsync.toFixed(2)} ms, p99 ${median(rounds.map((round) => round.fsync.p99)).toFixed(1)} ms`
  return [
    alone(
      'event in → page’s socket message, idle, p50',
      'ms',
      p50(({ sockets }) => sockets[0]),
      { aim: 5, note, reference: fsync },
    ),
    alone(
      'event in → program’s socket message, idle, p50',
      'ms',
      p50(({ sockets }) => sockets[1]),
    ),
    alone(
      'event in → durable answer, idle, p50',
      'ms',
      p50(({ answer }) => answer),
    ),
  ]
}

async function idle(bench) {
  await bench.noProduct()
  const seconds = bench.quick ? 12 : 60
  const rows = []
  const product = await startProduct(bench.stage)
  const read = async (what, aim) => {
    await sleep((seconds * 1000) / 2)
    const before = product.cpu()
    await sleep((seconds * 1000) / 2)
    const cpu = (product.cpu() - before) / ((seconds / 2) * 1e4)
    const helpers = childrenOf(product.pid).map(rssOf)
    const note = `the PM2 helper apart: ${helpers.map((mb) => mb.toFixed(0)).join(' + ') || 'none'} MB`
    rows.push(alone(`memory (RSS), ${what}`, 'MB', [rssOf(product.pid)], { aim, note }), alone(`processor, ${what}`, '%', [cpu]))
  }
  await read(`idle ${seconds} s, no page open`, 90)
  const headers = [cookieHeader(await signIn(product)) + `Origin: http://${host}:${product.port}\r\n`]
  await fetch(`http://${host}:${product.port}/`, { headers: { cookie: bench.stage.cookies[0] } })
  await ask(bench.sockets, 'listen', { name: 'idle', port: product.port, path: `/live?topics=${overviewTopics}`, headers, count: 1 })
  await read(`idle ${seconds} s, one page open`, 90)
  await ask(bench.sockets, 'leave', { name: 'idle' })
  await product.stop()
  return rows
}

async function coldPage(bench) {
  const chromium = await bench.chromium()
  if (!chromium.browser) return [skipped('overview cold in Chromium', chromium.reason)]
  const product = await bench.product()
  const cookie = await signIn(product)
  const html = await sizeOf(product, '/', { cookie })
  const reference = await startReference('page', { bytes: html.length })
  const look = (server, cookie) => async () => {
    const result = await visit(chromium.browser, server, cookie)
    if (result.failed.length > 0) bench.wrong(`overview cold: ${result.failed.join(', ')}`)
    if (result.lcp === null) bench.wrong('overview cold: nothing was painted')
    return result
  }
  await look(product, cookie)()
  await look(reference, reference.cookie)()
  const { product: ours, reference: theirs } = await inRounds(bench.rounds, {
    product: look(product, cookie),
    reference: look(reference, reference.cookie),
  })
  await reference.stop()
  const what = ours[0].list.map(({ url, bytes }) => `${url.replace('/assets/', '')} ${(bytes / 1000).toFixed(1)}`).join(', ')
  return [
    alone('overview cold, without fonts and charts', 'kB', of(ours, 'kB'), {
      aim: 90,
      note: `with them ${median(of(ours, 'allKB')).toFixed(1)} kB: ${what}`,
    }),
    alone('overview cold, script', 'kB', of(ours, 'scriptKB'), { aim: 45 }),
    alone('overview cold, requests', 'requests', of(ours, 'requests'), { aim: 10 }),
    compared('overview cold, largest contentful paint', 'ms', of(ours, 'lcp'), of(theirs, 'lcp'), { aim: 1.5 }),
    compared('overview cold, load event', 'ms', of(ours, 'load'), of(theirs, 'load')),
  ]
}

const skipped = (what, note) => ({
  what,
  unit: '',
  product: null,
  reference: null,
  ratio: null,
  aim: '',
  reached: null,
  spread: null,
  note: `not measured: ${note}`,
})

async function hundredUsers(bench) {
  const product = await bench.product()
  const { cookies } = bench.stage
  const requests = (target, headers = '') => cookies.map((cookie) => request('GET', target, cookieHeader(cookie) + headers))
  const closed = (target, headers) => () =>
    loaded(bench, product, { connections: 100, ms: bench.ms, requests: requests(target, headers), what: `100 users, ${target}` })
  await closed('/', gzip)()
  const results = await inRounds(bench.rounds, {
    page: closed('/', gzip),
    api: closed('/api/health', ''),
    metrics: closed('/api/metrics?range=1h', gzip),
    events: closed('/api/events', gzip),
  })
  const rows = [
    alone('100 users at once, overview page, p50', 'ms', of(results.page, 'p50'), {
      aim: 25,
      note: `${Math.round(median(of(results.page, 'rate')))} req/s`,
    }),
    alone('100 users at once, GET /api/health, p50', 'ms', of(results.api, 'p50'), {
      aim: 10,
      note: `${Math.round(median(of(results.api, 'rate')))} req/s`,
    }),
    alone('100 users at once, GET /api/metrics, p50', 'ms', of(results.metrics, 'p50'), {
      note: `${Math.round(median(of(results.metrics, 'rate')))} req/s, ${Math.round(median(of(results.metrics, 'cpu')))} µs`,
    }),
    alone('100 users at once, GET /api/events, p50', 'ms', of(results.events, 'p50'), {
      note: `${Math.round(median(of(results.events, 'rate')))} req/s, ${Math.round(median(of(results.events, 'cpu')))} µs`,
    }),
  ]
  // A hundred open pages that follow everything, and fifty requests a second beside: what a full room of people does.
  const headers = cookies.map((cookie) => cookieHeader(cookie) + `Origin: http://${host}:${product.port}\r\n`)
  await ask(bench.sockets, 'listen', {
    name: 'users',
    port: product.port,
    path: `/live?topics=${overviewTopics}`,
    headers,
    count: cookies.length,
  })
  const steady = (target, headers) => () =>
    loaded(bench, product, {
      connections: 100,
      ms: bench.ms,
      rate: 50,
      requests: requests(target, headers),
      what: `100 open pages, ${target}`,
    })
  const calm = await inRounds(bench.rounds, { page: steady('/', gzip), api: steady('/api/health', '') })
  rows.push(
    alone('100 open pages, 50 req/s: overview page, p50', 'ms', of(calm.page, 'p50'), {
      note: `p99 ${median(of(calm.page, 'p99')).toFixed(1)} ms`,
    }),
    alone('100 open pages, 50 req/s: GET /api/health, p50', 'ms', of(calm.api, 'p50'), {
      note: `p99 ${median(of(calm.api, 'p99')).toFixed(1)} ms`,
    }),
  )
  const chromium = await bench.chromium()
  if (!chromium.browser) rows.push(skipped('100 open pages: overview in Chromium', chromium.reason))
  else {
    const cookie = await signIn(product)
    const visits = []
    const delays = []
    for (let round = 0; round < bench.rounds; round++) {
      const background = loaded(bench, product, {
        connections: 100,
        ms: 3000,
        rate: 50,
        requests: requests('/', gzip),
        what: '100 open pages',
      })
      visits.push(await visit(chromium.browser, product, cookie))
      delays.push(...(await socketDelays(chromium.browser, product, cookie, 4)))
      await background
    }
    const missing = delays.filter((delay) => delay === null).length
    if (missing > 0) bench.wrong(`100 open pages: ${missing} events did not reach the browser`)
    rows.push(
      alone('100 open pages, 50 req/s: overview loaded in Chromium', 'ms', of(visits, 'load'), { aim: 2000 }),
      alone(
        '100 open pages, 50 req/s: event → socket message in Chromium',
        'ms',
        delays.filter((delay) => delay !== null),
        { aim: 50 },
      ),
    )
  }
  const { closed: gone } = await ask(bench.sockets, 'heard', { name: 'users' })
  if (gone > 0) bench.wrong(`100 open pages: ${gone} sockets were closed`)
  await ask(bench.sockets, 'leave', { name: 'users' })
  return rows
}

async function queries(bench) {
  await bench.noProduct()
  const events = bench.full ? 10_000_000 : bench.quick ? 200_000 : 1_000_000
  const points = bench.full ? 10_000_000 : bench.quick ? 200_000 : 1_000_000
  const env = environment(folder('queries'), await freePort(), folder('no-pm2'))
  const child = startNode(path.join(__dirname, 'queries.js'), [], { cpu: cpus.server, env })
  const { results, fillSeconds } = await ask(child, 'run', { events, points, repeats: bench.quick ? 5 : 15 })
  await end(child)
  const rows = results.map(({ name, total, statements, slowest, scans }) => {
    const note = [
      `${statements} statements, ${total.toFixed(2)} ms together`,
      slowest.ms > 2 ? `${slowest.sql.replaceAll('"', '').slice(0, 160)} … ${slowest.steps.join('; ')}` : '',
      ...scans.map(({ sql, steps }) => `READS A WHOLE TABLE: ${sql.slice(0, 100)} (${steps.join('; ')})`),
    ]
    return {
      ...alone(`${name}: slowest statement`, 'ms', [slowest.ms], { aim: 2, note: note.filter(Boolean).join('; ') }),
      reached: slowest.ms <= 2 && scans.length === 0,
      scans: scans.length,
      total,
    }
  })
  rows[0].note += `; ${events.toLocaleString('en')} events, ${points.toLocaleString('en')} points, filled in ${fillSeconds.toFixed(0)} s`
  return rows
}

/** What it costs to know who asks, apart from what is answered. */
async function identify(bench) {
  await bench.noProduct()
  const child = startNode(path.join(__dirname, 'identify.js'), [], {
    cpu: cpus.server,
    env: environment(folder('identify'), 0, folder('no-pm2')),
  })
  await ask(child, 'open', {})
  const by = (way) => () => ask(child, 'identify', { way, times: 20_000 })
  await by('session')()
  const results = await inRounds(bench.rounds, { key: by('key'), session: by('session') })
  await end(child)
  return [
    alone('who asks, by API key: CPU per request', 'µs', of(results.key, 'cpu'), { aim: 30 }),
    alone('who asks, by session: CPU per request', 'µs', of(results.session, 'cpu'), { aim: 70 }),
  ]
}

const atOnce = 16

/** People who sign in make the processor busy for a sixth of a second each; the others must not notice. */
async function signIns(bench) {
  const product = await bench.product()
  const { cookies } = bench.stage
  const requests = cookies.map((cookie) => request('GET', '/api/health', cookieHeader(cookie)))
  const calm = () => loaded(bench, product, { connections: 50, ms: bench.ms, rate: 100, requests, what: 'GET /api/health' })
  const done = []
  const busy = async () => {
    const from = performance.now()
    let stopped = false
    const people = Array.from({ length: atOnce }, async (_, index) => {
      while (!stopped) {
        await signIn(product, `user${index}`)
        done.push(performance.now())
      }
    })
    const result = await calm()
    stopped = true
    await Promise.all(people)
    return { ...result, perSecond: (done.splice(0).length * 1000) / (performance.now() - from) }
  }
  await calm()
  const results = await inRounds(bench.rounds, { product: busy, reference: calm })
  return [
    compared(
      `GET /api/health, 100 req/s, while ${atOnce} people sign in at once, p99 (reference: nobody does)`,
      'ms',
      of(results.product, 'p99'),
      of(results.reference, 'p99'),
      {
        aim: 3,
        note: `p50 ${median(of(results.product, 'p50')).toFixed(1)} ms (${median(of(results.reference, 'p50')).toFixed(1)} ms); ${median(of(results.product, 'perSecond')).toFixed(1)} sign-ins/s`,
      },
    ),
  ]
}

async function startUp(bench) {
  await bench.noProduct()
  const start = path.join(path.resolve(__dirname, '..', '..'), 'bin', 'start.js')
  const times = []
  for (let round = 0; round < bench.rounds; round++) {
    const product = await startProduct(bench.stage, { start })
    times.push(product.startedInMs)
    await product.stop()
  }
  return [alone('node bin/start.js (built) → first answer', 'ms', times, { aim: 3000 })]
}

module.exports = {
  cases: {
    page: overviewPage,
    health,
    ingest,
    fanout: fanOut,
    live: eventToBrowser,
    idle,
    browser: coldPage,
    users: hundredUsers,
    queries,
    identify,
    signins: signIns,
    start: startUp,
    checks: manyChecks,
    big: bigStart,
  },
}
