import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { cursorOf, placeOf } from '../monitoring/cursor'
import { Conflict, Forbidden, Invalid, NotFound, Unauthorized, type FieldError } from '../monitoring/errors'
import { isAction, may, type Action } from '../monitoring/permissions'
import * as accounts from './accounts'
import { recordAct, recordRefusal } from './audit'
import { isRange } from './keys/addresses'
import { assemble, startOf } from './keys/format'
import {
  countActive,
  findKey,
  insertKey,
  listKeys,
  listMadeByItself,
  lockOwner,
  markAllRevoked,
  markRevoked,
  updateExpiry,
  type KeyFilter,
  type KeyRow,
  type KeyState,
} from './keys/queries'
import { forgetAll, signerOf, stateOf } from './keys/use'
import * as roles from './roles'
import { confirmedAt } from './sessions'

export { countActive as countOf, keySorts, keyStates, type KeyFilter } from './keys/queries'
export { authenticate, forgetAll } from './keys/use'

const minute = 60_000
/** Whoever has just typed their password is not asked for it again. */
const latelyMs = 5 * minute
const mostActive = 100
export const mostAddresses = 50
export const mostPerMinute = 100_000
export const longestOverlap = 7 * 24 * 60

/** A key as people see it. The key itself is shown once, when it is made, and kept nowhere. */
export interface Key {
  id: string
  name: string
  /** The part of it that is no secret. */
  start: string
  owner: { id: string; name: string }
  role: { id: string; name: string }
  scopes: Action[] | null
  addresses: string[] | null
  limit_per_minute: number | null
  created_at: number
  expires_at: number | null
  revoked_at: number | null
  used_at: number | null
  used_address: string | null
  state: KeyState
  replaced_by: string | null
  mine: boolean
  may: { revoke: boolean; rotate: boolean }
}

export interface KeyInput {
  readonly name: string
  readonly role: string
  /** Actions to narrow the role down to; null: all that it may. */
  readonly scopes: readonly string[] | null
  /** Addresses and networks from which it may be used; null: from anywhere. */
  readonly addresses: readonly string[] | null
  /** null: as many as everybody. */
  readonly limit_per_minute: number | null
  /** null: never. */
  readonly expires_at: number | null
}

/** That it is the person who asks: the password, or the session in which it was typed lately (null: it came with the request). */
export type Proof = { readonly password: string } | { readonly session: string | null }

// ---- Policy

export const mayMake = ({ actor }: Context): boolean => actor.key === null && may(actor, 'keys.make')

/** A key may end itself and no other; people their own, and admins everybody's. */
const mayRevoke = ({ actor }: Context, { id, user_id }: KeyRow): boolean =>
  actor.key ? actor.key.id === id : user_id === actor.id || may(actor, 'keys.manage')

/** Only one's own: the new key acts in its owner's name. */
const mayRotate = ({ actor }: Context, { id, user_id }: KeyRow): boolean =>
  actor.key ? actor.key.id === id : user_id === actor.id && may(actor, 'keys.make')

/** People their own; a key itself, and others of its owner where it may list them. */
const maySee = ({ actor }: Context, { id, user_id }: KeyRow): boolean =>
  may(actor, 'keys.manage') || actor.key?.id === id || (user_id === actor.id && (actor.key === null || may(actor, 'keys.make')))

function shown(ctx: Context, row: KeyRow): Key {
  const { id, name, scopes, addresses, limit_per_minute, created_at, expires_at, revoked_at, used_at, used_address, replaced_by } = row
  const state = stateOf(ctx, row)
  const active = state === 'active'
  return {
    ...{ id, name, scopes, addresses, limit_per_minute, created_at, expires_at, revoked_at, used_at, used_address, replaced_by, state },
    start: startOf(row),
    owner: { id: row.user_id, name: row.owner },
    role: { id: row.role, name: row.role_name },
    mine: row.user_id === ctx.actor.id,
    may: { revoke: active && mayRevoke(ctx, row), rotate: active && replaced_by === null && mayRotate(ctx, row) },
  }
}

// ---- Reads

const Place = z.tuple([z.int().nonnegative()])

/** Keys of the organisation: one’s own, or everybody’s for those who manage them. */
export async function list(
  ctx: Context,
  { limit, cursor, ...filter }: KeyFilter & { limit: number; cursor?: string | undefined },
): Promise<{ items: Key[]; next: string | null }> {
  const [offset] = cursor === undefined ? [0] : placeOf(Place, cursor)
  if (filter.owner !== ctx.actor.id && !may(ctx.actor, 'keys.manage'))
    throw new Forbidden('Your role does not allow to see the keys of others.')
  const rows = await listKeys(ctx, filter, { limit: limit + 1, offset })
  return { items: rows.slice(0, limit).map((row) => shown(ctx, row)), next: rows.length > limit ? cursorOf([offset + limit]) : null }
}

