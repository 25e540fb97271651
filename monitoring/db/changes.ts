import type { Context } from '../context'

const keptMs = 24 * 3_600_000
const keptRows = 100_000
const piece = 5000

/** Forgets changes that no page can still be waiting for, in pieces. */
export async function deleteOldChanges(ctx: Context): Promise<void> {
  for (;;) {
    const newest = await ctx.db
      .selectFrom('changes')
      .select((row) => row.fn.max('seq').as('seq'))
      .executeTakeFirst()
    const { numDeletedRows } = await ctx.db
      .deleteFrom('changes')
      .where('seq', 'in', (row) =>
        row
          .selectFrom('changes')
          .select('seq')
          .where((one) => one.or([one('at', '<', ctx.now() - keptMs), one('seq', '<=', (newest?.seq ?? 0) - keptRows)]))
          .orderBy('seq')
          .limit(piece),
      )
      .executeTakeFirst()
    if (numDeletedRows < BigInt(piece)) return
  }
}
