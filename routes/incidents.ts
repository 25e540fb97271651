import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { redirect, Routes, view, type Answer } from '../monitoring/dashboard/endpoint'
import { errorsOf, text, type Errors } from '../monitoring/dashboard/shapes'
import { plural } from '../monitoring/markup'
import { may } from '../monitoring/permissions'
import { spanOf } from '../monitoring/zones'
import * as checks from '../services/checks'
import * as events from '../services/events'
import * as incidents from '../services/incidents'
import type { ToldEvent } from '../services/overview'
import { declareApi } from './incidents/api'

interface Filter {
  q: string
  state: '' | 'open' | 'ended'
  check: string
  from: string
  to: string
}

declare module '../views/views' {
  interface Views {
    'incidents/index': {
      incidents: readonly incidents.Incident[]
      filter: Filter
      checks: readonly { id: string; name: string }[]
      verdict: {
        state: 'ok' | 'err'
        title: string
        detail: string
        at: number | null
        said: string
        action: { href: string; label: string } | null
      }
      next: string | null
    }
    'incidents/show': {
      incident: incidents.Incident
      /** How it ended, in words; empty while it is open. */
      ended: string
      similar: { count_30d: number; last: incidents.Incident | null }
      /** Around its start; null: not theirs to see. */
      events: readonly ToldEvent[] | null
      typed: { text: string; publish: boolean }
      errors: Errors
      clock: (at: number | null) => string
      may: { note: boolean; publish: boolean; machine: boolean }
    }
  }
}

export const routes = new Routes('incidents')

declareApi(routes)

const minute = 60_000
/** What happened before it began says more than what came after. */
const around = { before: 15 * minute, after: 5 * minute }
const mostEvents = 30

const typed = text(200).trim().catch('').default('')

/** Without what was left empty. */
const search = (parameters: Readonly<Record<string, string>>): string =>
  new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString()

function sentence(open: readonly incidents.Incident[], count: number, last: incidents.Incident | undefined) {
  const [first] = [...open].sort((a, b) => a.started_at - b.started_at)
  if (first) {
    const alone = open.filter(({ acknowledged }) => !acknowledged).length
    return {
      ...{ state: 'err' as const, title: count === 1 ? first.title : `${count} incidents are open`, said: 'began', at: first.started_at },
      detail:
        count === 1
          ? first.cause
          : alone > 0
            ? `Nobody is on ${alone === count ? 'them' : plural(alone, 'of them', 'of them')} yet`
            : 'Somebody is on each of them',
      action: { href: `/incidents/${encodeURIComponent(first.id)}`, label: count === 1 ? 'Look' : 'Look at the oldest' },
    }
  }
  const over = last?.ended_at ?? null
  return {
    ...{ state: 'ok' as const, title: 'Nothing is open', said: 'The last one ended', at: over, action: null },
    detail: over === null ? 'No check has gone down yet.' : '',
  }
}

routes.page(
  '/incidents',
  {
    permission: 'incidents.read',
    query: z.object({
      ...{ q: typed, check: typed, from: typed, to: typed },
      state: z.enum(['', 'open', 'ended']).catch('').default(''),
      cursor: text(300).optional().catch(undefined),
    }),
  },
  async ({ ctx, query: { cursor, ...filter }, identity }) => {
    const zone = identity?.principal.timezone ?? ctx.platform.config.timezone
    const { q, state, check } = filter
    const [found, open, count, last, known] = await Promise.all([
      incidents.list(ctx, {
        ...{ q: q || undefined, state: state || undefined, check: check || undefined, limit: 50, cursor },
        ...{ from: spanOf(filter.from, zone)?.start, to: spanOf(filter.to, zone)?.end },
      }),
      incidents.list(ctx, { state: 'open', limit: 200 }),
      incidents.countOpen(ctx),
      incidents.list(ctx, { state: 'ended', limit: 1 }),
      may(ctx.actor, 'checks.read') ? checks.names(ctx) : [],
    ])
    return view(
      'incidents/index',
      {
        incidents: found.items,
        filter,
        checks: check && !known.some(({ id }) => id === check) ? [...known, { id: check, name: 'A check that was deleted' }] : known,
        verdict: sentence(open.items, count, last.items[0]),
        next: found.next === null ? null : `/incidents?${search({ ...filter, cursor: found.next })}`,
      },
      { title: 'Incidents', live: ['incidents', 'checks'] },
    )
  },
)

