import { home, type Context } from '../monitoring/context'
import { NotFound } from '../monitoring/errors'
import { hostProbe, type HostProcess, type HostState, type OpenPort } from '../monitoring/probes/host'
import * as processes from './processes'

export type { HostMount, Interface, Temperature } from '../monitoring/probes/host'

interface Kept {
  id: string
  name: string
}

export interface RunningProcess extends HostProcess {
  /** Percent of the machine's memory. */
  memory_percent: number
  /** The process of PM2 that it is, or was started by. */
  pm2: Kept | null
  /** This console. */
  own: boolean
}

export interface Port extends OpenPort {
  process: string | null
  pm2: Kept | null
  /** From where it can be reached. */
  reach: 'every address' | 'this machine only' | 'one address'
}

/** The machine at one moment. */
export interface System extends Omit<HostState, 'processes' | 'sockets'> {
  host: string
  processes: RunningProcess[]
  ports: Port[]
  /** Some ports belong to processes of other users, which the console may not look into. */
  partly: boolean
  states: Record<string, number>
  udp: number
  memory: { total: number; used: number; available: number } | null
  /** Bytes per second, by interface. */
  rates: { name: string; rx: number; tx: number }[]
}

/** Looks at the machine now; nothing of it is looked at while nobody asks. */
export async function read(ctx: Context): Promise<System> {
  if (ctx.org !== home) throw new NotFound('This organisation has no machine of its own.')
  const probe = ctx.platform.keep('host probe', () => hostProbe({ now: ctx.platform.now }))
  const [{ processes: running, sockets, ...rest }, list] = await Promise.all([probe.read(), processes.list(ctx)])
  const sample = ctx.platform.probes.system?.latest
  const here = list.items.filter(({ host, pid }) => pid !== null && host === ctx.platform.config.hostName)
  const kept = new Map(here.map(({ pid, id, name }) => [pid, { id, name }]))
  const byPid = new Map(running.map((one) => [one.pid, one]))
  const belongsTo = (pid: number | null): Kept | null => {
    let at = pid
    for (let step = 0; at !== null && step < 8; step++) {
      const found = kept.get(at)
      if (found) return found
      at = byPid.get(at)?.parent ?? null
    }
    return null
  }
  const memory = sample?.memory ?? null
  const total = memory?.total ?? Infinity
  return {
    ...rest,
    host: ctx.platform.config.hostName,
    processes: running.map((one) => ({
      ...one,
      memory_percent: Math.round((one.memory / total) * 1000) / 10,
      pm2: belongsTo(one.pid),
      own: one.pid === process.pid,
    })),
    ports: sockets.ports.map((port) => ({
      ...port,
      process: (port.pid === null ? undefined : byPid.get(port.pid)?.name) ?? null,
      pm2: belongsTo(port.pid),
      reach: reachOf(port.address),
    })),
    ...{ partly: sockets.partly, states: sockets.states, udp: sockets.udp },
    memory,
    rates: sample?.network ?? [],
  }
}

const reachOf = (address: string): Port['reach'] =>
  /^(?:0\.0\.0\.0|::|\*)$/.test(address) ? 'every address' : /^(?:127\.|::1$)/.test(address) ? 'this machine only' : 'one address'

export const sorts = ['cpu', 'memory', 'name', 'user', 'pid', 'started'] as const

export interface Pick {
  q?: string | undefined
  sort: (typeof sorts)[number]
  order: 'asc' | 'desc'
}

const worth: Readonly<Record<(typeof sorts)[number], (one: RunningProcess) => number | string>> = {
  cpu: (one) => one.cpu ?? -1,
  memory: (one) => one.memory,
  name: (one) => one.name.toLowerCase(),
  user: (one) => one.user,
  pid: (one) => one.pid,
  started: (one) => one.started_at ?? 0,
}

/** Those that match, in the order that was asked for; of two that are equal, the one that uses more. */
export function pick<One extends RunningProcess>(all: readonly One[], { q, sort, order }: Pick): One[] {
  const wanted = (q ?? '').toLowerCase().split(/\s+/).filter(Boolean)
  const found = all.filter((one) => {
    const text = `${one.pid} ${one.name} ${one.command} ${one.user} ${one.pm2?.name ?? ''}`.toLowerCase()
    return wanted.every((word) => text.includes(word))
  })
  const of = worth[sort]
  const sign = order === 'asc' ? 1 : -1
  return found.sort((a, b) => {
    const [x, y] = [of(a), of(b)]
    return x === y ? (b.cpu ?? 0) - (a.cpu ?? 0) || b.memory - a.memory || a.pid - b.pid : x < y ? -sign : sign
  })
}
