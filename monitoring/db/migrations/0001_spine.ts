import { sql, type Kysely } from 'kysely'
import type { ColumnTypes, Dialect } from '../dialect'

export async function up(db: Kysely<unknown>, { text, moment, whole, real }: ColumnTypes, dialect: Dialect): Promise<void> {
  const { schema } = db
  const isSqlite = dialect.name === 'sqlite'

  await schema
    .createTable('migrations')
    .addColumn('name', text, (column) => column.primaryKey().notNull())
    .addColumn('applied_at', moment, (column) => column.notNull())
    .execute()

  // Append-only: numbers are never used again, also after the newest rows were pruned.
  await sql`create table changes (
    seq ${sql.raw(dialect.counter)}, org_id ${sql.raw(text)} not null, topic ${sql.raw(text)} not null,
    subject ${sql.raw(text)} not null, at ${sql.raw(moment)} not null)`.execute(db)

  await schema
    .createTable('organisations')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('name', text, (column) => column.notNull())
    .addColumn('created_at', moment, (column) => column.notNull())
    .execute()

  await schema
    .createTable('users')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('username', text, (column) => column.notNull())
    // The name as it is compared: normalised in JavaScript, the same on both databases.
    .addColumn('username_key', text, (column) => column.notNull().unique())
    .addColumn('password_hash', text, (column) => column.notNull())
    .addColumn('theme', text, (column) => column.notNull())
    .addColumn('timezone', text)
    .addColumn('created_at', moment, (column) => column.notNull())
    .addColumn('password_changed_at', moment, (column) => column.notNull())
    .addColumn('disabled_at', moment)
    // May administer the installation itself, apart from any organisation.
    .addColumn('instance_admin_at', moment)
    .execute()

  await schema
    .createTable('memberships')
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('user_id', text, (column) => column.notNull().references('users.id'))
    .addColumn('role', text, (column) => column.notNull())
    .addColumn('created_at', moment, (column) => column.notNull())
    .addPrimaryKeyConstraint('memberships_pk', ['org_id', 'user_id'])
    .execute()
  await schema.createIndex('memberships_user').on('memberships').column('user_id').execute()

  await schema
    .createTable('sessions')
    // The SHA-256 of the cookie's id: who reads the database cannot sign in with it.
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('user_id', text, (column) => column.references('users.id'))
    .addColumn('data', text, (column) => column.notNull())
    .addColumn('address', text)
    .addColumn('device', text)
    .addColumn('created_at', moment, (column) => column.notNull())
    .addColumn('seen_at', moment, (column) => column.notNull())
    .addColumn('expires_at', moment, (column) => column.notNull())
    .execute()
  await schema.createIndex('sessions_user').on('sessions').column('user_id').execute()
  await schema.createIndex('sessions_expiry').on('sessions').column('expires_at').execute()

  await schema
    .createTable('audit')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('org_id', text, (column) => column.notNull())
    .addColumn('at', moment, (column) => column.notNull())
    .addColumn('actor_kind', text, (column) => column.notNull())
    .addColumn('actor_id', text, (column) => column.notNull())
    .addColumn('actor_name', text, (column) => column.notNull())
    .addColumn('address', text)
    .addColumn('action', text, (column) => column.notNull())
    .addColumn('subject', text, (column) => column.notNull())
    .addColumn('data', text)
    .execute()
  await schema.createIndex('audit_time').on('audit').columns(['org_id', 'at', 'id']).execute()

  await sql`create table events (
    seq ${sql.raw(dialect.counter)}, id ${sql.raw(text)} not null, org_id ${sql.raw(text)} not null, host ${sql.raw(text)},
    at ${sql.raw(moment)} not null, received_at ${sql.raw(moment)} not null, type ${sql.raw(text)} not null, source ${sql.raw(text)} not null,
    subject ${sql.raw(text)}, severity ${sql.raw(text)} not null, data ${sql.raw(text)})`.execute(db)
  // A repeat of an id is the same event: the reporter may send it again without harm.
  await schema.createIndex('events_id').unique().on('events').columns(['org_id', 'id']).execute()
  for (const filter of [[], ['type'], ['source'], ['subject'], ['severity']])
    await schema
      .createIndex(['events', filter[0] ?? 'time'].join('_'))
      .on('events')
      .columns(['org_id', ...filter, 'at', 'seq'])
      .execute()

  await schema
    .createTable('hosts')
    .addColumn('name', text, (column) => column.notNull())
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('facts', text, (column) => column.notNull())
    .addColumn('seen_at', moment, (column) => column.notNull())
    .addPrimaryKeyConstraint('hosts_pk', ['org_id', 'name'])
    .execute()

  // One row per series, span length and span start: minute, quarter of an hour, day (in the organisation's zone).
  await sql`create table metrics (
    org_id ${sql.raw(text)} not null, host ${sql.raw(text)} not null, name ${sql.raw(text)} not null, subject ${sql.raw(text)} not null,
    step ${sql.raw(whole)} not null, at ${sql.raw(moment)} not null, count ${sql.raw(whole)} not null,
    sum ${sql.raw(real)} not null, min ${sql.raw(real)} not null, max ${sql.raw(real)} not null, last ${sql.raw(real)} not null,
    primary key (org_id, host, name, step, at, subject))${sql.raw(isSqlite ? ' without rowid' : '')}`.execute(db)
  await schema.createIndex('metrics_age').on('metrics').columns(['step', 'at']).execute()

  await schema
    .createTable('processes')
    .addColumn('id', text, (column) => column.notNull())
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('host', text, (column) => column.notNull())
    .addColumn('pm_id', whole, (column) => column.notNull())
    .addColumn('name', text, (column) => column.notNull())
    .addColumn('status', text, (column) => column.notNull())
    .addColumn('mode', text, (column) => column.notNull())
    .addColumn('pid', whole)
    .addColumn('cpu', real)
    .addColumn('memory', whole)
    .addColumn('port', whole)
    .addColumn('restarts', whole, (column) => column.notNull())
    .addColumn('started_at', moment)
    .addColumn('seen_at', moment, (column) => column.notNull())
    .addPrimaryKeyConstraint('processes_pk', ['org_id', 'id'])
    .execute()

  // Single facts of the installation, each with its time: a row that can only be inserted once decides a race.
  await schema
    .createTable('facts')
    .addColumn('name', text, (column) => column.primaryKey().notNull())
    .addColumn('value', text, (column) => column.notNull())
    .addColumn('at', moment, (column) => column.notNull())
    .execute()
}
