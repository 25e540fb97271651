import type { Process, History, Range } from '../../services/processes'
import { bytes, percent } from '../../monitoring/markup'

/** A line over time, with its table behind it. */
export interface Chart {
  id: string
  title: string
  period: string
  now: string
  fact: string
  unit: string
  points: [number, number | null][]
  /** As text: time, average, lowest, highest. */
  rows: { at: number; average: string; min: string; max: string }[]
  csv: string
  at: number
  days: boolean
}

const periods: Readonly<Record<Range, string>> = { '1h': 'last hour', '24h': 'last 24 hours', '7d': 'last 7 days', '30d': 'last 30 days' }
const mostRows = 48
const megabyte = 1024 ** 2

export function chartOf(
  { name, spans, step }: History,
  { id, cpu, memory }: Pick<Process, 'id' | 'cpu' | 'memory'>,
  { range, at, each }: { range: Range; at: number; each: boolean },
): Chart {
  const isCpu = name === 'cpu'
  const now = isCpu ? cpu : memory
  const say = (value: number | null): string => (isCpu ? percent(value, 1) : bytes(value))
  const highest = spans.reduce<number | null>((most, { max }) => (max !== null && (most === null || max > most) ? max : most), now)
  const known = spans.filter(({ average }) => average !== null)
  const every = Math.max(1, Math.ceil(known.length / mostRows))
  return {
    id: name,
    title: isCpu ? 'CPU' : 'Memory',
    period: periods[range],
    now: say(now),
    fact: `${isCpu ? 'of one core' : 'in use'}${each ? ', each on average' : ''}${highest === null ? '' : ` · highest ${say(highest)}`}`,
    unit: isCpu ? '%' : 'MB',
    points: spans.map(({ at, average }) => [at, average === null ? null : Math.round((isCpu ? average : average / megabyte) * 10) / 10]),
    rows: known
      .filter((_, index) => (known.length - 1 - index) % every === 0)
      .reverse()
      .map(({ at, average, min, max }) => ({ at, average: say(average), min: say(min), max: say(max) })),
    csv: `/api/processes/${encodeURIComponent(id)}/history?range=${range}&format=csv`,
    at,
    days: step >= 3_600_000,
  }
}
