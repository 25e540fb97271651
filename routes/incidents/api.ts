import { z } from 'zod'
import type { Routes } from '../../monitoring/dashboard/endpoint'
import { iso, isoOf, isoToMoment, limit, text } from '../../monitoring/dashboard/shapes'
import * as incidents from '../../services/incidents'

const Note = z.object({
  id: z.string(),
  at: iso,
  author: z.object({ id: z.string(), name: z.string() }),
  text: z.string(),
  published_at: iso.nullable().describe('Also on the status page, since then'),
})
const Incident = z
  .object({
    id: z.string(),
    check_id: z.string(),
    check_name: z.string().nullable().describe('null: the check was deleted'),
    title: z.string(),
    cause: z.string(),
    started_at: iso,
    ended_at: iso.nullable(),
    ended_by: z.enum(incidents.endings).nullable(),
    duration_ms: z.int().describe('Until now, where it is open'),
    acknowledged: z.object({ at: iso, by: z.string() }).nullable(),
    notes: z.array(Note),
    snapshot_id: z.string().nullable().describe('What the machine looked like at the start'),
  })
  .meta({ id: 'Incident' })

const asJson = ({ started_at, ended_at, acknowledged, notes, ...one }: incidents.Incident): z.input<typeof Incident> => ({
  ...one,
  ...{ started_at: isoOf(started_at), ended_at: isoOf(ended_at) },
  acknowledged: acknowledged && { ...acknowledged, at: isoOf(acknowledged.at) },
  notes: notes.map((note) => ({ ...note, at: isoOf(note.at), published_at: isoOf(note.published_at) })),
})

export function declareApi(routes: Routes): void {
  routes.endpoint(
    'GET /api/incidents',
    {
      summary: 'The incidents, open ones first',
      permission: 'incidents.read',
      query: z.strictObject({
        q: text(100).optional().describe('Stands in the title or the cause'),
        state: z.enum(['open', 'ended']).optional(),
        check: text(100).optional().describe('The id of a check'),
        from: isoToMoment.optional().describe('Open at this moment or later'),
        to: isoToMoment.optional().describe('Begun before'),
        limit: limit.default(50),
        cursor: text(300).optional().describe('`next` of the page before'),
      }),
      response: z.object({ items: z.array(Incident), next: z.string().nullable() }),
    },
    async ({ ctx, query }) => {
      const { items, next } = await incidents.list(ctx, query)
      return { items: items.map(asJson), next }
    },
  )

  routes.endpoint(
    'GET /api/incidents/:id',
    {
      summary: 'One incident, and whether it has happened before',
      permission: 'incidents.read',
      response: z.object({
        ...Incident.shape,
        count_30d: z.int().describe('Others of the same check in the 30 days before it began; 200 at the most'),
      }),
      errors: [404],
    },
    async ({ ctx, params }) => {
      const incident = await incidents.find(ctx, params['id'] ?? '')
      const { count_30d } = await incidents.similar(ctx, incident)
      return { ...asJson(incident), count_30d }
    },
  )

  routes.endpoint(
    'POST /api/incidents/:id/acknowledge',
    {
      summary: 'Say that somebody looks after it',
      description: 'Whoever is first is named; doing it again changes nothing. One that is over cannot be acknowledged (409).',
      permission: 'incidents.note',
      response: Incident,
      errors: [404, 409],
    },
    async ({ ctx, params }) => asJson(await incidents.acknowledge(ctx, params['id'] ?? '')),
  )

  routes.endpoint(
    'POST /api/incidents/:id/notes',
    {
      summary: 'Write a note on an incident',
      description: 'To publish one on the status page takes the permission status.publish beside (403).',
      permission: 'incidents.note',
      status: 201,
      body: z.strictObject({
        text: text(incidents.longestNote).min(1),
        publish: z.boolean().default(false).describe('Also on the status page'),
      }),
      response: Incident,
      errors: [404, 409],
    },
    async ({ ctx, params, body }) => asJson(await incidents.note(ctx, params['id'] ?? '', body)),
  )
}
