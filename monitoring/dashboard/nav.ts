import type { NavEntry } from './render'

/** The pages that exist, in the order of the sidebar. */
export const nav: readonly NavEntry[] = [
  { group: 'Watch', label: 'Overview', href: '/', icon: 'activity', permission: 'health.read', tab: true },
  { group: 'Manage', label: 'People', href: '/users', icon: 'people', permission: 'users.read', tab: false },
  { group: 'Manage', label: 'API keys', href: '/keys', icon: 'key', permission: 'keys.make', tab: false },
  { group: 'Manage', label: 'Audit', href: '/audit', icon: 'journal-text', permission: 'audit.read', tab: true },
  { group: 'Manage', label: 'Settings', href: '/settings', icon: 'sliders', permission: 'settings.read', tab: false },
  { group: 'Manage', label: 'Profile', href: '/profile', icon: 'person', permission: null, tab: true },
  { group: 'Manage', label: 'API', href: '/docs', icon: 'braces', permission: null, tab: false },
]
