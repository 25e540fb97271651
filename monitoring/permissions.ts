/** From the least to the most powerful; whoever may do more may do all that the ones before may. */
export const roles = ['viewer', 'operator', 'admin'] as const
export type Role = (typeof roles)[number]

/** Every action of the product and the least role that may take it. Routes name one; policies and pages ask for it. */
export const permissions = {
  'health.read': 'viewer',
  'metrics.read': 'viewer',
  'processes.read': 'viewer',
  'processes.restart': 'operator',
  'processes.reload': 'operator',
  'processes.start': 'operator',
  'processes.stop': 'operator',
  'events.read': 'viewer',
  'events.report': 'operator',
  'settings.read': 'admin',
} as const satisfies Record<string, Role>

export type Action = keyof typeof permissions

export const may = (actor: { readonly role: Role }, action: Action): boolean =>
  roles.indexOf(actor.role) >= roles.indexOf(permissions[action])
