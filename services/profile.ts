import type { Context } from '../monitoring/context'
import { Invalid, Unauthorized } from '../monitoring/errors'
import { recordAct } from './audit'
import { endOthers, forget } from './sessions'
import { authenticate, checkPassword, findMember, hashPassword, updateUser, type Theme } from './users'

/** Asks for the current password, and ends every other session of this person. */
export async function changePassword(
  ctx: Context,
  input: { current: string; password: string; repeat: string; session: string | null },
): Promise<{ ended: number }> {
  const member = await findMember(ctx, ctx.actor.id)
  if (!member) throw new Unauthorized()
  checkPassword(input.password, 'password')
  if (input.password !== input.repeat) throw new Invalid([{ field: 'repeat', message: 'This is not the same password.' }])
  try {
    await authenticate(ctx, member.username, input.current)
  } catch (error) {
    if (error instanceof Unauthorized) throw new Invalid([{ field: 'current', message: 'This is not your current password.' }])
    throw error
  }
  const hash = await hashPassword(input.password)
  const ended = await ctx.transaction(async (ctx) => {
    await updateUser(ctx, member.id, { password_hash: hash, password_changed_at: ctx.now() })
    const ended = await endOthers(ctx, member.id, input.session)
    await recordAct(ctx, { action: 'password.change', topic: 'users', subject: member.id, data: { sessions_ended: ended } })
    return ended
  })
  forget(ctx, member.id)
  return { ended }
}

export async function changePreferences(ctx: Context, set: { theme?: Theme; timezone?: string | null }): Promise<void> {
  await ctx.transaction(async (ctx) => {
    await updateUser(ctx, ctx.actor.id, set)
    await recordAct(ctx, { action: 'profile.change', topic: 'users', subject: ctx.actor.id, data: set })
  })
  forget(ctx, ctx.actor.id)
}
