import { Controller } from '@hotwired/stimulus'

interface Part {
  lines: string[]
  unfinished: string | null
  next: string
  hint: string | null
  turn: 'rotated' | 'truncated' | 'replaced' | null
  turn_at: number
  left_out_bytes: number
  size_bytes: number | null
}

const EVERY = 1000
const AT_REST = 15_000
const MOST = 1000
const LOUD = /\b(?:error|fatal|critical|exception|panic|uncaught|unhandled)\b/i
const POOR = /\bwarn(?:ing)?\b/i
const TURNS = {
  rotated: 'the log was rotated: a new file begins here',
  truncated: 'the log was emptied: it begins anew here',
  replaced: 'the log is another file from here on',
}

function sizeOf(bytes: number): string {
  return bytes < 1024 * 1024 ? `${Math.ceil(bytes / 1024)} kB` : `${Math.round(bytes / 1024 / 1024)} MB`
}

/**
 * Follows a log: asks for what has come since, each second while the page is looked at. Values: url, next; targets: list, unfinished, follow
 * (button with `tail#toggle`), again, said, none. Who scrolls up reads on undisturbed; at the end again, it goes on.
 */
export default class TailController extends Controller<HTMLElement> {
  static override targets = ['list', 'unfinished', 'follow', 'again', 'said', 'none']
  static override values = { url: String, next: String }
  declare readonly listTarget: HTMLElement
  declare readonly unfinishedTarget: HTMLElement
  declare readonly followTarget: HTMLButtonElement
  declare readonly againTarget: HTMLElement
  declare readonly saidTarget: HTMLElement
  declare readonly noneTarget: HTMLElement
  declare readonly urlValue: string
  declare nextValue: string
  private timer = 0
  private following = true
  private held = 0
  private failures = 0
  private request: AbortController | undefined
  private readonly seen = (): void => this.wake()
  private readonly scrolled = (): void => this.onScroll()

  override connect(): void {
    if (document.documentElement.hasAttribute('data-turbo-preview')) return
    document.addEventListener('visibilitychange', this.seen)
    this.listTarget.addEventListener('scroll', this.scrolled, { passive: true })
    this.followTarget.hidden = false
    this.againTarget.hidden = true
    this.toEnd()
    this.wake()
  }

  override disconnect(): void {
    document.removeEventListener('visibilitychange', this.seen)
    this.listTarget.removeEventListener('scroll', this.scrolled)
    window.clearTimeout(this.timer)
    this.request?.abort()
  }

  toggle(): void {
    this.setFollowing(!this.following)
    if (this.following) this.toEnd()
  }

  private setFollowing(following: boolean): void {
    this.following = following
    if (following) this.held = 0
    this.followTarget.setAttribute('aria-pressed', String(following))
    this.label()
  }

  private label(): void {
    const text = this.followTarget.querySelector('span')
    if (text) text.textContent = this.held > 0 ? `${this.held > MOST ? `${MOST}+` : this.held} new` : 'Follow'
  }

  private wake(): void {
    window.clearTimeout(this.timer)
    if (!document.hidden) this.timer = window.setTimeout(() => void this.ask(), EVERY)
  }

  private async ask(): Promise<void> {
    const url = new URL(this.urlValue, location.href)
    url.searchParams.set('after', this.nextValue)
    this.request = new AbortController()
    const late = window.setTimeout(() => this.request?.abort(), AT_REST)
    try {
      const answer = await fetch(url, { signal: this.request.signal, headers: { Accept: 'application/json' } })
      if (!answer.ok) throw new Error(String(answer.status))
      this.take((await answer.json()) as Part)
      this.failures = 0
    } catch {
      if (!this.element.isConnected) return
      this.failures += 1
      this.saidTarget.textContent = 'The log cannot be read at the moment; it is tried again.'
    } finally {
      window.clearTimeout(late)
    }
    window.clearTimeout(this.timer)
    const wait = Math.min(AT_REST, EVERY * 2 ** this.failures)
    if (!document.hidden && this.element.isConnected) this.timer = window.setTimeout(() => void this.ask(), wait)
  }

  private take(part: Part): void {
    this.nextValue = part.next
    const fresh: HTMLElement[] = []
    if (part.left_out_bytes > 0) fresh.push(this.row(`${sizeOf(part.left_out_bytes)} came faster than they can be shown`, 'is-mark'))
    for (const [index, line] of [...part.lines, null].entries()) {
      if (part.turn && index === part.turn_at) fresh.push(this.row(TURNS[part.turn], 'is-mark'))
      if (line !== null) fresh.push(this.row(line, LOUD.test(line) ? 'is-err' : POOR.test(line) ? 'is-warn' : ''))
    }
    this.unfinishedTarget.textContent = part.unfinished ?? ''
    this.unfinishedTarget.hidden = !part.unfinished
    if (part.size_bytes !== null) this.saidTarget.textContent = `${sizeOf(part.size_bytes)}, read each second`
    if (fresh.length > 0) {
      this.unfinishedTarget.before(...fresh)
      this.noneTarget.hidden = true
      if (!this.following) {
        this.held += part.lines.length
        this.label()
      } else {
        const rows = this.listTarget.children
        for (let over = rows.length - 1 - MOST; over > 0; over--) rows[0]?.remove()
      }
    }
    if (this.following && (fresh.length > 0 || part.unfinished)) this.toEnd()
  }

  private row(text: string, extra: string): HTMLElement {
    const row = document.createElement('div')
    row.className = extra ? `line ${extra}` : 'line'
    row.textContent = text
    return row
  }

  private toEnd(): void {
    this.listTarget.scrollTop = this.listTarget.scrollHeight
  }

  private onScroll(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.listTarget
    const atEnd = scrollHeight - scrollTop - clientHeight < 24
    if (atEnd !== this.following) this.setFollowing(atEnd)
  }
}
