import { fork, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { maskCommand, maskText, maskValue } from './mask'

/** What a process was started from, and how PM2 keeps it. Without secrets. */
export interface Pm2Details {
  script: string | null
  args: string | null
  cwd: string | null
  interpreter: string | null
  node: string | null
  version: string | null
  user: string | null
  instances: number | null
  /** When PM2 starts it again, in the words of cron; null: not by the clock. */
  cron: string | null
  /** Whether PM2 starts it again when it ends. */
  autorestart: boolean
  watch: boolean
  /** Bytes beyond which PM2 restarts it. */
  max_memory: number | null
  restart_delay: number | null
  /** How the last run ended; null where there is none, or a signal ended it. */
  exit_code: number | null
  unstable_restarts: number
  created_at: number | null
  git: { branch: string | null; revision: string | null; comment: string | null; url: string | null } | null
  out_log: string | null
  err_log: string | null
}

/** One variable of a process, masked before it leaves the helper. */
export interface Pm2Variable {
  name: string
  value: string
  masked: boolean
}

export interface Pm2Environment {
  variables: Pm2Variable[]
  /** How many there are beside the ones shown. */
  left_out: number
}

export interface Pm2Process {
  pm_id: number
  name: string
  pid: number | null
  /** PM2's own word: online, stopped, errored, launching, stopping, one-launch-status, waiting restart. */
  status: string
  /** Percent of one core. */
  cpu: number | null
  /** Bytes. */
  memory: number | null
  restarts: number
  started_at: number | null
  mode: 'fork' | 'cluster'
  script: string | null
  out_log: string | null
  err_log: string | null
  port: number | null
  details?: Pm2Details
}

export type Pm2State =
  | { state: 'ok'; at: number; processes: Pm2Process[] }
  | { state: 'no-daemon'; at: number; hint: string }
  | { state: 'unreachable'; at: number; reason: string }

export interface Pm2Event {
  at: number
  /** PM2's own word: exit, online, start, restart, stop, reload, delete, 'restart overlimit' and others. */
  event: string
  name: string
  pm_id: number
  /** Null where it is not known, and when a signal ended the process. */
  exit_code: number | null
  signal: string | null
  /** Somebody or PM2 itself wanted it. An exit that is not `manually` is a crash, or a process that ended by itself. */
  manually: boolean
}

export type Pm2Action = 'restart' | 'reload' | 'stop' | 'start'

export interface Pm2Probe {
  start(): void
  stop(): Promise<void>
  readonly latest: Pm2State | undefined
  /** Rejects with an Error whose message is meant for the person who asked. */
  act(action: Pm2Action, pm_id: number, name?: string): Promise<void>
  refresh(): Promise<Pm2State>
  /** Asks PM2 for the environment of one process, secrets masked. Rejects like `act`. */
  environment(pm_id: number, name: string): Promise<Pm2Environment>
}

export interface Pm2ProbeOptions {
  home: string
  every?: number
  now: () => number
  onState: (state: Pm2State) => void
  onEvent: (event: Pm2Event) => void
  onError: (error: unknown) => void
}

/** What the console sends to its PM2 helper process. */
export interface Pm2Call {
  id: number
  call: 'list' | 'environment' | Pm2Action
  pm_id: number | null
}

/** What the helper process sends back: that it heard a call, its outcome, and what happens in PM2 meanwhile. */
export type Pm2Message =
  | { kind: 'heard'; id: number }
  | { kind: 'done'; id: number; processes: Pm2Process[]; environment?: Pm2Environment }
  | { kind: 'failed'; id: number; message: string }
  | { kind: 'event'; event: Pm2Event }

/** The helper's exit code when the daemon is not there, or not any more. */
export const daemonGone = 3

type Answer = Extract<Pm2Message, { kind: 'done' }>

interface PendingCall {
  resolve: (answer: Answer) => void
  reject: (error: Error) => void
  timer: NodeJS.Timeout
  heard: boolean
}

interface Helper {
  child: ChildProcess
  forkedAt: number
  proved: boolean
  calls: Map<number, PendingCall>
  stalledSince: number | null
  complaint: string
}

const listPatience = 3_000
const actionPatience = 20_000
const startPatience = 10_000
const stallPatience = 15_000
const longestBackOff = 15_000

/** Watches the PM2 daemon of `home` through a forked helper, and never starts one. */
export function pm2Probe(options: Pm2ProbeOptions): Pm2Probe {
  const { home, every = 2_000, now, onState, onEvent, onError } = options
  let latest: Pm2State | undefined
  let helper: Helper | undefined
  let stopped = false
  let beating = false
  let beat: NodeJS.Timeout | undefined
  let early: NodeJS.Timeout | undefined
  let looking: Promise<Pm2State> | undefined
  let actions: Promise<unknown> = Promise.resolve()
  let lastId = 0
  let failures = 0
  let retryAt = 0
  let reason = 'PM2 has not answered yet'

  function guarded(callback: () => void): void {
    try {
      callback()
    } catch (error) {
      onError(error)
    }
  }

  function forkHelper(): Helper {
    const path = helperPath()
    if (!existsSync(path)) throw new Error(`The PM2 helper ${path} is missing: run "npm run build"`)
    // A list of its own instead of process.env: no secret of the console reaches a process that talks to PM2
    const env = {
      PATH: `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`,
      HOME: homedir(),
      PM2_HOME: home,
      NODE_ENV: 'production',
      LANG: 'C.UTF-8',
    }
    const child = fork(path, [home], { env, execArgv: [], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    const forked: Helper = { child, forkedAt: performance.now(), proved: false, calls: new Map(), stalledSince: null, complaint: '' }
    // Watching must not keep a process alive that has nothing else to do
    child.unref()
    child.channel?.unref()
    child.stderr?.on('data', (data: Buffer) => {
      forked.complaint = `${forked.complaint}${data.toString()}`.slice(-2_000)
    })
    child.on('message', (message) => {
      hear(forked, message as Pm2Message)
    })
    child.on('error', (error) => {
      lose(forked, `The PM2 helper cannot be started: ${error.message}`)
    })
    child.on('exit', (code, signal) => {
      if (helper !== forked) return
      if (code === daemonGone) lose(forked, 'PM2 closed the connection')
      else lose(forked, `The PM2 helper ended (${signal ?? `code ${code}`})`)
    })
    return forked
  }

  function hear(from: Helper, message: Pm2Message): void {
    if (from !== helper) return
    if (message.kind === 'event') {
      guarded(() => {
        onEvent(message.event)
      })
      lookSoon()
      return
    }
    const call = from.calls.get(message.id)
    if (!call) return
    if (message.kind === 'heard') {
      from.proved = true
      call.heard = true
      return
    }
    from.calls.delete(message.id)
    clearTimeout(call.timer)
    if (message.kind === 'done') call.resolve(message)
    else call.reject(new Error(message.message))
  }

  /** Gives a helper up; the next one is forked after a pause that grows with every failure in a row. */
  function lose(lost: Helper, why: string): void {
    if (helper !== lost) return
    helper = undefined
    reason = why
    failures++
    retryAt = performance.now() + Math.min(longestBackOff, 250 * 2 ** failures)
    lost.child.kill('SIGKILL')
    for (const call of lost.calls.values()) {
      clearTimeout(call.timer)
      call.reject(new Error(why))
    }
    lost.calls.clear()
    if (lost.complaint) onError(new Error(`${why}: ${lost.complaint}`))
    lookSoon()
  }

  function ask(to: Helper, call: Pm2Call['call'], pm_id: number | null, patience: number): Promise<Answer> {
    const id = ++lastId
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const heard = to.calls.get(id)?.heard === true
        to.calls.delete(id)
        reject(new Error(`PM2 did not answer within ${Math.round(patience / 1000)} s`))
        doubt(to, heard)
      }, patience)
      to.calls.set(id, { resolve, reject, timer, heard: false })
      // An error here means that the channel is closed, which 'exit' reports as well
      to.child.send({ id, call, pm_id } satisfies Pm2Call, () => undefined)
    })
  }

  /**
   * After a time-out: a helper that did not even hear the call hangs itself. One that did waits for a daemon that hangs, and is kept,
   * so that it has the answer as soon as the daemon goes on; but not for ever, because an answer can be lost.
   */
  function doubt(suspect: Helper, heard: boolean): void {
    const time = performance.now()
    suspect.stalledSince ??= time
    if (heard && time - suspect.stalledSince < stallPatience) return
    if (!heard && !suspect.proved && time - suspect.forkedAt < startPatience) return
    lose(suspect, heard ? 'PM2 does not answer' : 'The PM2 helper does not answer')
  }

  async function look(): Promise<Pm2State> {
    try {
      if (!helper) {
        const closed = await knock()
        if (closed) return closed
        if (stopped || performance.now() < retryAt) return unreachable(reason)
        helper = forkHelper()
      }
      const asked = helper
      const { processes } = await ask(asked, 'list', null, listPatience)
      failures = 0
      asked.stalledSince = null
      return { state: 'ok', at: now(), processes }
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error)
      // Without a helper the connection was lost: is the daemon gone?
      return (helper ? undefined : await knock()) ?? unreachable(reason)
    }
  }

  function unreachable(why: string): Pm2State {
    return { state: 'unreachable', at: now(), reason: why }
  }

  /**
   * Tries the daemon's socket; undefined means that somebody listens. Any call of the pm2 package would start a daemon where there is none,
   * and its empty list would look as if all were well.
   */
  function knock(): Promise<Pm2State | undefined> {
    const path = join(home, 'rpc.sock')
    return new Promise((resolve) => {
      const answer = (state: Pm2State | undefined): void => {
        socket.destroy()
        resolve(state)
      }
      const socket = connect(path)
      socket.setTimeout(1_000)
      socket.once('connect', () => {
        answer(undefined)
      })
      socket.once('timeout', () => {
        answer(unreachable(`PM2 does not accept connections on ${path}`))
      })
      socket.once('error', ({ code, message }: NodeJS.ErrnoException) => {
        if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR')
          answer({ state: 'no-daemon', at: now(), hint: startCommand(home) })
        else if (code === 'EACCES' || code === 'EPERM') answer(unreachable(`The user of this console may not open ${path}`))
        else answer(unreachable(`PM2 cannot be reached: ${message}`))
      })
    })
  }

  function refresh(): Promise<Pm2State> {
    looking ??= look()
      .then((state) => {
        latest = state
        if (!stopped) {
          guarded(() => {
            onState(state)
          })
        }
        return state
      })
      .finally(() => {
        looking = undefined
      })
    return looking
  }

  /** Looks before the next beat, because something happened. Not at once: events come in bursts, and PM2 measures CPU between two looks. */
  function lookSoon(): void {
    if (!beating || early) return
    early = setTimeout(() => {
      early = undefined
      void refresh().catch(onError)
    }, 250).unref()
  }

  async function repeat(): Promise<void> {
    await refresh().catch(onError)
    if (beating) beat = setTimeout(() => void repeat(), every).unref()
  }

  async function perform(action: Pm2Action, pm_id: number, name: string | undefined, deadline: number): Promise<void> {
    const state = await refresh()
    if (state.state === 'no-daemon') throw new Error(`PM2 is not running. Start it with: ${state.hint}`)
    if (state.state === 'unreachable') throw new Error(state.reason)
    // PM2 numbers anew after its daemon was restarted: the same number may be another process by now
    if (!state.processes.some((process) => process.pm_id === pm_id && process.name === (name ?? process.name)))
      throw new Error(`PM2 has no process ${pm_id} any more`)
    // Nothing may happen after the caller was told that it did not
    const left = deadline - performance.now()
    if (left <= 0 || !helper) throw new Error('PM2 is busy with other actions: nothing was done')
    await ask(helper, action, pm_id, left).catch((error: unknown) => {
      if (performance.now() < deadline) throw error
      throw new Error(`PM2 did not finish within ${actionPatience / 1000} s: look at the process before you try again`, { cause: error })
    })
    await refresh()
  }

  async function environment(pm_id: number, name: string): Promise<Pm2Environment> {
    const state = latest?.state === 'ok' && helper ? latest : await refresh()
    if (state.state === 'no-daemon') throw new Error(`PM2 is not running. Start it with: ${state.hint}`)
    if (state.state === 'unreachable') throw new Error(state.reason)
    if (!helper || !state.processes.some((process) => process.pm_id === pm_id && process.name === name))
      throw new Error(`PM2 has no process ${pm_id} any more`)
    return (await ask(helper, 'environment', pm_id, listPatience)).environment ?? { variables: [], left_out: 0 }
  }

  return {
    get latest() {
      return latest
    },
    refresh,
    environment,
    act(action, pm_id, name) {
      const deadline = performance.now() + actionPatience
      const done = actions.then(() => perform(action, pm_id, name, deadline))
      actions = done.catch(() => undefined)
      return done
    },
    start() {
      if (beating) return
      stopped = false
      beating = true
      void repeat()
    },
    async stop() {
      stopped = true
      beating = false
      clearTimeout(beat)
      clearTimeout(early)
      early = undefined
      const last = helper
      if (!last) return
      helper = undefined
      for (const call of last.calls.values()) {
        clearTimeout(call.timer)
        call.reject(new Error('The console is stopping'))
      }
      await ended(last.child)
    },
  }
}

