import { createHmac, randomBytes } from 'node:crypto'
import { contextOf, type Context } from '../monitoring/context'
import { asError, Invalid, TooMany, Unauthorized, Unavailable } from '../monitoring/errors'
import { deviceOf } from './accounts/device'
import { recordAct, recordRefusal, recordUse } from './audit'
import { hashPassword, isGuessable, matchesPassword, minimumLength, nobodysHash, waitingTurns } from './accounts/passwords'
import { findAccount, findMember, findMemberByName, keyOf, listSignIns, type Account, type Member } from './accounts/queries'
import { budget, throttle } from './accounts/throttle'

export type { Account, Member, SignIn, Theme } from './accounts/queries'
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
export { findAccount, findMember, findMemberByName, hashPassword, keyOf }

const second = 1000
const minute = 60 * second
const day = 24 * 60 * minute

/** From one network, ten tries a minute at the most for one account, by whatever way they come: then one a minute. */
const accountLimit = { free: 4, firstWait: second, longestWait: minute, forget: 15 * minute }
/**
 * From all networks that an account was not signed in from yet: thirty tries in any minute at the most, ten a minute in the long run.
 * Ten of them are for networks that have not failed lately, so that it takes ten new networks a minute to keep its owner out of one more.
 */
const newNetworksLimit = { most: 20, forNew: 10, every: 6 * second }
const addressLimit = { free: 20, firstWait: 2 * second, longestWait: minute, forget: 15 * minute }
const basicBelievedMs = 10 * second
/** Who signs in is told to come back rather than queued for longer than some seconds. */
const mostWaiting = 40

