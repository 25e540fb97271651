import type { Context } from '../../monitoring/context'
import { NotFound } from '../../monitoring/errors'
import { may } from '../../monitoring/permissions'
import * as incidents from '../incidents'
import { activeFor } from '../maintenance'
import type { Check, CheckCounts, CheckFilter, CheckList, CheckSort, CheckState, ListedCheck } from './check'
import { asCheck, type Surroundings } from './present'
import { findCheck, findChecks, listChecksOnce, listNames, listTroubled, tallyStates, type CheckRow } from './queries'
import { CannotUnseal, unseal } from './seal'
import { lastDay } from './uptime'

async function surroundings(ctx: Context): Promise<Surroundings> {
  const [open, maintenanceOf] = await Promise.all([incidents.listOpen(ctx), activeFor(ctx, ctx.now())])
  return { incidents: new Map(open.map(({ id, check_id }) => [check_id, id])), maintenanceOf }
}

export async function find(ctx: Context, id: string): Promise<Check> {
  const row = await findCheck(ctx, id)
  if (!row) throw new NotFound('There is no such check here.')
  const check = asCheck(ctx, row, await surroundings(ctx))
  const path = row.kind === 'heartbeat' && may(ctx.actor, 'checks.change') ? pushPath(ctx, row) : null
  return path === null ? check : { ...check, push_url: path }
}

function pushPath(ctx: Context, row: CheckRow): string | null {
  try {
    const { token } = unseal(ctx, row.id, row.secrets)
    return token === undefined ? null : `/api/push/${token}`
  } catch (error) {
    if (error instanceof CannotUnseal) return null
    throw error
  }
}

/** All of them as they are now, without their past; `ids`: of these. */
export async function listNow(ctx: Context, ids?: readonly string[]): Promise<Check[]> {
  const [rows, around] = await Promise.all([ids ? findChecks(ctx, ids) : listChecksOnce(ctx), surroundings(ctx)])
  return rows.map((row) => asCheck(ctx, row, around))
}

/** As many as asked for, as the list has them: what is down first. */
export async function listFirst(ctx: Context, most: number): Promise<Check[]> {
  return (await listNow(ctx)).sort((a, b) => rank(a) - rank(b) || byName(a, b)).slice(0, most)
}

/** What those are called that somebody has configured, by name. */
export const names = (ctx: Context): Promise<{ id: string; name: string; tags: string[] }[]> => listNames(ctx)

/** In which of the page's counts a check is, so that a count and the list behind it agree. */
function countedAs({ state, tone }: Check): keyof CheckCounts | null {
  if (state === 'down' || state === 'paused' || state === 'unset') return state
  if (tone === 'warn') return 'warn'
  return state === 'up' ? 'up' : null
}

export async function counts(ctx: Context): Promise<CheckCounts> {
  return countsOf(await listNow(ctx))
}

function countsOf(all: readonly Check[]): CheckCounts {
  const counts: CheckCounts = { up: 0, down: 0, warn: 0, paused: 0, unset: 0 }
  for (const check of all) {
    const name = countedAs(check)
    if (name) counts[name]++
  }
  return counts
}

const orderOfStates: Readonly<Record<CheckState, number>> = { down: 0, late: 1, new: 3, up: 4, paused: 6, unset: 7 }
/** What needs a person comes first. */
const rank = ({ state, tone }: Check): number =>
  tone === 'warn' && state !== 'late' ? 2 : tone === 'idle' && state !== 'paused' && state !== 'unset' ? 5 : orderOfStates[state]

const byName = (a: Check, b: Check): number => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1)
const last = (value: number | null, direction: 1 | -1): number => value ?? direction * Infinity

/** Without a figure last, whichever way the rest is sorted. */
const sorts: Readonly<Record<CheckSort, (check: Omit<ListedCheck, 'strip'>, direction: 1 | -1) => number | null>> = {
  state: rank,
  name: () => null,
  uptime: ({ uptime_24h }, direction) => last(uptime_24h.percent, direction),
  duration: ({ duration }, direction) => last(duration, direction),
  changed: ({ state_at }) => state_at,
}

/** Everything that passes the filter; what is down first, unless it is asked for otherwise. `page`: only these of them. */
export async function list(
  ctx: Context,
  filter: CheckFilter & { /** Without the dependencies that nobody has configured. */ configured?: boolean } = {},
  page: { offset: number; limit: number } = { offset: 0, limit: Infinity },
): Promise<CheckList & { matched: number }> {
  const { q = '', state, tag, kind, sort = 'state', order = 'asc', configured = false } = filter
  const [all, day] = await Promise.all([listNow(ctx), lastDay(ctx)])
  const wanted = q.trim().toLowerCase()
  const passes = (check: Check): boolean =>
    (wanted === '' || [check.name, check.target, ...check.tags].some((text) => text.toLowerCase().includes(wanted))) &&
    !(configured && check.state === 'unset') &&
    (tag === undefined || check.tags.includes(tag)) &&
    (kind === undefined || check.kind === kind) &&
    (state === undefined ||
      (state === 'maintenance'
        ? check.maintenance !== null
        : state === 'warn' || state === 'up'
          ? countedAs(check) === state
          : check.state === state))
  const direction = order === 'asc' ? 1 : -1
  const found = all
    .filter(passes)
    .map((check) => ({ ...check, uptime_24h: day.uptimeOf(check.id) }))
    .map((check) => ({ check, key: sorts[sort](check, direction) }))
    .sort((a, b) =>
      sort === 'name' ? direction * byName(a.check, b.check) : direction * compare(a.key, b.key) || byName(a.check, b.check),
    )
  const items = found
    .slice(page.offset, page.offset + page.limit)
    .map(({ check }): ListedCheck => ({ ...check, strip: day.stripOf(check.id) }))
  return { items, matched: found.length, counts: countsOf(all), tags: [...new Set(all.flatMap(({ tags }) => tags))].sort() }
}

const compare = (a: number | null, b: number | null): number => (a === b ? 0 : (a ?? 0) < (b ?? 0) ? -1 : 1)

/** What people have to be told of, for the verdict. */
export async function troubles(
  ctx: Context,
): Promise<{ id: string; name: string; state: 'down' | 'late'; since: number; cause: string; incident: string | null }[]> {
  const rows = await listTroubled(ctx)
  if (rows.length === 0) return []
  const open = new Map((await incidents.listOpen(ctx)).map((one) => [one.check_id, one]))
  return rows.map(({ id, name, state, state_at, message }) => ({
    ...{ id, name, since: state_at },
    state: state === 'down' ? 'down' : 'late',
    cause: open.get(id)?.cause ?? message ?? '',
    incident: open.get(id)?.id ?? null,
  }))
}

/** How many there are, and in which state: cheap enough to be asked every second. */
export async function tally(ctx: Context): Promise<{ total: number; up: number; late: number; down: number; paused: number }> {
  const states = new Map((await tallyStates(ctx)).map(({ state, count }) => [state, count]))
  const of = (state: CheckState) => states.get(state) ?? 0
  const all = [...states.values()].reduce((sum, count) => sum + count, 0)
  return { total: all - of('unset'), up: of('up'), late: of('late'), down: of('down'), paused: of('paused') }
}
