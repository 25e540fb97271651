import { Controller } from '@hotwired/stimulus'

type Kind = 'ok' | 'warn' | 'err'
const STAYS = 6000

/** Says one sentence in `#toasts`; the same sentence stands there once. */
export function showToast(text: string, kind: Kind = 'ok'): void {
  const list = document.getElementById('toasts')
  if (!list || [...list.children].some((toast) => toast.textContent.trim() === text)) return
  const toast = document.createElement('div')
  toast.className = `oc-toast is-${kind}`
  toast.dataset['toastTarget'] = 'toast'
  const words = document.createElement('span')
  words.textContent = text
  const close = document.createElement('button')
  close.type = 'button'
  close.className = 'btn btn-quiet btn-sm ms-auto'
  close.dataset['action'] = 'toast#dismiss'
  close.textContent = 'Close'
  toast.append(words, close)
  list.append(toast)
}

/** On `<body>`. Messages (target `toast`) leave by themselves; errors stay until closed, and none leaves unseen or under the pointer. */
export default class ToastController extends Controller<HTMLElement> {
  static override targets = ['list', 'toast']
  declare readonly toastTargets: HTMLElement[]
  private readonly timers = new Map<Element, number>()
  private readonly armAll = (): void => this.toastTargets.forEach((toast) => this.arm(toast))
  private readonly clearAll = (): void => this.toastTargets.forEach((toast) => toast.remove())

  override connect(): void {
    document.addEventListener('visibilitychange', this.armAll)
    document.addEventListener('turbo:before-cache', this.clearAll)
  }

  override disconnect(): void {
    document.removeEventListener('visibilitychange', this.armAll)
    document.removeEventListener('turbo:before-cache', this.clearAll)
  }

  toastTargetConnected(toast: HTMLElement): void {
    this.arm(toast)
  }

  toastTargetDisconnected(toast: HTMLElement): void {
    window.clearTimeout(this.timers.get(toast))
    this.timers.delete(toast)
  }

  dismiss(event: Event): void {
    if (event.target instanceof Element) event.target.closest('[data-toast-target="toast"]')?.remove()
  }

  private arm(toast: HTMLElement): void {
    window.clearTimeout(this.timers.get(toast))
    if (document.hidden || toast.classList.contains('is-err')) return
    const leave = (): void => (toast.matches(':hover, :focus-within') ? this.arm(toast) : toast.remove())
    this.timers.set(toast, window.setTimeout(leave, STAYS))
  }
}
