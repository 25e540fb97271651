import { cpus } from 'node:os'
import type { Context } from '../../monitoring/context'
import { gridBefore, gridOf, highest, subjectsOf, trend, type Grid, type Trend } from '../metrics'
import { forecastOf } from './forecast'
import { panels, type Panel } from './panels'

type Values = (number | null)[]

export interface HistoryLine {
  label: string
  values: Values
  /** Lowest and highest of each span; null where there are several lines. */
  band: { low: Values; high: Values } | null
  /** The same of the period before. */
  before: Values | null
  average: number | null
  highest: { value: number; at: number } | null
  /** Average of the period before. Of amounts: what they come to, as `average`. */
  averageBefore: number | null
}

/** One chart of the Health page over a range. */
export interface History {
  id: string
  group: Panel['group']
  title: string
  unit: string
  limit: number | null
  limitLabel: string | null
  grid: Grid
  lines: HistoryLine[]
  /** What the chart leaves out, or foretells. */
  notes: string[]
  /** Figures are what a span came to, not averages. */
  amount: boolean
  /** Which series it is made of, for the API. */
  names: string[]
}

const mostLines = 5

export interface HistoryQuery {
  from: number
  to: number
  compare: boolean
}

const spansOf =
  ({ amount }: Panel) =>
  (one: Trend['spans'][number]): number | null =>
    one && (amount ? one.sum : one.sum / one.count)

const everyOf = (lists: readonly Values[], of: (values: number[]) => number): Values =>
  (lists[0] ?? []).map((_, index) => {
    const values = lists.flatMap((list) => list[index] ?? [])
    return values.length === 0 ? null : of(values)
  })

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

interface Plain {
  label: string
  values: Values
  band: HistoryLine['band']
}

/** The lines of a panel over a grid. `subjects`: whose, where there are more than can be shown. */
async function linesOf(ctx: Context, panel: Panel, grid: Grid, subjects: readonly string[] | undefined): Promise<Plain[]> {
  const value = spansOf(panel)
  const found = await Promise.all(
    panel.lines.map(async (line) => ({ ...line, trends: await trend(ctx, { name: line.name, subjects, grid }) })),
  )
  const [first] = found
  const trends = first?.trends ?? []
  const valuesOf = (all: readonly Trend[]) => all.map(({ spans }) => spans.map(value))
  switch (panel.way) {
    case 'one': {
      const [one] = trends
      if (!one || !first) return []
      const band = { low: one.spans.map((span) => span?.min ?? null), high: one.spans.map((span) => span?.max ?? null) }
      return [{ label: first.label, values: one.spans.map(value), band }]
    }
    case 'sum':
      return found.flatMap(({ label, trends }) =>
        trends.length === 0 ? [] : [{ label, values: everyOf(valuesOf(trends), sum), band: null }],
      )
    case 'ends': {
      if (trends.length <= mostLines - 1)
        return trends.map(({ subject, spans }) => ({ label: `${first?.label ?? ''} ${subject}`, values: spans.map(value), band: null }))
      const all = valuesOf(trends)
      return [
        { label: `Busiest ${first?.label ?? ''}`, values: everyOf(all, (values) => Math.max(...values)), band: null },
        { label: `Least busy ${first?.label ?? ''}`, values: everyOf(all, (values) => Math.min(...values)), band: null },
      ]
    }
    case 'each':
    case 'top': {
      const order = subjects ?? trends.map(({ subject }) => subject)
      return order.flatMap((subject) => {
        const one = trends.find((one) => one.subject === subject)
        return one ? [{ label: subject, values: one.spans.map(value), band: null }] : []
      })
    }
  }
}

function withFigures({ amount }: Panel, { label, values, band }: Plain, before: Plain | undefined, grid: Grid): HistoryLine {
  const figureOf = (known: readonly number[]) => (known.length === 0 ? null : amount ? sum(known) : sum(known) / known.length)
  const known = values.filter((value) => value !== null)
  const most = (band?.high ?? values).reduce<HistoryLine['highest']>(
    (most, value, index) => (value === null || (most && most.value >= value) ? most : { value, at: grid.times[index] ?? grid.from }),
    null,
  )
  const knownBefore = before?.values.filter((value) => value !== null) ?? []
  return {
    ...{ label, values, band },
    before: before?.values ?? null,
    average: figureOf(known),
    highest: most,
    averageBefore: figureOf(knownBefore),
  }
}

const week = 8 * 86_400_000
/** Rows that a chart may cost: 6,000 are about 2 ms. A week is worth more, because its days alone would say nothing. */
const mostRows = (length: number): number => (length > week ? 6000 : 24_000)

export async function history(ctx: Context, panel: Panel, { from, to, compare }: HistoryQuery): Promise<History> {
  const several = panel.way === 'each' || panel.way === 'top'
  const [first] = panel.lines
  let grid = gridOf(ctx, from, to)
  let subjects: string[] | undefined
  const notes: string[] = []
  if (first && panel.way !== 'one') {
    const all = await subjectsOf(ctx, first.name)
    if (several && all.length > mostLines) subjects = await highest(ctx, first.name, grid, mostLines)
    // Sixty-four cores over a week, or five processes over a month, are read from days.
    const rows = ((subjects ?? all).length * panel.lines.length * (to - from)) / Math.min(grid.step, 15 * 60_000)
    if (rows > mostRows(to - from)) grid = gridOf(ctx, from, to, Infinity)
    if (subjects && all.length > subjects.length) notes.push(`The ${subjects.length} highest of ${all.length}`)
  }
  const lines = await linesOf(ctx, panel, grid, subjects)
  const before = compare ? await linesOf(ctx, panel, gridBefore(ctx, grid), subjects) : []
  const cores = panel.id === 'load' ? cpus().length : null
  if (panel.id === 'disks')
    for (const { label } of lines) {
      const forecast = await forecastOf(ctx, label)
      if (forecast) notes.push(forecast.text)
    }
  const limit = cores ?? panel.limit ?? null
  return {
    ...{ id: panel.id, group: panel.group, title: panel.title, unit: panel.unit, grid, notes, amount: panel.amount ?? false },
    limit,
    limitLabel: limit === null ? null : cores === null ? `alert at ${limit}%` : cores === 1 ? '1 core' : `${cores} cores`,
    lines: lines.map((line) =>
      withFigures(
        panel,
        line,
        before.find(({ label }) => label === line.label),
        grid,
      ),
    ),
    names: panel.lines.map(({ name }) => name),
  }
}

/** Every chart that has something to show. */
export async function histories(ctx: Context, query: HistoryQuery): Promise<History[]> {
  const all = await Promise.all(panels.map((panel) => history(ctx, panel, query)))
  return all.filter(({ id, lines }) => lines.length > 0 || panels.find((panel) => panel.id === id)?.always)
}
