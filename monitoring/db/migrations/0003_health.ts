import { sql, type Kysely } from 'kysely'
import type { ColumnTypes, Dialect } from '../dialect'

/** Checks with their incidents, maintenance windows, snapshots of the machine, a public status page, and durations by how often they occur. */
export async function up(db: Kysely<unknown>, { text, moment, whole, real }: ColumnTypes, dialect: Dialect): Promise<void> {
  const { schema } = db

  // Durations in logarithmic buckets, as JSON, so that percentiles of any span are right. Null for what has none.
  await schema.alterTable('metrics').addColumn('histogram', text).execute()
  // A series lies in one piece: one check of five hundred is read without the others.
  const order = sql`primary key (org_id, host, name, subject, step, at)`
  if (dialect.name === 'postgres') await sql`alter table metrics drop constraint metrics_pkey, add ${order}`.execute(db)
  else {
    await sql`create table metrics_by_subject (
      org_id text not null, host text not null, name text not null, subject text not null, step integer not null, at integer not null,
      count integer not null, sum real not null, min real not null, max real not null, last real not null, histogram text,
      ${order}) without rowid`.execute(db)
    await sql`insert into metrics_by_subject
      select org_id, host, name, subject, step, at, count, sum, min, max, last, histogram from metrics
      order by org_id, host, name, subject, step, at`.execute(db)
    await sql`drop table metrics`.execute(db)
    await sql`alter table metrics_by_subject rename to metrics`.execute(db)
    await schema.createIndex('metrics_age').on('metrics').columns(['step', 'at']).execute()
  }

  await schema
    .createTable('checks')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('name', text, (column) => column.notNull())
    .addColumn('name_key', text, (column) => column.notNull())
    .addColumn('kind', text, (column) => column.notNull())
    // What is checked, and how, as JSON. Passwords and tokens are apart, encrypted.
    .addColumn('spec', text, (column) => column.notNull())
    .addColumn('secrets', text)
    // Which of the dependencies that every installation has; null for the others.
    .addColumn('builtin', text)
    .addColumn('tags', text, (column) => column.notNull())
    .addColumn('interval_s', whole, (column) => column.notNull())
    .addColumn('timeout_ms', whole, (column) => column.notNull())
    // How often it may fail before it is down, and how long after a failure it is tried again.
    .addColumn('retries', whole, (column) => column.notNull())
    .addColumn('retry_s', whole, (column) => column.notNull())
    // Of the secret in a heartbeat's address.
    .addColumn('token_hash', text, (column) => column.unique())
    .addColumn('state', text, (column) => column.notNull())
    .addColumn('state_at', moment, (column) => column.notNull())
    .addColumn('failures', whole, (column) => column.notNull())
    .addColumn('message', text)
    .addColumn('duration', real)
    .addColumn('certificate_at', moment)
    .addColumn('checked_at', moment)
    .addColumn('paused_at', moment)
    .addColumn('created_at', moment, (column) => column.notNull())
    .addColumn('changed_at', moment, (column) => column.notNull())
    .execute()
  await schema.createIndex('checks_name').unique().on('checks').columns(['org_id', 'name_key']).execute()
  await schema
    .createIndex('checks_builtin')
    .unique()
    .on('checks')
    .columns(['org_id', 'builtin'])
    .where(sql.ref('builtin'), 'is not', null)
    .execute()

  await schema
    .createTable('incidents')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    // Stays when the check is deleted: the history is worth more than its subject.
    .addColumn('check_id', text, (column) => column.notNull())
    .addColumn('title', text, (column) => column.notNull())
    .addColumn('cause', text, (column) => column.notNull())
    .addColumn('started_at', moment, (column) => column.notNull())
    .addColumn('ended_at', moment)
    // How it ended: recovered, paused, deleted, maintenance.
    .addColumn('ended_by', text)
    .addColumn('acknowledged_at', moment)
    .addColumn('acknowledged_by', text)
    .execute()
  await schema.createIndex('incidents_time').on('incidents').columns(['org_id', 'started_at', 'id']).execute()
  await schema.createIndex('incidents_check').on('incidents').columns(['org_id', 'check_id', 'started_at']).execute()
  // One at a time for each check, also when two consoles see it fail.
  await schema
    .createIndex('incidents_open')
    .unique()
    .on('incidents')
    .columns(['org_id', 'check_id'])
    .where(sql.ref('ended_at'), 'is', null)
    .execute()

  await schema
    .createTable('incident_notes')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('incident_id', text, (column) => column.notNull().references('incidents.id'))
    .addColumn('at', moment, (column) => column.notNull())
    .addColumn('author_id', text, (column) => column.notNull())
    .addColumn('author_name', text, (column) => column.notNull())
    .addColumn('text', text, (column) => column.notNull())
    // Also for people without a sign-in, on the status page.
    .addColumn('published_at', moment)
    .execute()
  await schema.createIndex('incident_notes_incident').on('incident_notes').columns(['incident_id', 'at']).execute()

  await schema
    .createTable('maintenances')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('name', text, (column) => column.notNull())
    .addColumn('starts_at', moment, (column) => column.notNull())
    .addColumn('ends_at', moment, (column) => column.notNull())
    // never, daily or weekly: at the same time of day in the zone.
    .addColumn('repeats', text, (column) => column.notNull())
    .addColumn('timezone', text, (column) => column.notNull())
    // JSON: {"all":true} or {"checks":[…],"tags":[…]}
    .addColumn('covers', text, (column) => column.notNull())
    .addColumn('created_at', moment, (column) => column.notNull())
    .addColumn('cancelled_at', moment)
    .execute()
  await schema.createIndex('maintenances_time').on('maintenances').columns(['org_id', 'starts_at']).execute()

  await schema
    .createTable('snapshots')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('host', text, (column) => column.notNull())
    .addColumn('at', moment, (column) => column.notNull())
    .addColumn('incident_id', text)
    // Who asked for it; null when the console took it by itself.
    .addColumn('taken_by', text)
    .addColumn('bytes', whole, (column) => column.notNull())
    .addColumn('data', text, (column) => column.notNull())
    .execute()
  await schema.createIndex('snapshots_time').on('snapshots').columns(['org_id', 'at', 'id']).execute()
  await schema
    .createIndex('snapshots_incident')
    .on('snapshots')
    .columns(['incident_id'])
    .where(sql.ref('incident_id'), 'is not', null)
    .execute()

  await schema
    .createTable('status_pages')
    .addColumn('org_id', text, (column) => column.primaryKey().notNull().references('organisations.id'))
    .addColumn('title', text, (column) => column.notNull())
    .addColumn('intro', text, (column) => column.notNull())
    // JSON: [{"check":"…","name":"…"}] in the order in which people see them.
    .addColumn('checks', text, (column) => column.notNull())
    .addColumn('published_at', moment)
    .addColumn('changed_at', moment, (column) => column.notNull())
    .execute()

  // Retention deletes the oldest first, of whatever organisation.
  await schema.createIndex('events_age').on('events').column('received_at').execute()

  // What a process was started from, for its page.
  await schema.alterTable('processes').addColumn('details', text).execute()
}
