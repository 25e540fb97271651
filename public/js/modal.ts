import { Controller } from '@hotwired/stimulus'

/** What the drawer, the palette and the confirm dialog share. The `<dialog>` is the element itself or the target `dialog`. */
export default class Modal extends Controller<HTMLElement> {
  static override targets = ['dialog']
  declare readonly dialogTarget: HTMLDialogElement
  // Kept from the start: when the whole page goes, the target is gone before the controller is.
  protected dialog!: HTMLDialogElement
  private opener: Element | null = null
  private listeners: AbortController | undefined

  override connect(): void {
    this.listeners = new AbortController()
    const { signal } = this.listeners
    this.dialog = this.element instanceof HTMLDialogElement ? this.element : this.dialogTarget
    document.addEventListener('turbo:before-cache', () => this.close(), { signal })
    this.dialog.addEventListener('click', (event) => this.onBackdrop(event) && this.close(), { signal })
    this.dialog.addEventListener('close', () => this.closed(), { signal })
    this.listen?.(signal)
  }

  override disconnect(): void {
    this.close()
    this.listeners?.abort()
  }

  open(event?: Event): void {
    event?.preventDefault()
    if (this.dialog.open) return
    this.remember(event?.currentTarget instanceof Element ? event.currentTarget : document.activeElement)
    this.dialog.showModal()
    this.opened?.()
  }

  close(event?: Event): void {
    event?.preventDefault()
    if (this.dialog.open) this.dialog.close()
  }

  /** Further listeners of a kind of modal; all end with `signal`. */
  protected listen?(signal: AbortSignal): void
  protected opened?(): void

  protected remember(opener: Element | null): void {
    this.opener = opener
  }

  protected closed(): void {
    const { opener } = this
    this.opener = null
    if (document.activeElement !== document.body && !this.dialog.contains(document.activeElement)) return
    // The opener may sit in a menu that has closed since, or in a row that was painted anew.
    const href = opener?.getAttribute('href')
    const again = href ? [...document.querySelectorAll<HTMLElement>('a[href]')].filter((link) => link.getAttribute('href') === href) : []
    for (const place of [opener, opener?.closest('details')?.querySelector('summary'), ...again]) {
      if (!(place instanceof HTMLElement)) continue
      place.focus()
      if (document.activeElement === place) return
    }
  }

  private onBackdrop(event: MouseEvent): boolean {
    if (event.target !== this.dialog) return false
    const box = this.dialog.getBoundingClientRect()
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom
    // Enter in a form also clicks its button, at 0,0.
    return !inside && event.detail > 0
  }
}
