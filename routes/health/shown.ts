import { bytes, duration, percent } from '../../monitoring/markup'
import type { History } from '../../services/health'

const plain = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 2 })

/** A figure with its unit, as people read it. */
function said(value: number | null, unit: string): string {
  if (value === null) return '–'
  if (unit === '%') return percent(value, value < 9.95 && value % 1 >= 0.05 ? 1 : 0)
  if (unit === 'bytes') return bytes(value)
  if (unit === 'bytes/s') return `${bytes(value)}/s`
  if (unit === 'ms') return value < 10 ? `${plain.format(value)} ms` : duration(value)
  return unit ? `${plain.format(value)} ${unit}` : plain.format(value)
}

/** A step in words: "1 min", "15 min", "4 h", "1 day". */
export const stepSaid = (step: number): string => (step >= 86_400_000 ? '1 day' : duration(step))

const rounded = (value: number | null, unit: string): number | null =>
  value === null ? null : unit.startsWith('bytes') ? Math.round(value) : Math.round(value * 100) / 100

/** How it compares with the period before: "3 points more", "12% less". */
function changeOf(now: number | null, before: number | null, unit: string): { word: string; up: boolean } | null {
  if (now === null || before === null) return null
  const difference = now - before
  if (unit === '%') {
    const points = Math.round(Math.abs(difference) * 10) / 10
    return points < 0.1
      ? { word: 'as before', up: false }
      : { word: points === 1 ? '1 point' : `${plain.format(points)} points`, up: difference > 0 }
  }
  if (before === 0) return null
  const share = Math.abs(difference / before)
  if (share < 0.005) return { word: 'as before', up: false }
  return { word: percent(share * 100), up: difference > 0 }
}

const colours = 5

/** A chart as its card shows it, and as the browser draws it. */
export function shown(one: History) {
  const { id, group, title, unit, grid, lines, notes, limit, limitLabel, amount } = one
  const values = (list: readonly (number | null)[]) => list.map((value) => rounded(value, unit))
  return {
    ...{ id, group, title, unit, notes },
    of: amount ? 'in all' : 'on average',
    empty: lines.every(({ values }) => values.every((value) => value === null)),
    compared: lines.some(({ before }) => before !== null),
    lines: lines.map(({ label, average, averageBefore, highest }, index) => ({
      label,
      colour: (index % colours) + 1,
      average: said(average, unit),
      highest: highest && { word: said(highest.value, unit), at: highest.at },
      change: changeOf(average, averageBefore, unit),
    })),
    spark: lines[0]?.values ?? [],
    top: unit === '%' ? 100 : Math.max(0, ...lines.flatMap(({ values }) => values.map((value) => value ?? 0))),
    drawing: {
      ...{ title, unit, limit, limitLabel, step: grid.step },
      // Days are 23 to 25 hours long; everything else is regular.
      times: grid.step === 86_400_000 ? grid.times : { from: grid.from, count: grid.times.length },
      lines: lines.map(({ label, values: own, band, before }) => ({
        label,
        values: values(own),
        ...(band ? { low: values(band.low), high: values(band.high) } : {}),
        ...(before ? { before: values(before) } : {}),
      })),
    },
  }
}

export type Shown = ReturnType<typeof shown>

/** The rows of the table behind a chart, newest first. */
export function rowsOf({ grid, lines, unit }: History) {
  return grid.times
    .map((at, index) => ({
      at,
      cells: lines.flatMap(({ values, band, before }) => [
        said(values[index] ?? null, unit),
        ...(band ? [said(band.low[index] ?? null, unit), said(band.high[index] ?? null, unit)] : []),
        ...(before ? [said(before[index] ?? null, unit)] : []),
      ]),
      empty: lines.every(({ values }) => (values[index] ?? null) === null),
    }))
    .reverse()
}

export const columnsOf = ({ lines }: History): string[] =>
  lines.flatMap(({ label, band, before }) => [
    label,
    ...(band ? ['Lowest', 'Highest'] : []),
    ...(before ? [lines.length === 1 ? 'Period before' : `${label}, period before`] : []),
  ])
