import type { Context } from '../../monitoring/context'
import { occurrenceAt } from './occurrence'
import { listAllLiving, listLiving } from './queries'

/** By organisation: which ones are now, as far as open pages were told. */
const toldOf = (ctx: Context) => ctx.platform.keep('maintenance that is now', () => new Map<string, ReadonlySet<string>>())

const nowOf = (ctx: Context, rows: Awaited<ReturnType<typeof listLiving>>): Set<string> =>
  new Set(rows.filter((row) => (occurrenceAt(row, ctx.now())?.from ?? Infinity) <= ctx.now()).map(({ id }) => id))

/** After somebody planned, changed or cancelled one, of which open pages were told by that. */
export async function rememberTurns(ctx: Context): Promise<void> {
  toldOf(ctx).set(ctx.org, nowOf(ctx, await listLiving(ctx, ctx.now())))
}

/** Tells open pages when a maintenance begins or ends, of every organisation: nothing else happens at that moment. */
export async function noticeTurns(ctx: Context): Promise<void> {
  const told = toldOf(ctx)
  const rows = await listAllLiving(ctx, ctx.now())
  for (const org of new Set([...told.keys(), ...rows.map(({ org_id }) => org_id)])) {
    const before = told.get(org) ?? new Set()
    const after = nowOf(
      ctx,
      rows.filter(({ org_id }) => org_id === org),
    )
    const turned = [...new Set([...before, ...after])].filter((id) => before.has(id) !== after.has(id))
    if (turned.length > 0) await tell({ ...ctx, org }, turned)
    if (after.size > 0) told.set(org, after)
    else told.delete(org)
  }
}

const tell = (ctx: Context, ids: readonly string[]): Promise<void> =>
  ctx.transaction((ctx) => {
    ctx.changed('checks', 'list')
    for (const id of ids) ctx.changed('maintenance', id)
    return Promise.resolve()
  })
