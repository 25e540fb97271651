import { renderStreamMessage, visit } from '@hotwired/turbo'
import { now, setClock } from './now'

type Timer = 'retry' | 'poll' | 'watch'
export type LiveState = 'live' | 'reconnecting' | 'polling' | 'offline'

/** `since` is when this began while live, else the moment of the last word from the server; `every` is the pause between polls. */
export interface LiveStatus {
  state: LiveState
  since: number
  reason: string
  every: number
}

const SILENCE = 6000 // three beats of 2 s without a word
const PATIENCE = 10_000 // without an open socket before polling begins
const FAILURES = 3
const POLL_ACTIVE = 3000
const POLL_IDLE = 30_000
const IDLE_AFTER = 60_000
const SOCKET_RETRY = 30_000
const SIGNED_OUT_RETRY = 10_000
const SIGNED_OUT = 4401
const BLOCKED = 'the live socket is blocked (a proxy that does not pass WebSocket upgrades?)'

// Outlives the element, so that a visit to the next page does not begin with an alarm.
export const live: LiveStatus = { state: 'reconnecting', since: now(), reason: 'the page is connecting', every: 0 }
let heardAt = now()

function announce(state: LiveState, reason: string, every = 0): void {
  if (live.state === state && live.reason === reason && live.every === every) return
  Object.assign(live, { state, reason, every, since: state === 'live' ? now() : heardAt })
  document.dispatchEvent(new CustomEvent<LiveStatus>('live:state', { detail: { ...live } }))
}

/** The session or the role has ended: the server answers with the page that is right now, be it the sign-in. */
function askAgain(): void {
  visit(location.href, { action: 'replace' })
}

/**
 * `<live-source topics="a,b" since="123">`: keeps one socket open, comes back with `since` when it breaks, and polls the same
 * frames where a socket cannot be had. Rests while the tab is hidden or in the back/forward cache.
 */
export class LiveSource extends HTMLElement {
  static observedAttributes = ['topics', 'since']

  private socket: WebSocket | undefined
  private seq = 0
  private failures = 0
  private downAt = 0
  private polling = false
  private triedAgain = false
  private polledAt = 0
  private usedAt = Date.now()
  private request: AbortController | undefined
  private listeners: AbortController | undefined
  private readonly timers = new Map<Timer, number>()

  connectedCallback(): void {
    // Turbo's preview is a picture of the page, not the page.
    if (this.listeners || document.documentElement.hasAttribute('data-turbo-preview')) return
    this.listeners = new AbortController()
    const { signal } = this.listeners
    document.addEventListener('visibilitychange', () => (document.hidden ? this.rest() : this.wake()), { signal })
    window.addEventListener('online', () => this.wake(), { signal })
    window.addEventListener('offline', () => this.lost('this device is offline'), { signal })
    window.addEventListener('pagehide', () => this.stop(), { signal })
    window.addEventListener('pageshow', (event) => event.persisted && this.wake(), { signal })
    for (const name of ['pointerdown', 'pointermove', 'keydown', 'scroll']) {
      window.addEventListener(name, () => this.used(), { signal, passive: true, capture: true })
    }
    this.seq = Number(this.getAttribute('since')) || 0
    this.downAt = Date.now()
    this.failures = 0
    this.polling = false
    this.open()
  }

  disconnectedCallback(): void {
    this.listeners?.abort()
    this.listeners = undefined
    this.stop()
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (!this.listeners || before === after) return
    const seq = Number(after) || 0
    if (name === 'since' && seq === this.seq) return
    // A refresh that was rendered before the last frames came has undone them, so they are asked for again.
    const again = name === 'topics' || seq < this.seq
    if (name === 'since') this.seq = seq
    if (again && document.hidden) this.close()
    else if (again) this.open()
  }

  private address(path: string): URL {
    const url = new URL(path, location.href)
    url.searchParams.set('topics', this.getAttribute('topics') ?? '')
    if (this.hasAttribute('since')) url.searchParams.set('since', String(this.seq))
    return url
  }

