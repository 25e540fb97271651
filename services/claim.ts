import { ConfigError } from '../monitoring/config'
import { home, type Context } from '../monitoring/context'
import { Conflict, Forbidden, Invalid } from '../monitoring/errors'
import { checkPassword, ensureHome, hashPassword, insertMembership, insertUser, isClaimed, markClaimed } from './accounts'
import { recordAct } from './audit'
import { claimToken, dropClaimToken, isClaimToken } from './claim/token'

/** The claim link's token while nobody has claimed the console, null afterwards. */
export async function open(ctx: Context): Promise<string | null> {
  if (!(await isClaimed(ctx))) return claimToken(ctx)
  // Left behind when the process was killed between the claim and this.
  dropClaimToken(ctx)
  return null
}

export async function state(ctx: Context, token: string): Promise<'open' | 'claimed' | 'invalid'> {
  if (await isClaimed(ctx)) return 'claimed'
  return isClaimToken(ctx, token) ? 'open' : 'invalid'
}

/** Makes the first admin. Of two claims at once one wins; the link is dead afterwards. */
export async function claim(ctx: Context, input: { token: string; username: string; password: string }): Promise<string> {
  if (await isClaimed(ctx)) throw new Conflict('This console has been claimed already. Sign in with the account that was made then.')
  if (!isClaimToken(ctx, input.token)) throw new Forbidden('This claim link is not valid. The server prints the right one when it starts.')
  await checkPassword(input.password, 'password', input.username)
  return await makeFirstAdmin(ctx, input.username, input.password, 'console.claim')
}

/** The first admin from ADMIN_USERNAME and ADMIN_PASSWORD; does nothing when there is one. */
export async function ensureAdmin(ctx: Context, admin: { username: string; password: string }): Promise<void> {
  if (await isClaimed(ctx)) return
  await checkPassword(admin.password, 'ADMIN_PASSWORD', admin.username).catch((error: unknown) => {
    if (error instanceof Invalid) throw new ConfigError(error.fields.map(({ field, message }) => `${field} is refused. ${message}`))
    throw error
  })
  try {
    await makeFirstAdmin(ctx, admin.username, admin.password, 'console.configured')
  } catch (error) {
    // Of two processes that start at once, the other one has made it.
    if (!(error instanceof Conflict)) throw error
  }
}

async function makeFirstAdmin(ctx: Context, username: string, password: string, action: string): Promise<string> {
  const hash = await hashPassword(password)
  const id = await ctx.transaction(async (ctx) => {
    if (!(await markClaimed(ctx, username))) throw new Conflict('Somebody else has claimed this console a moment ago.')
    await ensureHome(ctx)
    const id = await insertUser(ctx, { username, passwordHash: hash, instanceAdmin: true })
    await insertMembership(ctx, id, home, 'admin')
    const actor = action === 'console.claim' ? { ...ctx.actor, kind: 'user' as const, id, name: username } : ctx.actor
    await recordAct({ ...ctx, actor }, { action, topic: 'users', subject: id, data: { username } })
    return id
  })
  dropClaimToken(ctx)
  return id
}
