import { z } from 'zod'
import { home, type Context } from '../monitoring/context'
import { cursorOf, placeOf } from '../monitoring/cursor'
import { asError, NotFound } from '../monitoring/errors'
import { recordAct } from './audit'
import * as processes from './processes'
import {
  deleteSnapshots,
  findSnapshot,
  insertSnapshot,
  isKept,
  listOutdated,
  listSnapshots,
  sameAs,
  type SnapshotRow,
} from './snapshots/queries'
import * as system from './system'

export type { SnapshotRow }

const day = 86_400_000
export const keptDays = 30
export const mostKept = 200
/** Of a machine with more processes, those that use the most. */
const mostProcesses = 500
/** Several checks that fail together are one look at the machine. */
const shareMs = 10_000
const mostShared = 30

/** What the machine looked like. */
export interface Snapshot extends SnapshotRow {
  data: Content
}

const sampleOf = (ctx: Context) => ctx.platform.probes.system?.latest ?? null

export interface Content {
  system: system.System
  /** The last sample of the probe; null where there is none. */
  sample: ReturnType<typeof sampleOf>
  pm2: processes.ProcessList
  left_out: number
}

async function look(ctx: Context): Promise<Content> {
  const [found, pm2] = await Promise.all([system.read(ctx), processes.list(ctx)])
  const top = (sort: 'cpu' | 'memory') => system.pick(found.processes, { sort, order: 'desc' }).slice(0, mostProcesses / 2)
  const kept = found.processes.length <= mostProcesses ? found.processes : [...new Set([...top('cpu'), ...top('memory')])]
  return { system: { ...found, processes: kept }, sample: sampleOf(ctx), pm2, left_out: found.processes.length - kept.length }
}

const memoryOf = (ctx: Context) =>
  ctx.platform.keep('snapshots', () => ({
    last: null as { id: string; at: number; shared: number } | null,
    running: Promise.resolve<unknown>(undefined),
  }))

async function keep(ctx: Context, data: string, { incident, by }: { incident: string | null; by: string | null }): Promise<string> {
  const id = ctx.newId()
  await ctx.transaction(async (ctx) => {
    const row = {
      id,
      host: ctx.platform.config.hostName,
      at: ctx.now(),
      incident_id: incident,
      taken_by: by,
      bytes: Buffer.byteLength(data),
    }
    await insertSnapshot(ctx, { ...row, data })
    if (by === null) ctx.changed('snapshots', id)
    else await recordAct(ctx, { action: 'snapshots.take', topic: 'snapshots', subject: id })
    if (incident !== null) ctx.changed('incidents', incident)
  })
  return id
}

/**
 * Keeps what the machine looks like now, at the start of an incident. Never throws, and nobody needs to wait for it: null where nothing
 * could be kept. Incidents that start within ten seconds share one.
 */
export function take(ctx: Context, { incident }: { incident: string | null }): Promise<{ id: string } | null> {
  // The machine belongs to one organisation.
  if (ctx.org !== home) return Promise.resolve(null)
  const memory = memoryOf(ctx)
  const taken = memory.running.then(async () => {
    try {
      const { last } = memory
      if (last && performance.now() - last.at < shareMs && (await isKept(ctx, last.id))) {
        if (++last.shared > mostShared) return null
        return { id: await keep(ctx, sameAs(last.id), { incident, by: null }) }
      }
      const id = await keep(ctx, JSON.stringify(await look(ctx)), { incident, by: null })
      memory.last = { id, at: performance.now(), shared: 0 }
      await prune(ctx)
      return { id }
    } catch (error) {
      ctx.log.warn({ err: asError(error), incident }, 'a snapshot could not be kept')
      return null
    }
  })
  memory.running = taken
  return taken
}

/** Waits for the ones that are being taken: before the database is closed. */
export const settle = async (ctx: Context): Promise<void> => {
  await memoryOf(ctx).running
}

/** The same, because somebody asks. */
export async function takeNow(ctx: Context): Promise<SnapshotRow> {
  const id = await keep(ctx, JSON.stringify(await look(ctx)), { incident: null, by: ctx.actor.name })
  await prune(ctx)
  const { data: _, ...row } = await findRow(ctx, id)
  return row
}

const Place = z.tuple([z.int(), z.string().max(100)])

export async function list(
  ctx: Context,
  { limit, cursor }: { limit: number; cursor?: string | undefined },
): Promise<{ items: SnapshotRow[]; next: string | null }> {
  const [at, id] = cursor === undefined ? [] : placeOf(Place, cursor)
  const rows = await listSnapshots(ctx, { limit: limit + 1, after: at === undefined || id === undefined ? undefined : { at, id } })
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return { items, next: rows.length > limit && last ? cursorOf([last.at, last.id]) : null }
}

async function findRow(ctx: Context, id: string) {
  const row = await findSnapshot(ctx, id)
  if (!row) throw new NotFound('There is no such snapshot. They are kept for 30 days, and the newest 200 of them.')
  return row
}

const Shared = z.strictObject({ same_as: z.string() })
const Kept = z.looseObject({ system: z.looseObject({ processes: z.array(z.unknown()) }), pm2: z.looseObject({}) })
const parsed = (data: string): unknown => JSON.parse(data)

export async function find(ctx: Context, id: string): Promise<Snapshot> {
  const row = await findRow(ctx, id)
  const shared = Shared.safeParse(parsed(row.data))
  const { data, at } = shared.success ? await findRow(ctx, shared.data.same_as) : row
  // Written by this file; what an older console kept is shown as far as it goes.
  return { ...row, at, data: Kept.parse(parsed(data)) as unknown as Content }
}

export async function remove(ctx: Context, id: string): Promise<void> {
  await ctx.transaction(async (ctx) => {
    if ((await deleteSnapshots(ctx, [id])) === 0) throw new NotFound('There is no such snapshot any more.')
    await recordAct(ctx, { action: 'snapshots.delete', topic: 'snapshots', subject: id })
  })
}

/** Drops those that are too old or too many: a chore, and after each new one. */
export async function prune(ctx: Context): Promise<void> {
  const gone = await listOutdated(ctx, ctx.now() - keptDays * day, mostKept, 100)
  if (gone.length === 0) return
  await ctx.transaction(async (ctx) => {
    await deleteSnapshots(ctx, gone)
    ctx.changed('snapshots', 'list')
  })
}
