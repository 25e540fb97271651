import { visit } from '@hotwired/turbo'
import Modal from './modal'

/** The one dialog of the shell: opens when its `<turbo-frame>` has loaded, is emptied when it closes. */
export default class DialogController extends Modal {
  private waiting: Element | null = null

  protected override listen(signal: AbortSignal): void {
    const { dialog } = this
    document.addEventListener('click', (event) => this.asked(event), { signal, capture: true })
    dialog.addEventListener('turbo:before-fetch-request', () => this.waiting?.setAttribute('aria-busy', 'true'), { signal })
    dialog.addEventListener('turbo:frame-load', () => this.loaded(), { signal })
    for (const name of ['turbo:frame-missing', 'turbo:fetch-request-error'])
      dialog.addEventListener(name, () => this.answered(), { signal })
    dialog.addEventListener('turbo:submit-end', (event) => (event as CustomEvent<{ success?: boolean }>).detail.success && this.close(), {
      signal,
    })
  }

  protected override closed(): void {
    super.closed()
    this.frame?.removeAttribute('src')
    this.frame?.replaceChildren()
  }

  private get frame(): HTMLElement | null {
    return this.dialog.querySelector('turbo-frame')
  }

  private asked(event: MouseEvent): void {
    const link = event.target instanceof Element ? event.target.closest(`[data-turbo-frame="${this.frame?.id ?? ''}"]`) : null
    if (link) this.waiting = link
  }

  private loaded(): void {
    const opener = this.waiting
    this.answered()
    if (!this.frame?.firstElementChild) {
      // An error page: it has the shell's own, empty frame. It is shown as the page it is.
      const address = this.frame?.getAttribute('src')
      if (address) visit(address)
      return
    }
    this.open()
    if (opener) this.remember(opener)
  }

  private answered(): void {
    this.waiting?.removeAttribute('aria-busy')
    this.waiting = null
  }
}
