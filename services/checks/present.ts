import type { Context } from '../../monitoring/context'
import { duration } from '../../monitoring/markup'
import type { Active } from '../maintenance'
import type { BuiltinName, Check, Tone } from './check'
import { targetOf, told, type Told } from './kinds'
import { memoryOf } from './memory'
import type { CheckRow } from './queries'

/** What surrounds checks when people look at them. */
export interface Surroundings {
  /** Open incidents, by check. */
  incidents: ReadonlyMap<string, string>
  maintenanceOf: (check: { id: string; tags: readonly string[] }) => Active | null
}

const day = 86_400_000

/** What was stored, with what this process found since. */
function withNews(ctx: Context, row: CheckRow): CheckRow {
  const news = memoryOf(ctx).steady.get(row.id)
  if (news?.changed_at !== row.changed_at || row.state === 'paused' || row.state === 'unset') return row
  const { message, duration, certificate_at, checked_at } = news
  return { ...row, message, duration, certificate_at, checked_at }
}

export const toldBy = ({ kind, spec }: Pick<CheckRow, 'kind' | 'spec'>): Told => told(kind, JSON.parse(spec))

export function asCheck(ctx: Context, stored: CheckRow, { incidents, maintenanceOf }: Surroundings): Check {
  const row = withNews(ctx, stored)
  const active = row.state !== 'paused' && row.state !== 'unset'
  const { told: check, target } = parsed(ctx, row)
  const maintenance = active ? maintenanceOf(row) : null
  const expiring = active && check?.kind === 'http' ? expiresSoon(ctx, row.certificate_at, check.spec.certificate_days) : null
  const [tone, word] = maintenance && row.state !== 'down' ? (['idle', 'In maintenance'] as const) : wordOf(ctx, row, expiring)
  const { id, name, kind, tags, interval_s, timeout_ms, retries, retry_s, state, state_at, message } = row
  return {
    ...{ id, name, kind, tags, interval_s, timeout_ms, retries, retry_s, state, state_at, message, word, tone, maintenance },
    ...{ duration: row.duration, certificate_at: row.certificate_at, checked_at: row.checked_at },
    // A copy: what is kept is for everybody.
    spec: { ...check?.spec },
    builtin: row.builtin as BuiltinName | null,
    next_at: active ? nextAt(ctx, row) : null,
    incident_id: incidents.get(id) ?? null,
    created_at: row.created_at,
    changed_at: row.changed_at,
    target,
  }
}

interface Parsed {
  readonly changed_at: number
  readonly stored: string
  readonly told: Told | null
  readonly target: string
}

const mostParsed = 5000

/** What it is told, parsed once for each time that it was changed. */
function parsed(ctx: Context, row: CheckRow): Pick<Parsed, 'told' | 'target'> {
  if (row.state === 'unset') return { told: null, target: 'not configured' }
  const all = ctx.platform.keep('checks: what they are told', () => new Map<string, Parsed>())
  const known = all.get(row.id)
  if (known?.changed_at === row.changed_at && known.stored === row.spec) return known
  const check = toldOrNothing(row)
  const made = { changed_at: row.changed_at, stored: row.spec, told: check, target: check ? targetOf(check) : 'cannot be read' }
  if (all.size >= mostParsed) all.clear()
  all.set(row.id, made)
  return made
}

/** A row that a later version has written. */
function toldOrNothing(row: CheckRow): Told | null {
  try {
    return toldBy(row)
  } catch {
    return null
  }
}

function nextAt(ctx: Context, { id, kind, checked_at, interval_s, failures, state, retry_s }: CheckRow): number | null {
  const due = memoryOf(ctx).entries.get(id)?.due
  if (due !== undefined) return Number.isFinite(due) ? due : null
  if (checked_at === null || (kind === 'heartbeat' && state === 'new')) return null
  return checked_at + (failures > 0 && state !== 'down' ? retry_s : interval_s) * 1000
}

const expiresSoon = (ctx: Context, certificate_at: number | null, days: number | null): number | null =>
  certificate_at !== null && days !== null && certificate_at - ctx.now() < days * day ? certificate_at : null

function wordOf(ctx: Context, { kind, state, failures, retries, checked_at }: CheckRow, expiring: number | null): readonly [Tone, string] {
  switch (state) {
    case 'unset':
      return ['idle', 'Not configured']
    case 'paused':
      return ['idle', 'Paused']
    case 'down':
      return ['err', 'Down']
    case 'late':
      return ['warn', 'Late']
    case 'new':
      if (failures > 0) return ['warn', `Failing, try ${failures} of ${retries + 1}`]
      if (kind === 'heartbeat') return ['run', checked_at === null ? 'Waiting for the first ping' : 'Waiting for a ping']
      return ['run', 'Waiting for the first look']
    case 'up':
      if (failures > 0) return ['warn', `Failing, try ${failures} of ${retries + 1}`]
      if (expiring !== null)
        return ['warn', expiring < ctx.now() ? 'Up, certificate over' : `Up, certificate ends in ${duration(expiring - ctx.now())}`]
      return ['ok', 'Up']
  }
}
