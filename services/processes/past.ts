import type { Context } from '../../monitoring/context'
import * as events from '../events'
import { series, type MetricName } from '../metrics'
import { crashesOf, type Process } from './list'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

const ranges = { '1h': hour, '24h': day, '7d': 7 * day, '30d': 30 * day } as const
export type Range = keyof typeof ranges

/** Figures of one span; nulls where nothing was measured. */
export interface Span {
  at: number
  average: number | null
  min: number | null
  max: number | null
}

export interface History {
  name: 'cpu' | 'memory'
  /** '%' of one core, or bytes. */
  unit: string
  /** Milliseconds per span. */
  step: number
  spans: Span[]
}

const metricOf = { cpu: 'process.cpu', memory: 'process.memory' } as const satisfies Record<string, MetricName>

/** What the processes of a name used, each on average; a span without a measurement stays empty. */
export async function history(ctx: Context, name: string, range: Range): Promise<History[]> {
  const to = ctx.now()
  const from = to - ranges[range]
  return await Promise.all(
    (['cpu', 'memory'] as const).map(async (which): Promise<History> => {
      const [found] = await series(ctx, { name: metricOf[which], subject: name, from, to })
      const unit = which === 'cpu' ? '%' : 'bytes'
      if (!found) return { name: which, unit, step: minute, spans: [] }
      const { step, points } = found
      const byStart = new Map(points.map((point) => [point.at, point]))
      // Days are those of the organisation's zone: they begin where the points say.
      if (step >= day) return { name: which, unit, step, spans: points.map(({ at, average, min, max }) => ({ at, average, min, max })) }
      const first = from - (from % step)
      const spans = Array.from({ length: Math.ceil((to - first) / step) }, (_, index): Span => {
        const at = first + index * step
        const point = byStart.get(at)
        return { at, average: point?.average ?? null, min: point?.min ?? null, max: point?.max ?? null }
      })
      return { name: which, unit, step, spans }
    }),
  )
}

/** Something that happened to a process, told apart by who wanted it. */
export interface Turn {
  seq: number
  at: number
  kind: 'crash' | 'end' | 'start' | 'person' | 'gave-up' | 'failed'
  text: string
  icon: string
  state: 'ok' | 'warn' | 'err' | 'run' | 'idle'
}

const kinds: Readonly<Record<string, Turn['kind']>> = {
  'process.crashed': 'crash',
  'process.exited': 'end',
  'process.online': 'start',
  'process.gave_up': 'gave-up',
  'process.restart': 'person',
  'process.reload': 'person',
  'process.stop': 'person',
  'process.start': 'person',
  'process.action_failed': 'failed',
}

const mostTurns = 50

/** What happened last to the processes of a name; to one of them where its number is given. */
export async function turnsOf(ctx: Context, name: string, pm_id: number | null): Promise<Turn[]> {
  const { items } = await events.list(ctx, { filter: { subject: name, to: ctx.now() + minute }, limit: 200, cursor: undefined })
  return items
    .flatMap((event): Turn[] => {
      const kind = events.ownSources.includes(event.source) ? kinds[event.type] : undefined
      const data = typeof event.data === 'object' && event.data !== null ? (event.data as Record<string, unknown>) : {}
      if (!kind || (pm_id !== null && typeof data['pm_id'] === 'number' && data['pm_id'] !== pm_id)) return []
      return [{ seq: event.seq, at: event.at, kind, ...events.phrase(event) }]
    })
    .slice(0, mostTurns)
}

export interface Counts {
  crashes_10m: number
  crashes_24h: number
  crashes_7d: number
  /** Restarted, reloaded, stopped or started by people in 7 days. */
  people_7d: number
}

/** Crashes, and what people did, apart: PM2's own counter mixes both. */
export async function countsOf(ctx: Context, { name, crashes_10m }: Pick<Process, 'name' | 'crashes_10m'>): Promise<Counts> {
  const from = ctx.now() - ranges['7d']
  const types = ['process.restart', 'process.reload', 'process.stop', 'process.start']
  const [day1, day7, ...people] = await Promise.all([
    crashesOf(ctx, ranges['24h']),
    crashesOf(ctx, ranges['7d']),
    ...types.map((type) => events.countBySubject(ctx, type, 'console', from)),
  ])
  return {
    crashes_10m,
    crashes_24h: day1.get(name) ?? 0,
    crashes_7d: day7.get(name) ?? 0,
    people_7d: people.reduce((total, counts) => total + (counts.get(name) ?? 0), 0),
  }
}
