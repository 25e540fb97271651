import type { ReadRow } from './queries'

/** An entry of the trail as it is read: `data` is what JSON said. */
export interface AuditRow extends Omit<ReadRow, 'data'> {
  readonly data: Readonly<Record<string, unknown>> | null
}

/** An entry in words: "alice · changed the role of · bob". */
export interface Entry {
  readonly id: string
  readonly at: number
  readonly actor: { readonly id: string; readonly name: string; readonly kind: 'user' | 'system'; readonly key: string | null }
  readonly address: string | null
  readonly action: string
  readonly words: string
  /** Empty where the words say all. */
  readonly subject: string
  readonly subject_name: string | null
  readonly refused: boolean
  readonly changes: readonly { field: string; before: string | null; after: string | null }[]
  readonly details: readonly { name: string; value: string }[]
  readonly no: number | null
  readonly hash: string | null
}

type Table = Readonly<Record<string, string>>

/** What somebody did to a subject, whose name follows. */
const phrases: Table = {
  'access.refused': 'was refused at',
  'checks.change': 'changed the check',
  'checks.clone': 'copied a check as',
  'checks.create': 'made the check',
  'checks.delete': 'deleted the check',
  'checks.pause': 'paused the check',
  'checks.resume': 'resumed the check',
  'checks.run': 'ran the check',
  'checks.test': 'tested the check',
  'checks.unset': 'took the configuration from the check',
  'console.configured': 'made the first account,',
  'console.tidy': 'gave unused space back of the',
  'incidents.acknowledge': 'looks after the incident',
  'incidents.note': 'wrote a note on the incident',
  'invites.make': 'made an invitation for',
  'invites.refused': 'was refused with the invitation',
  'invites.withdraw': 'withdrew the invitation of',
  'keys.make': 'made the key',
  'keys.make.refused': 'was refused to make a key for',
  'keys.refused': 'was refused with the key',
  'keys.revoke': 'revoked the key',
  'keys.rotate': 'replaced the key',
  'keys.used': 'used the key',
  'maintenance.cancel': 'cancelled the maintenance',
  'maintenance.change': 'changed the maintenance',
  'maintenance.plan': 'planned the maintenance',
  'organisations.join': 'joined the organisation',
  'organisations.make': 'made the organisation',
  'organisations.rename': 'renamed the organisation',
  'organisations.switch': 'went on in the organisation',
  'password.reset': 'set a new password by a link for',
  'processes.environment': 'looked at the environment of',
  'processes.reload': 'reloaded',
  'processes.restart': 'restarted',
  'processes.start': 'started',
  'processes.stop': 'stopped',
  'resets.make': 'made a link to reset the password of',
  'resets.refused': 'was refused with a link to reset the password of',
  'roles.change': 'changed the role',
  'roles.delete': 'deleted the role',
  'roles.make': 'made the role',
  'session.refused': 'was refused to sign in as',
  'sessions.end': 'ended sessions of',
  'status.change': 'changed the status page',
  'status.publish': 'published the status page',
  'status.unpublish': 'took back the status page',
  'snapshots.delete': 'deleted the snapshot',
  'snapshots.take': 'took the snapshot',
  'users.create': 'made the account',
  'users.disable': 'disabled the account of',
  'users.enable': 'enabled the account of',
  'users.instance_admin': 'changed whether the installation is administered by',
  'users.remove': 'removed from the organisation',
  'users.role': 'changed the role of',
}

/** What says all by itself: the subject is whoever did it, or the trail. */
const sentences: Table = {
  'access.more.refused': 'was refused more often in this minute than is written down one by one',
  'audit.export': 'exported the audit trail',
  'audit.prune': 'removed old entries from the audit trail',
  'audit.secret': 'began to seal the audit trail with another SERVER_SECRET',
  'checks.targets': 'changed which addresses checks may reach',
  'console.claim': 'claimed the console',
  'invites.accept': 'accepted an invitation',
  'organisations.leave': 'left the organisation',
  'password.change': 'changed their password',
  'profile.change': 'changed their profile',
  'profile.devices': 'confirmed their new devices',
  'session.end': 'signed out',
  'session.basic': 'used HTTP Basic',
  'session.start': 'signed in',
}

const said = (table: Table, action: string): string | undefined => (Object.hasOwn(table, action) ? table[action] : undefined)

export const isRefused = (action: string): boolean => action.endsWith('.refused')

const inWords = (action: string): string =>
  said(phrases, action) ?? (isRefused(action) ? `was refused “${action.slice(0, -'.refused'.length)}” on` : `did “${action}” to`)

const record = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}

const isMoment = (name: string): boolean => /(?:^|_)(?:at|until)$/.test(name)

function asText(name: string, value: unknown): string | null {
  if (value === null || value === undefined) return null
  if (typeof value === 'string') return value
  if (typeof value === 'number' && isMoment(name) && Math.abs(value) <= 8.64e15) return new Date(value).toISOString()
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value.join(', ')
  return JSON.stringify(value)
}

const named = (field: string): string => field.replaceAll('_', ' ')

function changesOf(before: unknown, after: unknown): Entry['changes'] {
  const [old, now] = [record(before), record(after)]
  return [...new Set([...Object.keys(old), ...Object.keys(now)])]
    .map((field) => ({ field: named(field), before: asText(field, old[field]), after: asText(field, now[field]) }))
    .filter((change) => change.before !== change.after)
}

/** "accepted boss’s invitation as viewer" */
function acceptance(after: unknown): string | undefined {
  const { role, invited_by } = record(after)
  if (typeof role !== 'string') return undefined
  return `accepted ${typeof invited_by === 'string' ? `${invited_by}’s` : 'an'} invitation as ${role}`
}

/** How an entry is told to people. */
export function present(row: AuditRow): Entry {
  const { before, after, ...rest } = row.data ?? {}
  const sentence = (row.action === 'invites.accept' ? acceptance(after) : undefined) ?? said(sentences, row.action)
  const name = rest['name'] ?? rest['username']
  return {
    id: row.id,
    at: row.at,
    actor: { id: row.actor_id, name: row.actor_name, kind: row.actor_kind === 'user' ? 'user' : 'system', key: row.key_name },
    address: row.address,
    action: row.action,
    words: sentence ?? inWords(row.action),
    subject: sentence === undefined ? row.subject : '',
    subject_name: sentence === undefined ? (row.subject_name ?? (typeof name === 'string' ? name : null)) : null,
    refused: isRefused(row.action),
    changes: changesOf(before, after),
    details: Object.entries(rest).map(([name, value]) => ({ name: named(name), value: asText(name, value) ?? 'nothing' })),
    no: row.no,
    hash: row.hash,
  }
}
