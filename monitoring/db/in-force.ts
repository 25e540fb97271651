import { sql, type RawBuilder } from 'kysely'

/** That a row of this table, which can be revoked and can expire, still counts. */
export const inForce = (table: string, now: number): RawBuilder<boolean> =>
  sql<boolean>`(${sql.ref(`${table}.revoked_at`)} is null and (${sql.ref(`${table}.expires_at`)} is null or ${sql.ref(`${table}.expires_at`)} > ${now}))`
