import type { Context } from '../../monitoring/context'

const organisations = (ctx: Context) =>
  ctx.db
    .selectFrom('organisations')
    .leftJoin('memberships as own', (join) => join.onRef('own.org_id', '=', 'organisations.id').on('own.user_id', '=', ctx.actor.id))
    .leftJoin('roles', (join) => join.onRef('roles.id', '=', 'own.role').onRef('roles.org_id', '=', 'organisations.id'))
    .select((row) => [
      'organisations.id',
      'organisations.name',
      'organisations.created_at',
      'own.role as role_id',
      'roles.name as role_name',
      row
        .selectFrom('memberships')
        .whereRef('memberships.org_id', '=', 'organisations.id')
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .as('people'),
    ])

export type OrganisationRow = Awaited<ReturnType<ReturnType<typeof organisations>['executeTakeFirstOrThrow']>>

/** Across organisations: the actor's own; all of them for an instance admin. */
export async function listOrganisations(ctx: Context, all: boolean): Promise<OrganisationRow[]> {
  const { dialect } = ctx.platform.store
  const query = organisations(ctx).orderBy(dialect.binary('organisations.name')).orderBy('organisations.id').limit(500)
  return await (all ? query : query.where('own.user_id', 'is not', null)).execute()
}

export const findOrganisation = (ctx: Context, id: string): Promise<OrganisationRow | undefined> =>
  organisations(ctx).where('organisations.id', '=', id).executeTakeFirst()

/** Across organisations: those that a person belongs to. */
export async function organisationsOf(ctx: Context, user: string): Promise<{ id: string; name: string }[]> {
  const { dialect } = ctx.platform.store
  return await ctx.db
    .selectFrom('memberships')
    .innerJoin('organisations', 'organisations.id', 'memberships.org_id')
    .select(['organisations.id', 'organisations.name'])
    .where('user_id', '=', user)
    .orderBy(dialect.binary('organisations.name'))
    .limit(500)
    .execute()
}

export async function insertOrganisation(ctx: Context, id: string, name: string): Promise<void> {
  await ctx.db.insertInto('organisations').values({ id, name, created_at: ctx.now() }).execute()
}

export async function renameOrganisation(ctx: Context, id: string, name: string): Promise<void> {
  await ctx.db.updateTable('organisations').set({ name }).where('id', '=', id).execute()
}