async function findRow(ctx: Context, id: string): Promise<KeyRow> {
  const row = await findKey(ctx, id)
  if (!row || !maySee(ctx, row)) throw new NotFound('There is no such key, or it is not yours to see.')
  return row
}

export const find = async (ctx: Context, id: string): Promise<Key> => shown(ctx, await findRow(ctx, id))

// ---- Making and ending keys

async function confirm(ctx: Context, proof: Proof): Promise<void> {
  if ('password' in proof) {
    const member = await accounts.findMemberIn(ctx, ctx.actor.id, ctx.org)
    if (!member) throw new Unauthorized()
    try {
      await accounts.authenticate(ctx, member.username, proof.password)
    } catch (error) {
      if (!(error instanceof Unauthorized)) throw error
      await recordRefusal(ctx, { action: 'keys.make.refused', subject: member.id, name: member.username, data: { reason: 'password' } })
      throw new Invalid([{ field: 'password', message: 'This is not your password.' }])
    }
  } else if (proof.session !== null && Math.abs(ctx.now() - (await confirmedAt(ctx, proof.session))) > latelyMs)
    throw new Forbidden('You signed in more than five minutes ago: send your password as well, as `password`.')
}

async function check(ctx: Context, input: KeyInput): Promise<void> {
  const { actor, platform } = ctx
  const role = await roles.assignable(ctx, input.role, 'role')
  const wrong: FieldError[] = []
  const refuse = (field: string, message: string) => void wrong.push({ field, message })
  if (!/^\P{Cc}{1,100}$/u.test(input.name)) refuse('name', 'Give it a name of 1 to 100 characters.')
  const beyond = input.scopes?.find((scope) => !isAction(scope) || !role.rights.actions.has(scope))
  if (beyond !== undefined) refuse('scopes', `The role “${role.name}” does not allow “${beyond.slice(0, 50)}”.`)
  if (input.scopes?.length === 0) refuse('scopes', 'Name at least one action, or leave them out.')
  const unreadable = input.addresses?.find((range) => !isRange(range))
  if (unreadable !== undefined) refuse('addresses', `“${unreadable.slice(0, 50)}” is neither an address nor a network like 10.0.0.0/8.`)
  if (input.addresses && (input.addresses.length === 0 || input.addresses.length > mostAddresses))
    refuse('addresses', `Name 1 to ${mostAddresses} addresses, or leave them out.`)
  if (input.expires_at !== null && input.expires_at <= ctx.now()) refuse('expires_at', 'This is in the past.')
  const most = may(actor, 'keys.manage') ? mostPerMinute : Math.min(platform.config.apiRateLimit, mostPerMinute)
  const limit = input.limit_per_minute
  if (limit !== null && !(Number.isInteger(limit) && limit >= 1 && limit <= most))
    refuse('limit_per_minute', `This is not a number from 1 to ${most.toLocaleString('en')}.`)
  if (wrong.length > 0) throw new Invalid(wrong)
}

async function leaveRoom(ctx: Context, owner: string): Promise<void> {
  if ((await countActive(ctx, owner)) >= mostActive)
    throw new Conflict(`You have ${mostActive} keys that work. Revoke one that nothing uses any more first.`)
}

interface Made {
  readonly row: Key
  readonly key: string
}

/** Stores it and signs it: the only moment at which the key exists here. */
async function store(ctx: Context, owner: { id: string; handle: string }, input: KeyInput, replaces: string | null): Promise<Made> {
  const id = ctx.newId()
  const stamp = await insertKey(ctx, { ...input, id, org_id: ctx.org, user_id: owner.id, created_at: ctx.now(), replaces })
  const { handle } = owner
  const key = assemble({ handle, stamp }, signerOf(ctx)({ id, handle, stamp }))
  const row = await findKey(ctx, id)
  if (!row) throw new Error('A key that was stored a moment ago is not there')
  return { row: shown(ctx, row), key }
}

const told = ({ name, role, scopes, addresses, limit_per_minute, expires_at }: Key) => ({
  ...{ name, role: role.name, scopes: scopes?.join(' ') ?? null, addresses: addresses?.join(' ') ?? null, limit_per_minute, expires_at },
})

