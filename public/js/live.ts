import { Controller } from '@hotwired/stimulus'
import { age } from './phrase'
import { now, onTick } from './now'
import { live } from './live-source'

const SHOWN_AFTER = 5000
const LOUD_AFTER = 60_000

function words(old: number): { short: string; long: string } {
  if (live.state === 'polling') {
    const short = `Polling every ${live.every / 1000} s`
    return { short, long: `${short}: ${live.reason}` }
  }
  if (live.state === 'live' || old < SHOWN_AFTER) return { short: 'Live', long: 'Changes show up by themselves' }
  const short = `${live.state === 'offline' ? 'Offline' : 'Reconnecting'}, data is ${age(old)} old`
  return { short, long: `${short}: ${live.reason}` }
}

/** The live mark of the top bar, the banner `#live-banner` and the dimmed page when nothing has come for a minute. */
export default class LiveController extends Controller<HTMLElement> {
  static override targets = ['text']
  declare readonly textTarget: HTMLElement
  declare readonly hasTextTarget: boolean
  private unTick: (() => void) | undefined
  private readonly say = (): void => this.show()

  override connect(): void {
    document.addEventListener('live:state', this.say)
    this.show()
  }

  override disconnect(): void {
    document.removeEventListener('live:state', this.say)
    this.unTick?.()
    this.unTick = undefined
  }

  private show(): void {
    const old = live.state === 'live' ? 0 : Math.max(0, now() - live.since)
    const { short, long } = words(old)
    const place = this.hasTextTarget ? this.textTarget : this.element
    if (place.textContent !== short) place.textContent = short
    this.element.title = long
    this.element.classList.toggle('is-stale', short !== 'Live')
    this.element.classList.toggle('is-off', live.state === 'offline' && short !== 'Live')
    const blind = (live.state === 'reconnecting' || live.state === 'offline') && old >= LOUD_AFTER
    document.querySelector('main')?.classList.toggle('is-dimmed', blind)
    this.banner(blind || live.state === 'polling' ? long : '')
    this.keepCounting()
  }

  private banner(text: string): void {
    const banner = document.getElementById('live-banner')
    if (!banner) return
    const place = banner.querySelector('[data-live-banner]') ?? banner
    if (text && place.textContent !== text) place.textContent = text
    banner.hidden = text === ''
  }

  // While live nothing here changes by itself, so nothing ticks.
  private keepCounting(): void {
    if (live.state !== 'live') this.unTick ??= onTick(this.say)
    else {
      this.unTick?.()
      this.unTick = undefined
    }
  }
}
