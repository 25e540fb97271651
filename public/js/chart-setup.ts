// The only file that knows Chart.js: lines over time, in the colours of the theme. It imports none of our own files: what it
// shared with them would become a third file, which every page had to wait for.
import { Chart, Filler, LinearScale, LineController, LineElement, PointElement, Tooltip } from 'chart.js'
import type { ChartConfiguration, ChartDataset, Plugin, TooltipItem } from 'chart.js'

export type Point = [at: number, value: number | null]

/** How moments are said, and how far the reader's clock is ahead of UTC then. */
export interface Zone {
  clock: (at: number) => string
  day: (at: number) => string
  offset: (at: number) => number
}

export interface Line {
  label: string
  points: Point[]
  /** Lowest and highest of each point, drawn as a band. */
  low?: Point[] | undefined
  high?: Point[] | undefined
  /** The period before, at the moments of this one. */
  before?: Point[] | undefined
}

/** What happened, drawn as an upright line. */
export interface Mark {
  at: number
  kind: string
  text: string
}

export interface Drawing {
  title: string
  unit: string
  lines: Line[]
  limit?: { at: number; label: string } | undefined
  /** The axis follows what happened instead of beginning at zero. */
  zoomed?: boolean
  marks?: readonly Mark[]
  say: (value: number) => string
}

const MINUTE = 60_000
const DAY = 1440 * MINUTE
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440].map((minutes) => minutes * MINUTE)
// Colours are not the only sign: each line has its own dash, in the order of the legend.
const DASHES = [[], [7, 3], [2, 2], [8, 2, 2, 2], [1, 3]]
const MARKS: Readonly<Record<string, string>> = { deploy: 'c4', restart: 'ink-3', crash: 'err-solid', incident: 'err-solid', edit: 'c3' }