const guardsOf = (ctx: Context) =>
  ctx.platform.keep('sign-in guards', () => ({
    account: throttle(accountLimit),
    newNetworks: budget(newNetworksLimit),
    address: throttle(addressLimit),
    /** Accounts with the networks they have signed in from: a stranger's wrong tries do not lock them out there. */
    known: new Set<string>(),
    basicKey: randomBytes(32),
    triedKey: createHmac('sha256', ctx.platform.config.serverSecret).update('tried names').digest(),
    basic: new Map<string, { hash: string; until: number }>(),
    /** Credentials that are being compared: a program that sends many requests at once tries once. */
    comparing: new Map<string, Promise<Member>>(),
    /** Who was written down to have come by HTTP Basic, from which network, on which day. */
    basicNoted: new Set<string>(),
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
  const both = await Promise.all([listSignIns(ctx, member.id, 'form'), listSignIns(ctx, member.id, 'basic')])
  return both.flat().some(({ address }) => networkOf(address) === network)
}

/**
 * Checks a name and a password. Wrong tries are slowed per account and per network, and tell nothing about accounts.
 * From where an account has signed in before, only the wrong tries from there count.
 */
export const authenticate = (ctx: Context, username: string, password: string): Promise<Member> =>
  compare(ctx, username, password, () => findMemberByName(ctx, username))

/** What a password is compared with, who there is of this name being found by `find`. */
async function compare<Found extends { readonly password_hash: string }>(
  ctx: Context,
  username: string,
  password: string,
  find: () => Promise<Found | undefined>,
): Promise<Found> {
  const guards = guardsOf(ctx)
  const network = networkOf(ctx.actor.address)
  const name = nameOf(username)
  const pair = `${name} ${network}`
  const known = guards.known.has(pair) || (await hasSignedInFrom(ctx, username, network))
  const now = ctx.now()
  const waits = [guards.account.wait(pair, now)]
  if (!known) waits.push(guards.newNetworks.wait(name, now, guards.account.isNew(pair, now)), guards.address.wait(network, now))
  const wait = Math.max(...waits)
  if (wait > 0) {
    const seconds = Math.ceil(wait / second)
    throw new TooMany(`Too many wrong tries. Try again in ${seconds} s.`, seconds)
  }
  // Strangers can fill half of the queue: the other half is for those who have been here.
  if (waitingTurns() > (known ? mostWaiting : mostWaiting / 2))
    throw new TooMany('Too many people are signing in at once. Try again in 2 s.', 2)
  // Counted before the hash is compared: many tries at once must not all be the first.
  guards.account.fail(pair, now)
  if (!known) {
    guards.newNetworks.take(name, now)
    guards.address.fail(network, now)
  }
  const found = await find()
  const right = await matchesPassword(password, found?.password_hash ?? nobodysHash)
  // The comparison takes a sixth of a second: whoever was disabled, or got a new password meanwhile, is not let in by the old one.
  const still = (await find())?.password_hash === found?.password_hash
  if (!found || !right || !still) {
    if (known) guards.address.fail(network, ctx.now())
    throw new Unauthorized('This name and password do not match.')
  }
  guards.account.succeed(pair)
  // Only this one: who owns one account must not buy free tries at others with it.
  if (!known) {
    guards.newNetworks.giveBack(name)
    guards.address.takeBack(network)
  }
  if (guards.known.size > 10_000) guards.known.clear()
  guards.known.add(pair)
  return found
}

/** A wrong try leaves an audit row and a line in the log, by whatever way it came. */
export const signIn = (ctx: Context, username: string, password: string): Promise<Member> =>
  noting(ctx, username, () => authenticate(ctx, username, password))

/** The open account of somebody who belongs to no organisation any more. */
export const authenticateFormer = (ctx: Context, username: string, password: string): Promise<Account> =>
  noting(ctx, username, () =>
    compare(ctx, username, password, async () => {
      const account = await findAccount(ctx, username)
      return account && isFormer(account) ? account : undefined
    }),
  )

export const isFormer = ({ org_id, disabled_at }: Account): boolean => org_id === null && disabled_at === null

async function noting<Found>(ctx: Context, username: string, authenticate: () => Promise<Found>): Promise<Found> {
  try {
    return await authenticate()
  } catch (error) {
    if (error instanceof Unauthorized) await noteWrongTry(ctx, username)
    throw error
  }
}

async function noteWrongTry(ctx: Context, username: string): Promise<void> {
  const account = await findAccount(ctx, username)
  const tried = account ? { tried: username.slice(0, 64) } : { tried_digest: digestOf(ctx, username) }
  ctx.log.info({ ...tried, address: ctx.actor.address }, 'sign-in refused')
  await recordRefusal(contextOf(ctx.platform, ctx.actor, account?.org_id ?? ctx.org), {
    action: 'session.refused',
    subject: account?.id ?? 'unknown',
    ...(account ? { name: account.username } : {}),
    data: { ...tried, ...(ctx.actor.agent ? { device: deviceOf(ctx.actor.agent) } : {}) },
  })
}

/** People type their password into the field of the name: what is nobody's name is not kept, only enough to see that it is the same again. */
const digestOf = (ctx: Context, username: string): string =>
  createHmac('sha256', guardsOf(ctx).triedKey).update(nameOf(username)).digest('hex').slice(0, 8)

/** What the trail keeps of a session that begins: it tells a person later from where they signed in, and that a device was new to them. */
export async function signInOf(ctx: Context, { id, username }: Member, userAgent: string | null) {
  const device = deviceOf(userAgent)
  const before = await listSignIns(ctx, id, 'form')
  const isNew = before.length > 0 && !before.some((one) => one.device === device)
  return {
    action: 'session.start',
    topic: 'sign-ins',
    subject: id,
    name: username,
    data: { device, ...(isNew ? { new_device: true } : {}) },
  }
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

/** Wrong tries at an account, those of whoever asks and those of all together, no longer count: its password is another one now. */
export function forgiveTries(ctx: Context, username: string): void {
  const { account, newNetworks } = guardsOf(ctx)
  const name = nameOf(username)
  account.succeed(`${name} ${networkOf(ctx.actor.address)}`)
  newNetworks.refill(name)
}

/**
 * Checks HTTP Basic credentials. A verified pair is believed for seconds, so that bcrypt is not paid on every request,
 * and only while the account still has the same hash: a changed password or a disabled account is refused at once.
 */
export async function authenticateBasic(ctx: Context, username: string, password: string): Promise<Member> {
  const member = await believedOrSignedIn(ctx, username, password)
  await noteBasic(ctx, member)
  return member
}

async function believedOrSignedIn(ctx: Context, username: string, password: string): Promise<Member> {
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

/** One entry per person, network and day: a program sends its password with every request. */
async function noteBasic(ctx: Context, { id, username, rights, org_id }: Member): Promise<void> {
  const { basicNoted } = guardsOf(ctx)
  const { address } = ctx.actor
  const network = networkOf(address)
  const today = Math.floor(ctx.now() / day)
  const key = `${id} ${network} ${today}`
  if (basicNoted.has(key)) return
  if (basicNoted.size > 10_000) basicNoted.clear()
  basicNoted.add(key)
  try {
    // What was noted before a restart is in the audit trail.
    const before = await listSignIns(ctx, id, 'basic')
    if (before.some((one) => Math.floor(one.at / day) === today && networkOf(one.address) === network)) return
    const actor = { kind: 'user' as const, id, name: username, rights, key: null, address }
    await contextOf(ctx.platform, actor, org_id).transaction((ctx) =>
      recordUse(ctx, { action: 'session.basic', subject: id, name: username, data: { device: 'HTTP Basic' } }),
    )
  } catch (error) {
    basicNoted.delete(key)
    // A full disk must not keep a program from reading that the disk is full.
    if (!(error instanceof Unavailable)) ctx.log.error({ err: asError(error) }, 'a sign-in by HTTP Basic could not be written down')
  }
}
