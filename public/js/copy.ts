import { Controller } from '@hotwired/stimulus'

/** Deprecated, and still the only way where there is no clipboard, as over plain http. */
interface Older {
  execCommand(command: 'copy'): boolean
}

/** A button that copies a field, and says so; where nothing copies, the field stays selected for the keys that do it. */
export default class CopyController extends Controller<HTMLElement> {
  static override targets = ['text', 'said']
  declare readonly textTarget: HTMLTextAreaElement
  declare readonly saidTarget: HTMLElement

  select(): void {
    this.textTarget.select()
  }

  async copy(): Promise<void> {
    this.saidTarget.textContent = ''
    const done = await this.copied()
    this.saidTarget.textContent = done ? 'Copied.' : 'It is selected: copy it with Ctrl C or ⌘ C, or from its menu.'
  }

  private async copied(): Promise<boolean> {
    try {
      await navigator.clipboard.writeText(this.textTarget.value)
      return true
    } catch {
      this.textTarget.focus()
      this.textTarget.select()
      return (document as unknown as Older).execCommand('copy')
    }
  }
}
