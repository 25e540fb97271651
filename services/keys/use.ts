import { createHash } from 'node:crypto'
import { contextOf, type Context } from '../../monitoring/context'
import { asError, Unauthorized, Unavailable } from '../../monitoring/errors'
import { instanceActions, intersection, rightsTo, type Rights } from '../../monitoring/permissions'
import * as accounts from '../accounts'
import { recordRefusal, recordUse } from '../audit'
import { matcherOf } from './addresses'
import { isSame, parse, signer, startOf, type Sign } from './format'
import { findKeyByStamp, markUsed, type KeyRow, type KeyState } from './queries'

const minute = 60_000
/** How long an answer from the database is believed; what is done to a key here is known at once. */
const believedMs = 500

interface Used {
  readonly key: { readonly id: string; readonly name: string; readonly limit: number | null }
  readonly member: accounts.Member
}

interface Verified {
  readonly row: KeyRow
  /** Absent: the owner is disabled, or no member any more. */
  readonly used: Used | undefined
  readonly allows: (address: string | null) => boolean
  readonly at: number
}

const memoryOf = (ctx: Context) =>
  ctx.platform.keep('keys', () => ({
    sign: signer(ctx.platform.config.serverSecret),
    /** By the digest of a key that was right. */
    believed: new Map<string, Verified>(),
    /** When each key was last seen at each address. */
    noticed: new Map<string, number>(),
    /** When it was last written down that a key was refused. */
    refused: new Map<string, number>(),
  }))

/** What is remembered of keys is read again: something about them, their owners or roles was changed. */
export function forgetAll(ctx: Context): void {
  // Another map, so that what is being read at this moment lands in the old one.
  memoryOf(ctx).believed = new Map()
}

/** The only one who can: it holds the server's secret. */
export const signerOf = (ctx: Context): Sign => memoryOf(ctx).sign

export const stateOf = (ctx: Context, { revoked_at, expires_at }: KeyRow): KeyState =>
  revoked_at !== null ? 'revoked' : expires_at !== null && expires_at <= ctx.now() ? 'expired' : 'active'

const refusal = 'This key is not valid: it is mistyped, expired or revoked, or may not be used from here.'

/** Whose key this is, and what it may. `ctx` is a visitor's: nobody knows yet who asks. */
export async function authenticate(ctx: Context, key: string): Promise<Used> {
  const { believed } = memoryOf(ctx)
  const digest = createHash('sha256').update(key).digest('base64')
  const now = ctx.now()
  let known = believed.get(digest)
  if (!known || now < known.at || now - known.at >= believedMs) {
    known = await verify(ctx, key)
    if (believed.size > 10_000) believed.clear()
    believed.set(digest, known)
  }
  const { used, row } = known
  const reason = reasonAgainst(ctx, known)
  if (!used || reason !== null) {
    believed.delete(digest)
    await noticeRefusal(ctx, row, reason ?? 'owner')
    throw new Unauthorized(refusal)
  }
  noticeUse(ctx, row, used)
  return used
}

/** The key's row, if the signature is right. Whether it is, takes the same work for keys that there are and that there are not. */
async function verify(ctx: Context, key: string): Promise<Verified> {
  const parts = parse(key)
  const row = parts ? await findKeyByStamp(ctx, parts) : undefined
  const right = memoryOf(ctx).sign({ id: row?.id ?? ctx.newId(), handle: parts?.handle ?? '', stamp: parts?.stamp ?? 0 })
  if (!isSame(parts?.signature ?? '', right) || !row) {
    accounts.countWrongTry(ctx)
    const subject = row?.id ?? 'unknown'
    const at = row ? contextOf(ctx.platform, ctx.actor, row.org_id) : ctx
    await recordRefusal(at, {
      ...{ action: 'keys.refused', subject, name: row?.name ?? null },
      data: { reason: parts ? 'signature' : 'form', ...(parts ? { start: startOf(parts) } : {}) },
    })
    throw new Unauthorized(refusal)
  }
  const owner = await accounts.findMemberIn(ctx, row.user_id, row.org_id)
  const used = owner && {
    key: { id: row.id, name: row.name, limit: row.limit_per_minute },
    member: { ...owner, role: row.role_name, role_id: row.role, rights: rightsWith(row, owner.rights), instance_admin: false },
  }
  return { row, used, allows: matcherOf(row.addresses), at: ctx.now() }
}

/** What the role, the scopes and the owner all may; never anything that is about the installation itself. */
function rightsWith({ role_rights, scopes }: KeyRow, owner: Rights): Rights {
  const given = intersection(role_rights, scopes ? rightsTo(scopes) : owner)
  return rightsTo([...intersection(given, owner).actions].filter((action) => !instanceActions.includes(action)))
}

function reasonAgainst(ctx: Context, { row, used, allows }: Verified): string | null {
  const state = stateOf(ctx, row)
  if (state !== 'active') return state
  if (!used) return 'owner'
  return allows(ctx.actor.address) ? null : 'address'
}

const isOften = (ctx: Context, last: number | undefined): boolean => last !== undefined && Math.abs(ctx.now() - last) < minute

/** A program goes on asking with a dead key: one entry a minute says so. */
async function noticeRefusal(ctx: Context, { id, name, org_id }: KeyRow, reason: string): Promise<void> {
  const { refused } = memoryOf(ctx)
  if (isOften(ctx, refused.get(id))) return
  if (refused.size > 10_000) refused.clear()
  refused.set(id, ctx.now())
  await recordRefusal(contextOf(ctx.platform, ctx.actor, org_id), { action: 'keys.refused', subject: id, name, data: { reason } })
}

/** Writes down once a minute that a key is used, and at once when it is from a new address. The request does not wait for it. */
function noticeUse(ctx: Context, { id, name, org_id }: KeyRow, { member }: Used): void {
  const { noticed } = memoryOf(ctx)
  const { address } = ctx.actor
  const place = `${id} ${address ?? ''}`
  if (isOften(ctx, noticed.get(place))) return
  if (noticed.size > 10_000) noticed.clear()
  noticed.set(place, ctx.now())
  const actor = { kind: 'user' as const, id: member.id, name: member.username, rights: member.rights, key: { id, name }, address }
  contextOf(ctx.platform, actor, org_id)
    .transaction(async (ctx) => {
      if (await markUsed(ctx, id, address)) await recordUse(ctx, { action: 'keys.used', subject: id, name })
    })
    .catch((error: unknown) => {
      // A full disk must not keep a program from reading that the disk is full.
      if (!(error instanceof Unavailable)) ctx.log.error({ err: asError(error) }, 'the use of a key could not be written down')
    })
}
