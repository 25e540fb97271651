import { createHmac } from 'node:crypto'
import type { AuditTable } from './queries'

export const hmac = (key: Buffer, text: string): string => createHmac('sha256', key).update(text).digest('hex')

export const keyOf = (serverSecret: string): Buffer => createHmac('sha256', serverSecret).update('audit').digest()

/** Tells one secret from another, and nothing about either. */
export const nameOf = (key: Buffer): string => hmac(key, 'name').slice(0, 16)

/** All that an entry says, as it is when it is written. */
export const contentOf = (row: Omit<AuditTable, 'mac' | 'no' | 'hash'>): readonly (string | number | null)[] => [
  row.id,
  row.org_id,
  row.at,
  row.actor_kind,
  row.actor_id,
  row.actor_name,
  row.key_id,
  row.key_name,
  row.address,
  row.action,
  row.subject,
  row.subject_name,
  row.data,
]

/** By this the console knows an entry as its own: whoever writes the database by hand has not the secret for it. */
export const macOf = (key: Buffer, row: Omit<AuditTable, 'mac' | 'no' | 'hash'>): string =>
  hmac(key, `entry ${JSON.stringify(contentOf(row))}`)
