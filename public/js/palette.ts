import Modal from './modal'

/**
 * Jump to anything by keyboard. Targets: dialog, input, frame (with `data-src`, loaded when first opened), and inside it
 * group, item, empty. The input keeps the focus; the arrows move the choice.
 */
export default class PaletteController extends Modal {
  static override targets = ['dialog', 'input', 'frame', 'group', 'item', 'empty']
  declare readonly inputTarget: HTMLInputElement
  declare readonly frameTarget: HTMLElement
  declare readonly groupTargets: HTMLElement[]
  declare readonly itemTargets: HTMLAnchorElement[]
  declare readonly emptyTargets: HTMLElement[]
  private chosen: HTMLAnchorElement | undefined

  protected override listen(signal: AbortSignal): void {
    document.addEventListener('keydown', (event) => this.shortcut(event), { signal })
    this.frameTarget.addEventListener('turbo:frame-load', () => this.filter(), { signal })
    // A link to the page one is on is answered by a morph, which would leave the palette open.
    this.frameTarget.addEventListener(
      'click',
      (event) => event.target instanceof Element && event.target.closest('a[href]') && this.close(),
      { signal },
    )
  }

  protected override opened(): void {
    const source = this.frameTarget.dataset['src']
    if (source && !this.frameTarget.hasAttribute('src')) this.frameTarget.setAttribute('src', source)
    this.inputTarget.value = ''
    this.inputTarget.focus()
    this.filter()
  }

  filter(): void {
    const wanted = this.inputTarget.value.toLowerCase().split(/\s+/).filter(Boolean)
    for (const item of this.itemTargets) {
      const text = item.textContent.toLowerCase()
      item.hidden = !wanted.every((word) => text.includes(word))
    }
    for (const group of this.groupTargets) group.hidden = !this.shown.some((item) => group.contains(item))
    const nothing = this.itemTargets.length > 0 && this.shown.length === 0
    for (const empty of this.emptyTargets) empty.hidden = !nothing
    this.choose(this.shown[0])
  }

  key(event: KeyboardEvent): void {
    if (event.isComposing) return
    const { shown } = this
    const at = this.chosen ? shown.indexOf(this.chosen) : -1
    if (event.key === 'ArrowDown') this.choose(shown[(at + 1) % shown.length])
    else if (event.key === 'ArrowUp') this.choose(shown.at(at <= 0 ? -1 : at - 1))
    else if (event.key === 'Enter') this.chosen?.click()
    else return
    event.preventDefault()
  }

  private get shown(): HTMLAnchorElement[] {
    return this.itemTargets.filter((item) => !item.hidden)
  }

  private shortcut(event: KeyboardEvent): void {
    if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return
    event.preventDefault()
    if (this.dialog.open) this.close()
    // A question that waits for its answer is not covered by another window; the drawer gives way.
    else if (!document.querySelector('dialog[open]:not(#menu)')) {
      document.querySelector<HTMLDialogElement>('dialog[open]')?.close()
      this.open()
    }
  }

  private choose(item: HTMLAnchorElement | undefined): void {
    this.chosen?.setAttribute('aria-selected', 'false')
    this.chosen = item
    item?.setAttribute('aria-selected', 'true')
    if (item) this.inputTarget.setAttribute('aria-activedescendant', item.id)
    else this.inputTarget.removeAttribute('aria-activedescendant')
    item?.scrollIntoView({ block: 'nearest' })
  }
}
