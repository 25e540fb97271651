import { home, type OrgId } from '../context'
import { may, type Action, type Rights } from '../permissions'

/** A page that the sidebar, the bottom bar and the palette lead to. */
export interface NavEntry {
  readonly group: 'Watch' | 'Act' | 'Manage'
  readonly label: string
  readonly href: string
  readonly icon: string
  readonly permission: Action | null
  readonly tab: boolean
  /** Only in the organisation that owns the machine. */
  readonly home?: true
}

/** The pages that exist, in the order of the sidebar. */
export const nav: readonly NavEntry[] = [
  { group: 'Watch', label: 'Overview', href: '/', icon: 'activity', permission: 'health.read', tab: true },
  { group: 'Watch', label: 'Health', href: '/health', icon: 'graph-up', permission: 'metrics.read', tab: false },
  { group: 'Watch', label: 'Checks', href: '/checks', icon: 'broadcast-pin', permission: 'checks.read', tab: true },
  { group: 'Watch', label: 'Incidents', href: '/incidents', icon: 'exclamation-octagon', permission: 'incidents.read', tab: true },
  { group: 'Watch', label: 'Processes', href: '/processes', icon: 'boxes', permission: 'processes.read', tab: false, home: true },
  { group: 'Watch', label: 'System', href: '/system', icon: 'pc-display-horizontal', permission: 'system.read', tab: false, home: true },
  { group: 'Manage', label: 'People', href: '/users', icon: 'people', permission: 'users.read', tab: false },
  { group: 'Manage', label: 'Status page', href: '/status-page', icon: 'globe2', permission: 'status.publish', tab: false },
  { group: 'Manage', label: 'API keys', href: '/keys', icon: 'key', permission: 'keys.make', tab: false },
  { group: 'Manage', label: 'Audit', href: '/audit', icon: 'journal-text', permission: 'audit.read', tab: false },
  { group: 'Manage', label: 'Console', href: '/console', icon: 'speedometer2', permission: 'console.read', tab: false, home: true },
  { group: 'Manage', label: 'Settings', href: '/settings', icon: 'sliders', permission: 'settings.read', tab: false, home: true },
  { group: 'Manage', label: 'Profile', href: '/profile', icon: 'person', permission: null, tab: false },
  { group: 'Manage', label: 'API', href: '/docs', icon: 'braces', permission: null, tab: false },
]

/** Those that lead whoever has these rights somewhere, there. */
export const openTo = (entries: readonly NavEntry[], rights: Rights, org: OrgId): NavEntry[] =>
  entries.filter((entry) => (entry.permission === null || may({ rights }, entry.permission)) && (!entry.home || org === home))
