import { createHash } from 'node:crypto'
import { contextOf, type Context, type OrgId } from '../monitoring/context'
import { NotFound, Unauthorized, Unavailable } from '../monitoring/errors'
import { recordAct } from './audit'
import { deviceOf, findMember, signInOf, type Member } from './accounts'
import {
  deleteExpiredSessions,
  deleteOtherSessions,
  deleteSession,
  deleteSessionOf,
  findSession,
  listSessions,
  saveSession,
  touchOpenUser,
  touchSession,
  touchUser,
  updateSession,
} from './sessions/queries'

const minute = 60_000
/** Without a request for this long, a session ends. */
const idleMs = 8 * 60 * minute
/** And after this long in any case. */
const absoluteMs = 30 * 24 * 60 * minute
/** How long an answer from the database is believed. With the 4 s between two looks at a socket, a disabled account is out within 5 s. */
const believedMs = 500
const wrong = 'This name and password do not match.'

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

/**
 * Begins a session of a person whose password was asked for at that moment: all or nothing, in one commit, since each waits for the disk and
 * everybody else with it. An account that was disabled meanwhile, or got another password, lets nobody in: its row is the lock that decides.
 */
export async function begin(
  ctx: Context,
  sid: string,
  session: {
    readonly userId: string
    readonly since: number
    readonly data: string
    readonly address: string | null
    readonly device: string | null
  },
): Promise<void> {
  const now = ctx.now()
  const id = idOf(sid)
  const member = await findMember(ctx, session.userId)
  if (!member) throw new Unauthorized(wrong)
  const act = await signInOf(ctx, member, session.device)
  const actor = { ...ctx.actor, kind: 'user' as const, id: member.id, name: member.username }
  await contextOf(ctx.platform, actor, member.org_id).transaction(async (ctx) => {
    // A change that is still to come is from before the clock was set back, and says nothing.
    if (!(await touchOpenUser(ctx, member.id, { now, since: session.since, ahead: now + minute }))) throw new Unauthorized(wrong)
    await saveSession(ctx, {
      id,
      user_id: member.id,
      data: session.data,
      address: session.address,
      device: session.device?.slice(0, 300) ?? null,
      created_at: now,
      seen_at: now,
      expires_at: expiryOf(now, now),
      org_id: null,
      confirmed_at: now,
    })
    await recordAct(ctx, act)
  })
  cacheOf(ctx).delete(id)
}

export async function end(ctx: Context, sid: string): Promise<void> {
  cacheOf(ctx).delete(idOf(sid))
  await deleteSession(ctx, idOf(sid))
}

/** One session as its owner sees it. */
export interface Session {
  id: string
  device: string
  user_agent: string | null
  address: string | null
  created_at: number
  seen_at: number
  expires_at: number
  current: boolean
}

/** A person's sessions, the one seen last first. `current`: the one that asks. */
export async function list(ctx: Context, userId: string, current: string | null): Promise<Session[]> {
  const rows = await listSessions(ctx, userId)
  return rows.map(({ device, ...row }) => ({ ...row, device: deviceOf(device), user_agent: device, current: row.id === current }))
}

/** Ends one session of a person; its sockets follow within seconds. */
export async function endOne(ctx: Context, userId: string, id: string): Promise<void> {
  await ctx.transaction(async (ctx) => {
    if (!(await deleteSessionOf(ctx, userId, id))) throw new NotFound('This session has ended already.')
    await recordAct(ctx, { action: 'sessions.end', topic: 'sessions', subject: userId, data: { sessions_ended: 1 } })
  })
  forget(ctx, userId)
}

/** Ends a person's sessions, but for the one to keep. */
export async function endAll(ctx: Context, userId: string, keep: string | null, name?: string): Promise<number> {
  const ended = await ctx.transaction(async (ctx) => {
    const ended = await endOthers(ctx, userId, keep)
    await recordAct(ctx, {
      action: 'sessions.end',
      topic: 'sessions',
      subject: userId,
      ...(name === undefined ? {} : { name }),
      data: { sessions_ended: ended },
    })
    return ended
  })
  forget(ctx, userId)
  return ended
}

/** Works in another organisation from now on, in this session; `forget` belongs after the commit. */
export const updateOrganisation = (ctx: Context, id: string, org: OrgId): Promise<void> => updateSession(ctx, id, { org_id: org })

/** When the password was typed last in this session. */
export async function confirmedAt(ctx: Context, id: string): Promise<number> {
  return (await findSession(ctx, id))?.confirmed_at ?? 0
}

/** Ends all of a person's sessions but one; their sockets follow within seconds. `forget` belongs after the commit. */
export const endOthers = (ctx: Context, userId: string, keep: string | null): Promise<number> => deleteOtherSessions(ctx, userId, keep)

/** What is remembered of a person's sessions is read again: something about them was changed. */
export function forget(ctx: Context, userId: string): void {
  const cache = cacheOf(ctx)
  for (const [id, { member }] of cache) if (member.id === userId) cache.delete(id)
}

/** The same of everybody's. */
export function forgetAll(ctx: Context): void {
  cacheOf(ctx).clear()
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
      const { createdAt, member } = known
      await ctx.transaction(async (ctx) => {
        await touchSession(ctx, id, now, expiryOf(createdAt, now))
        await touchUser(ctx, member.id, now)
      })
    } catch (error) {
      // A full disk must not keep anybody from reading that the disk is full.
      if (!(error instanceof Unavailable)) throw error
    }
  }
  return known
}

async function look(ctx: Context, id: string, now: number): Promise<Known | undefined> {
  const row = await findSession(ctx, id)
  const member = row?.user_id ? await findMember(ctx, row.user_id, row.org_id) : undefined
  return row && member ? { session: id, member, checkedAt: now, createdAt: row.created_at, seenAt: row.seen_at } : undefined
}

export { deleteExpiredSessions as dropExpired }
