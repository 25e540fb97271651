import type { MetricName } from '../metrics'
import { limits } from './sample'

export const groups = ['CPU', 'Memory', 'Disks', 'Network', 'Processes', 'Events', 'Console'] as const

/**
 * How the lines of a chart come from series: `one` line with the band between lowest and highest; `each` subject a line;
 * `ends`: the busiest and the least busy subject; `top`: the subjects with the highest averages; `sum` over all subjects.
 */
type Way = 'one' | 'each' | 'ends' | 'top' | 'sum'

export interface Panel {
  id: string
  group: (typeof groups)[number]
  title: string
  unit: string
  way: Way
  /** Series by the name of their line; with `each` and `top` lines are named by their subjects. */
  lines: readonly { label: string; name: MetricName }[]
  /** At which a person is told; drawn as a dashed line. */
  limit?: number
  /** Also shown where nothing was measured. */
  always?: true
  /** The figure of a span is how much it came to, not the average. */
  amount?: true
}

const line = (label: string, name: MetricName) => ({ label, name })

/** The charts of the Health page, in their order. */
export const panels: readonly Panel[] = [
  {
    id: 'cpu',
    group: 'CPU',
    title: 'CPU',
    unit: '%',
    way: 'one',
    lines: [line('CPU', 'cpu.percent')],
    limit: limits.cpu.warn,
    always: true,
  },
  { id: 'load', group: 'CPU', title: 'Load', unit: '', way: 'one', lines: [line('Load', 'cpu.load')], always: true },
  { id: 'cores', group: 'CPU', title: 'Cores', unit: '%', way: 'ends', lines: [line('core', 'cpu.core')] },
  {
    ...{ id: 'memory', group: 'Memory', title: 'Memory', unit: '%', way: 'one', limit: limits.memory.warn, always: true },
    lines: [line('Memory', 'memory.percent')],
  },
  { id: 'swap', group: 'Memory', title: 'Swap', unit: '%', way: 'one', lines: [line('Swap', 'swap.percent')] },
  {
    id: 'disks',
    group: 'Disks',
    title: 'Disks',
    unit: '%',
    way: 'each',
    lines: [line('', 'disk.percent')],
    limit: limits.disk.warn,
    always: true,
  },
  {
    ...{ id: 'disk-io', group: 'Disks', title: 'Disk traffic', unit: 'bytes/s', way: 'sum' },
    lines: [line('Read', 'disk.read'), line('Written', 'disk.write')],
  },
  {
    ...{ id: 'network', group: 'Network', title: 'Network', unit: 'bytes/s', way: 'sum', always: true },
    lines: [line('In', 'network.rx'), line('Out', 'network.tx')],
  },
  { id: 'process-cpu', group: 'Processes', title: 'CPU of processes', unit: '%', way: 'top', lines: [line('', 'process.cpu')] },
  {
    id: 'process-memory',
    group: 'Processes',
    title: 'Memory of processes',
    unit: 'bytes',
    way: 'top',
    lines: [line('', 'process.memory')],
  },
  { id: 'processes-down', group: 'Processes', title: 'Processes down', unit: '', way: 'one', lines: [line('Down', 'processes.down')] },
  { id: 'events', group: 'Events', title: 'Events', unit: '', way: 'sum', amount: true, lines: [line('Events', 'events.count')] },
  {
    id: 'console-memory',
    group: 'Console',
    title: 'Memory of the console',
    unit: 'bytes',
    way: 'one',
    lines: [line('Memory', 'console.rss')],
  },
  { id: 'console-cpu', group: 'Console', title: 'CPU of the console', unit: '%', way: 'one', lines: [line('CPU', 'console.cpu')] },
  {
    id: 'console-delay',
    group: 'Console',
    title: 'Event-loop delay',
    unit: 'ms',
    way: 'one',
    lines: [line('Delay', 'console.loop_delay')],
  },
  { id: 'console-lag', group: 'Console', title: 'Ingest lag', unit: 'ms', way: 'one', lines: [line('Lag', 'console.ingest_lag')] },
  {
    ...{ id: 'console-database', group: 'Console', title: 'Database', unit: 'bytes', way: 'sum' },
    lines: [line('Database', 'console.db'), line('Log (WAL)', 'console.wal')],
  },
  {
    ...{ id: 'console-work', group: 'Console', title: 'Sockets and queue', unit: '', way: 'sum' },
    lines: [line('Sockets', 'console.sockets'), line('Queue', 'console.queue')],
  },
]
