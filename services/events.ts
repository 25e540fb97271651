import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { cursorOf, placeOf } from '../monitoring/cursor'
import { groupCommit } from '../monitoring/db/group-commit'
import { Invalid } from '../monitoring/errors'
import { counted } from './events/flow'
import { observe } from './metrics'
import { insertEvents, listEvents, severities, type EventFilter, type EventRow, type NewEvent, type Severity } from './events/queries'

export { flowOf } from './events/flow'
export { countBySubject, listEventsBetween, listLatestOf } from './events/queries'
export { prune } from './events/retention'
export { phrase } from './events/wording'
export { severities, type EventFilter, type EventRow, type Severity }

/** What the console says under these names is shown as its own words: nobody else may use them. */
export const ownSources: readonly string[] = ['console', 'pm2']

/** What a reporter says; everything but the type and the source is optional. */
export interface Report {
  type: string
  source: string
  subject?: string | null | undefined
  severity?: Severity | undefined
  /** Epoch milliseconds; absent: now. */
  at?: number | undefined
  data?: unknown
  id?: string | undefined
  host?: string | null | undefined
}

/** Clocks differ, and zones are mistaken; what lies further ahead is a wrong unit. */
const farAhead = 86_400_000
const clockSkew = 300_000

const complete = (ctx: Context, report: Report): NewEvent => {
  const now = ctx.now()
  return {
    id: report.id ?? ctx.newId(),
    host: report.host ?? null,
    at: report.at ?? now,
    received_at: now,
    type: report.type,
    source: report.source,
    subject: report.subject ?? null,
    severity: report.severity ?? 'info',
    data: report.data === undefined || report.data === null ? null : JSON.stringify(report.data),
  }
}

/** Stores events and answers after the commit, together with whatever else came in meanwhile. */
export async function report(ctx: Context, reports: readonly Report[]): Promise<{ accepted: number }> {
  const ahead = reports.findIndex(({ at }) => at !== undefined && at > ctx.now() + farAhead)
  if (ahead >= 0) throw new Invalid([{ field: `events.${ahead}.at`, message: 'This is more than a day ahead of the console’s clock.' }])
  const commit = ctx.platform.keep(`events of ${ctx.org}`, () =>
    groupCommit<NewEvent>((events) => ctx.transaction((ctx) => append(ctx, events))),
  )
  await counted(ctx, () => commit(reports.map((one) => complete(ctx, one))))
  return { accepted: reports.length }
}

/** Stores one event in the caller's transaction. */
export const record = (ctx: Context, one: Report): Promise<void> => append(ctx, [complete(ctx, one)])

const span = 1000

async function append(ctx: Context, events: readonly NewEvent[]): Promise<void> {
  const stored = await insertEvents(ctx, events)
  if (!stored) return
  observe(ctx, '', ctx.now(), [{ name: 'events.count', value: events.length }])
  // Many callers' events may be in one commit; whoever follows them reads a span at a time.
  for (let first = stored.first; first <= stored.last; first += span)
    ctx.changed('events', `${first}-${Math.min(first + span - 1, stored.last)}`)
}

/** What happened last. Times that reporters place further ahead than clocks differ wait until they have come. */
export const latest = (ctx: Context, limit: number): Promise<EventRow[]> =>
  listEvents(ctx, { filter: { to: ctx.now() + clockSkew }, limit, after: null })

const Place = z.tuple([z.int(), z.int().nonnegative()])

/** One page, newest first, and where the next one begins. */
export async function list(
  ctx: Context,
  { filter, limit, cursor }: { filter: EventFilter; limit: number; cursor: string | undefined },
): Promise<{ items: EventRow[]; next: string | null }> {
  const [at, seq] = cursor === undefined ? [] : placeOf(Place, cursor)
  const after = at === undefined || seq === undefined ? null : { at, seq }
  const rows = await listEvents(ctx, { filter, limit: limit + 1, after })
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return { items, next: rows.length > limit && last ? cursorOf([last.at, last.seq]) : null }
}
