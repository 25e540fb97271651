import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { cursorOf, placeOf } from '../monitoring/cursor'
import { Conflict, Invalid, NotFound, type FieldError } from '../monitoring/errors'
import { recordAct } from './audit'
import { lengthOf, occurrenceAt } from './maintenance/occurrence'
import {
  deletePastBefore,
  findMaintenance,
  insertMaintenance,
  listLiving,
  listPast,
  markCancelled,
  mostLiving,
  updateMaintenance,
  type Covers,
  type MaintenanceRow,
  type Repetition,
} from './maintenance/queries'

import { rememberTurns } from './maintenance/turns'

export { noticeTurns } from './maintenance/turns'
export { repetitions, type Covers, type Repetition } from './maintenance/queries'

/** A planned time in which what fails is no news, and does not count. */
export interface Window {
  id: string
  name: string
  /** Of its first time. */
  starts_at: number
  ends_at: number
  repeats: Repetition
  timezone: string
  covers: Covers
  state: 'planned' | 'now' | 'over' | 'cancelled'
  /** The time that is now, or comes next. */
  next: { from: number; to: number } | null
  created_at: number
}

export const windowStates = ['planned', 'now', 'over', 'cancelled'] as const

export interface WindowInput {
  name: string
  starts_at: number
  ends_at: number
  repeats: Repetition
  /** Absent: the organisation's. */
  timezone?: string | undefined
  covers: Covers
}

const mostPast = 1000

function asWindow(ctx: Context, { cancelled_at, ...row }: MaintenanceRow): Window {
  const next = cancelled_at === null ? occurrenceAt(row, ctx.now()) : null
  const state = cancelled_at !== null ? 'cancelled' : next === null ? 'over' : next.from <= ctx.now() ? 'now' : 'planned'
  return { ...row, state, next }
}

const Place = z.tuple([z.int().nonnegative()])
const rank = { now: 0, planned: 1, over: 2, cancelled: 3 } as const

/** What is now first, then what comes, then what was: of that, the newest thousand. */
export async function list(
  ctx: Context,
  query: { q?: string | undefined; state?: Window['state'] | undefined; limit: number; cursor?: string | undefined },
): Promise<{ items: Window[]; next: string | null }> {
  const { q = '', state, limit, cursor } = query
  const [offset] = cursor === undefined ? [0] : placeOf(Place, cursor)
  const wanted = q.trim().toLowerCase()
  const now = ctx.now()
  const all = [...(await listLiving(ctx, now)), ...(await listPast(ctx, now, mostPast))]
    .map((row) => asWindow(ctx, row))
    .filter((one) => (!state || one.state === state) && (wanted === '' || one.name.toLowerCase().includes(wanted)))
    .sort((a, b) => rank[a.state] - rank[b.state] || (a.next && b.next ? a.next.from - b.next.from : b.starts_at - a.starts_at))
  return { items: all.slice(offset, offset + limit), next: all.length > offset + limit ? cursorOf([offset + limit]) : null }
}

export async function find(ctx: Context, id: string): Promise<Window> {
  const row = await findMaintenance(ctx, id)
  if (!row) throw new NotFound('There is no such maintenance here.')
  return asWindow(ctx, row)
}

const day = 86_400_000
const longest = { never: 30 * day, daily: day, weekly: 7 * day } as const

function checked(ctx: Context, { name, starts_at, ends_at, repeats, timezone = ctx.platform.config.timezone, covers }: WindowInput) {
  const wrong: FieldError[] = []
  if (name.trim() === '' || name.trim().length > 100) wrong.push({ field: 'name', message: 'Give it a name of 1 to 100 characters.' })
  if (ends_at <= starts_at) wrong.push({ field: 'ends_at', message: 'It has to end after it starts.' })
  else if ((repeats === 'never' ? ends_at - starts_at : lengthOf({ starts_at, ends_at, timezone })) > longest[repeats])
    wrong.push({
      field: 'ends_at',
      message: repeats === 'never' ? 'It can last 30 days at the most.' : 'It has to end before it starts again.',
    })
  if (repeats === 'never' && ends_at <= ctx.now()) wrong.push({ field: 'ends_at', message: 'This is over already.' })
  if (!('all' in covers) && covers.checks.length + covers.tags.length === 0)
    wrong.push({ field: 'covers', message: 'Say which checks it is about.' })
  if (wrong.length > 0) throw new Invalid(wrong)
  return { name: name.trim(), starts_at, ends_at, repeats, timezone, covers }
}

