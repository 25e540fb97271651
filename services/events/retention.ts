import type { Context } from '../../monitoring/context'
import { deleteEventsBefore } from './queries'

const day = 86_400_000
const piece = 500

/** Drops what was received too long ago, in pieces with a pause between them: a chore, off the request path. Returns how many went. */
export async function prune(ctx: Context): Promise<number> {
  const before = ctx.now() - ctx.platform.config.eventRetentionDays * day
  for (let gone = 0; ;) {
    const some = await ctx.transaction((ctx) => deleteEventsBefore(ctx, before, piece))
    gone += some
    if (some < piece) return gone
    await new Promise((resolve) => setImmediate(resolve))
  }
}
