import { Controller } from '@hotwired/stimulus'

/** Boxes in rows: how many are ticked, and one that ticks all. Targets: box, all, said. */
export default class BulkController extends Controller<HTMLElement> {
  static override targets = ['box', 'all', 'said']
  declare readonly boxTargets: HTMLInputElement[]
  declare readonly allTargets: HTMLInputElement[]
  declare readonly saidTargets: HTMLElement[]

  override connect(): void {
    this.count()
  }

  boxTargetConnected(): void {
    this.count()
  }

  boxTargetDisconnected(): void {
    this.count()
  }

  all(event: Event): void {
    if (!(event.target instanceof HTMLInputElement)) return
    for (const box of this.boxTargets) box.checked = event.target.checked
    this.count()
  }

  count(): void {
    const ticked = this.boxTargets.filter((box) => box.checked).length
    for (const said of this.saidTargets) said.textContent = ticked === 0 ? 'With the selected:' : `${ticked} selected`
    for (const all of this.allTargets) {
      all.checked = ticked > 0 && ticked === this.boxTargets.length
      all.indeterminate = ticked > 0 && ticked < this.boxTargets.length
    }
  }
}
