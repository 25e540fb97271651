'use strict'

// Rebuilds and restarts on save. The open page notices the restart by its live socket, reconnects and refreshes itself.

const { fork } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { cache, ensureDependencies, root } = require('./setup')

ensureDependencies()
const { buildAssets, buildServer } = require('./build')

// What is built here is neither minified nor compressed: the next `npm start` builds again.
fs.rmSync(path.join(cache, 'built.json'), { force: true })
process.env.NODE_ENV ??= 'development'
const server = path.join(root, 'dist', 'monitoring', 'dashboard', 'server.js')
const say = (text) => process.stderr.write(`\x1b[2m${new Date().toLocaleTimeString()}\x1b[0m ${text}\n`)

let child
let stopping = false

function start() {
  child = fork(server, { cwd: root, stdio: 'inherit' })
  const started = child
  child.on('exit', (code, signal) => {
    if (child !== started || stopping) return
    child = undefined
    say(`The server ended (${signal ?? code}); it starts again on the next save.`)
  })
}

/** Ends the running server and resolves when its port is free again. */
function stop() {
  const ending = child
  child = undefined
  if (!ending || ending.exitCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    // Open sockets can hold a graceful stop back; nobody waits for that while writing code.
    const impatience = setTimeout(() => ending.kill('SIGKILL'), 3_000)
    ending.once('exit', () => {
      clearTimeout(impatience)
      resolve()
    })
    ending.kill('SIGTERM')
  })
}

const needs = { assets: true, server: true }
let busy = false
let timer

async function rebuild() {
  if (busy) return
  busy = true
  while (needs.assets || needs.server) {
    const { assets, server: code } = { ...needs }
    needs.assets = needs.server = false
    const begin = Date.now()
    const [assetsBuilt, serverBuilt] = await Promise.all([
      assets ? tried(() => buildAssets({ development: true })) : true,
      code ? buildServer() : true,
    ])
    if (!assetsBuilt || !serverBuilt) {
      say('Not restarted: mend what stands above and save again.')
      continue
    }
    await stop()
    if (stopping) return
    start()
    say(`Built in ${Date.now() - begin} ms, restarted.`)
  }
  busy = false
}

async function tried(work) {
  try {
    await work()
    return true
  } catch (error) {
    if (!error.errors) say(error.sassMessage ? String(error) : error.message)
    return false
  }
}

/** What a saved file asks for: a template needs no compiler, but the server reads it only once. */
function saved(folder, name) {
  const file = path.posix.join(folder, name ?? '')
  if (file.startsWith('public/build') || /(?:~|\.swp|\.partial|\/\.[^/]+)$/.test(file)) return
  if (folder === 'public' || /\.(?:ejs|ts)$/.test(file)) needs.assets = true
  if (folder !== 'public' && file.endsWith('.ts')) needs.server = true
  clearTimeout(timer)
  timer = setTimeout(() => void rebuild(), 80)
}

for (const folder of ['public', 'views', 'monitoring', 'services', 'routes']) {
  if (fs.existsSync(path.join(root, folder))) fs.watch(path.join(root, folder), { recursive: true }, (_event, name) => saved(folder, name))
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    stopping = true
    void stop().then(() => process.exit(0))
  })
}

void rebuild()
