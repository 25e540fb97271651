import { Controller } from '@hotwired/stimulus'
import type { TurboBeforeMorphElementEvent } from '@hotwired/turbo'

function worth(row: HTMLElement, key: string): string {
  // Figures that move are elements of their own, so that a frame need not carry the whole row.
  const figure = row.querySelector<HTMLElement>(`[data-figure="${key}"]`)
  return figure?.dataset['value'] ?? row.dataset[key] ?? ''
}

/** Numbers by size, words by the alphabet, what has no value last. */
function compare(a: string, b: string): number {
  if (!a || !b) return Number(!a) - Number(!b)
  const [x, y] = [Number(a), Number(b)]
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, 'en', { numeric: true, sensitivity: 'base' }) : x - y
}

/**
 * Search and sort of a table the server printed. Targets: search, body, row (`data-search`, and `data-<key>` for each sort key),
 * section (hidden when none of its rows is left), none. A chosen order stays as it is while numbers change, until asked again.
 */
export default class TableController extends Controller<HTMLElement> {
  static override targets = ['search', 'body', 'row', 'section', 'none']
  declare readonly searchTarget: HTMLInputElement
  declare readonly hasSearchTarget: boolean
  declare readonly bodyTarget: HTMLElement
  declare readonly hasBodyTarget: boolean
  declare readonly rowTargets: HTMLElement[]
  declare readonly sectionTargets: HTMLElement[]
  declare readonly noneTargets: HTMLElement[]
  private sorted: { key: string; down: boolean } | undefined
  private readonly morph = (event: Event): void => this.beforeMorph(event as TurboBeforeMorphElementEvent)
  private readonly morphed = (): void => this.filter()

  override connect(): void {
    this.element.addEventListener('turbo:before-morph-element', this.morph)
    this.element.addEventListener('turbo:morph-element', this.morphed)
    this.filter()
  }

  override disconnect(): void {
    this.element.removeEventListener('turbo:before-morph-element', this.morph)
    this.element.removeEventListener('turbo:morph-element', this.morphed)
  }

  rowTargetConnected(row: HTMLElement): void {
    row.hidden = !this.matches(row)
  }

  filter(): void {
    for (const row of this.rowTargets) {
      const hidden = !this.matches(row)
      if (row.hidden !== hidden) row.hidden = hidden
    }
    for (const section of this.sectionTargets) section.hidden = !section.querySelector('[data-table-target~="row"]:not([hidden])')
    const nothing = this.rowTargets.length > 0 && this.rowTargets.every((row) => row.hidden)
    for (const none of this.noneTargets) none.hidden = !nothing
  }

  sort(event: Event & { params: { key?: string } }): void {
    const { key } = event.params
    if (!key || !this.hasBodyTarget) return
    // Words begin at A, numbers at the largest: that is what one looks for.
    const numbers = this.rowTargets.some((row) => worth(row, key) !== '' && !Number.isNaN(Number(worth(row, key))))
    this.sorted = { key, down: this.sorted?.key === key ? !this.sorted.down : numbers }
    this.bodyTarget.append(...[...this.rowTargets].sort((a, b) => this.order(a, b)))
    this.mark(this.element)
  }

  private order(a: HTMLElement, b: HTMLElement): number {
    if (!this.sorted) return 0
    const { key, down } = this.sorted
    const [x, y] = [worth(a, key), worth(b, key)]
    return x && y && down ? compare(y, x) : compare(x, y)
  }

  private matches(row: HTMLElement): boolean {
    const wanted = this.hasSearchTarget ? this.searchTarget.value.toLowerCase().split(/\s+/).filter(Boolean) : []
    const text = (row.dataset['search'] ?? row.textContent).toLowerCase()
    return wanted.every((word) => text.includes(word))
  }

  private mark(root: Element): void {
    for (const button of root.querySelectorAll<HTMLElement>('[data-table-key-param]')) {
      const header = button.closest('th')
      const { sorted } = this
      if (sorted && button.dataset['tableKeyParam'] === sorted.key)
        header?.setAttribute('aria-sort', sorted.down ? 'descending' : 'ascending')
      else header?.removeAttribute('aria-sort')
    }
  }

  // What is about to be taken over from the server gets the reader's search and order first, so that nothing moves twice.
  private beforeMorph(event: TurboBeforeMorphElementEvent): void {
    const next = event.detail.newElement as HTMLElement | undefined
    if (!next) return
    if (event.target === this.element) this.mark(next)
    else if (this.hasBodyTarget && event.target === this.bodyTarget) this.arrange(next)
    else if (event.target instanceof HTMLElement && this.rowTargets.includes(event.target)) next.hidden = !this.matches(next)
  }

  private arrange(next: HTMLElement): void {
    if (!this.sorted) return
    const now = new Map([...this.bodyTarget.children].map((row, index) => [row.id, index]))
    const rows = [...next.children] as HTMLElement[]
    const known = rows.filter((row) => now.has(row.id)).sort((a, b) => (now.get(a.id) ?? 0) - (now.get(b.id) ?? 0))
    for (const row of rows.filter((one) => !now.has(one.id))) {
      const before = known.findIndex((one) => this.order(row, one) < 0)
      known.splice(before < 0 ? known.length : before, 0, row)
    }
    next.append(...known)
  }
}
