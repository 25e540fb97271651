import { Controller } from '@hotwired/stimulus'
import type { LineChart, Point } from './chart-setup'
import { sayFigure } from './chart-units'
import { zone } from './now'
import { clock, dayOfMonth, zoneOffset } from './phrase'

/**
 * A line over time. Values: points ([[ms, value or null], …]), unit, title, limit, zoom; targets: canvas, zoom (button with
 * `chart#zoom`). The drawing library is fetched when the first chart is met.
 */
export default class ChartController extends Controller<HTMLElement> {
  static override targets = ['canvas', 'zoom']
  static override values = { points: Array, unit: String, title: String, limit: Number, zoom: Boolean }
  declare readonly canvasTarget: HTMLCanvasElement
  declare readonly zoomTargets: HTMLElement[]
  declare readonly pointsValue: Point[]
  declare readonly unitValue: string
  declare readonly titleValue: string
  declare readonly limitValue: number
  declare readonly hasLimitValue: boolean
  declare readonly zoomValue: boolean
  private chart: LineChart | undefined
  private zoomed = false
  private readonly redraw = (): void => this.paint()

  override connect(): void {
    this.zoomed ||= this.zoomValue
    document.addEventListener('oc:theme', this.redraw)
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
    this.chart?.destroy()
    this.chart = undefined
  }

  pointsValueChanged(): void {
    this.paint()
  }

  limitValueChanged(): void {
    this.paint()
  }

  zoom(): void {
    this.zoomed = !this.zoomed
    this.paint()
  }

  private paint(): void {
    for (const button of this.zoomTargets) button.setAttribute('aria-pressed', String(this.zoomed))
    const unit = this.unitValue
    this.chart?.paint({
      title: this.titleValue,
      unit,
      lines: [{ label: this.titleValue, points: this.pointsValue }],
      limit: this.hasLimitValue ? { at: this.limitValue, label: `alert at ${sayFigure(this.limitValue, unit)}` } : undefined,
      zoomed: this.zoomed,
      say: (value) => sayFigure(value, unit),
    })
  }
}
