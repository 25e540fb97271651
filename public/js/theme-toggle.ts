import { Controller } from '@hotwired/stimulus'
import { showToast } from './toast'

type Theme = 'auto' | 'light' | 'dark'
const WORDS: Record<Theme, string> = { auto: 'as the system', light: 'light', dark: 'dark' }

const system = (): Theme => (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')

/** The first press always changes what is seen; one that gives what the system has anyway leads back to following it. */
function next(theme: Theme): Theme {
  if (theme === 'auto') return system() === 'dark' ? 'light' : 'dark'
  return theme === system() ? 'auto' : system()
}

function own(): Theme {
  try {
    const kept = localStorage.getItem('oc-theme')
    if (kept === 'light' || kept === 'dark') return kept
  } catch {
    // Closed storage: the choice lasts as long as the page.
  }
  return 'auto'
}

function keep(theme: Theme): void {
  try {
    if (theme === 'auto') localStorage.removeItem('oc-theme')
    else localStorage.setItem('oc-theme', theme)
  } catch {
    // See above.
  }
}

/** The button that goes round light, dark and as the system. Kept in this browser, and in the account of who is signed in. */
export default class ThemeController extends Controller<HTMLElement> {
  static override values = { save: { type: String, default: '/profile/theme' } }
  declare readonly saveValue: string
  private readonly relabel = (): void => this.label()

  override connect(): void {
    this.label()
    document.addEventListener('oc:theme-chosen', this.relabel)
  }

  override disconnect(): void {
    document.removeEventListener('oc:theme-chosen', this.relabel)
  }

  async toggle(event: Event): Promise<void> {
    event.preventDefault()
    const theme = next(this.current)
    document.documentElement.dataset['theme'] = theme
    keep(theme)
    document.dispatchEvent(new CustomEvent('oc:theme-chosen'))
    // Only pages of somebody signed in say a time zone.
    if (document.documentElement.hasAttribute('data-timezone')) await this.save(theme)
  }

  private get current(): Theme {
    const account = document.documentElement.dataset['theme']
    return account === 'light' || account === 'dark' ? account : own()
  }

  private label(): void {
    const words = `Theme: ${WORDS[this.current]}. Change to ${WORDS[next(this.current)]}`
    this.element.setAttribute('aria-label', words)
    this.element.title = words
  }

  private async save(theme: Theme): Promise<void> {
    const answer = await fetch(this.saveValue, {
      method: 'POST',
      body: new URLSearchParams({ theme }),
      headers: { accept: 'application/json' },
      redirect: 'manual',
    }).catch(() => undefined)
    // A redirect comes back opaque; it means the form was taken.
    if (!answer?.ok && answer?.type !== 'opaqueredirect') showToast('The theme holds in this browser only: it could not be saved', 'warn')
  }
}
