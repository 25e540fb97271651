import { z } from 'zod'
import { replace, Routes } from '../monitoring/dashboard/endpoint'
import * as events from '../services/events'
import * as overview from '../services/overview'
import { iso, isoToMoment, limit, text } from '../monitoring/dashboard/shapes'

declare module '../views/views' {
  interface Views {
    'events/_latest': { events: readonly overview.ToldEvent[] }
  }
}

export const routes = new Routes('events')

const Severity = z.enum(events.severities)

const deepest = 50
/** As it is stored: of text beyond ASCII a character takes up to four. */
const mostBytes = 64_000

/** A body can nest deeper than the stack that would write it out again. */
const isShallow = (value: unknown, depth = 0): boolean =>
  typeof value !== 'object' || value === null || (depth < deepest && Object.values(value).every((one) => isShallow(one, depth + 1)))

const Data = z
  .unknown()
  .refine((value) => isShallow(value), { message: `This is nested deeper than ${deepest} levels.`, abort: true })
  .refine((value) => Buffer.byteLength(JSON.stringify(value ?? null)) <= mostBytes, 'This is larger than 64 kB.')
  .describe(`Anything that JSON can say, up to 64 kB and ${deepest} levels deep`)

const Report = z.strictObject({
  type: text(100).min(1).describe('What happened, like deploy or backup.finished'),
  source: text(100)
    .min(1)
    .refine((source) => !events.ownSources.includes(source), 'Only the console itself reports under this name.')
    .describe('Who reports it; not console or pm2, which are the console’s own'),
  subject: text(300).nullish().describe('What it is about'),
  severity: Severity.optional().describe('Absent: info'),
  at: isoToMoment.optional().describe('When it happened. Absent: now'),
  data: Data.optional(),
  id: text(100).min(1).optional().describe('The reporter’s own. A repeat of it is the same event, and harmless'),
  host: text(300).nullish().describe('Where it happened'),
})

routes.endpoint(
  'POST /api/events',
  {
    summary: 'Report events',
    description: [
      'Takes 1 to 1,000 events, all or none of them. Answers after they are stored durably.',
      'An event of the type `deploy` is marked on every chart of the Health page: `{"type": "deploy", "source": "ci", "subject": "content-engine 131", "data": {"message": "the new parser"}}`. So is one of the type `edit`, for a change of configuration.',
    ].join('\n\n'),
    permission: 'events.report',
    body: z.strictObject({ events: z.array(Report).min(1, 'Send at least one event.').max(1000, 'Send 1,000 events at the most.') }),
    response: z.object({ accepted: z.int() }),
    status: 201,
    fast: true,
    limit: 'ingest',
  },
  ({ ctx, body }) => events.report(ctx, body.events),
)

const Event = z
  .object({
    id: z.string(),
    seq: z.int().describe('In the order in which they were stored'),
    at: iso.describe('When it happened'),
    received_at: iso,
    type: z.string(),
    source: z.string(),
    subject: z.string().nullable(),
    severity: Severity,
    host: z.string().nullable(),
    data: z.unknown(),
  })
  .meta({ id: 'Event' })

const asJson = ({ at, received_at, ...event }: events.EventRow): z.input<typeof Event> => ({
  ...event,
  at: new Date(at).toISOString(),
  received_at: new Date(received_at).toISOString(),
})

routes.endpoint(
  'GET /api/events',
  {
    summary: 'List events, newest first',
    permission: 'events.read',
    query: z.strictObject({
      type: text(100).optional(),
      source: text(100).optional(),
      subject: text(300).optional(),
      severity: Severity.optional(),
      from: isoToMoment.optional().describe('From this moment on'),
      to: isoToMoment.optional().describe('Until just before this moment'),
      limit: limit.default(50),
      cursor: text(200).optional().describe('`next` of the page before'),
    }),
    response: z.object({ items: z.array(Event), next: z.string().nullable() }),
  },
  async ({ ctx, query: { limit, cursor, ...filter } }) => {
    const { items, next } = await events.list(ctx, { filter, limit, cursor })
    return { items: items.map(asJson), next }
  },
)

routes.live('events', {
  permission: 'events.read',
  paint: async (ctx, _subjects, render) => replace('latest_events', render('events/_latest', { events: await overview.latestEvents(ctx) })),
  // A subject is the span of numbers that one commit stored.
  data: async (ctx, subjects) => {
    const found = await Promise.all(
      subjects.map((span) => {
        const [first = 0, last = 0] = span.split('-').map(Number)
        return events.listEventsBetween(ctx, first, last)
      }),
    )
    return found.flat().map(asJson)
  },
})
