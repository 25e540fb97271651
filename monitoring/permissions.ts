/** The roles that every organisation has, from the least to the most powerful: whoever may do more may do all that the ones before may. */
export const roles = ['viewer', 'operator', 'admin'] as const
export type Role = (typeof roles)[number]

/** Of the installation itself, apart from any organisation. */
type Least = Role | 'instance admin'

const permission = (least: Least, does: string) => ({ least, does })

/**
 * Every action of the product, the least role that may take it, and what it is in words. Routes name one; policies and pages ask for it;
 * roles of an organisation's own are composed from them. docs/security.md prints this table.
 */
export const permissions = {
  'health.read': permission('viewer', 'See the state of the machine'),
  'metrics.read': permission('viewer', 'Read figures over time'),
  'processes.read': permission('viewer', 'See the processes'),
  'processes.restart': permission('operator', 'Restart a process'),
  'processes.reload': permission('operator', 'Reload a process without a gap'),
  'processes.start': permission('operator', 'Start a process'),
  'processes.stop': permission('operator', 'Stop a process'),
  'processes.logs': permission('operator', 'Read what a process writes'),
  'processes.environment': permission('admin', 'See the environment of a process, secrets masked'),
  'checks.read': permission('viewer', 'See the checks and their history'),
  'checks.run': permission('operator', 'Run a check now, pause and resume it'),
  'checks.change': permission('admin', 'Make, change and delete checks'),
  'incidents.read': permission('viewer', 'See incidents'),
  'incidents.note': permission('operator', 'Acknowledge incidents and write notes'),
  'maintenance.change': permission('operator', 'Plan and cancel maintenance'),
  'status.publish': permission('admin', 'Publish the status page'),
  'system.read': permission('operator', 'See everything that runs on the machine, its ports and mounts'),
  'snapshots.take': permission('operator', 'Take a snapshot of the machine'),
  'console.read': permission('operator', "See the console's own health"),
  'console.clean': permission('admin', 'Free space that the console takes'),
  'events.read': permission('viewer', 'Read events'),
  'events.report': permission('operator', 'Report events'),
  'keys.make': permission('viewer', 'Make API keys that may no more than oneself'),
  'keys.manage': permission('admin', 'See and revoke the API keys of others'),
  'users.read': permission('admin', 'See the people and their sessions'),
  'users.invite': permission('admin', 'Invite people'),
  'users.manage': permission('admin', 'Change roles; disable, reset and remove people; end their sessions'),
  'roles.read': permission('admin', 'See what each role may do'),
  'roles.manage': permission('admin', 'Compose roles from actions'),
  'audit.read': permission('admin', 'Read the audit trail'),
  'audit.export': permission('admin', 'Export the audit trail'),
  'organisations.rename': permission('admin', 'Rename the organisation'),
  'settings.read': permission('admin', 'See the configuration'),
  'checks.targets': permission('instance admin', 'Allow checks of private and loopback addresses'),
  'organisations.manage': permission('instance admin', 'Make organisations, and join any of them'),
  'accounts.manage': permission('instance admin', 'Disable and reset accounts that belong to several organisations'),
} as const satisfies Record<string, { readonly least: Least; readonly does: string }>

export type Action = keyof typeof permissions

export const actions = Object.keys(permissions) as Action[]

export const isAction = (text: string): text is Action => Object.hasOwn(permissions, text)

/** What somebody may do. The same set is the same object with the same `key`, which stands for it where answers are shared. */
export interface Rights {
  readonly key: string
  readonly actions: ReadonlySet<Action>
}

const interned = new Map<string, Rights>()

export function rightsTo(allowed: Iterable<Action>): Rights {
  const set = new Set(allowed)
  const name = actions.filter((action) => set.has(action)).join()
  let rights = interned.get(name)
  if (!rights) interned.set(name, (rights = { key: interned.size.toString(36), actions: set }))
  return rights
}

const ranked: readonly Least[] = [...roles, 'instance admin']

const upTo = (least: Least): Rights =>
  rightsTo(actions.filter((action) => ranked.indexOf(permissions[action].least) <= ranked.indexOf(least)))

/** What a role of every organisation may; none of them may administer the installation. */
export const rightsOf: Readonly<Record<Role, Rights>> = { viewer: upTo('viewer'), operator: upTo('operator'), admin: upTo('admin') }

export const instanceActions: readonly Action[] = actions.filter((action) => permissions[action].least === 'instance admin')

export const isRole = (text: string): text is Role => (roles as readonly string[]).includes(text)

export const may = (who: { readonly rights: Rights }, action: Action): boolean => who.rights.actions.has(action)

/** A request of somebody who is signed in, and may not do it. */
export interface Refusal {
  /** As it was declared: `/users/:id`. */
  readonly path: string
  readonly method: string
  /** What it would have needed, where that is known. */
  readonly permission: string | null
  readonly reason: string | null
}

/** Nobody gives away what they do not have. */
export const covers = (rights: Rights, others: Rights): boolean => [...others.actions].every((action) => rights.actions.has(action))

export const intersection = (one: Rights, other: Rights): Rights => rightsTo([...one.actions].filter((action) => other.actions.has(action)))