/** Makes a key of the actor's own, which may no more than they may. */
export async function make(ctx: Context, given: KeyInput, proof: Proof): Promise<Made> {
  if (!mayMake(ctx))
    throw new Forbidden(ctx.actor.key ? 'A key cannot make keys: that is for its owner.' : 'Your role does not allow to make keys.')
  const input = { ...given, name: given.name.trim() }
  await check(ctx, input)
  await confirm(ctx, proof)
  return await ctx.transaction(async (ctx) => {
    // A role that is deleted at this moment is not given any more.
    await accounts.lockOrganisation(ctx, ctx.org)
    await lockOwner(ctx, ctx.actor.id)
    await check(ctx, input)
    const owner = await accounts.findMemberIn(ctx, ctx.actor.id, ctx.org)
    if (!owner) throw new Unauthorized()
    await leaveRoom(ctx, owner.id)
    const made = await store(ctx, owner, input, null)
    await recordAct(ctx, { action: 'keys.make', topic: 'keys', subject: made.row.id, name: input.name, after: told(made.row) })
    return made
  })
}

/** How many keys end together with one: those that it made itself, which whoever stole it may hold. */
export const countEndingWith = async (ctx: Context, id: string): Promise<number> =>
  (await listMadeByItself(ctx, await findRow(ctx, id))).length

/** Ends a key, and with it those that it made itself; their sockets follow within seconds. A second time does nothing. */
export async function revoke(ctx: Context, id: string): Promise<Key> {
  const row = await findRow(ctx, id)
  if (!mayRevoke(ctx, row)) throw new Forbidden('A key can end itself, and no other.')
  await ctx.transaction(async (ctx) => {
    // A key that rotates itself at this moment is followed, or finds that it has ended.
    await lockOwner(ctx, row.user_id)
    if (!(await markRevoked(ctx, id))) return
    const others = await listMadeByItself(ctx, row)
    for (const other of others) {
      await markRevoked(ctx, other)
      ctx.changed('keys', other)
    }
    const data = others.length > 0 ? { data: { made_by_itself_and_revoked: others } } : {}
    await recordAct(ctx, { action: 'keys.revoke', topic: 'keys', subject: id, name: row.name, ...data })
  })
  forgetAll(ctx)
  return await find(ctx, id)
}

/** Ends for good what somebody's keys may here, as part of removing them. Inside a transaction, whose audit row tells of it. */
export async function revokeAllOf(ctx: Context, userId: string): Promise<number> {
  await lockOwner(ctx, userId)
  const revoked = await markAllRevoked(ctx, userId)
  for (const id of revoked) ctx.changed('keys', id)
  return revoked.length
}

/**
 * A new key in place of one, which goes on working for the overlap. It may the same. By its owner it lives as long as the old one was made to;
 * by itself it ends when the old one would have, so that no key outlives the end that a person chose.
 */
export async function rotate(ctx: Context, id: string, overlapMinutes: number, proof: Proof): Promise<Made> {
  await findRotatable(ctx, id)
  await confirm(ctx, proof)
  const made = await ctx.transaction(async (ctx) => {
    await lockOwner(ctx, ctx.actor.id)
    const old = await findRotatable(ctx, id)
    const now = ctx.now()
    const until = Math.min(now + overlapMinutes * minute, old.expires_at ?? Infinity)
    const expires_at = old.expires_at === null || ctx.actor.key ? old.expires_at : now + old.expires_at - old.created_at
    await updateExpiry(ctx, id, until)
    await leaveRoom(ctx, old.user_id)
    const made = await store(ctx, { id: old.user_id, handle: old.handle }, { ...inputOf(old), expires_at }, id)
    await recordAct(ctx, {
      ...{ action: 'keys.rotate', topic: 'keys', subject: id, name: old.name },
      before: { expires_at: old.expires_at },
      after: { expires_at: until },
      data: { replaced_by: made.row.id },
    })
    return made
  })
  forgetAll(ctx)
  return made
}

const inputOf = ({ name, role, scopes, addresses, limit_per_minute, expires_at }: KeyRow): KeyInput => ({
  ...{ name, role, scopes, addresses, limit_per_minute, expires_at },
})

async function findRotatable(ctx: Context, id: string): Promise<KeyRow> {
  const row = await findRow(ctx, id)
  if (!mayRotate(ctx, row)) throw new Forbidden('Only its owner can rotate a key: the new one acts in their name.')
  const state = stateOf(ctx, row)
  if (state !== 'active') throw new Conflict(`This key is ${state}: make a new one.`)
  if (row.replaced_by !== null) throw new Conflict('This key was rotated already: rotate the one that took its place.')
  return row
}
