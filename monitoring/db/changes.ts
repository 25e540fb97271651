import type { Kysely } from 'kysely'
import type { Context, OrgId } from '../context'
import type { Schema } from './schema'

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

type Db = Kysely<Schema>

export async function newestChange(db: Db): Promise<number> {
  const newest = await db
    .selectFrom('changes')
    .select((row) => row.fn.max('seq').as('seq'))
    .executeTakeFirst()
  return newest?.seq ?? 0
}

/** Of every organisation, a piece at a time, in commit order. */
export const changesAfter = (db: Db, seq: number): Promise<{ seq: number; org_id: OrgId; topic: string; subject: string }[]> =>
  db.selectFrom('changes').select(['seq', 'org_id', 'topic', 'subject']).where('seq', '>', seq).orderBy('seq').limit(1000).execute()

/** A page that missed more than this is better off rendered anew. */
const mostMissed = 500

/** What an organisation's topics had between two changes; null when it is too much, or older than what is kept. */
export async function changesBetween(
  db: Db,
  org: OrgId,
  topics: readonly string[],
  since: number,
  at: number,
): Promise<{ seq: number; topic: string; subject: string }[] | null> {
  if (since === at) return []
  if (since > at) return null
  const oldest = await db
    .selectFrom('changes')
    .select((row) => row.fn.min('seq').as('seq'))
    .executeTakeFirst()
  if (oldest?.seq == null || since < oldest.seq - 1) return null
  const rows = await db
    .selectFrom('changes')
    .select(['seq', 'topic', 'subject'])
    .where('org_id', '=', org)
    .where('topic', 'in', topics)
    .where('seq', '>', since)
    .where('seq', '<=', at)
    .orderBy('seq')
    .limit(mostMissed + 1)
    .execute()
  return rows.length > mostMissed ? null : rows
}
