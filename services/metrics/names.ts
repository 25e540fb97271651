import type { Context } from '../../monitoring/context'

export const minute = 60_000
export const quarter = 15 * minute
export const day = 24 * 60 * minute

/** How long each tier is kept: fine spans for the recent past, days for ever so long. */
export const kept = { minute: 3 * day, quarter: 60 * day, day: 5 * 365 * day } as const
export const tiers = [
  { step: minute, for: kept.minute },
  { step: quarter, for: kept.quarter },
  { step: day, for: kept.day },
] as const

/** What is measured, and in which unit. */
export const units = {
  'cpu.percent': '%',
  'cpu.core': '%',
  'cpu.load': '',
  'memory.percent': '%',
  'memory.used': 'bytes',
  'swap.percent': '%',
  'disk.percent': '%',
  'disk.used': 'bytes',
  'disk.read': 'bytes/s',
  'disk.write': 'bytes/s',
  'network.rx': 'bytes/s',
  'network.tx': 'bytes/s',
  'process.cpu': '%',
  'process.memory': 'bytes',
  'processes.down': 'processes',
  'console.rss': 'bytes',
  'console.loop_delay': 'ms',
  'console.db': 'bytes',
  'console.wal': 'bytes',
  'console.sockets': '',
  'console.queue': '',
  'console.ingest_lag': 'ms',
  'console.cpu': '%',
  'events.count': '',
  // 1 for a probe that found it up, 0 for one that did not; what is probed in maintenance counts apart.
  'checks.down': 'checks',
  'check.up': '',
  'check.maintenance': '',
  'check.duration': 'ms',
} as const
export type MetricName = keyof typeof units
export const metricNames = Object.keys(units) as [MetricName, ...MetricName[]]

/** Of these, how often each duration occurs is kept, for percentiles of any span. */
export const withHistogram = new Set<MetricName>(['check.duration', 'console.ingest_lag'])

/** What belongs to no machine: whichever console measures it, it is one series. */
const everywhere = new Set<MetricName>(['check.up', 'check.maintenance', 'check.duration', 'events.count'])
export const hostOf = (ctx: Context, name: MetricName, host = ctx.platform.config.hostName): string => (everywhere.has(name) ? '' : host)
