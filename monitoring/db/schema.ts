import type { Generated } from 'kysely'

/** One row per subject that a transaction changed: the truth behind every live page. */
export interface ChangeTable {
  /** In commit order. */
  seq: Generated<number>
  org_id: string
  topic: string
  subject: string
  at: number
}

export interface MigrationTable {
  name: string
  applied_at: number
}

/** The tables. Each feature merges its own into this interface, beside its queries. */
export interface Schema {
  changes: ChangeTable
  migrations: MigrationTable
}