const endings = {
  recovered: 'up again',
  paused: 'the check was paused',
  deleted: 'the check was deleted',
  maintenance: 'maintenance began',
}

const eventsAround = async (ctx: Context, at: number): Promise<ToldEvent[]> =>
  (await events.list(ctx, { filter: { from: at - around.before, to: at + around.after }, limit: mostEvents, cursor: undefined })).items.map(
    (event) => ({
      ...event,
      ...events.phrase(event),
    }),
  )

async function show(
  ctx: Context,
  id: string,
  zone: string,
  form: { typed?: { text: string; publish: boolean }; errors?: Errors } = {},
): Promise<Answer> {
  const incident = await incidents.find(ctx, id)
  const [similar, near] = await Promise.all([
    incidents.similar(ctx, incident),
    may(ctx.actor, 'events.read') ? eventsAround(ctx, incident.started_at) : null,
  ])
  const clock = new Intl.DateTimeFormat('en-GB', {
    ...{ timeZone: zone, hourCycle: 'h23', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit' },
  })
  return view(
    'incidents/show',
    {
      incident,
      ended: incident.ended_by === null ? '' : endings[incident.ended_by],
      similar,
      events: near,
      typed: form.typed ?? { text: '', publish: false },
      errors: form.errors ?? {},
      clock: (at) => (at === null ? '' : clock.format(at)),
      may: { note: may(ctx.actor, 'incidents.note'), publish: may(ctx.actor, 'status.publish'), machine: may(ctx.actor, 'system.read') },
    },
    { title: incident.title, live: ['incidents'] },
  )
}

const zoneFor = (ctx: Context, identity: { principal: { timezone: string | null } } | null): string =>
  identity?.principal.timezone ?? ctx.platform.config.timezone

routes.page('/incidents/:id', { permission: 'incidents.read' }, ({ ctx, params, identity }) =>
  show(ctx, params['id'] ?? '', zoneFor(ctx, identity)),
)

routes.action('/incidents/:id/acknowledge', { permission: 'incidents.note' }, async ({ ctx, params }) => {
  const { id, acknowledged } = await incidents.acknowledge(ctx, params['id'] ?? '')
  const own = acknowledged?.by === ctx.actor.name
  return redirect(`/incidents/${encodeURIComponent(id)}`, {
    kind: own ? 'ok' : 'warn',
    text: own ? 'You are on it.' : `${acknowledged?.by ?? 'Somebody'} is on it already.`,
  })
})

routes.action(
  '/incidents/:id/notes',
  {
    permission: 'incidents.note',
    body: z.object({ text: text(incidents.longestNote).trim().min(1, 'Write something first.'), publish: z.literal('on').optional() }),
    again: ({ ctx, params, typed, error, identity }) =>
      show(ctx, params['id'] ?? '', zoneFor(ctx, identity), {
        typed: { text: typed['text'] ?? '', publish: typed['publish'] !== undefined },
        errors: errorsOf(error),
      }),
  },
  async ({ ctx, params, body }) => {
    const { id } = await incidents.note(ctx, params['id'] ?? '', {
      text: body.text,
      publish: body.publish === 'on' && may(ctx.actor, 'status.publish'),
    })
    return redirect(`/incidents/${encodeURIComponent(id)}`, { kind: 'ok', text: 'The note was saved.' })
  },
)

routes.live('incidents', {
  permission: 'incidents.read',
  // What may be done about one depends on who looks: each page fetches its own.
  paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>'),
})
