import { z } from 'zod'
import { redirect, Routes, view } from '../monitoring/dashboard/endpoint'
import { iso, isoOf, limit, text } from '../monitoring/dashboard/shapes'
import { bytes } from '../monitoring/markup'
import { may } from '../monitoring/permissions'
import * as snapshots from '../services/snapshots'

type Filter = z.output<typeof Filter>

declare module '../views/views' {
  interface Views {
    'snapshots/index': {
      snapshots: readonly snapshots.SnapshotRow[]
      total: number
      filter: Filter
      kept: { days: number; most: number }
      may: { take: boolean }
    }
    'snapshots/show': { snapshot: snapshots.Snapshot; may: { take: boolean } }
  }
}

export const routes = new Routes('snapshots')

const Filter = z.object({
  q: text(100).catch('').default(''),
  kind: z.enum(['', 'incident', 'person']).catch('').default(''),
  sort: z.enum(['at', 'size']).catch('at').default('at'),
  order: z.enum(['asc', 'desc']).catch('desc').default('desc'),
})

/** All of them are at most two hundred: they need no pages. */
function pick(all: readonly snapshots.SnapshotRow[], { q, kind, sort, order }: Filter): snapshots.SnapshotRow[] {
  const wanted = q.trim().toLowerCase()
  const found = all.filter(
    (one) =>
      (kind === '' || (kind === 'incident') === (one.incident_id !== null)) &&
      `${one.host} ${one.taken_by ?? 'the console'} ${one.incident_id ?? ''} ${isoOf(one.at)}`.toLowerCase().includes(wanted),
  )
  const sign = order === 'asc' ? 1 : -1
  return found.sort((a, b) => sign * (sort === 'at' ? a.at - b.at : a.bytes - b.bytes))
}

routes.page('/snapshots', { permission: 'system.read', query: Filter }, async ({ ctx, query }) => {
  const { items } = await snapshots.list(ctx, { limit: snapshots.mostKept })
  return view(
    'snapshots/index',
    {
      snapshots: pick(items, query),
      total: items.length,
      filter: query,
      kept: { days: snapshots.keptDays, most: snapshots.mostKept },
      may: { take: may(ctx.actor, 'snapshots.take') },
    },
    { title: 'Snapshots', live: ['snapshots'] },
  )
})

routes.page('/snapshots/:id', { permission: 'system.read' }, async ({ ctx, params }) => {
  const snapshot = await snapshots.find(ctx, params['id'] ?? '')
  return view('snapshots/show', { snapshot, may: { take: may(ctx.actor, 'snapshots.take') } }, { title: 'Snapshot', live: [] })
})

routes.page('/snapshots/:id/delete', { permission: 'snapshots.take' }, async ({ ctx, params }) => {
  const snapshot = await snapshots.find(ctx, params['id'] ?? '')
  const { data } = snapshot
  const why =
    snapshot.incident_id === null ? [] : ['It is what the machine looked like when the incident began. The incident itself stays.']
  return view(
    'shared/confirm',
    {
      title: 'Delete this snapshot?',
      consequences: [
        `What ${data.system.host} looked like at that moment is gone: ${data.system.processes.length} processes, ${data.system.ports.length} ports. It cannot be brought back.`,
        ...why,
        `It frees ${bytes(snapshot.bytes)}.`,
      ],
      action: `/snapshots/${snapshot.id}/delete`,
      ...{ button: 'Delete the snapshot', keep: 'Keep it', back: `/snapshots/${snapshot.id}`, danger: true, password: false, errors: {} },
    },
    { title: 'Delete a snapshot' },
  )
})

routes.action('/snapshots/:id/delete', { permission: 'snapshots.take' }, async ({ ctx, params }) => {
  await snapshots.remove(ctx, params['id'] ?? '')
  return redirect('/snapshots', { kind: 'ok', text: 'The snapshot was deleted.' })
})

const Row = z
  .object({
    id: z.string(),
    host: z.string(),
    at: iso,
    incident_id: z.string().nullable().describe('At whose beginning the console took it by itself'),
    taken_by: z.string().nullable().describe('null: the console did'),
    size_bytes: z.int(),
  })
  .meta({ id: 'Snapshot' })

const asJson = ({ id, host, at, incident_id, taken_by, bytes: size_bytes }: snapshots.SnapshotRow): z.input<typeof Row> => ({
  ...{ id, host, incident_id, taken_by, size_bytes },
  at: isoOf(at),
})

routes.endpoint(
  'GET /api/snapshots',
  {
    summary: 'What the machine looked like at kept moments, newest first',
    description: 'Kept for 30 days, and the newest 200.',
    permission: 'system.read',
    query: z.strictObject({ limit: limit.default(100), cursor: text(200).optional().describe('`next` of the page before') }),
    response: z.object({ items: z.array(Row), next: z.string().nullable() }),
  },
  async ({ ctx, query }) => {
    const { items, next } = await snapshots.list(ctx, query)
    return { items: items.map(asJson), next }
  },
)

routes.endpoint(
  'POST /api/snapshots',
  { summary: 'Keep what the machine looks like now', permission: 'snapshots.take', response: Row, status: 201, errors: [404] },
  async ({ ctx }) => asJson(await snapshots.takeNow(ctx)),
)

routes.endpoint(
  'GET /api/snapshots/:id',
  {
    summary: 'One snapshot, with all that is in it',
    permission: 'system.read',
    response: z.object({ ...Row.shape, data: z.record(z.string(), z.unknown()).describe('As it was kept') }),
    errors: [404],
  },
  async ({ ctx, params }) => {
    const { data, ...row } = await snapshots.find(ctx, params['id'] ?? '')
    return { ...asJson(row), data: { ...data } }
  },
)

routes.endpoint(
  'DELETE /api/snapshots/:id',
  { summary: 'Delete a snapshot', permission: 'snapshots.take', response: z.object({ id: z.string() }), errors: [404] },
  async ({ ctx, params }) => {
    const id = params['id'] ?? ''
    await snapshots.remove(ctx, id)
    return { id }
  },
)

routes.live('snapshots', {
  permission: 'system.read',
  paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>'),
})
