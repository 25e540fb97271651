import { Controller } from '@hotwired/stimulus'
import { clock, fullDate, zoneName } from './phrase'
import { now, onTick, zone } from './now'

/** The clock of the top bar: "20:41 IST" in the page's zone. */
export default class ClockController extends Controller<HTMLElement> {
  static override values = { zone: String }
  declare readonly zoneValue: string
  private stop: (() => void) | undefined

  override connect(): void {
    this.say()
    this.stop = onTick(() => this.say())
  }

  override disconnect(): void {
    this.stop?.()
  }

  private say(): void {
    const at = now()
    const words = `${clock(at, zone())} ${this.zoneValue || zoneName(at, zone())}`
    if (this.element.textContent === words) return
    this.element.textContent = words
    this.element.title = `${fullDate(at, zone()).replace(/:\d\d /, ' ')}, ${zone()}`
  }
}
