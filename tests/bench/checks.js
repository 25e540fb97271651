'use strict'

// What five hundred checks cost the console that carries them out, and how long it takes to start with a gigabyte of data.

const fs = require('node:fs')
const { createServer } = require('node:http')
const path = require('node:path')
const data = require('./data')
const { folder, host, median, rssOf, sleep } = require('./ground')
const { basic, startProduct } = require('./product')
const { alone, compared } = require('./rows')

const [, authorization] = basic.trim().split(': ')
const many = 500
const interval = 10

async function call(product, method, target, body) {
  const response = await fetch(`http://${host}:${product.port}${target}`, {
    method,
    headers: { authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  if (!response.ok) throw new Error(`${method} ${target} answered ${response.status}: ${(await response.text()).slice(0, 300)}`)
  return await response.json()
}

/** The console says every five seconds how late its event loop was in the last five. */
async function watch(product, seconds) {
  const delays = []
  const before = product.cpu()
  const began = performance.now()
  while (performance.now() - began < seconds * 1000) {
    await sleep(5000)
    const { process } = await call(product, 'GET', '/api/console')
    if (process.loop_delay_p99_ms !== null) delays.push(process.loop_delay_p99_ms)
  }
  return { p99: median(delays), cpu: (product.cpu() - before) / ((performance.now() - began) / 1000), rss: rssOf(product.pid) }
}

async function manyChecks(bench) {
  await bench.noProduct()
  let answered = 0
  const target = createServer((_request, response) => {
    answered++
    response.end('{"status":"healthy"}')
  })
  await new Promise((resolve) => target.listen(0, host, resolve))
  const { port } = target.address()
  const product = await startProduct({ ...bench.stage, dataDir: folder('checks') })
  const seconds = bench.quick ? 15 : 60
  await sleep(5000)
  const calm = await watch(product, seconds)
  await call(product, 'PUT', '/api/checks/targets', { allowed: ['127.0.0.0/8'] })
  for (let index = 0; index < many; index++) {
    const http = { url: `http://${host}:${port}/health?${index}`, json_path: '$.status', json_equals: 'healthy' }
    await call(product, 'POST', '/api/checks', {
      name: `Check ${index}`,
      interval_s: interval,
      timeout_ms: 5000,
      retry_s: 5,
      ...(index % 5 === 4 ? { kind: 'tcp', spec: { host, port } } : { kind: 'http', spec: http }),
    })
  }
  await sleep(2 * interval * 1000)
  answered = 0
  const began = performance.now()
  const busy = await watch(product, seconds)
  const perSecond = answered / ((performance.now() - began) / 1000)
  const { counts } = await call(product, 'GET', '/api/checks?limit=1')
  if (counts.up !== many) bench.wrong(`${many} checks: ${JSON.stringify(counts)} are up`)
  const expected = (many * 0.8) / interval
  if (perSecond < expected * 0.95) bench.wrong(`${many} checks: ${perSecond.toFixed(1)} HTTP probes arrived in a second, not ${expected}`)
  await product.stop()
  await new Promise((resolve) => target.close(resolve))
  const note = `${perSecond.toFixed(1)} HTTP probes/s arrived; memory ${busy.rss.toFixed(0)} MB (${calm.rss.toFixed(0)} MB)`
  return [
    alone(`${many} checks every ${interval} s: event-loop delay, p99`, 'ms', [busy.p99], { aim: 20, reference: calm.p99, note }),
    compared(`${many} checks every ${interval} s: processor per second (reference: none)`, 'ms', [busy.cpu / 1000], [calm.cpu / 1000]),
    alone('samplers, nobody looks: processor per second', 'ms', [calm.cpu / 1000]),
  ]
}

const gigabyte = 1_000_000_000

async function bigStart(bench) {
  await bench.noProduct()
  const stage = { ...bench.stage, dataDir: folder('big') }
  const first = await startProduct(stage)
  await first.stop()
  const db = data.open(stage.dataDir)
  const file = path.join(stage.dataDir, 'operations-center.db')
  data.fillEvents(db, 2_500_000)
  data.fillPoints(db, 1_000_000)
  db.close()
  const times = []
  for (let round = 0; round < bench.rounds; round++) {
    const product = await startProduct(stage)
    times.push(product.startedInMs)
    await product.stop()
  }
  const { size } = fs.statSync(file)
  const note = `${(size / gigabyte).toFixed(2)} GB`
  fs.rmSync(stage.dataDir, { recursive: true })
  return [alone('start with a large database → first answer', 'ms', times, { aim: 2000, note })]
}

module.exports = { bigStart, manyChecks }
