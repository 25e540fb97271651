import type { Context } from '../monitoring/context'
import { may } from '../monitoring/permissions'
import * as events from './events'
import * as health from './health'
import * as processes from './processes'

const latestShown = 10

/** An event together with how it is told. */
export type ToldEvent = events.EventRow & ReturnType<typeof events.phrase>

export const latestEvents = async (ctx: Context): Promise<ToldEvent[]> =>
  (await events.latest(ctx, latestShown)).map((event) => ({ ...event, ...events.phrase(event) }))

/** What the first page shows, as far as whoever looks may read each part of it; null: not theirs to see. */
export async function read(ctx: Context) {
  const list = await processes.list(ctx)
  const [needs, now] = await Promise.all([health.problems(ctx, list), health.tilesNow(ctx, list)])
  const [verdict, tiles, charts, latest] = await Promise.all([
    health.verdict(ctx, needs, list),
    health.tiles(ctx, now),
    may(ctx.actor, 'metrics.read') ? health.charts(ctx, now) : [],
    may(ctx.actor, 'events.read') ? latestEvents(ctx) : null,
  ])
  return { needs, verdict, tiles, charts, processes: may(ctx.actor, 'processes.read') ? list : null, events: latest }
}

export type Overview = Awaited<ReturnType<typeof read>>
