import type { Context } from '../../monitoring/context'
import { deleteThrough, findFact, insertAudit, listSealed, moveFact, setFact } from './queries'
import { anchorAt, markIn } from './seal'

const day = 86_400_000
const piece = 500

/**
 * A chore: drops what is older than the trail is kept, once a day and in pieces, from the beginning of the chain on. What is not sealed
 * stays, and so does what was sealed after something younger.
 */
export async function prune(ctx: Context): Promise<void> {
  const before = ctx.now() - ctx.platform.config.auditRetentionDays * day
  const last = await findFact(ctx, 'audit.kept-from')
  // Its value: how many went and were not told of yet, because the console ended meanwhile.
  if (last?.value === '0' && last.at > before - day) return
  while ((await pruneSome(ctx, before)) === piece) await new Promise((resolve) => setImmediate(resolve))
  await ctx.transaction(async (ctx) => {
    const untold = Number(await moveFact(ctx, 'audit.kept-from', before))
    if (untold === 0) return
    await setFact(ctx, 'audit.kept-from', { value: '0', at: before })
    await insertAudit(ctx, { action: 'audit.prune', subject: 'audit', data: { count: untold, older_than: new Date(before).toISOString() } })
    ctx.changed('audit', 'audit')
  })
}

const pruneSome = (ctx: Context, before: number): Promise<number> =>
  ctx.transaction(async (ctx) => {
    const untold = Number(await moveFact(ctx, 'audit.kept-from', before))
    const anchor = markIn((await findFact(ctx, 'audit.anchor'))?.value)
    const rows = await listSealed(ctx, anchor?.no ?? 0, piece)
    const young = rows.findIndex(({ at }) => at >= before)
    const old = young < 0 ? rows : rows.slice(0, young)
    const newest = old.at(-1)
    if (!newest) return 0
    await deleteThrough(ctx, newest.no)
    await setFact(ctx, 'audit.anchor', { value: anchorAt(ctx.platform.config.serverSecret, newest), at: newest.at })
    await setFact(ctx, 'audit.kept-from', { value: String(untold + old.length), at: before })
    return old.length
  })
