import { Controller } from '@hotwired/stimulus'

/** `<details class="oc-menu" data-controller="details-menu">`: one open at a time, closed by Esc, by a press outside and by its items. */
export default class DetailsMenuController extends Controller<HTMLDetailsElement> {
  private readonly outside = (event: Event): void => {
    if (!(event.target instanceof Node) || !this.element.contains(event.target)) this.close()
  }
  private readonly toggled = (): void => this.listen(this.element.open)
  private readonly key = (event: KeyboardEvent): void => this.press(event)
  private readonly pick = (event: Event): void => {
    if (event.target instanceof Element && event.target.closest('a, button')) this.close()
  }
  private readonly close = (): void => {
    this.element.open = false
  }

  override connect(): void {
    this.element.addEventListener('toggle', this.toggled)
    this.element.addEventListener('keydown', this.key)
    this.element.addEventListener('click', this.pick)
    document.addEventListener('turbo:before-cache', this.close)
    this.listen(this.element.open)
  }

  override disconnect(): void {
    this.element.removeEventListener('toggle', this.toggled)
    this.element.removeEventListener('keydown', this.key)
    this.element.removeEventListener('click', this.pick)
    document.removeEventListener('turbo:before-cache', this.close)
    this.listen(false)
  }

  // Any press outside closes it, one on another menu's button too: that keeps a single one open.
  private listen(open: boolean): void {
    if (open) document.addEventListener('pointerdown', this.outside)
    else document.removeEventListener('pointerdown', this.outside)
    if (!open) return
    document.querySelectorAll<HTMLDetailsElement>('[data-controller~="details-menu"][open]').forEach((other) => {
      if (other !== this.element) other.open = false
    })
  }

  private press(event: KeyboardEvent): void {
    if (!this.element.open) return
    const items = [...this.element.querySelectorAll<HTMLElement>('a[href], button:not([disabled])')]
    const at = items.findIndex((item) => item === document.activeElement)
    if (event.key === 'Escape') {
      this.close()
      this.element.querySelector('summary')?.focus()
    } else if (event.key === 'ArrowDown') items[(at + 1) % items.length]?.focus()
    else if (event.key === 'ArrowUp') items.at(at <= 0 ? -1 : at - 1)?.focus()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
}
