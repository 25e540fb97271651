import { contextOf, type Context } from '../monitoring/context'
import { Conflict, Forbidden, NotFound, Unauthorized } from '../monitoring/errors'
import { covers, may } from '../monitoring/permissions'
import {
  authenticateFormer,
  checkPassword,
  countWrongTry,
  findAccount,
  findMemberIn,
  hashOf,
  hashPassword,
  insertMembership,
  insertUser,
  isFormer,
  lockOrganisation,
  makeToken,
  nameTaken,
  rightsOfRole,
} from './accounts'
import { recordAct, recordRefusal } from './audit'
import { findInvite, findInviteByHash, insertInvite, listInvites, markRevoked, markUsed, type InviteRow } from './invites/queries'
import * as roles from './roles'
import { forget } from './sessions'

const day = 86_400_000

/** An invitation that nobody has used yet. */
export interface Invite {
  id: string
  /** Whom it is for, as whoever made it wrote. */
  name: string | null
  role: { id: string; name: string }
  created_by: string
  created_at: number
  expires_at: number
  /** Its time is over, or whoever made it may no longer let anybody in as this. */
  expired: boolean
}

/** An invitation is worth what its maker may: with their account or their role, the links that they made are void. */
async function isBacked(ctx: Context, row: InviteRow): Promise<boolean> {
  const maker = await findMemberIn(ctx, row.maker, row.org_id)
  return maker !== undefined && may(maker, 'users.invite') && covers(maker.rights, rightsOfRole(row.role_id, row.role_actions))
}

const asInvite = async (ctx: Context, row: InviteRow): Promise<Invite> => ({
  id: row.id,
  name: row.name,
  role: { id: row.role_id, name: row.role_name ?? row.role_id },
  created_by: row.created_by ?? 'somebody',
  created_at: row.created_at,
  expires_at: row.expires_at,
  expired: row.expires_at <= ctx.now() || !(await isBacked(ctx, row)),
})

export const list = async (ctx: Context): Promise<Invite[]> => Promise.all((await listInvites(ctx)).map((row) => asInvite(ctx, row)))

export async function find(ctx: Context, id: string): Promise<Invite> {
  const row = await findInvite(ctx, id)
  if (!row) throw new NotFound('There is no such invitation here.')
  return asInvite(ctx, row)
}

/** Makes a link that lets one person in, once. The token is in the answer and nowhere else. */
export async function make(
  ctx: Context,
  { role: wanted, name, days }: { role: string; name: string | null; days: number },
): Promise<{ invite: Invite; token: string }> {
  const { token, hash } = makeToken()
  const id = ctx.newId()
  await ctx.transaction(async (ctx) => {
    await lockOrganisation(ctx, ctx.org)
    const role = await roles.assignable(ctx, wanted, 'role')
    await insertInvite(ctx, { id, token_hash: hash, name, role: role.id, expires_at: ctx.now() + days * day })
    await recordAct(ctx, { action: 'invites.make', topic: 'invites', subject: id, name, after: { role: role.name, days } })
  })
  return { invite: await find(ctx, id), token }
}

export async function withdraw(ctx: Context, id: string): Promise<Invite> {
  await ctx.transaction(async (ctx) => {
    const row = await findInvite(ctx, id)
    if (!row) throw new NotFound('There is no such invitation here.')
    if (!covers(ctx.actor.rights, rightsOfRole(row.role_id, row.role_actions)))
      throw new Forbidden(`The role “${row.role_name ?? row.role_id}” may do things that you may not.`)
    if (row.revoked_at !== null) return
    if (!(await markRevoked(ctx, id))) throw new Conflict('This invitation was used already.')
    await recordAct(ctx, { action: 'invites.withdraw', topic: 'invites', subject: id, name: row.name })
  })
  return find(ctx, id)
}

export interface Opened {
  state: 'open' | 'used' | 'expired' | 'withdrawn' | 'invalid'
  organisation: string
  role: string
  by: string
}

