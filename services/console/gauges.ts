import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks'
import type { ChoreState } from '../../monitoring/chores'
import type { Context } from '../../monitoring/context'
import type { TableSize } from '../../monitoring/db/sizes'

/** What only the program that was put together knows. */
export interface Watched {
  readonly sockets: () => number
  readonly chores: () => readonly ChoreState[]
  /** The newest change that pages have been told of. */
  readonly told: () => number
}

/** What is remembered between two measurements. */
export interface Memory {
  watched: Watched | null
  loop: IntervalHistogram | null
  cpu: { at: number; used: NodeJS.CpuUsage }
  last: Measured | null
  sizes: { at: number; tables: readonly TableSize[]; failed: string | null } | null
  measuring: Promise<void> | null
  /** Up to here events were copied into the file of the last ones. */
  copied: number | null
}

/** How the console was in the last few seconds. */
export interface Measured {
  readonly at: number
  readonly cpuPercent: number
  readonly loopP50: number
  readonly loopP99: number
  readonly loopMax: number
  /** From an event's coming in to its being stored; null: none came. */
  readonly lagP50: number | null
  readonly lagP99: number | null
}

export const memoryOf = ({ platform }: Pick<Context, 'platform'>): Memory =>
  platform.keep('console', (): Memory => ({
    ...{ watched: null, loop: null, last: null, sizes: null, measuring: null, copied: null },
    cpu: { at: performance.now(), used: process.cpuUsage() },
  }))

/** Begins to measure how late the event loop is. */
export function watch(ctx: Pick<Context, 'platform'>, watched: Watched): { stop(): void } {
  const memory = memoryOf(ctx)
  memory.watched = watched
  const loop = monitorEventLoopDelay({ resolution: 10 })
  loop.enable()
  memory.loop = loop
  return {
    stop() {
      loop.disable()
    },
  }
}

const resolutionMs = 10

/** What the histogram counts is the time between two looks, of which the pause between them is no delay. */
const delay = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - resolutionMs)

const rank = (sorted: readonly number[], percent: number): number | null =>
  sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? null

export function takeMeasure(memory: Memory, at: number, took: readonly number[]): Measured {
  const { loop, cpu } = memory
  const now = performance.now()
  const used = process.cpuUsage(cpu.used)
  const sorted = [...took].sort((a, b) => a - b)
  const measured: Measured = {
    at,
    cpuPercent: now > cpu.at ? (used.user + used.system) / 10 / (now - cpu.at) : 0,
    loopP50: loop && loop.count > 0 ? delay(loop.percentile(50)) : 0,
    loopP99: loop && loop.count > 0 ? delay(loop.percentile(99)) : 0,
    loopMax: loop && loop.count > 0 ? delay(loop.max) : 0,
    lagP50: rank(sorted, 50),
    lagP99: rank(sorted, 99),
  }
  loop?.reset()
  memory.cpu = { at: now, used: process.cpuUsage() }
  memory.last = measured
  return measured
}
