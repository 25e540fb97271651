import { contextOf, type Context } from '../monitoring/context'
import { Conflict, Invalid } from '../monitoring/errors'
import { checkPassword, findMemberByName, forgiveTries, hashPassword, updateUser } from './accounts'
import { hashOf, makeToken } from './accounts'
import { recordAct, recordRefusal } from './audit'
import { findReset, markResetUsed, replaceReset } from './resets/queries'
import { endOthers, forget } from './sessions'
import * as users from './users'

/** OWASP ASVS 5.0, 6.4.3: such a link is for now. */
const validMs = 15 * 60_000

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

function stateOf(ctx: Context, row: Row): State {
  if (row?.disabled_at !== null) return 'invalid'
  // Whoever made it for somebody of their organisation must not get at the installation with it.
  if (row.instance_admin_at !== null && row.instance_admin_at > row.created_at) return 'invalid'
  // Whoever has changed the password since does not need it, and nobody else should have it.
  if (row.used_at !== null || row.password_changed_at > row.created_at) return 'used'
  return row.expires_at <= ctx.now() ? 'expired' : 'open'
}

/** What a link leads to, for whoever has it. */
export async function open(ctx: Context, token: string): Promise<{ state: State; username: string }> {
  const row = await findReset(ctx, hashOf(token))
  const state = stateOf(ctx, row)
  return { state, username: state === 'open' ? (row?.username ?? '') : '' }
}

const refusals = {
  used: 'This link was used already, or the password was changed since.',
  expired: 'This link has expired. Ask an admin for a new one.',
  invalid: 'This is not a link for a new password.',
} as const

/** Sets the new password and ends every session; answers who may sign in with it. */
export async function use(ctx: Context, input: { token: string; password: string; repeat: string }): Promise<string> {
  const row = await findReset(ctx, hashOf(input.token))
  const state = stateOf(ctx, row)
  const there = contextOf(ctx.platform, ctx.actor, row?.org_id ?? ctx.org)
  if (!row || state !== 'open') {
    await recordRefusal(there, { action: 'resets.refused', subject: row?.user_id ?? 'unknown', data: { state } })
    throw new Conflict(refusals[state === 'open' ? 'invalid' : state])
  }
  await checkPassword(input.password, 'password', row.username)
  if (input.password !== input.repeat) throw new Invalid([{ field: 'repeat', message: 'This is not the same password.' }])
  const hash = await hashPassword(input.password)
  await there.transaction(async (ctx) => {
    if (!(await markResetUsed(ctx, row.id))) throw new Conflict(refusals.used)
    await setPassword(ctx, { id: row.user_id, username: row.username }, hash, 'link')
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
