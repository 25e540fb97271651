'use strict'

// What every measurement stands on: processes that are started, pinned, asked and ended, and the arithmetic of rounds.

const { spawn } = require('node:child_process')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { onPath, root } = require('../../bin/setup')

const taskset = os.cpus().length > 1 ? onPath('taskset') : undefined
/** The server under test and everything else stay on different processors where there are two. */
const cpus = { server: '0', rest: '1' }
const host = '127.0.0.1'

const running = new Set()

/** Starts Node on a file, pinned, with a channel for `ask`. */
function startNode(file, args = [], { cpu = cpus.rest, env = process.env, node = [], stdout = 'ignore' } = {}) {
  const command = [process.execPath, ...node, file, ...args]
  const [program, ...rest] = taskset ? [taskset, '-c', cpu, ...command] : command
  const child = spawn(program, rest, { cwd: root, env, stdio: ['ignore', stdout, 'inherit', 'ipc'] })
  running.add(child)
  child.once('exit', () => running.delete(child))
  // Said to a child that is gone already; what it was asked for fails by itself.
  child.on('error', () => undefined)
  return child
}

let lastId = 0

/** Sends a call to a child and waits for its answer. */
function ask(child, call, options = {}) {
  const id = ++lastId
  return new Promise((resolve, reject) => {
    if (!child.connected) {
      reject(new Error(`A process of the benchmark is gone; “${call}” was for it`))
      return
    }
    const done = () => {
      child.off('message', onMessage)
      child.off('exit', onExit)
    }
    const onMessage = (message) => {
      if (message?.id !== id) return
      done()
      if (message.error === undefined) resolve(message.result)
      else reject(new Error(message.error))
    }
    const onExit = (code) => {
      done()
      reject(new Error(`A process of the benchmark ended during “${call}” (${code})`))
    }
    child.on('message', onMessage)
    child.once('exit', onExit)
    child.send({ id, call, options })
  })
}

/** Ends a child in good order, so that it can write its profile; by force when it does not go. */
function end(child) {
  if (!running.has(child)) return Promise.resolve()
  return new Promise((resolve) => {
    const force = setTimeout(() => child.kill('SIGKILL'), 10_000)
    child.once('exit', () => {
      clearTimeout(force)
      resolve()
    })
    child.kill('SIGTERM')
  })
}

const cleanups = []
/** What must be undone however the benchmark ends. */
const atEnd = (work) => cleanups.push(work)

async function endAll() {
  await Promise.all([...running].map(end))
  for (const work of cleanups.splice(0).reverse()) await work()
}

function folder(name) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), `oc-bench-${name}-`))
  atEnd(() => fs.rmSync(made, { recursive: true, force: true }))
  return made
}

async function freePort() {
  const server = net.createServer()
  await new Promise((resolve) => server.listen(0, host, resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** Asks until the server answers; the moment at which it did. */
async function answered(port, child, deadlineMs = 30_000) {
  const deadline = performance.now() + deadlineMs
  while (performance.now() < deadline) {
    if (child && child.exitCode !== null) throw new Error(`The server ended with ${child.exitCode} before it answered`)
    try {
      const { status } = await fetch(`http://${host}:${port}/healthz`)
      if (status === 200) return performance.now()
    } catch {
      // not listening yet
    }
    await sleep(5)
  }
  throw new Error('The server did not answer')
}

// ---- What the system knows about a process

const ticksPerSecond = 100
const procfs = (pid, file) => fs.readFileSync(`/proc/${pid}/${file}`, 'utf8')

/** Processor time of a process with its threads, in microseconds. */
function cpuOf(pid) {
  const fields = procfs(pid, 'stat')
    .replace(/^.*\) /s, '')
    .split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1e6) / ticksPerSecond
}

const rssOf = (pid) => Number(/VmRSS:\s+(\d+)/.exec(procfs(pid, 'status'))?.[1] ?? 0) / 1024

function childrenOf(pid) {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return (
          Number(
            procfs(name, 'stat')
              .replace(/^.*\) /s, '')
              .split(' ')[1],
          ) === pid
        )
      } catch {
        return false
      }
    })
    .map(Number)
}

// ---- Rounds

const sorted = (values) => [...values].sort((a, b) => a - b)
const median = (values) => {
  const list = sorted(values)
  const middle = Math.floor(list.length / 2)
  return list.length % 2 ? list[middle] : (list[middle - 1] + list[middle]) / 2
}
/** (largest - smallest) / median */
const spreadOf = (values) => (values.length < 2 ? null : (Math.max(...values) - Math.min(...values)) / median(values))

/** Runs the named measurements in turn, each round in the other order, and collects what each gave. */
async function inRounds(rounds, measurements) {
  const names = Object.keys(measurements)
  const results = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 ? [...names].reverse() : names) results[name].push(await measurements[name](round))
  }
  return results
}

module.exports = {
  answered,
  ask,
  atEnd,
  childrenOf,
  cpuOf,
  cpus,
  end,
  endAll,
  folder,
  freePort,
  host,
  inRounds,
  median,
  rssOf,
  sleep,
  sorted,
  spreadOf,
  startNode,
  taskset,
}
