import { statSync } from 'node:fs'
import { home, type Context } from '../monitoring/context'
import { Forbidden } from '../monitoring/errors'
import { bytes, duration } from '../monitoring/markup'
import type { Setting } from '../monitoring/config'

export interface SettingGroup {
  title: string
  items: readonly Setting[]
}

const groups: Readonly<Record<string, readonly string[]>> = {
  'Where it listens': ['PORT', 'HOST', 'PUBLIC_URL', 'TRUST_PROXY'],
  'What it keeps': ['DATA_DIR', 'DATABASE_URL', 'AUDIT_RETENTION_DAYS', 'EVENT_RETENTION_DAYS', 'TIMEZONE', 'LOG_LEVEL'],
  'Who may in': [
    'ADMIN_USERNAME',
    'ADMIN_PASSWORD',
    'SESSION_SECRET',
    'SERVER_SECRET',
    'SIGN_IN_RATE_LIMIT',
    'API_RATE_LIMIT',
    'INGEST_RATE_LIMIT',
    'CORS_ORIGINS',
  ],
  'What it watches': ['PM2_HOME', 'CHECK_COMMANDS_FILE'],
}

/** The installation belongs to the organisation that owns the machine. */
export function mayRead(ctx: Context): void {
  if (ctx.org !== home) throw new Forbidden('The settings belong to the organisation that owns this machine.')
}

/** The configuration as it took effect. It is set where the process is started, not here; secrets are never in it. */
export const effective = (ctx: Pick<Context, 'platform'>): SettingGroup[] =>
  Object.entries(groups).map(([title, names]) => ({
    title,
    items: names.flatMap((name) => ctx.platform.config.settings.filter((setting) => setting.name === name)),
  }))

export function facts(ctx: Context): { label: string; value: string }[] {
  const { store, version, startedAt, config } = ctx.platform
  const size = (ending: string) => (store.file ? (statSync(`${store.file}${ending}`, { throwIfNoEntry: false })?.size ?? 0) : 0)
  return [
    { label: 'Version', value: version },
    { label: 'Node.js', value: process.version },
    { label: 'Host', value: config.hostName },
    { label: 'Up for', value: duration(ctx.now() - startedAt) },
    { label: 'Memory of the console', value: bytes(process.memoryUsage.rss()) },
    { label: 'Database', value: store.file ? `SQLite, ${bytes(size(''))} and ${bytes(size('-wal'))} of write-ahead log` : 'PostgreSQL' },
  ]
}
