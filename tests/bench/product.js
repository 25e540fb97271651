'use strict'

/* global URLSearchParams */

// The built product on data of its own, a PM2 daemon of its own, and references beside it.

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { root } = require('../../bin/setup')
const { answered, ask, atEnd, cpuOf, cpus, end, folder, freePort, host, startNode } = require('./ground')
const data = require('./data')

const secret = 'a-secret-of-the-benchmark-0123456789-abcdefgh'
const admin = { username: 'bench', password: 'correct horse battery staple' }
const basic = `Authorization: Basic ${Buffer.from(`${admin.username}:${admin.password}`).toString('base64')}\r\n`
const server = path.join(root, 'dist/monitoring/dashboard/server.js')

function environment(dataDir, port, pm2Home) {
  return {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    NODE_ENV: 'production',
    HOST: host,
    PORT: String(port),
    DATA_DIR: dataDir,
    PM2_HOME: pm2Home,
    ADMIN_USERNAME: admin.username,
    ADMIN_PASSWORD: admin.password,
    SESSION_SECRET: secret,
    SIGN_IN_RATE_LIMIT: '99999999',
    API_RATE_LIMIT: '99999999',
    INGEST_RATE_LIMIT: '99999999',
    LOG_LEVEL: 'warn',
    TIMEZONE: 'Asia/Kolkata',
  }
}

/** A running console. `profile`: the folder for its CPU profile. */
async function startProduct(stage, { profile, start = server } = {}) {
  const port = await freePort()
  const node = profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`, '--cpu-prof-interval=200'] : []
  const began = performance.now()
  const child = startNode(start, [], { cpu: cpus.server, env: environment(stage.dataDir, port, stage.pm2Home), node })
  const at = await answered(port, child)
  return { port, child, pid: child.pid, startedInMs: at - began, cpu: () => cpuOf(child.pid), stop: () => end(child) }
}

/** Signs the admin in as a browser does; the `Cookie` header. */
async function signIn({ port }, username = admin.username) {
  const response = await fetch(`http://${host}:${port}/sign-in`, {
    method: 'POST',
    redirect: 'manual',
    headers: { Origin: `http://${host}:${port}` },
    body: new URLSearchParams({ ...admin, username }),
  })
  if (response.status !== 303) throw new Error(`Signing in answered ${response.status}`)
  return response.headers.getSetCookie()[0].split(';')[0]
}

/** A data folder with a month of data and a hundred signed-in users, and a PM2 daemon with twenty processes. */
async function setTheStage({ users = 100, events = 3000 } = {}) {
  const stage = { dataDir: folder('data'), pm2Home: folder('pm2'), cookies: [] }
  const first = await startProduct(stage)
  await first.stop()
  const db = data.open(stage.dataDir)
  data.fillEvents(db, events)
  data.fillMetrics(db)
  // They have the admin's password.
  const { password_hash: hash } = db.prepare('select password_hash from users where username = ?').get(admin.username)
  stage.cookies = data.addUsers(db, users, secret, hash)
  db.close()
  startPm2(stage.pm2Home)
  return stage
}

/** Twenty processes that do nothing, kept by a real PM2. */
function startPm2(home) {
  const apps = data.processNames.map((name) => ({ name, script: '/bin/sleep', args: '1000000', interpreter: 'none', exec_mode: 'fork' }))
  const file = path.join(home, 'bench.config.json')
  fs.writeFileSync(file, JSON.stringify({ apps }))
  const pm2 = (...args) =>
    spawnSync(process.execPath, [require.resolve('pm2/bin/pm2'), ...args], {
      env: { PATH: process.env.PATH, HOME: home, PM2_HOME: home },
      encoding: 'utf8',
      timeout: 120_000,
    })
  atEnd(() => pm2('kill'))
  const { status, stdout, stderr } = pm2('start', file)
  if (status !== 0) throw new Error(`PM2 did not start: ${stdout}\n${stderr}`)
}

async function startReference(kind, options) {
  const child = startNode(path.join(__dirname, 'reference.js'), [kind], { cpu: cpus.server })
  const port = await ask(child, 'start', options)
  const cookie = kind === 'page' || kind === 'json' ? await referenceCookie(port) : ''
  return { port, child, pid: child.pid, cookie, cpu: () => cpuOf(child.pid), stop: () => end(child) }
}

async function referenceCookie(port) {
  const response = await fetch(`http://${host}:${port}/sign-in`)
  return response.headers.getSetCookie()[0].split(';')[0]
}

const request = (method, target, headers, body = '') =>
  `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${headers}${body ? `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` : ''}\r\n${body}`

module.exports = { admin, basic, environment, request, setTheStage, signIn, startProduct, startReference }
