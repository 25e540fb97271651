import type { Context } from '../../monitoring/context'
import { inForce } from '../../monitoring/db/in-force'

const own = (ctx: Context) =>
  ctx.db
    .selectFrom('roles')
    .select((row) => [
      'id',
      'name',
      'actions',
      'created_at',
      row
        .selectFrom('memberships')
        .whereRef('memberships.role', '=', 'roles.id')
        .where('memberships.org_id', '=', ctx.org)
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .as('people'),
      row
        .selectFrom('keys')
        .whereRef('keys.role', '=', 'roles.id')
        .where('keys.org_id', '=', ctx.org)
        .where(inForce('keys', ctx.now()))
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .as('keys'),
      row
        .selectFrom('invites')
        .whereRef('invites.role', '=', 'roles.id')
        .where('invites.org_id', '=', ctx.org)
        .where('used_at', 'is', null)
        .where(inForce('invites', ctx.now()))
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .as('invites'),
    ])
    .where('org_id', '=', ctx.org)

export const listRoles = (ctx: Context) => own(ctx).orderBy('name_key').orderBy('id').limit(200).execute()

export const findRole = (ctx: Context, id: string) => own(ctx).where('id', '=', id).executeTakeFirst()

/** How many people and keys have one of the roles that every organisation has. */
export async function countByRole(ctx: Context): Promise<{ people: Map<string, number>; keys: Map<string, number> }> {
  const [people, keys] = await Promise.all([
    ctx.db
      .selectFrom('memberships')
      .select((row) => ['role', row.fn.countAll<number>().as('count')] as const)
      .where('org_id', '=', ctx.org)
      .groupBy('role')
      .execute(),
    ctx.db
      .selectFrom('keys')
      .select((row) => ['role', row.fn.countAll<number>().as('count')] as const)
      .where('org_id', '=', ctx.org)
      .where(inForce('keys', ctx.now()))
      .groupBy('role')
      .execute(),
  ])
  const byRole = (rows: readonly { role: string; count: number }[]) => new Map(rows.map(({ role, count }) => [role, count]))
  return { people: byRole(people), keys: byRole(keys) }
}

/** False when another role of the organisation has the name. */
export async function saveRole(ctx: Context, role: { id: string; name: string; nameKey: string; actions: string }): Promise<boolean> {
  const { id, name, nameKey: name_key, actions } = role
  const taken = await ctx.db
    .selectFrom('roles')
    .select('id')
    .where('org_id', '=', ctx.org)
    .where('name_key', '=', name_key)
    .where('id', '!=', id)
    .executeTakeFirst()
  if (taken) return false
  await ctx.db
    .insertInto('roles')
    .values({ id, org_id: ctx.org, name, name_key, actions, created_at: ctx.now() })
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ name, name_key, actions }))
    .execute()
  return true
}

export async function deleteRole(ctx: Context, id: string): Promise<void> {
  await ctx.db.deleteFrom('roles').where('org_id', '=', ctx.org).where('id', '=', id).execute()
}
