import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { cursorOf, placeOf } from '../monitoring/cursor'
import { asError } from '../monitoring/errors'
import type { Refusal } from '../monitoring/permissions'
import { insertAudit, listActions, listAudit, type Indexed, type ReadRow } from './audit/queries'
import { isRefused, type AuditRow } from './audit/wording'

export { listActions, listActors } from './audit/queries'
export { prune } from './audit/retention'
export { seal, status, statusHere, verify, type Seal } from './audit/seal'
export { present, type AuditRow, type Entry } from './audit/wording'

/** What was done, or refused, to what. `before` and `after` name what changed; secrets are never among them. */
export interface Act {
  readonly action: string
  readonly subject: string
  /** What people call the subject at that time. */
  readonly name?: string | null
  readonly before?: Readonly<Record<string, unknown>>
  readonly after?: Readonly<Record<string, unknown>>
  readonly data?: Readonly<Record<string, unknown>>
}

/**
 * Leaves the audit row of a verb and marks what it changed, in the verb's own transaction.
 * Verbs that people call end with it, so that neither can be forgotten.
 */
export async function recordAct(ctx: Context, { topic, ...act }: Act & { readonly topic: string }): Promise<void> {
  await insertAudit(ctx, act)
  ctx.changed(topic, act.subject)
}

/** Leaves an audit row of a key or a secret that was used, which changes nothing that pages show. Inside a transaction. */
export const recordUse = (ctx: Context, act: Act): Promise<void> => insertAudit(ctx, act)

/** Leaves an audit row of something that was refused and changed nothing. Its action ends in `.refused`. */
export const recordRefusal = (ctx: Context, act: Act): Promise<void> =>
  // The context may say another organisation than the one that its transactions begin with: that of the account which was tried.
  ctx.transaction((inner) => insertAudit({ ...inner, org: ctx.org, actor: ctx.actor }, act))

const minute = 60_000
const mostRefusals = 30
/** So many people are remembered; with more of them in one minute, counting begins anew. */
const mostRefused = 1000

/**
 * Leaves one entry per person, route and minute, however often they try, and of the routes beyond 30 one that says there were more.
 * The answer does not wait for it.
 */
export function noteRefusal(ctx: Context, { path, method, permission, reason }: Refusal): void {
  const noted = ctx.platform.keep('audit.refusals', () => ({ minute: 0, people: new Map<string, Set<string>>() }))
  const now = Math.floor(ctx.now() / minute)
  if (noted.minute !== now) {
    noted.minute = now
    noted.people.clear()
  }
  const { id, name, key } = ctx.actor
  const known = noted.people.get(id) ?? new Set()
  const which = JSON.stringify([ctx.org, key?.id, method, path])
  if (known.has(which) || known.size > mostRefusals) return
  if (noted.people.size >= mostRefused && !noted.people.has(id)) noted.people.clear()
  noted.people.set(id, known.add(which))
  const data = { method, ...(permission ? { permission } : {}), ...(reason ? { reason } : {}) }
  const act: Act =
    known.size > mostRefusals ? { action: 'access.more.refused', subject: id, name } : { action: 'access.refused', subject: path, data }
  recordRefusal(ctx, act).catch((error: unknown) => {
    ctx.log.warn({ err: asError(error) }, 'a refusal could not be written down')
  })
}

export interface AuditFilter extends Omit<Indexed, 'actions'> {
  /** One, or with a dot at the end all that begin so. */
  action?: string | undefined
  /** Stands in who, what, to what, from where or the details, in any case of letters. */
  q?: string | undefined
  /** Only what was refused. */
  refused?: boolean | undefined
}

export interface AuditPage {
  items: AuditRow[]
  next: string | null
  /** Until here a search has looked; the next page looks further. null: to the end of the page, or of the trail. */
  searched_to: number | null
}

const Place = z.tuple([z.int(), z.string().max(100)])
const Data = z.string().transform((text) => JSON.parse(text) as Record<string, unknown>)

const piece = 1000
/** A search reads rows, because no index knows what stands inside of them: this many at a time keep it short for everybody. */
const mostSearched = 10_000

/** SQLite answers without waiting: between two pieces, requests of others have their turn. */
const othersFirst = () => new Promise((resolve) => setImmediate(resolve))

/** One page, newest first, and where the next one begins. */
export async function list(
  ctx: Context,
  { filter: { action, q, refused, ...indexed }, limit, cursor }: { filter: AuditFilter; limit: number; cursor?: string | undefined },
): Promise<AuditPage> {
  const [at, id] = cursor === undefined ? [] : placeOf(Place, cursor)
  let after = at === undefined || id === undefined ? null : { at, id }
  const actions = await actionsOf(ctx, action, refused)
  const matches = q ? matcherOf(q) : () => true
  const some = q ? piece : limit + 1
  const items: ReadRow[] = []
  const answer = (last: { at: number; id: string } | null | undefined, searched_to: number | null): AuditPage => ({
    items: items.map((row) => ({ ...row, data: row.data === null ? null : Data.parse(row.data) })),
    next: last ? cursorOf([last.at, last.id]) : null,
    searched_to,
  })
  for (let searched = 0; searched < mostSearched; searched += some) {
    const rows = await listAudit(ctx, { ...indexed, actions }, { limit: some, after })
    for (const row of rows)
      if (matches(row)) {
        if (items.length === limit) return answer(items.at(-1), null)
        items.push(row)
      }
    if (rows.length < some) return answer(null, null)
    after = rows.at(-1) ?? null
    await othersFirst()
  }
  return answer(after, after?.at ?? null)
}

const perPart = 200

/** Everything that passes the filter, a page at a time, for as long as somebody takes it. */
async function* listAll(ctx: Context, filter: AuditFilter): AsyncGenerator<AuditRow[]> {
  for (let cursor: string | undefined, more = true; more;) {
    const { items, next } = await list(ctx, { filter, limit: perPart, cursor })
    yield items
    await othersFirst()
    more = next !== null
    cursor = next ?? undefined
  }
}

/** What was there when it was asked for; that it was asked for is an entry too. */
export async function exportAll(ctx: Context, filter: AuditFilter, format: string): Promise<AsyncGenerator<AuditRow[]>> {
  const iso = (at: number | undefined) => (at === undefined ? undefined : new Date(at).toISOString())
  const data = { format, ...filter, from: iso(filter.from), to: iso(filter.to) }
  const to = Math.min(filter.to ?? ctx.now(), ctx.now())
  await ctx.transaction((ctx) => recordAct(ctx, { action: 'audit.export', topic: 'audit', subject: 'audit', data }))
  return listAll(ctx, { ...filter, to })
}

/** Which actions a filter means; undefined: all. */
async function actionsOf(ctx: Context, action: string | undefined, refused: boolean | undefined): Promise<readonly string[] | undefined> {
  if (!refused && action === undefined) return undefined
  if (action !== undefined && !action.endsWith('.')) return !refused || isRefused(action) ? [action] : []
  const known = await listActions(ctx)
  return known.filter((one) => (action === undefined || one.startsWith(action)) && (!refused || isRefused(one)))
}

function matcherOf(q: string): (row: ReadRow) => boolean {
  const wanted = q.toLowerCase()
  const inJson = JSON.stringify(wanted).slice(1, -1)
  return ({ actor_name, subject_name, subject, action, address, data }) =>
    [actor_name, subject_name, subject, action, address].some((text) => text?.toLowerCase().includes(wanted)) ||
    (data?.toLowerCase().includes(inJson) ?? false)
}
