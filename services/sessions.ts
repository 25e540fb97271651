import { createHash } from 'node:crypto'
import type { Context } from '../monitoring/context'
import { Unavailable } from '../monitoring/errors'
import { deleteExpiredSessions, deleteOtherSessions, deleteSession, findSession, saveSession, touchSession } from './sessions/queries'
import { findMember, type Member } from './users'

const minute = 60_000
/** Without a request for this long, a session ends. */
const idleMs = 8 * 60 * minute
/** And after this long in any case. */
const absoluteMs = 30 * 24 * 60 * minute
/** How long an answer from the database is believed. With the 4 s between two looks at a socket, a disabled account is out within 5 s. */
const believedMs = 500

/** Who a session belongs to, and which one it is. */
export interface Resumed {
  readonly session: string
  readonly member: Member
}

interface Known extends Resumed {
  readonly checkedAt: number
  readonly createdAt: number
  seenAt: number
}

const idOf = (sid: string): string => createHash('sha256').update(sid).digest('hex')

const cacheOf = (ctx: Context): Map<string, Known> => ctx.platform.keep('sessions', () => new Map<string, Known>())

const expiryOf = (createdAt: number, now: number): number => Math.min(now + idleMs, createdAt + absoluteMs)

/** What express-session stored under this id. */
export async function read(ctx: Context, sid: string): Promise<string | undefined> {
  return (await findSession(ctx, idOf(sid)))?.data
}

export async function write(
  ctx: Context,
  sid: string,
  session: { readonly userId: string | null; readonly data: string; readonly address: string | null; readonly device: string | null },
): Promise<void> {
  const now = ctx.now()
  const id = idOf(sid)
  cacheOf(ctx).delete(id)
  await saveSession(ctx, {
    id,
    user_id: session.userId,
    data: session.data,
    address: session.address,
    device: session.device?.slice(0, 300) ?? null,
    created_at: now,
    seen_at: now,
    expires_at: expiryOf(now, now),
  })
}

export async function end(ctx: Context, sid: string): Promise<void> {
  cacheOf(ctx).delete(idOf(sid))
  await deleteSession(ctx, idOf(sid))
}

/** Ends all of a person's sessions but one; their sockets follow within seconds. `forget` belongs after the commit. */
export const endOthers = (ctx: Context, userId: string, keep: string | null): Promise<number> => deleteOtherSessions(ctx, userId, keep)

/** What is remembered of a person's sessions is read again: something about them was changed. */
export function forget(ctx: Context, userId: string): void {
  const cache = cacheOf(ctx)
  for (const [id, { member }] of cache) if (member.id === userId) cache.delete(id)
}

/** Whose session this is, if it still is one. Touched in the database at most once a minute, and not by what pages ask by themselves. */
export async function resume(ctx: Context, sid: string, touch = true): Promise<Resumed | undefined> {
  const cache = cacheOf(ctx)
  const id = idOf(sid)
  const now = ctx.now()
  let known = cache.get(id)
  if (!known || now - known.checkedAt >= believedMs || now < known.checkedAt) {
    const before = known?.seenAt ?? 0
    known = await look(ctx, id, now)
    if (known) known.seenAt = Math.max(known.seenAt, before)
    else {
      cache.delete(id)
      return undefined
    }
    if (cache.size > 10_000) cache.clear()
    cache.set(id, known)
  }
  if (touch && now - known.seenAt >= minute) {
    known.seenAt = now
    try {
      await touchSession(ctx, id, now, expiryOf(known.createdAt, now))
    } catch (error) {
      // A full disk must not keep anybody from reading that the disk is full.
      if (!(error instanceof Unavailable)) throw error
    }
  }
  return known
}

async function look(ctx: Context, id: string, now: number): Promise<Known | undefined> {
  const row = await findSession(ctx, id)
  const member = row?.user_id ? await findMember(ctx, row.user_id) : undefined
  return row && member ? { session: id, member, checkedAt: now, createdAt: row.created_at, seenAt: row.seen_at } : undefined
}

export { deleteExpiredSessions as dropExpired }