const acted = (
  ctx: Context,
  action: string,
  { id, name }: { id: string; name: string },
  more: { before?: object; after?: object } = {},
) => {
  // Checks that are in it look different from now on.
  ctx.changed('checks', 'list')
  return recordAct(ctx, {
    action: `maintenance.${action}`,
    topic: 'maintenance',
    subject: id,
    name,
    ...(more as { after?: Record<string, unknown> }),
  })
}

export async function plan(ctx: Context, input: WindowInput): Promise<Window> {
  const given = checked(ctx, input)
  const id = ctx.newId()
  await ctx.transaction(async (ctx) => {
    if ((await listLiving(ctx, ctx.now())).length >= mostLiving)
      throw new Conflict(`${mostLiving} are planned already. Cancel one of them first.`)
    await insertMaintenance(ctx, { id, ...given, created_at: ctx.now(), cancelled_at: null })
    await acted(ctx, 'plan', { id, name: given.name }, { after: given })
  })
  await forget(ctx)
  return find(ctx, id)
}

export async function change(ctx: Context, id: string, input: WindowInput): Promise<Window> {
  await ctx.transaction(async (ctx) => {
    const before = await find(ctx, id)
    if (before.state === 'cancelled') throw new Conflict('It was cancelled. Plan another one.')
    if (before.state === 'over') throw new Conflict('It is over. Plan another one.')
    const given = checked(ctx, input)
    await updateMaintenance(ctx, id, given)
    const { name, starts_at, ends_at, repeats, timezone, covers } = before
    await acted(ctx, 'change', { id, name: given.name }, { before: { name, starts_at, ends_at, repeats, timezone, covers }, after: given })
  })
  await forget(ctx)
  return find(ctx, id)
}

/** Ends it where it is now, and all that would come. */
export async function cancel(ctx: Context, id: string): Promise<Window> {
  await ctx.transaction(async (ctx) => {
    const window = await find(ctx, id)
    if (window.state === 'over') throw new Conflict('It is over already.')
    if (await markCancelled(ctx, id)) await acted(ctx, 'cancel', window)
  })
  await forget(ctx)
  return find(ctx, id)
}

export interface Active {
  id: string
  name: string
  ends_at: number
}

export const covered = (covers: Covers, check: { id: string; tags: readonly string[] }): boolean =>
  'all' in covers || covers.checks.includes(check.id) || check.tags.some((tag) => covers.tags.includes(tag))

/** Asked for every probe: looked up once a second, and anew when this console changes one. */
const livingOf = (ctx: Context) =>
  ctx.platform.keep(`maintenance of ${ctx.org}`, () => ({ at: -Infinity, rows: Promise.resolve<MaintenanceRow[]>([]) }))

async function forget(ctx: Context): Promise<void> {
  livingOf(ctx).at = -Infinity
  await rememberTurns(ctx)
}

const believedMs = 1000

function living(ctx: Context): Promise<MaintenanceRow[]> {
  const memory = livingOf(ctx)
  const now = ctx.now()
  if (Math.abs(now - memory.at) > believedMs) {
    memory.at = now
    memory.rows = listLiving(ctx, now).catch((error: unknown) => {
      memory.at = -Infinity
      throw error
    })
  }
  return memory.rows
}

/** The one that a check is in. */
export async function active(ctx: Context, check: { id: string; tags: readonly string[] }, at: number): Promise<Active | null> {
  return (await activeFor(ctx, at))(check)
}

/** The same for many checks. */
export async function activeFor(ctx: Context, at: number): Promise<(check: { id: string; tags: readonly string[] }) => Active | null> {
  const now = (await living(ctx)).flatMap((row) => {
    const time = occurrenceAt(row, at)
    return time && time.from <= at ? [{ ...row, ends_at: time.to }] : []
  })
  return (check) => {
    const one = now.find(({ covers }) => covered(covers, check))
    return one ? { id: one.id, name: one.name, ends_at: one.ends_at } : null
  }
}

/** What is now and what comes, the next first. */
export async function upcoming(ctx: Context): Promise<Window[]> {
  return (await living(ctx))
    .map((row) => asWindow(ctx, row))
    .filter(({ next }) => next !== null)
    .sort((a, b) => (a.next?.from ?? 0) - (b.next?.from ?? 0))
}

const keptFor = 365 * day
const piece = 500

/** Drops what was over or cancelled a year ago, of every organisation: a chore. */
export async function prune(ctx: Context): Promise<void> {
  while ((await ctx.transaction((ctx) => deletePastBefore(ctx, ctx.now() - keptFor, piece))) === piece);
}
