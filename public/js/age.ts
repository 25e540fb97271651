import { Controller } from '@hotwired/stimulus'
import { age } from './phrase'
import { now, onTick } from './now'
import { live } from './live-source'

const shown = new Set<HTMLElement>()
let stop: (() => void) | undefined
const sayAll = (): void => shown.forEach(sayAge)

function words(element: HTMLElement, old: number, stale: boolean): string {
  if (!stale) return old < 1000 ? 'updated now' : `updated ${age(old)} ago`
  // While nothing arrives at all, the panel's source is not the one to blame.
  if (live.state !== 'live') return `no data for ${age(old)}: ${live.reason}`
  return `no data from ${element.dataset['ageSourceValue'] ?? 'the source'} for ${age(old)}`
}

/** Says how old a panel is, and marks the panel when that is more than three of its beats. */
export function sayAge(element: HTMLElement): void {
  const at = Number(element.dataset['ageAtValue'])
  if (!at) return
  const beat = Number(element.dataset['ageBeatValue']) || 2000
  const rhythm = live.state === 'polling' ? Math.max(beat, live.every) : beat
  const old = Math.max(0, now() - at)
  const stale = old > Math.max(5000, 3 * rhythm)
  const said = words(element, old, stale)
  if (element.textContent !== said) element.textContent = said
  element.closest('[data-live-panel]')?.classList.toggle('is-stale', stale)
}

/** `<span data-controller="age" data-age-at-value data-age-beat-value data-age-source-value>` inside a `[data-live-panel]`. */
export default class AgeController extends Controller<HTMLElement> {
  static override values = { at: Number, beat: Number, source: String }

  override connect(): void {
    shown.add(this.element)
    sayAge(this.element)
    if (stop) return
    const unTick = onTick(sayAll)
    document.addEventListener('live:state', sayAll)
    stop = () => {
      unTick()
      document.removeEventListener('live:state', sayAll)
    }
  }

  override disconnect(): void {
    shown.delete(this.element)
    if (shown.size > 0) return
    stop?.()
    stop = undefined
  }

  atValueChanged(): void {
    sayAge(this.element)
  }
}
