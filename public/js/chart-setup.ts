// The only file that knows Chart.js: lines over time, in the colours of the theme. It imports none of our own files: what it
// shared with them would become a third file, which every page had to wait for.
import { Chart, Filler, LinearScale, LineController, LineElement, PointElement, Tooltip } from 'chart.js'
import type { ChartConfiguration, Plugin } from 'chart.js'

export type Point = [at: number, value: number | null]

/** How moments are said, and how far the reader's clock is ahead of UTC then. */
export interface Zone {
  clock: (at: number) => string
  offset: (at: number) => number
}

export interface Line {
  points: Point[]
  unit: string
  title: string
  limit: number | undefined
  zoomed: boolean
}

const MINUTE = 60_000
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440].map((minutes) => minutes * MINUTE)

Chart.register(Filler, LinearScale, LineController, LineElement, PointElement, Tooltip)

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--oc-${name}`).trim() || '#888'
}

function faded(hex: string, alpha: number): string {
  const value = Number.parseInt(hex.slice(1), 16)
  return /^#[\da-f]{6}$/i.test(hex) ? `rgb(${value >> 16} ${(value >> 8) & 255} ${value & 255} / ${alpha})` : 'transparent'
}

/** Round moments of the reader's own clock (20:15, not 20:17; also where the zone is half an hour off). */
function timeTicks(from: number, to: number, most: number, zone: Zone): number[] {
  const step = STEPS.find((one) => (to - from) / one <= most) ?? (STEPS.at(-1) ?? MINUTE) * Math.ceil((to - from) / (1440 * MINUTE) / most)
  const offset = zone.offset(from)
  const first = Math.ceil((from + offset) / step) * step - offset
  return Array.from({ length: Math.max(0, Math.floor((to - first) / step) + 1) }, (_, index) => first + index * step)
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

function range(line: Line): { min: number; max: number } | { suggestedMin: number; suggestedMax: number } {
  const values = line.points.flatMap(([, value]) => (value === null ? [] : [value]))
  const [low, high] = [Math.min(...values), Math.max(...values)]
  if (line.zoomed && values.length > 0) {
    // A flat line keeps a band around it, else its noise would fill the chart.
    const room = Math.max((high - low) * 0.15, Math.abs(high) * 0.01, 0.5)
    return { suggestedMin: low - room, suggestedMax: high + room }
  }
  return line.unit === '%' ? { min: 0, max: 100 } : { suggestedMin: 0, suggestedMax: Math.max(high, line.limit ?? 0) }
}

export class LineChart {
  private chart: Chart | undefined
  private line: Line | undefined
  private look = ''

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly zone: Zone,
  ) {}

  /** Draws at once, without animation: a page of live charts would otherwise never rest. */
  paint(line: Line): void {
    this.line = line
    const look = JSON.stringify([document.documentElement.dataset['bsTheme'], line.zoomed, line.limit, line.unit, line.title])
    if (this.chart && look === this.look) {
      this.feed(this.chart)
      this.chart.update('none')
      return
    }
    this.destroy()
    this.look = look
    this.chart = new Chart(this.canvas, this.config(line))
  }

  destroy(): void {
    this.chart?.destroy()
    this.chart = undefined
  }

  private feed(chart: Chart): void {
    const { line } = this
    const data = chart.data.datasets[0]
    if (!line || !data) return
    data.data = this.points(line)
    Object.assign(chart.options.scales?.['x'] ?? {}, this.span(line))
    Object.assign(chart.options.scales?.['y'] ?? {}, range(line))
  }

  private points(line: Line): { x: number; y: number }[] {
    // Chart.js breaks the line at NaN; its types know no null here.
    return withGaps(line.points).map(([x, y]) => ({ x, y: y ?? NaN }))
  }

  private span(line: Line): { min?: number; max?: number } {
    const [first, last] = [line.points[0], line.points.at(-1)]
    return first && last ? { min: first[0], max: last[0] } : {}
  }

  private config(line: Line): ChartConfiguration {
    const [main, ink, text, grid, surface] = [colour('c1'), colour('ink'), colour('ink-3'), colour('line'), colour('surface')]
    const font = { size: 11, family: getComputedStyle(document.body).fontFamily }
    const unit = line.unit === '%' ? '%' : line.unit && ` ${line.unit}`
    const said = (value: number): string => `${value.toLocaleString('en-GB', { maximumFractionDigits: 1 })}${unit}`
    const times = (axis: { min: number; max: number; width: number; ticks: { value: number }[] }): void => {
      axis.ticks = timeTicks(axis.min, axis.max, Math.max(2, Math.floor(axis.width / 64)), this.zone).map((value) => ({ value }))
    }
    return {
      type: 'line',
      plugins: [this.limit()],
      data: {
        datasets: [
          {
            label: line.title,
            data: this.points(line),
            borderColor: main,
            borderWidth: 1.75,
            backgroundColor: faded(main, 0.12),
            fill: 'origin',
            pointRadius: 0,
            pointHoverRadius: 3,
            pointHitRadius: 12,
            tension: 0,
            spanGaps: false,
          },
        ],
      },
      options: {
        responsive: true,
        maintainAspectRatio: false,
        animation: false,
        parsing: false,
        normalized: true,
        interaction: { mode: 'index', intersect: false },
        layout: { padding: { top: 4 } },
        scales: {
          x: {
            type: 'linear',
            ...this.span(line),
            afterBuildTicks: times,
            border: { color: grid },
            grid: { display: false },
            ticks: { color: text, font, maxRotation: 0, autoSkip: false, callback: (value) => this.zone.clock(Number(value)) },
          },
          y: {
            ...range(line),
            border: { display: false },
            grid: { color: grid, drawTicks: false },
            ticks: { color: text, font, padding: 6, maxTicksLimit: 4, callback: (value) => said(Number(value)) },
          },
        },
        plugins: {
          tooltip: {
            backgroundColor: ink,
            titleColor: surface,
            bodyColor: surface,
            padding: 8,
            cornerRadius: 6,
            displayColors: false,
            titleFont: { ...font, size: 12 },
            bodyFont: { ...font, size: 12 },
            callbacks: {
              title: ([item]) => this.zone.clock(item?.parsed.x ?? 0),
              label: (item) => `${line.title}: ${said(item.parsed.y ?? 0)}`,
            },
          },
        },
      },
    }
  }

  /** The dashed line of the limit with its name, drawn over the data. */
  private limit(): Plugin {
    return {
      id: 'limit',
      afterDatasetsDraw: ({ ctx, chartArea, scales }) => {
        const limit = this.line?.limit
        const axis = scales['y']
        if (limit === undefined || !axis || limit > axis.max || limit < axis.min) return
        const y = axis.getPixelForValue(limit)
        ctx.save()
        ctx.font = `11px ${getComputedStyle(document.body).fontFamily}`
        ctx.strokeStyle = colour('warn-solid')
        ctx.setLineDash([4, 3])
        ctx.beginPath()
        ctx.moveTo(chartArea.left, y)
        ctx.lineTo(chartArea.right, y)
        ctx.stroke()
        ctx.fillStyle = colour('warn')
        ctx.textAlign = 'right'
        ctx.fillText(`alert at ${limit}${this.line?.unit === '%' ? '%' : ` ${this.line?.unit ?? ''}`}`, chartArea.right - 2, y + 12)
        ctx.restore()
      },
    }
  }
}
