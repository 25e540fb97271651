import { sql, type Kysely } from 'kysely'
import type { ColumnTypes, Dialect } from '../dialect'

/** People with roles of their own making, organisations, API keys, and an audit trail that nobody can rewrite unnoticed. */
export async function up(db: Kysely<unknown>, { text, moment, whole }: ColumnTypes, dialect: Dialect): Promise<void> {
  const { schema } = db

  // The name in API keys: it never changes, also when the person takes another name.
  await schema.alterTable('users').addColumn('handle', text).execute()
  const taken = new Set<string>()
  const { rows } = await sql<{ id: string; username_key: string }>`select id, username_key from users order by created_at, id`.execute(db)
  for (const { id, username_key } of rows) {
    const plain =
      username_key
        .replace(/[^a-z0-9._-]+/g, '-')
        .replace(/^-+|-+$/g, '')
        .slice(0, 40) || 'user'
    let handle = plain
    for (let n = 2; taken.has(handle); n++) handle = `${plain}-${n}`
    taken.add(handle)
    await sql`update users set handle = ${handle} where id = ${id}`.execute(db)
  }
  await schema.createIndex('users_handle').unique().on('users').column('handle').execute()
  await schema.alterTable('users').addColumn('seen_at', moment).execute()
  // Notices of new devices before this moment were confirmed.
  await schema.alterTable('users').addColumn('devices_seen_at', moment).execute()

  // Where the person works now, and when the password was typed last.
  await schema.alterTable('sessions').addColumn('org_id', text).execute()
  await schema.alterTable('sessions').addColumn('confirmed_at', moment).execute()

  await schema
    .createTable('roles')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('name', text, (column) => column.notNull())
    .addColumn('name_key', text, (column) => column.notNull())
    .addColumn('actions', text, (column) => column.notNull())
    .addColumn('created_at', moment, (column) => column.notNull())
    .execute()
  await schema.createIndex('roles_name').unique().on('roles').columns(['org_id', 'name_key']).execute()

  await schema
    .createTable('invites')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('token_hash', text, (column) => column.notNull().unique())
    .addColumn('name', text)
    .addColumn('role', text, (column) => column.notNull())
    .addColumn('created_by', text, (column) => column.notNull())
    .addColumn('created_at', moment, (column) => column.notNull())
    .addColumn('expires_at', moment, (column) => column.notNull())
    .addColumn('used_at', moment)
    .addColumn('used_by', text)
    .addColumn('revoked_at', moment)
    .execute()
  await schema.createIndex('invites_time').on('invites').columns(['org_id', 'created_at']).execute()

  await schema
    .createTable('resets')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('user_id', text, (column) => column.notNull().references('users.id'))
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('created_by', text, (column) => column.notNull())
    .addColumn('token_hash', text, (column) => column.notNull().unique())
    .addColumn('created_at', moment, (column) => column.notNull())
    .addColumn('expires_at', moment, (column) => column.notNull())
    .addColumn('used_at', moment)
    .execute()
  await schema.createIndex('resets_user').on('resets').column('user_id').execute()

  await schema
    .createTable('keys')
    .addColumn('id', text, (column) => column.primaryKey().notNull())
    .addColumn('org_id', text, (column) => column.notNull().references('organisations.id'))
    .addColumn('user_id', text, (column) => column.notNull().references('users.id'))
    // The time in the key: unique per person, so that it finds the row.
    .addColumn('stamp', moment, (column) => column.notNull())
    .addColumn('name', text, (column) => column.notNull())
    .addColumn('role', text, (column) => column.notNull())
    .addColumn('scopes', text)
    .addColumn('addresses', text)
    .addColumn('limit_per_minute', whole)
    .addColumn('created_at', moment, (column) => column.notNull())
    .addColumn('expires_at', moment)
    .addColumn('revoked_at', moment)
    .addColumn('used_at', moment)
    .addColumn('used_address', text)
    .addColumn('replaces', text)
    .execute()
  await schema.createIndex('keys_stamp').unique().on('keys').columns(['user_id', 'stamp']).execute()
  await schema.createIndex('keys_org').on('keys').columns(['org_id', 'created_at']).execute()

  await schema.alterTable('audit').addColumn('key_id', text).execute()
  await schema.alterTable('audit').addColumn('key_name', text).execute()
  await schema.alterTable('audit').addColumn('subject_name', text).execute()
  // By which the console knows what it has written; what is older has none.
  await schema.alterTable('audit').addColumn('mac', text).execute()
  // Its place in the chain and the hash that binds it to all before; both come later, so that writers do not queue for the chain.
  await schema.alterTable('audit').addColumn('no', whole).execute()
  await schema.alterTable('audit').addColumn('hash', text).execute()
  await schema.createIndex('audit_no').unique().on('audit').column('no').execute()
  await sql`create index audit_unsealed on audit (at, id) where hash is null`.execute(db)
  await schema.createIndex('audit_actor').on('audit').columns(['org_id', 'actor_id', 'at', 'id']).execute()
  await schema.createIndex('audit_action').on('audit').columns(['org_id', 'action', 'at', 'id']).execute()
  // Across organisations: a person's sign-ins.
  await schema.createIndex('audit_sign_ins').on('audit').columns(['subject', 'action', 'at', 'id']).execute()
  await schema.createIndex('audit_subject').on('audit').columns(['org_id', 'subject', 'at', 'id']).execute()
  await schema.createIndex('audit_subject_name').on('audit').columns(['org_id', 'subject_name', 'at', 'id']).execute()

  // Append-only: a row comes without a seal, is sealed once, and goes when its time is over; nothing else may happen to it.
  const content = [
    'id',
    'org_id',
    'at',
    'actor_kind',
    'actor_id',
    'actor_name',
    'address',
    'action',
    'subject',
    'data',
    'key_id',
    'key_name',
    'subject_name',
    'mac',
  ]
  const same = dialect.name === 'sqlite' ? 'is' : 'is not distinct from'
  const isNew = 'new.no is null and new.hash is null'
  const isSealing = `old.no is null and old.hash is null and new.no is not null and new.hash is not null and ${content.map((column) => `old.${column} ${same} new.${column}`).join(' and ')}`
  const isOver = `old.no is not null and old.at < coalesce((select at from facts where name = 'audit.kept-from'), 0)`
  if (dialect.name === 'sqlite') {
    const forbid = (name: string, when: string, unless: string) =>
      sql`create trigger ${sql.raw(name)} before ${sql.raw(when)} on audit when not (${sql.raw(unless)})
        begin select raise(abort, 'the audit trail is append-only'); end`.execute(db)
    // "insert or replace" removes the old row without asking the trigger for deletions.
    await forbid('audit_is_not_replaced', 'insert', `${isNew} and not exists (select 1 from audit where id = new.id)`)
    await forbid('audit_is_not_rewritten', 'update', isSealing)
    await forbid('audit_is_not_deleted', 'delete', isOver)
  } else {
    await sql`create function audit_is_append_only() returns trigger language plpgsql as $$
      begin
        if tg_op = 'INSERT' then if ${sql.raw(isNew)} then return new; end if;
        elsif tg_op = 'UPDATE' then if ${sql.raw(isSealing)} then return new; end if;
        elsif tg_op = 'DELETE' then if ${sql.raw(isOver)} then return old; end if;
        end if;
        raise exception 'the audit trail is append-only';
      end $$`.execute(db)
    await sql`create trigger audit_is_append_only before insert or update or delete on audit
      for each row execute function audit_is_append_only()`.execute(db)
    await sql`create trigger audit_is_not_truncated before truncate on audit
      for each statement execute function audit_is_append_only()`.execute(db)
  }
}
