import { setMaxListeners } from 'node:events'
import type { Context } from '../../monitoring/context'
import type { CheckRow, Steady } from './queries'

/** A check as the engine holds it. */
export interface Entry {
  row: CheckRow
  /** When it is looked at next. */
  due: number
  /** When a heartbeat was heard last, by the clock as it is now; `pinged` is what the database says. */
  base: number
  pinged: number | null
  /** Whom it keeps busy while it is looked at. */
  lane: Lane
}

/** What must not be taken whole by checks that hang: a target, the sockets of this process, its commands. */
export interface Lane {
  readonly name: string
  readonly most: number
  readonly dials: boolean
}

/** What this process knows of checks beyond the database. */
interface Memory {
  readonly entries: Map<string, Entry>
  /** By check: what is being probed now. Never two of one. */
  readonly running: Map<string, Promise<unknown>>
  /** By lane: how many are being looked at; of all that dial together under ''. */
  readonly busy: Map<string, number>
  /** By check: when the run of failures began that has not made it down yet. */
  readonly failing: Map<string, number>
  /** By check: what was found and changes no state; written every few seconds. */
  readonly steady: Map<string, Steady>
  /** By heartbeat: when a run of it began. */
  readonly begun: Map<string, number>
  /** What goes on after an answer was given: waited for before the database is closed. */
  readonly background: Set<Promise<unknown>>
  /** How far the changes were read; null: not yet. */
  seq: number | null
  /** Looks at once, where the engine runs. */
  wake: () => void
  stopping: AbortController
}

export const memoryOf = (ctx: Context): Memory =>
  ctx.platform.keep('checks', () => ({
    entries: new Map<string, Entry>(),
    running: new Map<string, Promise<unknown>>(),
    busy: new Map<string, number>(),
    failing: new Map<string, number>(),
    steady: new Map<string, Steady>(),
    begun: new Map<string, number>(),
    background: new Set<Promise<unknown>>(),
    seq: null,
    wake: () => undefined,
    stopping: heardByMany(),
  }))

/** Hundreds of probes listen at a time, which is no leak. */
function heardByMany(): AbortController {
  const controller = new AbortController()
  setMaxListeners(0, controller.signal)
  return controller
}

/** Goes on after whoever asked has their answer. */
export function inBackground(ctx: Context, work: Promise<unknown>): void {
  const { background } = memoryOf(ctx)
  const run = work.finally(() => background.delete(run))
  background.add(run)
}

const mostPerTarget = 20
const mostCommands = 10
const mostHere = 100
/** Whatever dials, of all targets together. */
const mostDialling = 500

/** One target that hangs takes so many and no more; those that look at other things go on. */
export function laneOf({ kind, spec }: Pick<CheckRow, 'kind' | 'spec'>): Lane {
  const target = (name: string): Lane => ({ name: `to ${name.toLowerCase()}`, most: mostPerTarget, dials: true })
  if (kind === 'command') return { name: kind, most: mostCommands, dials: false }
  if (kind === 'process' || kind === 'disk' || kind === 'database' || kind === 'heartbeat')
    return { name: 'here', most: mostHere, dials: false }
  const { url, host, port, server, name } = asObject(spec)
  if (kind === 'tcp') return target(`${String(host)}:${String(port)}`)
  // Each name may lead to other servers, unless one is named.
  if (kind === 'dns') return target(`dns ${String(server ?? name)}`)
  return target(typeof url === 'string' && URL.canParse(url) ? new URL(url).host : kind)
}

function asObject(spec: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(spec) as Record<string, unknown>
  } catch {
    return {}
  }
}

export const fits = (ctx: Context, { lane }: Entry): boolean => {
  const { busy } = memoryOf(ctx)
  return (busy.get(lane.name) ?? 0) < lane.most && (!lane.dials || (busy.get('') ?? 0) < mostDialling)
}

/** Answers how to leave it again. */
export function enter(ctx: Context, { lane: { name, dials } }: Entry): () => void {
  const { busy } = memoryOf(ctx)
  const add = (more: 1 | -1) => {
    for (const one of dials ? [name, ''] : [name]) {
      const count = (busy.get(one) ?? 0) + more
      if (count === 0) busy.delete(one)
      else busy.set(one, count)
    }
  }
  add(1)
  return () => {
    add(-1)
  }
}
