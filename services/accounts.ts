import { createHmac, randomBytes } from 'node:crypto'
import { contextOf, type Context } from '../monitoring/context'
import { Invalid, TooMany, Unauthorized } from '../monitoring/errors'
import { deviceOf } from './accounts/device'
import { recordAct, recordRefusal } from './audit'
import { hashPassword, matchesPassword, minimumLength, nobodysHash, waitingTurns } from './accounts/passwords'
import { findMember, findMemberByName, keyOf, listSignIns, type Member } from './accounts/queries'
import { isGuessable } from './accounts/strength'
import { throttle } from './accounts/throttle'

export type { Member, SignIn, Theme } from './accounts/queries'
export {
  countOrganisations,
  ensureHome,
  findMemberIn,
  insertMembership,
  insertUser,
  isClaimed,
  isNameTaken,
  listSignIns,
  lockOrganisation,
  markClaimed,
  nameTaken,
  rightsOfRole,
  updateUser,
} from './accounts/queries'
export { deviceOf }
export { hashOf, makeToken } from './accounts/one-time'
export { findMember, findMemberByName, hashPassword, keyOf }

const second = 1000
const minute = 60 * second

/** Ten tries a minute at the most for one account, by whatever way they come. */
const accountLimit = { free: 4, firstWait: second, longestWait: minute, forget: 15 * minute }
const addressLimit = { free: 20, firstWait: 2 * second, longestWait: minute, forget: 15 * minute }
const basicBelievedMs = 10 * second
/** Who signs in is told to come back rather than queued for longer than some seconds. */
const mostWaiting = 40

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

/** Long enough, and none of those that are tried first. */
export async function checkPassword(password: string, field: string, username: string): Promise<void> {
  if (password.normalize('NFC').length < minimumLength) throw new Invalid([{ field, message: `Use at least ${minimumLength} characters.` }])
  if (await isGuessable(password, username))
    throw new Invalid([
      { field, message: 'This is among the first that are tried. A few words in a row are easy to keep and hard to guess.' },
    ])
}

/** Addresses of one IPv6 network of 64 bits count as one: whoever has one of them has them all. */
function networkOf(address: string | null): string {
  if (!address?.includes(':')) return address ?? 'unknown'
  const [front = [], back = []] = address.split('::').map((half) => half.split(':').filter(Boolean))
  const zeros = Array<string>(Math.max(0, 8 - front.length - back.length)).fill('0')
  return [...front, ...zeros, ...back].slice(0, 4).join(':')
}

const nameOf = (username: string): string => keyOf(username).slice(0, 100)

/** What was remembered before a restart is in the audit trail. */
async function hasSignedInFrom(ctx: Context, username: string, network: string): Promise<boolean> {
  const member = await findMemberByName(ctx, username)
  if (!member) return false
  return (await listSignIns(ctx, member.id, 'right')).some(({ address }) => networkOf(address) === network)
}

/**
 * Checks a name and a password. Wrong tries are slowed per account and per address, and tell nothing about accounts.
 * From where an account has signed in before, only the wrong tries from there count.
 */
export async function authenticate(ctx: Context, username: string, password: string): Promise<Member> {
  const guards = guardsOf(ctx)
  const network = networkOf(ctx.actor.address)
  const name = nameOf(username)
  const pair = `${name} ${network}`
  const known = guards.known.has(pair) || (await hasSignedInFrom(ctx, username, network))
  const account = known ? pair : name
  const wait = Math.max(guards.account.wait(account, ctx.now()), known ? 0 : guards.address.wait(network, ctx.now()))
  if (wait > 0) {
    const seconds = Math.ceil(wait / second)
    throw new TooMany(`Too many wrong tries. Try again in ${seconds} s.`, seconds)
  }
  // Strangers can fill half of the queue: the other half is for those who have been here.
  if (waitingTurns() > (known ? mostWaiting : mostWaiting / 2))
    throw new TooMany('Too many people are signing in at once. Try again in 2 s.', 2)
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

/** A wrong try leaves an audit row and a line in the log, by whatever way it came. */
export async function signIn(ctx: Context, username: string, password: string): Promise<Member> {
  try {
    return await authenticate(ctx, username, password)
  } catch (error) {
    if (error instanceof Unauthorized) {
      const tried = username.slice(0, 64)
      ctx.log.info({ tried, address: ctx.actor.address }, 'sign-in refused')
      const member = await findMemberByName(ctx, username)
      await recordRefusal(contextOf(ctx.platform, ctx.actor, member?.org_id ?? ctx.org), {
        action: 'session.refused',
        subject: member?.id ?? 'unknown',
        ...(member ? { name: member.username } : {}),
        data: { tried },
      })
    }
    throw error
  }
}

/** A session begins. Its row tells a person later from where they signed in, and that a device was new to them. */
export async function noteSignIn(ctx: Context, user: string, userAgent: string | null): Promise<void> {
  const member = await findMember(ctx, user)
  if (!member) return
  const device = deviceOf(userAgent)
  const before = await listSignIns(ctx, user, 'right')
  const isNew = before.length > 0 && !before.some((one) => one.device === device)
  const actor = { ...ctx.actor, kind: 'user' as const, id: member.id, name: member.username }
  await contextOf(ctx.platform, actor, member.org_id).transaction((ctx) =>
    recordAct(ctx, {
      ...{ action: 'session.start', topic: 'sign-ins', subject: member.id, name: member.username },
      data: { device, ...(isNew ? { new_device: true } : {}) },
    }),
  )
}

/** Counts what was refused before it came to a password, a key for one, with the wrong tries of its network; throws when there were too many. */
export function countWrongTry(ctx: Context): void {
  const { address } = guardsOf(ctx)
  const network = networkOf(ctx.actor.address)
  const seconds = Math.ceil(address.wait(network, ctx.now()) / second)
  if (seconds > 0) throw new TooMany(`Too many wrong tries. Try again in ${seconds} s.`, seconds)
  address.fail(network, ctx.now())
}

/** The session itself is ended at the door, which holds the cookie. */
export const signOut = (ctx: Context): Promise<void> =>
  ctx.transaction((ctx) => recordAct(ctx, { action: 'session.end', topic: 'sessions', subject: ctx.actor.id, name: ctx.actor.name }))

/** Wrong tries at an account no longer count: its password is another one now. */
export function forgiveTries(ctx: Context, username: string): void {
  guardsOf(ctx).account.succeed(nameOf(username))
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
    comparison = signIn(ctx, username, password).finally(() => comparing.delete(at))
    comparing.set(at, comparison)
  }
  const member = await comparison
  if (basic.size > 1000) basic.clear()
  basic.set(key, { hash: member.password_hash, until: ctx.now() + basicBelievedMs })
  return member
}