/** The helper ends by itself when its channel is closed; a stuck one is killed. */
function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve()
      return
    }
    const timer = setTimeout(() => child.kill('SIGKILL'), 1_000)
    child.once('exit', () => {
      clearTimeout(timer)
      resolve()
    })
    child.ref()
    if (child.connected) child.disconnect()
  })
}

/** Only compiled JavaScript can be forked, so a program that runs from source uses what the build left in dist. */
function helperPath(): string {
  const beside = join(__dirname, 'pm2-helper.js')
  return existsSync(beside) ? beside : join(__dirname, '..', '..', 'dist', 'monitoring', 'probes', 'pm2-helper.js')
}

function startCommand(home: string): string {
  const command = existsSync(join(home, 'dump.pm2')) ? 'pm2 resurrect' : 'pm2 start ecosystem.config.js'
  if (home === join(homedir(), '.pm2')) return command
  const value = /^[\w./-]+$/.test(home) ? home : `'${home.replaceAll("'", `'\\''`)}'`
  return `PM2_HOME=${value} ${command}`
}

type Fields = Record<string, unknown>

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {}
}

function amount(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null
}

/** Names come from ecosystem files and programs: no control characters, and short enough for a page and a log line. */
function text(value: unknown, limit: number): string | null {
  if (typeof value !== 'string' && typeof value !== 'number') return null
  const clean = String(value)
    .slice(0, limit * 2)
    .replace(/\p{Cc}+/gu, ' ')
    .trim()
  return clean.length > limit ? `${clean.slice(0, limit - 1)}…` : clean || null
}

function portOf(env: Fields): number | null {
  const port = Number(fieldsOf(env['env'])['PORT'] ?? env['PORT'] ?? NaN)
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : null
}

/** Chooses the fields of one entry of PM2's list, which carries the whole environment; null for what is not a process of its own. */
export function pm2Process(entry: unknown): Pm2Process | null {
  const { pm_id, name, pid, monit, pm2_env } = fieldsOf(entry)
  const env = fieldsOf(pm2_env)
  const { cpu, memory } = fieldsOf(monit)
  // While a cluster is reloaded, the outgoing worker is listed as "_old_3"
  if (typeof pm_id !== 'number' || !Number.isInteger(pm_id) || pm_id < 0) return null
  const status = text(env['status'], 40) ?? 'unknown'
  const livePid = typeof pid === 'number' && Number.isInteger(pid) && pid > 0 ? pid : null
  // The pid of a process that waits for its restart is that of the dead one
  const alive = livePid !== null && !['stopped', 'errored', 'waiting restart'].includes(status)
  return {
    pm_id,
    name: text(name, 200) ?? text(env['name'], 200) ?? `process ${pm_id}`,
    pid: alive ? livePid : null,
    status,
    cpu: alive ? amount(cpu) : null,
    memory: alive ? amount(memory) : null,
    restarts: Math.floor(amount(env['restart_time']) ?? 0),
    started_at: alive ? amount(env['pm_uptime']) : null,
    mode: env['exec_mode'] === 'cluster_mode' ? 'cluster' : 'fork',
    script: text(env['pm_exec_path'], 4_096),
    out_log: text(env['pm_out_log_path'], 4_096),
    err_log: text(env['pm_err_log_path'], 4_096),
    port: portOf(env),
    details: detailsOf(env),
  }
}

function detailsOf(env: Fields): Pm2Details {
  const git = fieldsOf(env['versioning'])
  const args = Array.isArray(env['args']) ? env['args'].filter((one): one is string => typeof one === 'string') : []
  const cron = text(env['cron_restart'], 120)
  const limit = env['max_memory_restart']
  const flag = (value: unknown): boolean => value === true || value === 'true'
  const masked = (value: unknown, most: number): string | null => {
    const found = text(value, most)
    return found === null ? null : maskText(found)
  }
  return {
    script: text(env['pm_exec_path'], 1_000),
    args: args.length > 0 ? text(maskCommand(args.slice(0, 50).map((word) => word.slice(0, 500))), 1_000) : null,
    cwd: text(env['pm_cwd'], 1_000),
    interpreter: text(env['exec_interpreter'], 200),
    node: text(env['node_version'], 40),
    version: env['version'] === 'N/A' ? null : text(env['version'], 60),
    user: text(env['username'], 60),
    instances: amount(env['instances']),
    cron: cron === '0' || cron === 'false' ? null : cron,
    autorestart: env['autorestart'] !== false && env['autorestart'] !== 'false',
    watch: flag(env['watch']) || Array.isArray(env['watch']),
    max_memory: bytesOf(limit),
    restart_delay: amount(env['restart_delay']),
    exit_code: typeof env['exit_code'] === 'number' && Number.isInteger(env['exit_code']) ? env['exit_code'] : null,
    unstable_restarts: Math.floor(amount(env['unstable_restarts']) ?? 0),
    created_at: amount(env['created_at']),
    git:
      Object.keys(git).length > 0
        ? {
            branch: text(git['branch'], 100),
            revision: text(git['revision'], 64),
            comment: masked(git['comment'], 200),
            url: masked(git['url'], 300),
          }
        : null,
    out_log: text(env['pm_out_log_path'], 4_096),
    err_log: text(env['pm_err_log_path'], 4_096),
  }
}

const units: Readonly<Record<string, number>> = { k: 1024, m: 1024 ** 2, g: 1024 ** 3 }

/** PM2 keeps the number of bytes, and what was typed ("300M") before it has read it. */
function bytesOf(value: unknown): number | null {
  const found = typeof value === 'string' ? /^(\d{1,12})\s*([kmg]?)b?$/i.exec(value) : null
  return found ? Number(found[1]) * (units[(found[2] ?? '').toLowerCase()] ?? 1) : amount(value)
}

const mostVariables = 500
const longestValue = 500

/** The environment that an entry of PM2's list carries, as it may be shown. */
export function pm2Environment(entry: unknown): Pm2Environment {
  const given = fieldsOf(fieldsOf(fieldsOf(entry)['pm2_env'])['env'])
  const names = Object.keys(given)
    .filter((name) => ['string', 'number', 'boolean'].includes(typeof given[name]))
    .sort()
  const variables = names.slice(0, mostVariables).map((name): Pm2Variable => {
    // Cut after masking: half a secret looks like none
    const { value, masked } = maskValue(name, String(given[name]).slice(0, 20_000))
    return { name: text(name, 200) ?? '?', value: text(value, longestValue) ?? '', masked }
  })
  return { variables, left_out: names.length - variables.length }
}

/** Chooses the fields of one `process:event` of PM2's bus; null when it does not say which process it is about. */
export function pm2Event(packet: unknown): Pm2Event | null {
  const { event, manually, process, at } = fieldsOf(packet)
  const env = fieldsOf(process)
  const known = /^(_old_)?(\d{1,9})$/.exec(String(env['pm_id']))
  const word = text(event, 60)
  if (!known || !word) return null
  // A process that PM2 was told to end exits in this state; one that ends by itself does not
  const wanted = word === 'exit' && (env['status'] === 'stopping' || known[1] !== undefined)
  const code = env['exit_code']
  return {
    at: amount(at) ?? amount(env['pm_uptime']) ?? 0,
    event: word,
    name: text(env['name'], 200) ?? `process ${known[2]}`,
    pm_id: Number(known[2]),
    exit_code: word === 'exit' && typeof code === 'number' && Number.isInteger(code) ? code : null,
    signal: null,
    manually: manually === true || wanted,
  }
}
