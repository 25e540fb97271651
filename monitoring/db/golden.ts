import { sql } from 'kysely'
import { openLog } from '../log'
import { migrate } from './migrate'
import { openStore } from './open'

/** The schema as text, the same for the same migrations: what `tests/golden` keeps and `npm run check` compares. */
export async function dumpSchema(target: { dataDir: string } | { databaseUrl: string }): Promise<string> {
  const store = await openStore({
    dataDir: 'dataDir' in target ? target.dataDir : '',
    databaseUrl: 'databaseUrl' in target ? target.databaseUrl : null,
    log: openLog('silent'),
  })
  try {
    await migrate(store, () => 0)
    const { rows } = await (store.dialect.name === 'sqlite' ? sqliteSchema : postgresSchema).execute(store.db)
    return rows.map(({ line }) => `${line.replace(/\s+/g, ' ').trim()};\n`).join('')
  } finally {
    await store.close()
  }
}

const sqliteSchema = sql<{ line: string }>`
  select sql as line from sqlite_master where sql is not null and name not like 'sqlite_%' order by tbl_name, type desc, name`

const postgresSchema = sql<{ line: string }>`
  select line from (
    select table_name as name, 0 as rank, 'create table ' || table_name || ' (' || string_agg(
      column_name || ' ' || data_type || case when is_nullable = 'NO' then ' not null' else '' end || case when is_identity = 'YES' then ' identity' else '' end,
      ', ' order by ordinal_position) || ')' as line
    from information_schema.columns where table_schema = current_schema() group by table_name
    union all
    select conrelid::regclass::text, 1, 'alter table ' || conrelid::regclass || ' add ' || pg_get_constraintdef(oid)
    from pg_constraint where connamespace = current_schema()::regnamespace and contype <> 'n'
    union all
    select tgrelid::regclass::text, 3, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
    union all
    select 'functions', 0, pg_get_functiondef(oid) from pg_proc where pronamespace = current_schema()::regnamespace and prokind = 'f'
    union all
    select tablename, 2, replace(indexdef, schemaname || '.', '') from pg_indexes where schemaname = current_schema()
  ) as lines order by name collate "C", rank, line collate "C"`