  private open(): void {
    this.close()
    this.clear('retry')
    const url = this.address('/live')
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url)
    let opened = false
    this.socket = socket
    socket.onopen = () => {
      opened = true
      this.failures = 0
      this.watch()
    }
    socket.onmessage = (event) => {
      if (socket !== this.socket) return
      this.stopPolling()
      this.heard()
      this.watch()
      announce('live', '')
      // Last, because "!bye" ends it all again.
      this.receive(String(event.data))
    }
    socket.onclose = (event) => {
      if (socket !== this.socket) return
      if (event.code === SIGNED_OUT) {
        this.lost('your rights have changed', SIGNED_OUT_RETRY)
        // The page that comes has no such element, or what its person may see now: only then is a socket asked for.
        const { signal } = this.listeners ?? new AbortController()
        document.addEventListener('turbo:load', () => this.open(), { once: true, signal })
        askAgain()
        return
      }
      if (!opened) this.failures += 1
      this.lost(navigator.onLine ? 'the connection to the console is lost' : 'this device is offline')
    }
    // A proxy may take the request and never answer it: that counts as closed.
    this.watch(PATIENCE)
  }

  /** Without a socket: says so, tries again later, and polls when it has been so for long. */
  private lost(reason: string, wait = this.backOff()): void {
    this.close()
    this.downAt ||= Date.now()
    if (!this.polling) announce('reconnecting', reason)
    if (document.hidden) return
    this.set('retry', this.polling ? SOCKET_RETRY : wait, () => this.open())
    if (this.polling) return
    const patience = this.failures >= FAILURES ? 0 : this.downAt + PATIENCE - Date.now()
    this.set('poll', Math.max(0, patience), () => this.startPolling())
  }

  private backOff(): number {
    const most = Math.min(15_000, 250 * 2 ** this.failures)
    return most / 2 + (Math.random() * most) / 2
  }

  private watch(patience = SILENCE): void {
    if (document.hidden) return
    this.set('watch', patience, () => {
      if (this.socket?.readyState !== WebSocket.OPEN) this.failures += 1
      this.lost('the console has gone quiet', 0)
    })
  }

  private heard(): void {
    heardAt = now()
    this.downAt = 0
  }

  private receive(frame: string): void {
    const end = frame.indexOf('\n')
    const head = end < 0 ? frame : frame.slice(0, end)
    if (head.startsWith('~')) {
      setClock(Number(head.slice(1)))
      heardAt = now()
      document.dispatchEvent(new CustomEvent('live:beat', { detail: { now: heardAt } }))
      // A polled answer begins with the beat; the frame stands under it.
      if (end >= 0 && end + 1 < frame.length) this.receive(frame.slice(end + 1))
    } else if (head === '!refresh') renderStreamMessage('<turbo-stream action="refresh"></turbo-stream>')
    else if (head.startsWith('!bye')) this.lost('the console restarts', (Number(head.slice(4)) || 500) * (0.8 + Math.random() * 0.4))
    else if (end >= 0) {
      const seq = Number(head)
      if (end + 1 < frame.length) renderStreamMessage(frame.slice(end + 1))
      if (seq > this.seq) {
        this.seq = seq
        // In the attribute too: a page taken from Turbo's cache goes on from what it shows.
        this.setAttribute('since', head)
      }
    }
  }

  private startPolling(): void {
    if (this.polling || !this.listeners) return
    this.polling = true
    this.triedAgain = false
    this.set('retry', SOCKET_RETRY, () => this.open())
    void this.poll()
  }

  private stopPolling(): void {
    this.polling = false
    this.request?.abort()
    this.request = undefined
    this.clear('poll')
  }

  private async poll(): Promise<void> {
    this.polledAt = Date.now()
    const request = (this.request = new AbortController())
    this.set('poll', POLL_IDLE, () => request.abort())
    const answer = await fetch(this.address('/live/poll'), { signal: request.signal, redirect: 'manual' })
      .then(async (got) => ({ status: got.type === 'opaqueredirect' ? 401 : got.status, body: got.ok ? await got.text() : '' }))
      .catch(() => undefined)
    if (this.request !== request) return
    if (answer?.status === 401) {
      this.stop()
      askAgain()
      return
    }
    const every = Date.now() - this.usedAt < IDLE_AFTER ? POLL_ACTIVE : POLL_IDLE
    if (answer && answer.status < 300) {
      this.heard()
      if (answer.body) this.receive(answer.body)
      this.polled(every)
    } else {
      this.triedAgain = false
      announce('offline', this.why(answer?.status))
    }
    if (this.polling) this.set('poll', every, () => void this.poll())
  }

  /** A console that has only been restarted takes sockets again: they are blocked only if one fails after a poll went well. */
  private polled(every: number): void {
    if (this.triedAgain) announce('polling', BLOCKED, every)
    else {
      this.triedAgain = true
      this.open()
    }
  }

  private why(status: number | undefined): string {
    if (!navigator.onLine) return 'this device is offline'
    return status ? `the console answers with an error (${status})` : 'the console cannot be reached'
  }

  private used(): void {
    const wasIdle = Date.now() - this.usedAt > IDLE_AFTER
    this.usedAt = Date.now()
    // Back at the screen: the next poll is not waited for, and the socket gets another try.
    if (wasIdle && this.polling && Date.now() - this.polledAt > POLL_ACTIVE) this.set('poll', 0, () => void this.poll())
  }

  /** The tab is hidden: no timers. The socket stays and is believed or not when the tab is seen again. */
  private rest(): void {
    this.clear('retry')
    this.clear('poll')
    this.clear('watch')
  }

  private wake(): void {
    if (!this.listeners || document.hidden) return
    if (this.socket) this.watch(SILENCE / 2)
    else {
      this.failures = 0
      this.downAt = Date.now()
      this.open()
    }
    if (this.polling) this.set('poll', 0, () => void this.poll())
  }

  private stop(): void {
    this.rest()
    this.stopPolling()
    this.close()
  }

  /** Drops the socket without waiting for the other side, which may be long gone. */
  private close(): void {
    const socket = this.socket
    this.socket = undefined
    this.clear('watch')
    if (!socket) return
    socket.onopen = socket.onmessage = socket.onclose = null
    // Closing a socket that is still connecting makes the browser complain, so it is closed once it opens.
    if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close()
    else socket.close()
  }

  private set(name: Timer, after: number, action: () => void): void {
    this.clear(name)
    if (!document.hidden) this.timers.set(name, window.setTimeout(action, after))
  }

  private clear(name: Timer): void {
    window.clearTimeout(this.timers.get(name))
    this.timers.delete(name)
  }
}
