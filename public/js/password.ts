import { Controller } from '@hotwired/stimulus'

/** Show and hide, and a word while Caps Lock is on. Targets input and button; the word is `[data-password-caps]` in `#<input id>-caps`. */
export default class PasswordController extends Controller<HTMLElement> {
  static override targets = ['input', 'button']
  declare readonly inputTarget: HTMLInputElement
  declare readonly buttonTarget: HTMLElement
  declare readonly hasButtonTarget: boolean
  // Kept from the start: when the whole page goes, the target is gone before the controller is.
  private form: HTMLFormElement | null = null
  // A browser keeps what was typed in plain view, and offers to save it, only as a password.
  private readonly hide = (): void => this.show(false)

  override connect(): void {
    this.form = this.inputTarget.form
    this.form?.addEventListener('submit', this.hide, true)
    document.addEventListener('turbo:before-cache', this.hide)
  }

  override disconnect(): void {
    this.form?.removeEventListener('submit', this.hide, true)
    document.removeEventListener('turbo:before-cache', this.hide)
  }

  toggle(): void {
    this.show(this.inputTarget.type === 'password')
    this.inputTarget.focus()
  }

  caps(event: Event): void {
    // What a password manager fills in arrives as plain events.
    this.warn(event instanceof KeyboardEvent && event.getModifierState('CapsLock'))
  }

  calm(): void {
    this.warn(false)
  }

  private show(plain: boolean): void {
    this.inputTarget.type = plain ? 'text' : 'password'
    if (!this.hasButtonTarget) return
    this.buttonTarget.setAttribute('aria-pressed', String(plain))
    this.buttonTarget.setAttribute('aria-label', plain ? 'Hide password' : 'Show password')
  }

  private warn(on: boolean): void {
    const place = document.getElementById(`${this.inputTarget.id}-caps`) ?? this.element
    const hint = place.querySelector<HTMLElement>('[data-password-caps]')
    if (hint?.hidden === on) hint.hidden = !on
  }
}
