import { Controller } from '@hotwired/stimulus'
import { clock, duration, fullDate, relative } from './phrase'
import { now, onTick, zone } from './now'

const shown = new Set<HTMLElement>()
const wholeSeconds = (ms: number): number => Math.max(0, Math.floor(ms / 1000)) * 1000
let stop: (() => void) | undefined

/** Says the moment of one `<time>` as its format asks, touching the page only when the words change. */
export function sayTime(element: HTMLElement): void {
  const at = Date.parse(element.getAttribute('datetime') ?? '')
  if (Number.isNaN(at)) return
  const form = element.dataset['timeFormatValue']
  const words = form === 'clock' ? clock(at, zone()) : form === 'uptime' ? duration(wholeSeconds(now() - at)) : relative(at, now(), zone())
  if (element.textContent !== words) element.textContent = words
  // A fragment that was painted for everybody says its date in UTC.
  const title = fullDate(at, zone())
  if (element.title !== title) element.title = title
}

/** `<time datetime data-controller="time" data-time-format-value="relative|clock|uptime">`: one shared tick for all of them. */
export default class TimeController extends Controller<HTMLElement> {
  static override values = { format: { type: String, default: 'relative' } }

  override connect(): void {
    shown.add(this.element)
    sayTime(this.element)
    stop ??= onTick(() => shown.forEach(sayTime))
  }

  override disconnect(): void {
    shown.delete(this.element)
    if (shown.size > 0) return
    stop?.()
    stop = undefined
  }

  formatValueChanged(): void {
    sayTime(this.element)
  }
}
