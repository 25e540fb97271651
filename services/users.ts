import { createHmac, randomBytes } from 'node:crypto'
import type { Context } from '../monitoring/context'
import { Conflict, Forbidden, Invalid, TooMany, Unauthorized } from '../monitoring/errors'
import { recordAct } from './audit'
import { claimToken, dropClaimToken, isClaimToken } from './users/claim-token'
import { hashPassword, matchesPassword, minimumLength, nobodysHash, waitingTurns } from './users/passwords'
import {
  countOrganisations,
  ensureHome,
  findMember,
  findMemberByName,
  insertFirstAdmin,
  isClaimed,
  keyOf,
  markClaimed,
  type Member,
} from './users/queries'
import { throttle } from './users/throttle'

export type { Member, Theme } from './users/queries'
export { updateUser } from './users/queries'
export { countOrganisations, ensureHome, findMember, hashPassword, isClaimed }

const second = 1000
const minute = 60 * second

/** Ten tries a minute at the most for one account, by whatever way they come. */
const accountLimit = { free: 4, firstWait: second, longestWait: minute, forget: 15 * minute }
const addressLimit = { free: 20, firstWait: 2 * second, longestWait: minute, forget: 15 * minute }
const basicBelievedMs = 10 * second
/** Who signs in is told to come back rather than queued for longer than some seconds. */
const mostWaiting = 20

const guardsOf = (ctx: Context) =>
  ctx.platform.keep('sign-in guards', () => ({
    account: throttle(accountLimit),
    address: throttle(addressLimit),
    /** Accounts with the networks they have signed in from: a stranger's wrong tries do not lock them out there. */
    known: new Set<string>(),
    basicKey: randomBytes(32),
    basic: new Map<string, { hash: string; until: number }>(),
    /** Credentials that are being compared: a program that sends many requests at once tries once. */
    comparing: new Map<string, Promise<Member>>(),
  }))

/** The claim link's token while nobody has claimed the console, null afterwards. */
export async function openClaim(ctx: Context): Promise<string | null> {
  if (!(await isClaimed(ctx))) return claimToken(ctx)
  // Left behind when the process was killed between the claim and this.
  dropClaimToken(ctx)
  return null
}

export async function claimState(ctx: Context, token: string): Promise<'open' | 'claimed' | 'invalid'> {
  if (await isClaimed(ctx)) return 'claimed'
  return isClaimToken(ctx, token) ? 'open' : 'invalid'
}

/** Makes the first admin. Of two claims at once one wins; the link is dead afterwards. */
export async function claim(ctx: Context, input: { token: string; username: string; password: string }): Promise<string> {
  if (await isClaimed(ctx)) throw new Conflict('This console has been claimed already. Sign in with the account that was made then.')
  if (!isClaimToken(ctx, input.token)) throw new Forbidden('This claim link is not valid. The server prints the right one when it starts.')
  checkPassword(input.password, 'password')
  return await makeFirstAdmin(ctx, input.username, input.password, 'console.claim')
}

/** The first admin from ADMIN_USERNAME and ADMIN_PASSWORD; does nothing when there is one. */
export async function ensureAdmin(ctx: Context, admin: { username: string; password: string }): Promise<void> {
  if (await isClaimed(ctx)) return
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
    const id = await insertFirstAdmin(ctx, username, hash)
    const actor = action === 'console.claim' ? { ...ctx.actor, kind: 'user' as const, id, name: username } : ctx.actor
    await recordAct({ ...ctx, actor }, { action, topic: 'users', subject: id, data: { username } })
    return id
  })
  dropClaimToken(ctx)
  return id
}

export function checkPassword(password: string, field: string): void {
  if (password.normalize('NFC').length < minimumLength) throw new Invalid([{ field, message: `Use at least ${minimumLength} characters.` }])
}

/** Addresses of one IPv6 network of 64 bits count as one: whoever has one of them has them all. */
function networkOf(address: string | null): string {
  if (!address?.includes(':')) return address ?? 'unknown'
  const [front = [], back = []] = address.split('::').map((half) => half.split(':').filter(Boolean))
  const zeros = Array<string>(Math.max(0, 8 - front.length - back.length)).fill('0')
  return [...front, ...zeros, ...back].slice(0, 4).join(':')
}

/**
 * Checks a name and a password. Wrong tries are slowed per account and per address, and tell nothing about accounts.
 * From where an account has signed in before, only the wrong tries from there count.
 */