Chart.register(Filler, LinearScale, LineController, LineElement, PointElement, Tooltip)

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--oc-${name}`).trim() || '#888'
}

function faded(hex: string, alpha: number): string {
  const value = Number.parseInt(hex.slice(1), 16)
  return /^#[\da-f]{6}$/i.test(hex) ? `rgb(${value >> 16} ${(value >> 8) & 255} ${value & 255} / ${alpha})` : 'transparent'
}

const midnight = (at: number, { offset }: Zone): boolean => (at + offset(at)) % DAY === 0

/** Round moments of the reader's own clock (20:15, not 20:17; also where the zone is half an hour off). */
function timeTicks(from: number, to: number, most: number, zone: Zone): number[] {
  const step = STEPS.find((one) => (to - from) / one <= most) ?? DAY * Math.ceil((to - from) / DAY / most)
  const offset = zone.offset(from)
  const first = Math.ceil((from + offset) / step) * step - offset
  return Array.from({ length: Math.max(0, Math.floor((to - first) / step) + 1) }, (_, index) => first + index * step)
}

/** Round steps of 1024, which a decimal axis would print as 95 MB, 191 MB, 286 MB. */
function byteTicks(max: number, most: number): number[] {
  const unit = 1024 ** Math.max(0, Math.floor(Math.log(Math.max(1, max)) / Math.log(1024)))
  const step = ([0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500].find((one) => max / (one * unit) <= most) ?? 1000) * unit
  return Array.from({ length: Math.floor(max / step) + 1 }, (_, index) => index * step)
}

/** Where measurements are missing the line is broken, whether the server sent an empty point or none. */
function withGaps(points: Point[]): Point[] {
  const pauses = points
    .slice(1)
    .map(([at], index) => at - (points[index]?.[0] ?? at))
    .sort((a, b) => a - b)
  const usual = pauses[Math.floor(pauses.length / 2)] ?? 0
  return points.flatMap((point, index): Point[] => {
    const before = points[index - 1]
    return before && point[0] - before[0] > 2.5 * usual ? [[before[0] + usual, null], point] : [point]
  })
}

// Chart.js breaks the line at NaN; its types know no null here.
const dots = (points: Point[]): { x: number; y: number }[] => withGaps(points).map(([x, y]) => ({ x, y: y ?? NaN }))

function range({ lines, unit, zoomed, limit }: Drawing): { min?: number; max?: number; suggestedMin?: number; suggestedMax?: number } {
  const values = lines.flatMap((line) =>
    [line.points, line.high ?? [], line.before ?? []].flatMap((points) => points.flatMap(([, value]) => (value === null ? [] : [value]))),
  )
  const [low, high] = [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)]
  if (zoomed && values.length > 0) {
    // A flat line keeps a band around it, else its noise would fill the chart.
    const room = Math.max((high - low) * 0.15, Math.abs(high) * 0.01, 0.5)
    return { suggestedMin: low - room, suggestedMax: high + room }
  }
  // A process may use several cores: more than 100%.
  if (unit === '%' && !(high > 100)) return { min: 0, max: 100 }
  // A limit far above would press what happened flat.
  const top = Math.max(high, limit && limit.at < 3 * high ? limit.at : 0, 0)
  return { min: 0, suggestedMax: top === 0 ? 1 : unit.startsWith('bytes') ? top * 1.05 : top }
}

/** With places between the points, where a steep line passes too. */
const dense = (places: (readonly [number, number])[]): (readonly [number, number])[] =>
  places.flatMap(([x, y], index) => {
    const [nextX, nextY] = places[index + 1] ?? [NaN, NaN]
    const pieces = Math.min(24, Math.ceil(Math.hypot(nextX - x, nextY - y) / 5)) || 1
    return Array.from(
      { length: pieces },
      (_, piece) => [x + ((nextX - x) * piece) / pieces || x, y + ((nextY - y) * piece) / pieces || y] as const,
    )
  })

type Data = ChartDataset<'line', { x: number; y: number }[]>

const isAlone = (data: readonly unknown[], index: number): boolean =>
  [index - 1, index + 1].every((place) => {
    const dot = data[place] as { y: number } | undefined
    return !dot || Number.isNaN(dot.y)
  })

/** Which data sets are lines of their own, and not edges of a band. */
const isLine = ({ label }: { label?: string | undefined }): boolean => label !== ''

export class LineChart {
  private chart: Chart | undefined
  private drawing: Drawing | undefined
  private look = ''

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly zone: Zone,
  ) {}

  /** Draws at once, without animation: a page of live charts would otherwise never rest. */
  paint(drawing: Drawing): void {
    this.drawing = drawing
    const shape = drawing.lines.map(({ label, low, before }) => [label, Boolean(low), Boolean(before)])
    const look = JSON.stringify([document.documentElement.dataset['bsTheme'], drawing.zoomed, drawing.limit, drawing.unit, shape])
    if (this.chart && look === this.look) {
      this.feed(this.chart, drawing)
      this.chart.update('none')
      return
    }
    this.destroy()
    this.look = look
    this.chart = new Chart(this.canvas, this.config(drawing))
  }

  destroy(): void {
    this.chart?.destroy()
    this.chart = undefined
  }

  /** The moment under a place of the canvas, and where the drawing begins and ends. */
  at(x: number): { at: number; left: number; right: number } | null {
    const axis = this.chart?.scales['x']
    const area = this.chart?.chartArea
    if (!axis || !area) return null
    const inside = Math.min(area.right, Math.max(area.left, x))
    return { at: axis.getValueForPixel(inside) ?? axis.min, left: area.left, right: area.right }
  }

  private feed(chart: Chart, drawing: Drawing): void {
    const fresh = this.datasets(drawing)
    chart.data.datasets.forEach((data, index) => {
      data.data = fresh[index]?.data ?? []
    })
    Object.assign(chart.options.scales?.['x'] ?? {}, this.span(drawing))
    Object.assign(chart.options.scales?.['y'] ?? {}, range(drawing))
  }

  private span({ lines }: Drawing): { min?: number; max?: number } {
    const points = lines[0]?.points ?? []
    const [first, last] = [points[0], points.at(-1)]
    return first && last ? { min: first[0], max: last[0] } : {}
  }

  private datasets({ lines }: Drawing): Data[] {
    const still = { pointRadius: 0, pointHoverRadius: 0, tension: 0, spanGaps: false, borderWidth: 0 }
    return lines.flatMap((line, index): Data[] => {
      const own = colour(`c${(index % DASHES.length) + 1}`)
      const band: Data[] =
        line.low && line.high
          ? [
              { ...still, label: '', data: dots(line.low), fill: false },
              { ...still, label: '', data: dots(line.high), fill: '-1', backgroundColor: faded(own, 0.16) },
            ]
          : []
      const before: Data[] = line.before
        ? [
            {
              ...{ ...still, label: lines.length === 1 ? 'period before' : `${line.label}, before`, data: dots(line.before), fill: false },
              ...{ borderWidth: 1.25, borderDash: [3, 3], borderColor: lines.length === 1 ? colour('ink-3') : faded(own, 0.6) },
            },
          ]
        : []
      const main: Data = {
        ...{ label: line.label, data: dots(line.points), borderColor: own, borderWidth: 1.75, tension: 0, spanGaps: false },
        ...{ borderDash: DASHES[index % DASHES.length] ?? [], backgroundColor: faded(own, 0.12) },
        fill: lines.length === 1 && band.length === 0 ? 'origin' : false,
        // A point between two gaps has no line.
        pointRadius: ({ dataIndex, dataset }) => (isAlone(dataset.data, dataIndex) ? 2 : 0),
        pointBackgroundColor: own,
        ...{ pointHoverRadius: 3, pointHitRadius: 12 },
      }
      return [...band, ...before, main]
    })
  }

  private config(drawing: Drawing): ChartConfiguration<'line'> {
    const [ink, text, grid, surface] = [colour('ink'), colour('ink-3'), colour('line'), colour('surface')]
    const font = { size: 11, family: getComputedStyle(document.body).fontFamily }
    const { zone } = this
    const say = (value: number): string => (this.drawing ?? drawing).say(value)
    let apart = DAY
    const times = (axis: { min: number; max: number; width: number; ticks: { value: number }[] }): void => {
      const found = timeTicks(axis.min, axis.max, Math.max(2, Math.floor(axis.width / 64)), zone)
      apart = (found[1] ?? 0) - (found[0] ?? 0) || DAY
      axis.ticks = found.map((value) => ({ value }))
    }
    const sizes = (axis: { max: number; ticks: { value: number }[] }): void => {
      if (drawing.unit.startsWith('bytes') && !drawing.zoomed) axis.ticks = byteTicks(axis.max, 4).map((value) => ({ value }))
    }
    return {
      type: 'line',
      plugins: [this.happened(), this.limit()],
      data: { datasets: this.datasets(drawing) },
      options: {
        responsive: true,
        maintainAspectRatio: false,
        animation: false,
        parsing: false,
        normalized: true,
        interaction: { mode: 'index', intersect: false },
        layout: { padding: { top: drawing.limit ? 12 : 4 } },
        scales: {
          x: {
            type: 'linear',
            ...this.span(drawing),
            afterBuildTicks: times,
            border: { color: grid },
            grid: { display: false },
            ticks: {
              ...{ color: text, font, maxRotation: 0, autoSkip: false },
              callback: (value) => (apart >= DAY || midnight(Number(value), zone) ? zone.day(Number(value)) : zone.clock(Number(value))),
            },
          },
          y: {
            ...range(drawing),
            afterBuildTicks: sizes,
            border: { display: false },
            grid: { color: grid, drawTicks: false },
            ticks: { color: text, font, padding: 6, maxTicksLimit: 4, callback: (value) => say(Number(value)) },
          },
        },
        plugins: {
          tooltip: {
            ...{ backgroundColor: ink, titleColor: surface, bodyColor: surface, footerColor: surface, padding: 8, cornerRadius: 6 },
            displayColors: false,
            titleFont: { ...font, size: 12 },
            bodyFont: { ...font, size: 12 },
            footerFont: { ...font, size: 12, weight: 'normal' },
            filter: ({ dataset, parsed }) => isLine(dataset) && parsed.y !== null && !Number.isNaN(parsed.y),
            callbacks: {
              title: ([item]) => this.moment(item?.parsed.x ?? 0),
              label: (item) => `${item.dataset.label ?? ''}: ${say(item.parsed.y ?? 0)}${this.bandOf(item, say)}`,
              footer: ([item]) => this.near(item?.parsed.x ?? 0),
            },
          },
        },
      },
    }
  }

  /** The clock alone where everything is of one day. */
  private moment(at: number): string {
    const axis = this.chart?.scales['x']
    return axis && axis.max - axis.min > DAY / 2 ? `${this.zone.day(at)}, ${this.zone.clock(at)}` : this.zone.clock(at)
  }

  private bandOf({ dataset, dataIndex }: TooltipItem<'line'>, say: (value: number) => string): string {
    const line = this.drawing?.lines.find(({ label }) => label === dataset.label)
    const [low, high] = [line?.low?.[dataIndex]?.[1], line?.high?.[dataIndex]?.[1]]
    return low == null || high == null || low === high ? '' : ` (${say(low)} to ${say(high)})`
  }

  private near(at: number): string[] {
    const axis = this.chart?.scales['x']
    const reach = axis ? ((axis.max - axis.min) / axis.width) * 5 : 0
    const marks = (this.drawing?.marks ?? []).filter((mark) => Math.abs(mark.at - at) <= reach)
    const shown = marks.slice(0, 4).map(({ at, text }) => `${this.zone.clock(at)} ${text.length > 60 ? `${text.slice(0, 59)}…` : text}`)
    return marks.length > shown.length ? [...shown, `and ${marks.length - shown.length} more`] : shown
  }

  /** What happened: upright lines with a flag at the top, behind the data. */
  private happened(): Plugin<'line'> {
    return {
      id: 'happened',
      beforeDatasetsDraw: ({ ctx, chartArea, scales }) => {
        const axis = scales['x']
        if (!axis) return
        ctx.save()
        ctx.lineWidth = 1
        let last = -Infinity
        for (const { at, kind } of this.drawing?.marks ?? []) {
          if (at < axis.min || at > axis.max) continue
          const x = Math.round(axis.getPixelForValue(at)) + 0.5
          ctx.strokeStyle = ctx.fillStyle = colour(MARKS[kind] ?? 'ink-3')
          // Several at one place would be a beam.
          if (x - last >= 3) {
            ctx.globalAlpha = 0.4
            ctx.setLineDash(kind === 'deploy' || kind === 'edit' ? [] : [2, 3])
            ctx.beginPath()
            ctx.moveTo(x, chartArea.top)
            ctx.lineTo(x, chartArea.bottom)
            ctx.stroke()
            last = x
          }
          ctx.globalAlpha = 1
          this.flag(ctx, kind, x, chartArea.top)
        }
        ctx.restore()
      },
    }
  }

  /** A shape of its own for each kind, beside its colour. */
  private flag(ctx: CanvasRenderingContext2D, kind: string, x: number, y: number): void {
    ctx.beginPath()
    if (kind === 'deploy') {
      ctx.moveTo(x, y - 1)
      ctx.lineTo(x + 7, y + 2.5)
      ctx.lineTo(x, y + 6)
    } else if (kind === 'crash' || kind === 'incident') ctx.rect(x - 3, y - 1, 6, 6)
    else if (kind === 'edit') {
      ctx.moveTo(x, y - 2)
      ctx.lineTo(x + 4, y + 2)
      ctx.lineTo(x, y + 6)
      ctx.lineTo(x - 4, y + 2)
    } else ctx.arc(x, y + 2, 3, 0, 2 * Math.PI)
    ctx.fill()
  }

  /** The dashed line of the limit with its name, drawn over the data where there is least of it. */
  private limit(): Plugin<'line'> {
    return {
      id: 'limit',
      afterDatasetsDraw: ({ ctx, chartArea, scales, data }) => {
        const { limit } = this.drawing ?? {}
        const [across, axis] = [scales['x'], scales['y']]
        if (!limit || !across || !axis || limit.at > axis.max || limit.at < axis.min) return
        const y = axis.getPixelForValue(limit.at)
        ctx.save()
        ctx.font = `11px ${getComputedStyle(document.body).fontFamily}`
        ctx.strokeStyle = colour('warn-solid')
        ctx.setLineDash([4, 3])
        ctx.beginPath()
        ctx.moveTo(chartArea.left, y)
        ctx.lineTo(chartArea.right, y)
        ctx.stroke()
        const [width, height] = [ctx.measureText(limit.label).width + 6, 14]
        const drawn = data.datasets.flatMap((set) =>
          dense(
            (set.data as { x: number; y: number }[]).map((dot) => [across.getPixelForValue(dot.x), axis.getPixelForValue(dot.y)] as const),
          ),
        )
        const crowd = (left: number, top: number): number =>
          drawn.filter(([x, at]) => x >= left - 2 && x <= left + width + 2 && at >= top - 2 && at <= top + height + 2).length
        const places = [chartArea.right - width, chartArea.left].flatMap((left) =>
          [y + 2, y - height - 2].filter((top) => top >= 0 && top + height <= chartArea.bottom).map((top) => [left, top] as const),
        )
        const [left, top] = places.sort((a, b) => crowd(...a) - crowd(...b))[0] ?? [chartArea.right - width, y + 2]
        // Where every place is taken, the name still stands out.
        ctx.fillStyle = faded(colour('surface'), crowd(left, top) > 0 ? 0.85 : 0)
        ctx.fillRect(left, top, width, height)
        ctx.fillStyle = colour('warn')
        ctx.textAlign = 'left'
        ctx.textBaseline = 'middle'
        ctx.fillText(limit.label, left + 3, top + height / 2 + 1)
        ctx.restore()
      },
    }
  }
}
