import type { Context, OrgId } from '../monitoring/context'
import { Conflict, Invalid } from '../monitoring/errors'
import { recordAct } from './audit'
import * as checks from './checks'
import * as incidents from './incidents'
import * as maintenance from './maintenance'
import { newDays, pastOf, type Days } from './status/days'
import { findPage, markPublished, nameOf, savePage } from './status/queries'

export interface PageCheck {
  id: string
  /** As people see it. */
  name: string
}

/** What an organisation tells people without a sign-in. */
export interface Page {
  title: string
  intro: string
  checks: PageCheck[]
  /** null: nobody sees it. */
  published_at: number | null
}

export const mostPageChecks = 100

/** As it is, or as it would begin. */
export async function find(ctx: Context): Promise<Page> {
  const row = await findPage(ctx)
  if (!row) return { title: `Status of ${await nameOf(ctx)}`.slice(0, 100), intro: '', checks: [], published_at: null }
  const known = new Set((await checks.listNow(ctx)).map(({ id }) => id))
  const { title, intro, published_at } = row
  return { title, intro, published_at, checks: row.checks.filter(({ id }) => known.has(id)) }
}

const shown = ({ title, intro, checks }: Pick<Page, 'title' | 'intro' | 'checks'>) => ({
  title,
  intro,
  checks: checks.map(({ name }) => name),
})

export async function save(ctx: Context, input: { title: string; intro: string; checks: readonly PageCheck[] }): Promise<Page> {
  const title = input.title.trim()
  if (title === '') throw new Invalid([{ field: 'title', message: 'Give it a title.' }])
  if (input.checks.length > mostPageChecks) throw new Invalid([{ field: 'checks', message: `At the most ${mostPageChecks} checks.` }])
  const known = new Map((await checks.listNow(ctx)).map((check) => [check.id, check]))
  const seen = new Set<string>()
  const chosen = input.checks.map(({ id, name }, index) => {
    const check = known.get(id)
    if (!check || seen.has(id))
      throw new Invalid([{ field: `checks.${index}.id`, message: check ? 'It is there twice.' : 'There is no such check here.' }])
    seen.add(id)
    return { id, name: name.trim() || check.name }
  })
  const after = { title, intro: input.intro.trim(), checks: chosen }
  await ctx.transaction(async (ctx) => {
    const before = await find(ctx)
    await savePage(ctx, { ...after, published_at: before.published_at, changed_at: ctx.now() })
    await recordAct(ctx, {
      action: 'status.change',
      topic: 'status',
      subject: ctx.org,
      name: title,
      before: shown(before),
      after: shown(after),
    })
  })
  forget(ctx, ctx.org)
  return find(ctx)
}

export async function publish(ctx: Context): Promise<Page> {
  await ctx.transaction(async (ctx) => {
    const page = await find(ctx)
    if (page.checks.length === 0) throw new Conflict('Choose at least one check before you publish the page.')
    if (await markPublished(ctx, ctx.now()))
      await recordAct(ctx, { action: 'status.publish', topic: 'status', subject: ctx.org, name: page.title })
  })
  forget(ctx, ctx.org)
  return find(ctx)
}

export async function unpublish(ctx: Context): Promise<Page> {
  await ctx.transaction(async (ctx) => {
    const { title } = await find(ctx)
    if (await markPublished(ctx, null)) await recordAct(ctx, { action: 'status.unpublish', topic: 'status', subject: ctx.org, name: title })
  })
  forget(ctx, ctx.org)
  return find(ctx)
}

export type Tone = checks.Tone

export interface PublicView {
  title: string
  intro: string
  state: Tone
  /** "All systems operational" */
  word: string
  /** When the console last looked; null: not yet. */
  updated_at: number | null
  /** It has not looked for longer than it should. */
  stale: boolean
  checks: {
    name: string
    word: string
    tone: Tone
    uptime_90d: { percent: number | null; probes: number }
    /** 90 days, the oldest first. */
    strip: checks.Mark[]
  }[]
  /** Of the last 30 days, the newest first. */
  incidents: { title: string; started_at: number; ended_at: number | null; notes: { at: number; text: string }[] }[]
  maintenance: { name: string; from: number; to: number }[]
}

const second = 1000
const day = 86_400_000
const sameForMs = 2 * second
/** While a new one is made, others are given the one before, unless that is old. */
const believedForMs = 30 * second
const mostIncidents = 50

interface Made {
  at: number
  view: PublicView | null
  making: Promise<PublicView | null> | null
  readonly days: Days
}

const madeOf = (ctx: Context) => ctx.platform.keep('status pages', () => new Map<OrgId, Made>())
const forget = (ctx: Context, org: OrgId): void => void madeOf(ctx).delete(org)

