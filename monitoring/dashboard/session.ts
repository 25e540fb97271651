import type { IncomingMessage } from 'node:http'
import { unsign } from 'cookie-signature'
import type { Request, RequestHandler } from 'express'
import session from 'express-session'
import type { OrgId } from '../context'
import { asError, Unauthorized } from '../errors'
import type { Rights } from '../permissions'
import type { Security } from './security'

/** Who sends a request. */
export interface Principal {
  readonly id: string
  readonly username: string
  readonly handle: string
  readonly org_id: OrgId
  readonly org_name: string
  /** What it is called, for people to read. */
  readonly role: string
  readonly rights: Rights
  /** Administers the installation itself, apart from any organisation. */
  readonly instance_admin: boolean
  readonly theme: 'auto' | 'light' | 'dark'
  readonly timezone: string | null
  readonly created_at: number
}

export interface Identity {
  readonly principal: Principal
  /** Which session; null with Basic and with a key. */
  readonly session: string | null
  /** The API key of a program that acts in the person's name; the rights are those of the key then. */
  readonly key: KeyUsed | null
}

export interface KeyUsed {
  readonly id: string
  readonly name: string
  /** Requests to the API in 60 s; null: as many as everybody. */
  readonly limit: number | null
}

/** What the front door asks the product about accounts. */
export interface Accounts {
  /** `touch`: whether this counts as the person being there. */
  resume(sid: string, touch: boolean): Promise<{ session: string; member: Principal } | undefined>
  authenticateBasic(address: string, username: string, password: string): Promise<Principal>
  authenticateKey(address: string, key: string): Promise<{ readonly key: KeyUsed; readonly member: Principal }>
  read(sid: string): Promise<string | undefined>
  /** Throws when the account was disabled, or got another password, after `since`. */
  begin(sid: string, session: Begun & { data: string }): Promise<void>
  end(sid: string): Promise<void>
  /** Something about people, roles, keys or sessions was changed: what is remembered of them is read again. */
  forget(): void
}

/** What is known of a session when it begins. */
interface Begun {
  userId: string
  /** When the password was asked for. */
  since: number
  address: string
  device: string | null
}

declare module 'express-session' {
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type -- express-session wants its own interface extended
  interface SessionData extends Begun {}
}

const cookieMaxAge = 30 * 24 * 3_600_000

export interface Sessions {
  /** Who this is, by key, by cookie or by Basic; undefined when the request does not say. Wrong credentials throw. */
  identify(request: IncomingMessage, options?: { touch?: boolean }): Promise<Identity | undefined>
  /** Whether the browser adds credentials by itself to a request like this. */
  carriesCredentials(request: IncomingMessage): boolean
  forget(): void
  /** Begins a session of this person, under a new id: one that was known before somebody signed in is worth nothing afterwards. */
  begin(request: Request, userId: string, since: number): Promise<void>
  end(request: Request): Promise<void>
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

  async function once(request: IncomingMessage, authenticate: () => Promise<Identity>): Promise<Identity> {
    if (refused.has(request)) throw asError(refused.get(request))
    try {
      return await authenticate()
    } catch (error) {
      // Only that they are wrong: a database that was away for a moment may be asked again.
      if (error instanceof Unauthorized) refused.set(request, error)
      throw error
    }
  }

  return {
    async identify(request, { touch = true } = {}) {
      const { authorization } = request.headers
      const key = bearerOf(authorization)
      // Whoever sends a key means it: a cookie beside it counts for nothing.
      if (key !== undefined)
        return await once(request, async () => {
          const used = await accounts.authenticateKey(security.addressOf(request), key)
          return { principal: used.member, session: null, key: used.key }
        })
      const sid = sidOf(request)
      const resumed = sid === undefined ? undefined : await accounts.resume(sid, touch)
      if (resumed) return { principal: resumed.member, session: resumed.session, key: null }
      const basic = basicOf(authorization)
      if (!basic) return undefined
      return await once(request, async () => ({
        principal: await accounts.authenticateBasic(security.addressOf(request), basic.username, basic.password),
        session: null,
        key: null,
      }))
    },
    carriesCredentials: (request) =>
      bearerOf(request.headers.authorization) === undefined && cookieValue(request.headers.cookie, cookieName) !== undefined,
    forget: () => {
      accounts.forget()
    },
    async begin(request, userId, since) {
      const begun: Begun = { userId, since, address: security.addressOf(request), device: request.headers['user-agent'] ?? null }
      await settled((callback) => request.session.regenerate(callback))
      Object.assign(request.session, begun)
      try {
        await settled((callback) => request.session.save(callback))
      } catch (error) {
        // Or express-session would save it once more when the answer ends.
        await settled((callback) => request.session.destroy(callback)).catch(() => undefined)
        throw error
      }
    },
    end: (request) => settled((callback) => request.session.destroy(callback)),
    middleware: (request, response, next) => {
      // express-session keeps a Secure cookie back unless it sees TLS, which ends at the proxy: the public address decides.
      if (security.secureCookies) request.headers['x-forwarded-proto'] = 'https'
      expressSession(request, response, next)
    },
  }
}

const settled = (work: (callback: (error?: unknown) => void) => unknown): Promise<void> =>
  new Promise((resolve, reject) => {
    work((error) => {
      if (error) reject(asError(error))
      else resolve()
    })
  })

function bearerOf(header: string | undefined): string | undefined {
  return header !== undefined && /^bearer /i.test(header) ? header.slice(7).trim() : undefined
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
  private readonly begun = new WeakSet<session.SessionData>()

  constructor(private readonly accounts: Accounts) {
    super()
  }

  override get(sid: string, callback: (error: unknown, session?: session.SessionData | null) => void): void {
    this.accounts.read(sid).then(
      (data) => callback(null, data === undefined ? null : (JSON.parse(data) as session.SessionData)),
      (error: unknown) => callback(error),
    )
  }

  override set(sid: string, session: session.SessionData, callback?: (error?: unknown) => void): void {
    // express-session saves a new one again when the answer ends. Nothing in it changes once it has begun.
    if (this.begun.has(session)) {
      callback?.()
      return
    }
    this.begun.add(session)
    const { userId, since, address, device } = session
    void this.accounts.begin(sid, { userId, since, address, device, data: JSON.stringify(session) }).then(() => callback?.(), callback)
  }

  override destroy(sid: string, callback?: (error?: unknown) => void): void {
    void this.accounts.end(sid).then(() => callback?.(), callback)
  }
}
