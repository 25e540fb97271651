/** The props of every view, merged in by the route file that renders it: `'feature/name': props`. */
export interface Views {
  /** The page around every other one when somebody is signed in. */
  'shared/shell': Shell
  /** The page around sign-in, claim and errors when nobody is. */
  'shared/plain': Plain
  'shared/error': { status: number; title: string; detail: string; requestId: string | null; retryAfter: number | null }
  'shared/_health': { health: Health }
  /** How old a live part is, and who measures it. `at` is null until the first time. */
  'shared/_age': { id: string; at: number | null; beat: number; source: string }
}

export type State = 'ok' | 'warn' | 'err' | 'run' | 'idle'

export interface Health {
  state: State
  word: string
  count: number
}

export interface NavItem {
  label: string
  href: string
  icon: string
  current: boolean
  /** Also in the phone's bottom bar. */
  tab: boolean
}

export interface Plain {
  title: string
  body: string
  assets: Readonly<Record<string, string>>
  theme: 'auto' | 'light' | 'dark'
}

export interface Shell extends Plain {
  /** Whether the page has the dialog in which questions open. */
  dialog: boolean
  path: string
  user: { id: string; name: string; initials: string; role: string }
  /** null while there is only one. */
  organisation: { current: string; others: readonly { id: string; name: string }[] } | null
  nav: { label: string; items: NavItem[] }[]
  /** null: not theirs to see. */
  health: Health | null
  timezone: string
  /** Short: "IST". */
  zone: string
  now: number
  /** Which console this is: "vm-1 · port 8080". */
  instance: string
  live: { topics: string[]; since: number } | null
  flash: { kind: 'ok' | 'warn' | 'err'; text: string } | null
}
