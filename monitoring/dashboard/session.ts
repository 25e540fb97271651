import type { IncomingMessage } from 'node:http'
import { unsign } from 'cookie-signature'
import type { RequestHandler } from 'express'
import session from 'express-session'
import type { OrgId } from '../context'
import { asError, Unauthorized } from '../errors'
import type { Role } from '../permissions'
import type { Security } from './security'

/** Who sends a request. */
export interface Principal {
  readonly id: string
  readonly username: string
  readonly org_id: OrgId
  readonly org_name: string
  readonly role: Role
  readonly theme: 'auto' | 'light' | 'dark'
  readonly timezone: string | null
  readonly created_at: number
}

export interface Identity {
  readonly principal: Principal
  /** Which session; null with Basic. */
  readonly session: string | null
}

/** What the front door asks the product about accounts. */
export interface Accounts {
  /** `touch`: whether this counts as the person being there. */
  resume(sid: string, touch: boolean): Promise<{ session: string; member: Principal } | undefined>
  authenticateBasic(address: string, username: string, password: string): Promise<Principal>
  read(sid: string): Promise<string | undefined>
  write(sid: string, session: { userId: string | null; data: string; address: string | null; device: string | null }): Promise<void>
  end(sid: string): Promise<void>
}

declare module 'express-session' {
  interface SessionData {
    userId: string
    address: string
    device: string
  }
}

const cookieMaxAge = 30 * 24 * 3_600_000

export interface Sessions {
  /** Who this is, by cookie or by Basic; undefined when the request does not say. Wrong credentials throw. */
  identify(request: IncomingMessage, options?: { touch?: boolean }): Promise<Identity | undefined>
  /** Whether the browser adds credentials by itself to a request like this. */
  carriesCredentials(request: IncomingMessage): boolean
  /** express-session, for the few routes that begin and end sessions; every other request only looks its session up. */
  readonly middleware: RequestHandler
}

export function openSessions(accounts: Accounts, security: Security, secret: string): Sessions {
  const { cookieName } = security
  /** What was answered to wrong credentials: asking again in the same request must not count as another try. */
  const refused = new WeakMap<IncomingMessage, unknown>()
  // Checking a signature costs as much as the rest of a small request, and a page asks with the same cookie all day.
  const signed = new Map<string, string>()

  const expressSession = session({
    name: cookieName,
    secret,
    resave: false,
    saveUninitialized: false,
    store: new AccountStore(accounts),
    cookie: { httpOnly: true, sameSite: 'lax', path: '/', secure: security.secureCookies, maxAge: cookieMaxAge },
    proxy: security.secureCookies,
  })

  function sidOf(request: IncomingMessage): string | undefined {
    const value = cookieValue(request.headers.cookie, cookieName)
    if (!value?.startsWith('s:')) return undefined
    const known = signed.get(value)
    if (known !== undefined) return known
    const sid = unsign(value.slice(2), secret)
    if (sid === false) return undefined
    if (signed.size > 10_000) signed.clear()
    signed.set(value, sid)
    return sid
  }

  return {
    async identify(request, { touch = true } = {}) {
      const sid = sidOf(request)
      const resumed = sid === undefined ? undefined : await accounts.resume(sid, touch)
      if (resumed) return { principal: resumed.member, session: resumed.session }
      const basic = basicOf(request.headers.authorization)
      if (!basic) return undefined
      if (refused.has(request)) throw asError(refused.get(request))
      try {
        return { principal: await accounts.authenticateBasic(security.addressOf(request), basic.username, basic.password), session: null }
      } catch (error) {
        // Only that they are wrong: a database that was away for a moment may be asked again.
        if (error instanceof Unauthorized) refused.set(request, error)
        throw error
      }
    },
    carriesCredentials: (request) => cookieValue(request.headers.cookie, cookieName) !== undefined,
    middleware: (request, response, next) => {
      // express-session keeps a Secure cookie back unless it sees TLS, which ends at the proxy: the public address decides.
      if (security.secureCookies) request.headers['x-forwarded-proto'] = 'https'
      expressSession(request, response, next)
    },
  }
}

function basicOf(header: string | undefined): { username: string; password: string } | undefined {
  if (!header || !/^basic /i.test(header)) return undefined
  const text = Buffer.from(header.slice(6), 'base64').toString()
  const colon = text.indexOf(':')
  return colon < 0 ? undefined : { username: text.slice(0, colon), password: text.slice(colon + 1) }
}

export function cookieValue(header: string | undefined, name: string): string | undefined {
  if (!header) return undefined
  for (const part of header.split(';')) {
    const equals = part.indexOf('=')
    if (equals > 0 && part.slice(0, equals).trim() === name) {
      try {
        return decodeURIComponent(part.slice(equals + 1).trim())
      } catch {
        return undefined
      }
    }
  }
  return undefined
}

/** Keeps express-session's sessions in our own table, where they can be listed and ended by person. */
class AccountStore extends session.Store {
  constructor(private readonly accounts: Accounts) {
    super()
  }

  override get(sid: string, callback: (error: unknown, session?: session.SessionData | null) => void): void {
    this.accounts.read(sid).then(
      (data) => callback(null, data === undefined ? null : (JSON.parse(data) as session.SessionData)),
      (error: unknown) => callback(error),
    )
  }

  override set(sid: string, data: session.SessionData, callback?: (error?: unknown) => void): void {
    const { userId = null, address = null, device = null } = data as Partial<session.SessionData>
    void this.accounts.write(sid, { userId, data: JSON.stringify(data), address, device }).then(() => callback?.(), callback)
  }

  override destroy(sid: string, callback?: (error?: unknown) => void): void {
    void this.accounts.end(sid).then(() => callback?.(), callback)
  }
}
