import type { Context } from '../monitoring/context'
import { AppError, Invalid, Unauthorized } from '../monitoring/errors'
import { recordAct } from './audit'
import { endOthers, forget } from './sessions'
import {
  authenticate,
  checkPassword,
  findMember,
  hashPassword,
  isNameTaken,
  keyOf,
  listSignIns,
  nameTaken,
  updateUser,
  type SignIn,
  type Theme,
} from './accounts'

/** Asks for the current password, and ends every other session of this person. */
export async function changePassword(
  ctx: Context,
  input: { current: string; password: string; repeat: string; session: string | null },
): Promise<{ ended: number }> {
  const member = await findMember(ctx, ctx.actor.id)
  if (!member) throw new Unauthorized()
  if (input.password !== input.repeat) throw new Invalid([{ field: 'repeat', message: 'This is not the same password.' }])
  try {
    await authenticate(ctx, member.username, input.current)
  } catch (error) {
    if (error instanceof Unauthorized) throw new Invalid([{ field: 'current', message: 'This is not your current password.' }])
    throw error
  }
  await checkPassword(input.password, 'password', member.username)
  const hash = await hashPassword(input.password)
  const ended = await ctx.transaction(async (ctx) => {
    await updateUser(ctx, member.id, { password_hash: hash, password_changed_at: ctx.now() })
    const ended = await endOthers(ctx, member.id, input.session)
    await recordAct(ctx, {
      action: 'password.change',
      topic: 'users',
      subject: member.id,
      name: member.username,
      data: { sessions_ended: ended },
    })
    return ended
  })
  forget(ctx, member.id)
  return { ended }
}

export interface Preferences {
  username?: string | undefined
  theme?: Theme | undefined
  /** null: like the console. */
  timezone?: string | null | undefined
}

/** What a person may change about themself. */
export async function change(ctx: Context, { username: given, theme, timezone }: Preferences): Promise<void> {
  const member = await findMember(ctx, ctx.actor.id, ctx.org)
  if (!member) throw new Unauthorized()
  const username = given?.trim() ?? member.username
  const wanted = { username, theme: theme ?? member.theme, timezone: timezone === undefined ? member.timezone : timezone }
  const changed = (['username', 'theme', 'timezone'] as const).filter((name) => wanted[name] !== member[name])
  if (changed.length === 0) return
  const isTaken = async (ctx: Context) => keyOf(username) !== keyOf(member.username) && (await isNameTaken(ctx, username))
  const change = ctx.transaction(async (ctx) => {
    if (await isTaken(ctx)) throw nameTaken()
    await updateUser(ctx, member.id, { ...wanted, username_key: keyOf(username) })
    const only = (values: typeof wanted) => Object.fromEntries(changed.map((name) => [name, values[name]]))
    await recordAct(ctx, {
      // What nobody else sees makes no other page look again.
      ...{ action: 'profile.change', topic: changed.includes('username') ? 'users' : 'profiles', subject: member.id, name: username },
      ...{ before: only(member), after: only(wanted) },
    })
  })
  await change.catch(async (error: unknown) => {
    // Somebody else may have taken the name a moment ago.
    throw !(error instanceof AppError) && (await isTaken(ctx)) ? nameTaken() : error
  })
  forget(ctx, member.id)
}

const historyLength = 20

/** A person's last sign-ins, right and wrong, by form and by HTTP Basic, the newest first. */
export async function listOwnSignIns(ctx: Context): Promise<SignIn[]> {
  const all = await Promise.all((['form', 'basic', 'refused'] as const).map((which) => listSignIns(ctx, ctx.actor.id, which)))
  return all
    .flat()
    .sort((a, b) => b.at - a.at)
    .slice(0, historyLength)
}

/** New devices that the person has not said anything about yet. */
export async function newDevices(ctx: Context): Promise<SignIn[]> {
  const member = await findMember(ctx, ctx.actor.id, ctx.org)
  const signIns = await listSignIns(ctx, ctx.actor.id, 'form')
  return signIns.filter(({ new_device, at }) => new_device && at > (member?.devices_seen_at ?? 0))
}

/** "It was me": the notices so far go. */
export async function confirmDevices(ctx: Context): Promise<void> {
  await ctx.transaction(async (ctx) => {
    await updateUser(ctx, ctx.actor.id, { devices_seen_at: ctx.now() })
    await recordAct(ctx, { action: 'profile.devices', topic: 'users', subject: ctx.actor.id, name: ctx.actor.name })
  })
  forget(ctx, ctx.actor.id)
}
