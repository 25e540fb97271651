import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import pm2 from 'pm2'
import {
  daemonGone,
  pm2Environment,
  pm2Event,
  pm2Process,
  type Pm2Action,
  type Pm2Call,
  type Pm2Environment,
  type Pm2Event,
  type Pm2Message,
  type Pm2Process,
} from './pm2'

type Done = (error: unknown, result?: unknown) => void

/** What the package's own types leave out. */
interface Daemon {
  Client: {
    launchDaemon: (...parameters: unknown[]) => void
    executeRemote(method: string, parameter: unknown, done: Done): void
    notifyGod(event: string, pm_id: number): void
    client_sock: NodeJS.EventEmitter
  }
}

interface Bus {
  on(event: string, listener: (packet: unknown) => void): void
}

const home = process.argv[2] ?? ''
process.title = 'operations-center: pm2 helper'

const { Client } = pm2 as unknown as Daemon

// The only place in the package where a daemon is started. The console has seen the socket, but the daemon may have died since,
// and a fresh, empty one would look as if all were well.
Client.launchDaemon = (...parameters) => {
  const done = parameters.at(-1) as Done
  done(new Error('No PM2 daemon runs'))
}

function send(message: Pm2Message): void {
  // The callback keeps an error away: a closed channel ends this process anyway
  process.send?.(message, undefined, undefined, () => undefined)
}

function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  if (/unknown|not found|not available/i.test(message)) return 'PM2 has no such process any more'
  if (/already (online|started|exists)/i.test(message)) return 'The process runs already'
  return `PM2 answered: ${message}`
}

const connected = new Promise<void>((resolve) => {
  pm2.connect((error: unknown) => {
    if (error) process.exit(daemonGone)
    // Left alone the package would reconnect to whatever daemon comes next and send it the calls that are waiting
    Client.client_sock.on('reconnect attempt', () => process.exit(daemonGone))
    pm2.launchBus((problem: unknown, bus: Bus) => {
      if (!problem) bus.on('process:event', report)
    })
    resolve()
  })
})

let listing: Promise<unknown[]> | undefined

/** One question at a time: a daemon that hangs must not find a queue of them when it goes on. */
function entries(): Promise<unknown[]> {
  listing ??= new Promise<unknown[]>((resolve, reject) => {
    pm2.list((error: unknown, found: unknown) => {
      if (error || !Array.isArray(found)) reject(new Error(reasonOf(error ?? 'no list')))
      else resolve(found)
    })
  }).finally(() => {
    listing = undefined
  })
  return listing
}

const list = async (): Promise<Pm2Process[]> => (await entries()).map(pm2Process).filter((process) => process !== null)

async function environment(pm_id: number): Promise<Pm2Environment> {
  const found = (await entries()).find((entry) => pm2Process(entry)?.pm_id === pm_id)
  if (!found) throw new Error('PM2 has no such process any more')
  return pm2Environment(found)
}

/** Between a crash and a delayed restart PM2 takes the dead process for a living one and refuses; stopping it ends the wait. */
function endWait(pm_id: number, done: Done, again: (done: Done) => void): Done {
  return (error) => {
    if (!/with pid \d+ already exists/i.test(String(error))) {
      done(error)
      return
    }
    pm2.stop(pm_id, (problem: unknown) => {
      if (problem) done(problem)
      else again(done)
    })
  }
}

const actions: Record<Pm2Action, (pm_id: number, done: Done) => void> = {
  restart: (pm_id, done) => {
    const restart = (then: Done): void => {
      pm2.restart(pm_id, then)
    }
    restart(endWait(pm_id, done, restart))
  },
  reload: (pm_id, done) => {
    pm2.reload(pm_id, done)
  },
  stop: (pm_id, done) => {
    pm2.stop(pm_id, done)
  },
  // The package's start() of a known id is a restart: pressed for a process that has come back meanwhile, it would kill it
  start: (pm_id, done) => {
    const start = (then: Done): void => {
      Client.executeRemote('startProcessId', pm_id, (error) => {
        if (!error) Client.notifyGod('start', pm_id)
        then(error)
      })
    }
    start(endWait(pm_id, done, start))
  },
}

function act(action: Pm2Action, pm_id: number): Promise<Pm2Process[]> {
  return new Promise((resolve, reject) => {
    actions[action](pm_id, (error) => {
      if (error) reject(new Error(reasonOf(error)))
      else resolve([])
    })
  })
}

const lastExits = new Map<string, unknown>()

function report(packet: unknown): void {
  const event = pm2Event(packet)
  if (!event) return
  const { process: subject } = packet as { process: { pm_id: number | string; pm_uptime?: unknown } }
  if (event.event === 'exit') {
    // PM2 announces the exit of a process that it stopped twice
    const id = String(subject.pm_id)
    if (lastExits.get(id) === subject.pm_uptime) return
    lastExits.set(id, subject.pm_uptime)
  }
  send({ kind: 'event', event: withSignal(event) })
}

/** PM2 says "exit code 0" of a process that a signal ended (the kernel's out-of-memory killer, too); its log alone names the signal. */
function withSignal(event: Pm2Event): Pm2Event {
  if (event.event !== 'exit' || event.manually || event.exit_code !== 0) return event
  try {
    const log = openSync(join(home, 'pm2.log'), 'r')
    try {
      const buffer = Buffer.alloc(16 * 1024)
      const length = readSync(log, buffer, 0, buffer.length, Math.max(0, fstatSync(log).size - buffer.length))
      const tail = buffer.toString('utf8', 0, length)
      const line = `App [${event.name}:${event.pm_id}] exited with code [0] via signal [`
      const at = tail.lastIndexOf(line)
      const signal = at < 0 ? undefined : /^SIG[A-Z0-9]+/.exec(tail.slice(at + line.length))?.[0]
      // SIGINT is also what PM2 writes when there was no signal
      return signal && signal !== 'SIGINT' ? { ...event, exit_code: null, signal } : event
    } finally {
      closeSync(log)
    }
  } catch {
    return event
  }
}

process.on('message', (message) => {
  const { id, call, pm_id } = message as Pm2Call
  send({ kind: 'heard', id })
  connected
    .then(async () => {
      if (call === 'list' || pm_id === null) return { processes: await list() }
      if (call === 'environment') return { processes: [], environment: await environment(pm_id) }
      return { processes: await act(call, pm_id) }
    })
    .then(
      (answer) => {
        send({ kind: 'done', id, ...answer })
      },
      (error: unknown) => {
        send({ kind: 'failed', id, message: error instanceof Error ? error.message : String(error) })
      },
    )
})

process.on('disconnect', () => process.exit(0))
// Ctrl+C and PM2's stop reach the whole group; the console decides when its helper ends, by closing the channel
process.on('SIGINT', () => undefined)