/** null: there is none, or it is not published. Strangers may ask as often as they like: it is made once in two seconds, by the first who asks. */
export function publicView(ctx: Context, org: OrgId): Promise<PublicView | null> {
  const made = madeOf(ctx)
  const known: Made = made.get(org) ?? { at: -Infinity, view: null, making: null, days: newDays() }
  made.set(org, known)
  const age = Math.abs(ctx.now() - known.at)
  if (known.view && age < (known.making ? believedForMs : sameForMs)) return Promise.resolve(known.view)
  known.making ??= make({ ...ctx, org }, known.days)
    .then((view) => Object.assign(known, { at: ctx.now(), view }).view)
    .finally(() => {
      known.making = null
      // Of organisations that do not exist nothing is remembered.
      if (known.view === null && made.get(org) === known) made.delete(org)
    })
  return known.making
}

/** To whom it may concern: not how a check is made, nor why it failed, but for what somebody published. */
async function make(ctx: Context, days: Days): Promise<PublicView | null> {
  const page = await findPage(ctx)
  if (page?.published_at == null) return null
  const known = new Map((await checks.listNow(ctx)).map((check) => [check.id, check]))
  const chosen = page.checks.flatMap(({ id, name }) => {
    const check = known.get(id)
    return check ? [{ check, name }] : []
  })
  const past = await pastOf(
    ctx,
    days,
    chosen.map(({ check }) => check.id),
  )
  const watched = chosen.map(({ check }) => check).filter(({ state }) => state !== 'paused' && state !== 'unset')
  const moments = watched.flatMap(({ checked_at }) => (checked_at === null ? [] : [checked_at]))
  const updated_at = moments.length === 0 ? null : Math.max(...moments)
  return {
    ...{ title: page.title, intro: page.intro, updated_at },
    ...wordFor(chosen.map(({ check }) => check)),
    // Looked at in their rhythm, give or take a look that takes its time. A heartbeat says by itself when it is late.
    stale: watched.some(({ kind, checked_at, interval_s, timeout_ms }) =>
      kind === 'heartbeat' ? false : checked_at !== null && ctx.now() - checked_at > 2 * interval_s * second + timeout_ms + 30 * second,
    ),
    checks: chosen.map(({ check, name }) => ({ name, ...told(check), ...past(check.id) })),
    incidents: await incidentsOf(ctx, new Map(chosen.map(({ check, name }) => [check.id, name]))),
    maintenance: (await maintenance.upcoming(ctx)).flatMap(({ name, next, covers }) =>
      next && next.from < ctx.now() + 7 * day && chosen.some(({ check }) => maintenance.covered(covers, check)) ? [{ name, ...next }] : [],
    ),
  }
}

function told({ state, tone, maintenance: window }: checks.Check): { word: string; tone: Tone } {
  if (window) return { word: 'In maintenance', tone: 'idle' }
  if (state === 'down') return { word: 'Down', tone: 'err' }
  if (state === 'up' || state === 'late') return { word: 'Up', tone: 'ok' }
  return { word: state === 'paused' ? 'Not watched now' : 'Not watched yet', tone: tone === 'run' ? 'run' : 'idle' }
}

function wordFor(all: readonly checks.Check[]): { state: Tone; word: string } {
  const down = all.filter((check) => told(check).tone === 'err').length
  if (down > 0)
    return down === all.length
      ? { state: 'err', word: 'Everything is down' }
      : { state: 'err', word: `${down} of ${all.length} ${down === 1 ? 'is' : 'are'} down` }
  if (all.some(({ maintenance }) => maintenance)) return { state: 'idle', word: 'Maintenance is going on' }
  const up = all.filter((check) => told(check).tone === 'ok').length
  const paused = all.filter(({ state }) => state === 'paused').length
  if (up > 0 && up === all.length) return { state: 'ok', word: 'All systems operational' }
  // Of what nobody looks at, nothing good is said.
  if (up > 0)
    return { state: 'ok', word: `${up} of ${all.length} operational, ${all.length - up} not watched ${paused > 0 ? 'now' : 'yet'}` }
  if (paused > 0) return { state: 'idle', word: 'Nothing is watched now' }
  return { state: 'run', word: 'Nothing was looked at yet' }
}

async function incidentsOf(ctx: Context, names: ReadonlyMap<string, string>): Promise<PublicView['incidents']> {
  const { items } = await incidents.list(ctx, { from: ctx.now() - 30 * day, limit: 500 })
  return items
    .flatMap(({ check_id, started_at, ended_at, notes }) => {
      const name = names.get(check_id)
      if (name === undefined) return []
      const published = notes.filter(({ published_at }) => published_at !== null).map(({ at, text }) => ({ at, text }))
      return [{ title: `${name} was down`, started_at, ended_at, notes: published }]
    })
    .map((one) => (one.ended_at === null ? { ...one, title: one.title.replace(/ was down$/, ' is down') } : one))
    .slice(0, mostIncidents)
}
