import { Controller } from '@hotwired/stimulus'

/** On a form: its button is busy from the press until the answer, and a second press does nothing. */
export default class OnceController extends Controller<HTMLFormElement> {
  private busy: HTMLElement | undefined
  private readonly begin = (event: SubmitEvent): void => this.start(event)
  private readonly end = (): void => this.release()

  override connect(): void {
    // In the capture phase, so that the second press is stopped before Turbo sees it.
    this.element.addEventListener('submit', this.begin, true)
    this.element.addEventListener('turbo:submit-end', this.end)
    document.addEventListener('turbo:before-cache', this.end)
    window.addEventListener('pageshow', this.end)
  }

  override disconnect(): void {
    this.release()
    this.element.removeEventListener('submit', this.begin, true)
    this.element.removeEventListener('turbo:submit-end', this.end)
    document.removeEventListener('turbo:before-cache', this.end)
    window.removeEventListener('pageshow', this.end)
  }

  private start(event: SubmitEvent): void {
    if (this.busy) {
      event.preventDefault()
      event.stopImmediatePropagation()
      return
    }
    this.busy = event.submitter ?? this.element.querySelector<HTMLElement>('[type="submit"], button:not([type])') ?? this.element
    this.busy.setAttribute('aria-busy', 'true')
  }

  private release(): void {
    this.busy?.removeAttribute('aria-busy')
    this.busy = undefined
  }
}