async function stateOf(ctx: Context, row: InviteRow | undefined): Promise<Opened['state']> {
  if (!row) return 'invalid'
  if (row.revoked_at !== null) return 'withdrawn'
  if (row.used_at !== null) return 'used'
  if (row.expires_at <= ctx.now()) return 'expired'
  return (await isBacked(ctx, row)) ? 'open' : 'withdrawn'
}

/** Tokens that lead nowhere are counted with the wrong tries of whoever sends them; one that led somewhere once is nobody's guess. */
async function findByToken(ctx: Context, token: string): Promise<InviteRow | undefined> {
  const row = await findInviteByHash(ctx, hashOf(token))
  if (!row && token !== '') countWrongTry(ctx)
  return row
}

/** What a link leads to, for whoever has it. */
export async function open(ctx: Context, token: string): Promise<Opened> {
  const row = await findByToken(ctx, token)
  return {
    state: await stateOf(ctx, row),
    organisation: row?.org_name ?? '',
    role: row?.role_name ?? row?.role_id ?? '',
    by: row?.created_by ?? '',
  }
}

const refusals = {
  used: 'This invitation was used already.',
  expired: 'This invitation has expired. Ask for a new one.',
  withdrawn: 'This invitation was withdrawn. Ask for a new one.',
  invalid: 'This is not the link of an invitation.',
} as const

async function openRow(ctx: Context, token: string): Promise<InviteRow> {
  const row = await findByToken(ctx, token)
  const state = await stateOf(ctx, row)
  if (row && state === 'open') return row
  await recordRefusal(contextOf(ctx.platform, ctx.actor, row?.org_id ?? ctx.org), {
    action: 'invites.refused',
    subject: row?.id ?? 'unknown',
    data: { state },
  })
  if (!row || state === 'open') throw new NotFound(refusals.invalid)
  throw new Conflict(refusals[state])
}

/**
 * Makes the account of somebody new, and answers its id. Of two who use a link at once one wins.
 * Whoever was removed from every organisation comes back with the name and the password of their account.
 */
export async function accept(ctx: Context, input: { token: string; username: string; password: string }): Promise<string> {
  const row = await openRow(ctx, input.token)
  const there = contextOf(ctx.platform, ctx.actor, row.org_id)
  const account = await findAccount(ctx, input.username)
  if (account && isFormer(account)) return await comeBack(there, row, input)
  if (account) throw nameTaken()
  await checkPassword(input.password, 'password', input.username)
  const passwordHash = await hashPassword(input.password)
  return await there.transaction(async (ctx) => {
    const user = await insertUser(ctx, { username: input.username, passwordHash, instanceAdmin: false })
    await enter(ctx, row, user, input.username.trim())
    return user
  })
}

async function comeBack(ctx: Context, row: InviteRow, input: { username: string; password: string }): Promise<string> {
  const { id, username } = await authenticateFormer(ctx, input.username, input.password).catch((error: unknown) => {
    // Who does not know the password is told no more than anybody who chooses a name that is taken.
    throw error instanceof Unauthorized ? nameTaken() : error
  })
  await ctx.transaction((ctx) => enter(ctx, row, id, username))
  forget(ctx, id)
  return id
}

/** Lets somebody who has an account already into the organisation as well. */
export async function join(ctx: Context, token: string): Promise<string> {
  const row = await openRow(ctx, token)
  await contextOf(ctx.platform, ctx.actor, row.org_id).transaction(async (ctx) => {
    if (await findMemberIn(ctx, ctx.actor.id, ctx.org)) throw new Conflict('You belong to this organisation already.')
    await enter(ctx, row, ctx.actor.id, ctx.actor.name)
  })
  forget(ctx, ctx.actor.id)
  return row.org_id
}

async function enter(ctx: Context, row: InviteRow, user: string, name: string): Promise<void> {
  if (!(await markUsed(ctx, row.id, user))) throw new Conflict(refusals.used)
  await insertMembership(ctx, user, ctx.org, row.role_id)
  const actor = { ...ctx.actor, kind: 'user' as const, id: user, name }
  await recordAct(
    { ...ctx, actor },
    {
      action: 'invites.accept',
      topic: 'users',
      subject: user,
      name,
      after: { role: row.role_name ?? row.role_id, invited_by: row.created_by },
    },
  )
}
