import { Controller } from '@hotwired/stimulus'
import { visit } from '@hotwired/turbo'
import type { Line, LineChart, Mark, Point } from './chart-setup'
import { sayFigure } from './chart-units'
import { zone } from './now'
import { clock, dayOfMonth, zoneOffset } from './phrase'

type Values = (number | null)[]

/** As the server sends a chart: values apart from the moments that they share. */
interface Sent {
  title: string
  unit: string
  limit: number | null
  limitLabel: string | null
  step: number
  times: number[] | { from: number; count: number }
  lines: { label: string; values: Values; low?: Values; high?: Values; before?: Values }[]
}

// A pointer that moved less was a click.
const SHORTEST = 8
const LEAST = 5 * 60_000

/**
 * A chart of the past. Value: chart (as above); target: canvas. Dragging from left to right shows that part of the time, on all charts of
 * the page: it is in the address. What happened stands on the page's `data-history-marks`.
 */
export default class HistoryController extends Controller<HTMLElement> {
  static override targets = ['canvas']
  static override values = { chart: Object }
  declare readonly canvasTarget: HTMLCanvasElement
  declare readonly chartValue: Sent
  private chart: LineChart | undefined
  private grip: HTMLElement | undefined
  private from: { x: number; at: number; pointer: number } | undefined
  private readonly redraw = (): void => this.paint()
  private readonly escape = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') this.letGo()
  }

  override connect(): void {
    document.addEventListener('oc:theme', this.redraw)
    document.addEventListener('keydown', this.escape)
    const { canvasTarget: canvas } = this
    canvas.addEventListener('pointerdown', this.down)
    canvas.addEventListener('pointermove', this.move)
    canvas.addEventListener('pointerup', this.up)
    canvas.addEventListener('pointercancel', this.cancel)
    void this.load()
  }

  private async load(): Promise<void> {
    const { LineChart } = await import('./chart-setup')
    // The page may have gone, or come a second time, while the library was on its way.
    if (!this.element.isConnected || this.chart || document.documentElement.hasAttribute('data-turbo-preview')) return
    this.chart = new LineChart(this.canvasTarget, {
      clock: (at) => clock(at, zone()),
      day: (at) => dayOfMonth(at, zone()),
      offset: (at) => zoneOffset(at, zone()),
    })
    this.paint()
  }

  override disconnect(): void {
    document.removeEventListener('oc:theme', this.redraw)
    document.removeEventListener('keydown', this.escape)
    this.letGo()
    this.chart?.destroy()
    this.chart = undefined
  }

  chartValueChanged(): void {
    this.paint()
  }

  private paint(): void {
    const { title, unit, limit, limitLabel, lines } = this.chartValue
    const times = this.times()
    const points = (values: Values): Point[] => times.map((at, index) => [at, values[index] ?? null])
    this.chart?.paint({
      ...{ title, unit },
      lines: lines.map(({ label, values, low, high, before }): Line => ({
        label,
        points: points(values),
        low: low && points(low),
        high: high && points(high),
        before: before && points(before),
      })),
      limit: limit === null ? undefined : { at: limit, label: limitLabel ?? '' },
      marks: this.marks(),
      say: (value) => sayFigure(value, unit),
    })
  }

  private times(): number[] {
    const { times, step } = this.chartValue
    return Array.isArray(times) ? times : Array.from({ length: times.count }, (_, index) => times.from + index * step)
  }

  private marks(): Mark[] {
    const stored = this.element.closest<HTMLElement>('[data-history-marks]')?.dataset['historyMarks']
    return stored ? (JSON.parse(stored) as Mark[]) : []
  }

  private readonly down = (event: PointerEvent): void => {
    if (event.button !== 0 || !event.isPrimary) return
    const place = this.chart?.at(event.offsetX)
    if (place) this.from = { x: event.offsetX, at: place.at, pointer: event.pointerId }
  }

  private readonly move = (event: PointerEvent): void => {
    const place = this.from && this.chart?.at(event.offsetX)
    if (!this.from || !place || Math.abs(event.offsetX - this.from.x) < SHORTEST) return
    if (!this.grip) {
      // From here on the pointer is ours, wherever it goes.
      this.canvasTarget.setPointerCapture(this.from.pointer)
      this.grip = document.createElement('div')
      this.grip.className = 'grip'
      this.canvasTarget.after(this.grip)
    }
    const x = Math.min(place.right, Math.max(place.left, event.offsetX))
    this.grip.style.left = `${Math.min(x, this.from.x)}px`
    this.grip.style.width = `${Math.abs(x - this.from.x)}px`
  }

  private readonly up = (event: PointerEvent): void => {
    const [begin, place] = [this.from, this.grip && this.chart?.at(event.offsetX)]
    this.letGo()
    if (!begin || !place) return
    const [from, to] = [Math.min(begin.at, place.at), Math.max(begin.at, place.at)]
    const middle = (from + to) / 2
    const half = Math.max(to - from, LEAST) / 2
    const minute = (at: number): string => `${new Date(Math.round(at / 60_000) * 60_000).toISOString().slice(0, 19)}Z`
    const url = new URL(location.href)
    url.searchParams.delete('range')
    url.searchParams.set('from', minute(middle - half))
    url.searchParams.set('to', minute(middle + half))
    visit(url.href)
  }

  private readonly cancel = (): void => this.letGo()

  private letGo(): void {
    this.from = undefined
    this.grip?.remove()
    this.grip = undefined
  }
}
