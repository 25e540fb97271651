import { contextOf, type Context } from '../monitoring/context'
import { Conflict, Invalid, NotFound } from '../monitoring/errors'
import {
  checkPassword,
  countWrongTry,
  findMemberByName,
  findMemberIn,
  forgiveTries,
  hashOf,
  hashPassword,
  makeToken,
  updateUser,
} from './accounts'
import { recordAct, recordRefusal } from './audit'
import { findReset, markResetUsed, replaceReset } from './resets/queries'
import { endOthers, forget } from './sessions'
import * as users from './users'

/** OWASP ASVS 5.0, 6.4.3: such a link is for now. */
const validMs = 15 * 60_000
/** By so much the clocks of two consoles on one database may differ. */
const skewMs = 60_000

/** Makes a link with which a person chooses a new password, once. It voids the one before. */
export async function make(ctx: Context, id: string): Promise<{ token: string; expires_at: number; username: string }> {
  const { token, hash } = makeToken()
  const expires_at = ctx.now() + validMs
  const username = await ctx.transaction(async (ctx) => {
    const person = await users.find(ctx, id)
    users.insist(ctx, person, 'reset')
    await replaceReset(ctx, id, hash, expires_at)
    await recordAct(ctx, { action: 'resets.make', topic: 'users', subject: id, name: person.username })
    return person.username
  })
  return { token, expires_at, username }
}

export type State = 'open' | 'used' | 'expired' | 'invalid'

type Row = Awaited<ReturnType<typeof findReset>>

/** A link is worth what its maker may, now: with their account, or with the rights that the person has got since, it is void. */
async function isBacked(ctx: Context, { org_id, created_by, user_id }: NonNullable<Row>): Promise<boolean> {
  const maker = await findMemberIn(ctx, created_by, org_id)
  if (!maker) return false
  const { id, username: name, rights } = maker
  const asMaker = contextOf(ctx.platform, { ...ctx.actor, kind: 'user', id, name, rights }, org_id)
  const person = await users.findIfThere(asMaker, user_id)
  return person !== undefined && users.whyNot(asMaker, person, 'reset') === null
}

async function stateOf(ctx: Context, row: Row): Promise<State> {
  if (row?.disabled_at !== null) return 'invalid'
  // When the clock was set back, links from before are void, and what was done before says nothing about those that are made since.
  const latest = ctx.now() + skewMs
  if (row.created_at > latest) return 'expired'
  const isSince = (at: number | null) => at !== null && at > row.created_at && at <= latest
  // Whoever has changed the password since does not need it, and nobody else should have it.
  if (row.used_at !== null || isSince(row.password_changed_at)) return 'used'
  if (row.expires_at <= ctx.now()) return 'expired'
  return (await isBacked(ctx, row)) ? 'open' : 'invalid'
}

/** Tokens that lead nowhere are counted with the wrong tries of whoever sends them; one that led somewhere once is nobody's guess. */
async function findByToken(ctx: Context, token: string): Promise<Row> {
  const row = await findReset(ctx, hashOf(token))
  if (!row && token !== '') countWrongTry(ctx)
  return row
}

/** What a link leads to, for whoever has it. */
export async function open(ctx: Context, token: string): Promise<{ state: State; username: string }> {
  const row = await findByToken(ctx, token)
  const state = await stateOf(ctx, row)
  return { state, username: state === 'open' ? (row?.username ?? '') : '' }
}

const refusals = {
  used: 'This link was used already, or the password was changed since.',
  expired: 'This link has expired. Ask an admin for a new one.',
  invalid: 'This is not a link for a new password.',
} as const

/** Sets the new password and ends every session; answers who may sign in with it. */
export async function use(ctx: Context, input: { token: string; password: string; repeat: string }): Promise<string> {
  const row = await findByToken(ctx, input.token)
  const state = await stateOf(ctx, row)
  const there = contextOf(ctx.platform, ctx.actor, row?.org_id ?? ctx.org)
  if (!row || state !== 'open') {
    await recordRefusal(there, { action: 'resets.refused', subject: row?.user_id ?? 'unknown', data: { state } })
    if (!row || state === 'open') throw new NotFound(refusals.invalid)
    throw new Conflict(refusals[state])
  }
  await checkPassword(input.password, 'password', row.username)
  if (input.password !== input.repeat) throw new Invalid([{ field: 'repeat', message: 'This is not the same password.' }])
  const hash = await hashPassword(input.password)
  await there.transaction(async (ctx) => {
    // The account first, as where links are made: on PostgreSQL the two would wait for each other otherwise.
    await setPassword(ctx, { id: row.user_id, username: row.username }, hash, 'link')
    if (!(await markResetUsed(ctx, row.id))) throw new Conflict(refusals.used)
  })
  forget(ctx, row.user_id)
  forgiveTries(ctx, row.username)
  return row.user_id
}

async function activeMember(ctx: Context, username: string) {
  const member = await findMemberByName(ctx, username)
  if (!member) throw new Invalid([{ field: 'name', message: `There is no active account “${username}”.` }])
  return member
}

/** Throws where there is nobody of this name, before anybody types a password for them. */
export async function insistOn(ctx: Context, username: string): Promise<void> {
  await activeMember(ctx, username)
}

/** From the machine's own shell: whoever has it owns the data anyway. */
export async function bySystem(ctx: Context, username: string, password: string): Promise<{ ended: number }> {
  const member = await activeMember(ctx, username)
  await checkPassword(password, 'password', member.username)
  const hash = await hashPassword(password)
  const there = contextOf(ctx.platform, ctx.actor, member.org_id)
  return { ended: await there.transaction((ctx) => setPassword(ctx, member, hash, 'shell')) }
}

async function setPassword(
  ctx: Context,
  { id, username }: { id: string; username: string },
  hash: string,
  by: 'link' | 'shell',
): Promise<number> {
  await updateUser(ctx, id, { password_hash: hash, password_changed_at: ctx.now() })
  const ended = await endOthers(ctx, id, null)
  const actor = by === 'link' ? { ...ctx.actor, kind: 'user' as const, id, name: username } : ctx.actor
  await recordAct(
    { ...ctx, actor },
    { action: 'password.reset', topic: 'users', subject: id, name: username, data: { by, sessions_ended: ended } },
  )
  return ended
}
