import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { cursorOf, placeOf } from '../monitoring/cursor'
import { Conflict, Forbidden, Invalid, NotFound } from '../monitoring/errors'
import { may } from '../monitoring/permissions'
import { recordAct } from './audit'
import {
  findIncident,
  insertIncident,
  insertNote,
  listIncidents,
  listNotes,
  listOpen,
  markAcknowledged,
  markEnded,
  type IncidentRow,
} from './incidents/queries'

export { listOpen } from './incidents/queries'

export const endings = ['recovered', 'paused', 'deleted', 'maintenance'] as const
export type Ending = (typeof endings)[number]

export interface Note {
  id: string
  at: number
  author: { id: string; name: string }
  text: string
  /** Also on the status page, since then. */
  published_at: number | null
}

/** A time in which a check was down. */
export interface Incident {
  id: string
  check_id: string
  /** null: the check was deleted. */
  check_name: string | null
  title: string
  cause: string
  started_at: number
  ended_at: number | null
  ended_by: Ending | null
  /** Until now, where it is open. */
  duration_ms: number
  acknowledged: { at: number; by: string } | null
  notes: Note[]
  snapshot_id: string | null
}

export interface IncidentFilter {
  /** Stands in the title or the cause. */
  q?: string | undefined
  state?: 'open' | 'ended' | '' | undefined
  /** A check's id. */
  check?: string | undefined
  from?: number | undefined
  to?: number | undefined
}

const Place = z.tuple([z.enum(['open', 'ended']), z.int(), z.string().max(100)])

/** Open ones first, then the newest. */
export async function list(
  ctx: Context,
  { limit, cursor, state, q, ...filter }: IncidentFilter & { limit: number; cursor?: string | undefined },
): Promise<{ items: Incident[]; next: string | null }> {
  const [begin, at, id] = cursor === undefined ? [] : placeOf(Place, cursor)
  const query = { ...filter, q: q?.trim() ? q.trim().replace(/[\\%_]/g, '\\$&') : undefined }
  const rows: IncidentRow[] = []
  for (const part of ['open', 'ended'] as const) {
    if ((state && state !== part) || (part === 'open' && begin === 'ended') || rows.length > limit) continue
    const after = begin === part && at !== undefined && id !== undefined ? { at, id } : null
    rows.push(...(await listIncidents(ctx, part, query, { limit: limit + 1 - rows.length, after })))
  }
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  const next = rows.length > limit && last ? cursorOf([last.ended_at === null ? 'open' : 'ended', last.started_at, last.id]) : null
  return { items: await withNotes(ctx, shown), next }
}

export async function find(ctx: Context, id: string): Promise<Incident> {
  const row = await findIncident(ctx, id)
  const [incident] = row ? await withNotes(ctx, [row]) : []
  if (!incident) throw new NotFound('There is no such incident here.')
  return incident
}

async function withNotes(ctx: Context, rows: readonly IncidentRow[]): Promise<Incident[]> {
  const notes = await listNotes(
    ctx,
    rows.map(({ id }) => id),
  )
  return rows.map(({ acknowledged_at, acknowledged_by, ended_by, ...row }) => ({
    ...row,
    ended_by: ended_by as Ending | null,
    duration_ms: Math.max(0, (row.ended_at ?? ctx.now()) - row.started_at),
    acknowledged: acknowledged_at === null ? null : { at: acknowledged_at, by: acknowledged_by ?? '' },
    notes: notes
      .filter(({ incident_id }) => incident_id === row.id)
      .map(({ id, at, author_id, author_name, text, published_at }) => ({
        ...{ id, at, text, published_at },
        author: { id: author_id, name: author_name },
      })),
  }))
}

/** Somebody looks after it. Whoever says so first is named; saying it again changes nothing. */
export async function acknowledge(ctx: Context, id: string): Promise<Incident> {
  await ctx.transaction(async (ctx) => {
    const { title, ended_at, acknowledged } = await find(ctx, id)
    if (acknowledged) return
    if (ended_at !== null) throw new Conflict('It is over already.')
    if (await markAcknowledged(ctx, id, ctx.actor.name))
      await recordAct(ctx, { action: 'incidents.acknowledge', topic: 'incidents', subject: id, name: title })
  })
  return find(ctx, id)
}

const mostNotes = 200
/** Characters. */
export const longestNote = 4000

export async function note(ctx: Context, id: string, { text, publish }: { text: string; publish: boolean }): Promise<Incident> {
  if (text.trim() === '') throw new Invalid([{ field: 'text', message: 'Write something.' }])
  if (publish && !may(ctx.actor, 'status.publish')) throw new Forbidden('Your role does not allow to publish notes on the status page.')
  await ctx.transaction(async (ctx) => {
    const { title, notes } = await find(ctx, id)
    if (notes.length >= mostNotes) throw new Conflict(`An incident has ${mostNotes} notes at the most.`)
    const at = ctx.now()
    const author = { author_id: ctx.actor.id, author_name: ctx.actor.name }
    await insertNote(ctx, { id: ctx.newId(), incident_id: id, at, ...author, text: text.trim(), published_at: publish ? at : null })
    await recordAct(ctx, {
      action: 'incidents.note',
      topic: 'incidents',
      subject: id,
      name: title,
      data: { note: text.trim(), published: publish },
    })
  })
  return find(ctx, id)
}

const month = 30 * 86_400_000

/** So many are counted. */
const mostBefore = 200

/** Whether it has happened before: incidents of the same check that began in the 30 days until this one did. */
export async function similar(ctx: Context, { id, check_id, started_at }: Incident): Promise<{ count_30d: number; last: Incident | null }> {
  const from = started_at - month
  // Of two that began in the same millisecond, both are there.
  const { items } = await list(ctx, { check: check_id, from, to: started_at + 1, limit: mostBefore })
  const those = items.filter((one) => one.id !== id && one.started_at >= from)
  return { count_30d: those.length, last: those[0] ?? null }
}

export const countOpen = async (ctx: Context): Promise<number> => (await listOpen(ctx)).length

/** In the transaction in which the check goes down. Null where one is open already. */
export async function begin(
  ctx: Context,
  incident: { check_id: string; title: string; cause: string; at: number },
): Promise<string | null> {
  const { check_id, title, cause, at } = incident
  const id = ctx.newId()
  if (!(await insertIncident(ctx, { id, check_id, title, cause, started_at: at }))) return null
  ctx.changed('incidents', id)
  return id
}

/** In the transaction in which the check is up again, or of no interest any more. */
export async function end(ctx: Context, check_id: string, by: Ending, at: number): Promise<{ id: string; lasted_ms: number } | null> {
  const ended = await markEnded(ctx, check_id, by, at)
  if (!ended) return null
  ctx.changed('incidents', ended.id)
  return { id: ended.id, lasted_ms: Math.max(0, at - ended.started_at) }
}
