import type { Context } from '../../monitoring/context'
import { bytes, duration } from '../../monitoring/markup'
import { series, type MetricName } from '../metrics'

/** A line of the last hour, as pages draw it. */
export interface ConsoleChart {
  readonly id: string
  readonly title: string
  readonly period: string
  readonly now: string
  readonly fact: string
  readonly unit: string
  readonly limit: null
  readonly points: readonly (readonly [at: number, value: number | null])[]
  readonly at: number
  readonly beat: number
  readonly source: string
}

const minute = 60_000
const megabyte = 1024 * 1024

interface Drawn {
  readonly id: string
  readonly name: MetricName
  readonly title: string
  readonly unit: string
  readonly scale: number
  readonly say: (value: number) => string
}

const milliseconds = { unit: 'ms', scale: 1, say: duration }
const megabytes = { unit: 'MB', scale: megabyte, say: bytes }

const drawn: readonly Drawn[] = [
  { id: 'loop', name: 'console.loop_delay', title: 'Event-loop delay, p99', ...milliseconds },
  { id: 'lag', name: 'console.ingest_lag', title: 'Ingest lag', ...milliseconds },
  { id: 'memory', name: 'console.rss', title: 'Memory', ...megabytes },
  { id: 'wal', name: 'console.wal', title: 'Write-ahead log', ...megabytes },
]

export async function chartsOf(ctx: Context): Promise<ConsoleChart[]> {
  const to = ctx.now() - (ctx.now() % minute) + minute
  const from = to - 60 * minute
  return await Promise.all(
    drawn.map(async ({ id, name, title, unit, scale, say }): Promise<ConsoleChart> => {
      const points = (await series(ctx, { name, from, to, step: minute })).flatMap((one) => one.points)
      const values = new Map(points.map((point) => [point.at, point.average]))
      const highest = points.length === 0 ? null : Math.max(...points.map((point) => point.max))
      const last = points.at(-1)
      return {
        ...{
          id: `console-${id}`,
          title,
          period: 'last 60 min',
          unit,
          limit: null,
          at: ctx.now(),
          beat: 60_000,
          source: 'the console itself',
        },
        now: last ? say(last.last) : '–',
        fact: highest === null ? 'nothing measured yet' : `highest ${say(highest)}`,
        points: Array.from({ length: 60 }, (_, index) => {
          const at = from + index * minute
          const value = values.get(at)
          return [at, value === undefined ? null : Math.round((value / scale) * 10) / 10] as const
        }),
      }
    }),
  )
}