export async function authenticate(ctx: Context, username: string, password: string): Promise<Member> {
  const guards = guardsOf(ctx)
  const network = networkOf(ctx.actor.address)
  const name = keyOf(username).slice(0, 100)
  const pair = `${name} ${network}`
  const known = guards.known.has(pair)
  const account = known ? pair : name
  const wait = Math.max(guards.account.wait(account, ctx.now()), known ? 0 : guards.address.wait(network, ctx.now()))
  if (wait > 0) {
    const seconds = Math.ceil(wait / second)
    throw new TooMany(`Too many wrong tries. Try again in ${seconds} s.`, seconds)
  }
  if (waitingTurns() > mostWaiting) throw new TooMany('Too many people are signing in at once. Try again in 2 s.', 2)
  // Counted before the hash is compared: many tries at once must not all be the first.
  guards.account.fail(account, ctx.now())
  if (!known) guards.address.fail(network, ctx.now())
  const member = await findMemberByName(ctx, username)
  const right = await matchesPassword(password, member?.password_hash ?? nobodysHash)
  // The comparison takes a sixth of a second: whoever was disabled, or got a new password meanwhile, is not let in by the old one.
  const still = (await findMemberByName(ctx, username))?.password_hash === member?.password_hash
  if (!member || !right || !still) {
    if (known) guards.address.fail(network, ctx.now())
    throw new Unauthorized('This name and password do not match.')
  }
  guards.account.succeed(account)
  // Only this one: who owns one account must not buy free tries at others with it.
  if (!known) guards.address.takeBack(network)
  if (guards.known.size > 10_000) guards.known.clear()
  guards.known.add(pair)
  return member
}

/** Signs a person in by form. Right and wrong tries leave an audit row. */
export async function signIn(ctx: Context, username: string, password: string): Promise<Member> {
  const member = await attempt(ctx, username, password)
  await audit(ctx, { member, action: 'session.start' })
  return member
}

/** The session itself is ended at the door, which holds the cookie. */
export const signOut = (ctx: Context): Promise<void> =>
  ctx.transaction((ctx) => recordAct(ctx, { action: 'session.end', topic: 'sessions', subject: ctx.actor.id }))

/** A wrong try leaves an audit row and a line in the log, by whatever way it came. */
async function attempt(ctx: Context, username: string, password: string): Promise<Member> {
  try {
    return await authenticate(ctx, username, password)
  } catch (error) {
    if (error instanceof Unauthorized) {
      const tried = username.slice(0, 64)
      ctx.log.info({ tried, address: ctx.actor.address }, 'sign-in refused')
      await audit(ctx, { member: null, action: 'session.refused', tried })
    }
    throw error
  }
}

async function audit(ctx: Context, { member, action, tried }: { member: Member | null; action: string; tried?: string }): Promise<void> {
  const actor = member ? { ...ctx.actor, kind: 'user' as const, id: member.id, name: member.username } : ctx.actor
  await ctx.transaction((inner) =>
    recordAct(
      { ...inner, actor, org: member?.org_id ?? inner.org },
      { action, topic: 'sessions', subject: member?.id ?? 'unknown', ...(tried === undefined ? {} : { data: { tried } }) },
    ),
  )
}

/**
 * Checks HTTP Basic credentials. A verified pair is believed for seconds, so that bcrypt is not paid on every request,
 * and only while the account still has the same hash: a changed password or a disabled account is refused at once.
 */
export async function authenticateBasic(ctx: Context, username: string, password: string): Promise<Member> {
  const { basic, basicKey, comparing } = guardsOf(ctx)
  const key = createHmac('sha256', basicKey).update(`${username}\0${password}`).digest('base64')
  const known = basic.get(key)
  if (known && known.until > ctx.now()) {
    const member = await findMemberByName(ctx, username)
    if (member?.password_hash === known.hash) return member
    basic.delete(key)
  }
  const at = `${ctx.actor.address ?? ''} ${key}`
  let comparison = comparing.get(at)
  if (!comparison) {
    comparison = attempt(ctx, username, password).finally(() => comparing.delete(at))
    comparing.set(at, comparison)
  }
  const member = await comparison
  if (basic.size > 1000) basic.clear()
  basic.set(key, { hash: member.password_hash, until: ctx.now() + basicBelievedMs })
  return member
}
