import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import express, { type Express, type Request, type Response } from 'express'
import rawBody from 'raw-body'
import { gzipSync } from 'node:zlib'
import { z } from 'zod'
import { contextOf, home, type Platform, type Context } from '../context'
import {
  AppError,
  asError,
  Forbidden,
  Invalid,
  Malformed,
  NotFound,
  TooLarge,
  TooMany,
  Unauthorized,
  UnsupportedType,
  type FieldError,
} from '../errors'
import { may, type Action } from '../permissions'
import { serveAssets } from './assets'
import type { Access, ActionRoute, Answer, Call, EndpointRoute, Flash, PageRoute, Routes } from './endpoint'
import { compressOnce, gzipAround, level } from './gzip'
import type { Limits } from './limits'
import type { Page, Renderer } from './render'
import type { Security } from './security'
import { cookieValue, type Identity, type Sessions } from './session'

export interface Dashboard {
  readonly platform: Platform
  readonly security: Security
  readonly sessions: Sessions
  readonly limits: Limits
  readonly renderer: Renderer
  readonly routes: readonly Routes[]
  /** The newest change that a page rendered now can contain. */
  readonly seq: () => number
  readonly poll: (request: Request, response: Response, identity: Identity) => Promise<void>
  /** False while the database cannot be read, or the server is on its way out. */
  readonly ready: () => Promise<boolean>
}

const html = 'text/html; charset=utf-8'
const bodyLimit = 1_000_000
const flashCookie = 'operations-center-said'
/** Below this, compressing costs more than it saves. */
const worthCompressing = 1000

/** The handler of everything that arrives on the port: the few hot endpoints first, then Express. */
export function handlerOf(dashboard: Dashboard): (request: IncomingMessage, response: ServerResponse) => void {
  const app = expressOf(dashboard)
  const fast = new Map<string, EndpointRoute>()
  for (const { endpoints } of dashboard.routes)
    for (const endpoint of endpoints) if (endpoint.fast) fast.set(`${endpoint.method} ${endpoint.path}`, endpoint)
  return (request, response) => {
    const { url = '/' } = request
    const mark = url.indexOf('?')
    const endpoint = fast.get(`${request.method ?? ''} ${mark < 0 ? url : url.slice(0, mark)}`)
    if (!endpoint) {
      app(request, response)
      return
    }
    start(dashboard, response)
    serveEndpoint(dashboard, endpoint, request, response, {}).catch((error: unknown) => {
      sendProblem(dashboard, request, response, error)
    })
  }
}

const requestIds = new WeakMap<IncomingMessage, string>()

const requestIdOf = (request: IncomingMessage): string => {
  let id = requestIds.get(request)
  if (id === undefined) requestIds.set(request, (id = randomUUID()))
  return id
}

function start({ security }: Dashboard, response: ServerResponse): void {
  for (const [name, value] of security.headers) response.setHeader(name, value)
}

function expressOf(dashboard: Dashboard): Express {
  const { sessions, routes } = dashboard
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.set('query parser', false)
  app.use((request, response, next) => {
    start(dashboard, response)
    // No name that anything here could have, and PostgreSQL would refuse to look for it.
    next(request.path.includes('%00') ? new NotFound() : undefined)
  })
  app.use('/assets', serveAssets)
  app.get('/favicon.ico', (_request, response) => {
    response.redirect(308, dashboard.renderer.assets['mark.svg'] ?? '/assets/mark.svg')
  })
  app.get('/healthz', async (_request, response) => {
    const ready = await dashboard.ready()
    response.status(ready ? 200 : 503).json({ status: ready ? 'ok' : 'unavailable' })
  })
  app.get('/live/poll', async (request, response) => {
    // A page asks by itself: that does not keep a session from ending.
    const identity = await sessions.identify(request, { touch: false })
    if (!identity) throw new Unauthorized()
    await dashboard.poll(request, response, identity)
  })
  for (const { pages, actions, endpoints } of routes) {
    for (const page of pages) app.get(page.path, (request, response) => servePage(dashboard, page, request, response))
    for (const action of actions) {
      // Forms can begin and end sessions; every other request just looks its session up.
      app.post(action.path, sessions.middleware, (request, response) => serveAction(dashboard, action, request, response))
    }
    for (const endpoint of endpoints) {
      const method = endpoint.method.toLowerCase() as 'get' | 'post' | 'put' | 'patch' | 'delete'
      app[method](endpoint.path, async (request, response) => {
        try {
          await serveEndpoint(dashboard, endpoint, request, response, request.params as Record<string, string>)
        } catch (error) {
          sendProblem(dashboard, request, response, error)
        }
      })
    }
  }
  const methods = methodsByPath(routes)
  app.use(async (request, response) => {
    const allowed = [...methods].filter(([path]) => matches(path, request.path)).flatMap(([, list]) => list)
    if (allowed.length > 0) {
      response.setHeader('Allow', allowed.join(', '))
      throw new AppError(405, 'Method not allowed', `${request.path} takes ${allowed.join(', ')}.`)
    }
    if (request.path.startsWith('/api/')) await dashboard.limits.check(request, response, dashboard.security.addressOf(request), 'api')
    throw new NotFound()
  })
  app.use((error: unknown, request: Request, response: Response, next: (error?: unknown) => void) => {
    if (response.headersSent) next(error)
    else void answerError(dashboard, error, request, response)
  })
  return app
}

function methodsByPath(routes: readonly Routes[]): Map<string, string[]> {
  const methods = new Map<string, string[]>([
    ['/healthz', ['GET']],
    ['/live/poll', ['GET']],
  ])
  const add = (path: string, method: string) => methods.set(path, [...(methods.get(path) ?? []), method])
  for (const { pages, actions, endpoints } of routes) {
    for (const { path } of pages) add(path, 'GET')
    for (const { path } of actions) add(path, 'POST')
    for (const { path, method } of endpoints) add(path, method)
  }
  return methods
}

const matches = (pattern: string, path: string): boolean =>
  new RegExp(`^${pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/:\w+/g, '[^/]+')}/?$`).test(path)

function contextFor({ platform, security }: Dashboard, identity: Identity | undefined, request: IncomingMessage): Context {
  const address = security.addressOf(request)
  return identity
    ? contextOf(
        platform,
        { kind: 'user', id: identity.principal.id, name: identity.principal.username, role: identity.principal.role, address },
        identity.principal.org_id,
      )
    : contextOf(platform, { kind: 'system', id: 'nobody', name: 'nobody', role: 'viewer', address }, home)
}

/** Who may go on; throws for everybody else. */
function admit(access: Access, identity: Identity | undefined): void {
  if (access === 'public') return
  if (!identity) throw new Unauthorized()
  if (access !== 'self' && !may(identity.principal, access)) throw new Forbidden(refusal(access))
}

const refusal = (action: Action): string => `Your role does not allow “${action}”. An admin can change your role.`

// ---- API endpoints

async function serveEndpoint(
  dashboard: Dashboard,
  endpoint: EndpointRoute,
  request: IncomingMessage,
  response: ServerResponse,
  params: Readonly<Record<string, string>>,
): Promise<void> {
  const { sessions, security, limits } = dashboard
  const count = async (client: string) => {
    // The document of the API and its pages are the console's own.
    if (endpoint.path.startsWith('/api/')) await limits.check(request, response, client, endpoint.limit ?? 'api')
  }
  let identity: Identity | undefined
  try {
    identity = await sessions.identify(request)
  } catch (error) {
    await count(security.addressOf(request))
    throw error
  }
  await count(identity?.principal.id ?? security.addressOf(request))
  admit(endpoint.permission, identity)
  if (endpoint.method !== 'GET') security.checkOrigin(request, sessions.carriesCredentials(request))
  const query = parse(endpoint.query ?? noParameters, queryOf(request.url ?? ''), 400)
  const body = endpoint.body ? parse(endpoint.body, await readJson(request), 422) : undefined
  const ctx = contextFor(dashboard, identity, request)
  const produce = async () => JSON.stringify(await endpoint.answer({ ctx, params, query, body, identity: identity ?? null }))
  const text = await (endpoint.shared && identity ? shared(dashboard, keyOf(endpoint.path, identity), endpoint.shared, produce) : produce())
  sendText(request, response, endpoint.status ?? 200, 'application/json; charset=utf-8', text)
}

const noParameters = z.strictObject({})

/** Parameters by name; one that is given twice is a list, which no schema takes by accident. */
function queryOf(url: string): Record<string, unknown> {
  const mark = url.indexOf('?')
  if (mark < 0) return {}
  const query: Record<string, unknown> = Object.create(null) as Record<string, unknown>
  const parameters = new URLSearchParams(url.slice(mark + 1))
  for (const name of new Set(parameters.keys())) {
    const values = parameters.getAll(name)
    query[name] = values.length > 1 ? values : values[0]
  }
  return { ...query }
}

function parse(schema: z.ZodType | undefined, value: unknown, status: 400 | 422): unknown {
  if (!schema) return undefined
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const fields = fieldErrors(result.error)
  if (status === 422) throw new Invalid(fields)
  throw Object.assign(new Malformed(fields.map(({ field, message }) => `${field}: ${message}`).join('; ')), { fields })
}

const fieldErrors = (error: z.ZodError): FieldError[] =>
  error.issues.slice(0, 20).map((issue) => ({
    field:
      [...issue.path, ...(issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [])].map(String).join('.').slice(0, 200) || 'body',
    message: issue.code === 'unrecognized_keys' ? 'There is no such field.' : issue.message,
  }))

async function readBody(request: IncomingMessage): Promise<string> {
  if (request.headers['content-encoding'] && request.headers['content-encoding'] !== 'identity')
    throw new UnsupportedType('Send the body without Content-Encoding.')
  try {
    return await rawBody(request, { length: request.headers['content-length'] ?? null, limit: bodyLimit, encoding: 'utf-8' })
  } catch (error) {
    const { type } = error as { type?: string }
    if (type === 'entity.too.large')
      throw new TooLarge(`The body is larger than ${bodyLimit.toLocaleString('en')} bytes. Send it in parts.`)
    throw new Malformed('The body ended before it was complete.')
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  // Also what keeps plain forms of other sites out: they cannot send this type.
  if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? ''))
    throw new UnsupportedType('Send JSON, with Content-Type: application/json.')
  const text = await readBody(request)
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    throw Object.assign(new Malformed(`body: this is not JSON (${asError(error).message.slice(0, 120)})`), {
      fields: [{ field: 'body', message: 'This is not JSON.' }],
    })
  }
}

const takesGzip = (request: IncomingMessage): boolean => /\bgzip\b/.test(request.headers['accept-encoding'] ?? '')

function sendText(request: IncomingMessage, response: ServerResponse, status: number, type: string, text: string): void {
  if (text.length >= worthCompressing && takesGzip(request)) sendCompressed(response, status, type, gzipSync(text, { level }))
  else {
    response.statusCode = status
    response.setHeader('Content-Type', type)
    response.setHeader('Content-Length', Buffer.byteLength(text))
    response.end(text)
  }
}

function sendCompressed(response: ServerResponse, status: number, type: string, compressed: Buffer): void {
  response.statusCode = status
  response.setHeader('Content-Type', type)
  response.setHeader('Content-Encoding', 'gzip')
  response.setHeader('Vary', 'Accept-Encoding')
  response.setHeader('Content-Length', compressed.length)
  response.end(compressed)
}

/** RFC 9457. What is not an AppError is a bug: logged whole, and shown as nothing but its request id. */
function sendProblem(dashboard: Dashboard, request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
  const error = asAppError(dashboard, request, thrown)
  if (response.headersSent) {
    response.destroy()
    return
  }
  if (error.status === 401) response.setHeader('WWW-Authenticate', 'Basic realm="Operations Center", charset="UTF-8"')
  if (error.retryAfterSeconds !== null) response.setHeader('Retry-After', error.retryAfterSeconds)
  // What was not read of a refused body must not be taken for the next request.
  if (!request.complete) response.setHeader('Connection', 'close')
  const problem = {
    type: 'about:blank',
    title: error.title,
    status: error.status,
    detail: error.message,
    instance: `urn:request:${requestIdOf(request)}`,
    ...(error.fields.length > 0 ? { errors: error.fields } : {}),
  }
  sendText(request, response, error.status, 'application/problem+json; charset=utf-8', JSON.stringify(problem))
}

function asAppError({ platform }: Dashboard, request: IncomingMessage, thrown: unknown): AppError {
  if (thrown instanceof AppError) {
    if (thrown.status >= 500) platform.log.warn({ err: thrown, request_id: requestIdOf(request), url: request.url }, thrown.title)
    return thrown
  }
  const { status, message } = thrown as { status?: number; message?: string }
  // Express's own: a path that cannot be decoded.
  if (status === 400) return new Malformed(`The address cannot be read: ${message ?? ''}`.slice(0, 200))
  platform.log.error(
    { err: asError(thrown), request_id: requestIdOf(request), method: request.method, url: request.url },
    'a request failed',
  )
  return new AppError(500, 'Something went wrong on our side', 'The log of the server has the details under the id of this request.')
}

// ---- Pages and forms

async function servePage(dashboard: Dashboard, page: PageRoute, request: Request, response: Response): Promise<void> {
  const identity = await dashboard.sessions.identify(request)
  if (!identity && page.permission !== 'public') {
    // A program that sent nothing gets a page to sign in on, as a person does.
    response.redirect(303, `/sign-in?next=${encodeURIComponent(request.originalUrl)}`)
    return
  }
  admit(page.permission, identity)
  const call = {
    ctx: contextFor(dashboard, identity, request),
    params: request.params,
    query: parse(page.query, queryOf(request.originalUrl), 400),
  }
  const seq = dashboard.seq()
  const produce = async (): Promise<Page | Answer> => {
    const answer = await page.answer({ ...call, body: undefined, identity: identity ?? null } as Call<z.ZodType>)
    if (answer.kind !== 'view') return answer
    const body = dashboard.renderer.body(answer)
    return { ...answer, seq, body, ...(page.shared ? { compressedBody: compressOnce(body) } : {}) }
  }
  if (page.contentSecurityPolicy) response.setHeader('Content-Security-Policy', page.contentSecurityPolicy)
  const answer = await (page.shared && identity ? shared(dashboard, keyOf(page.path, identity), page.shared, produce) : produce())
  await sendAnswer(dashboard, answer, request, response, identity)
}

const keyOf = (path: string, { principal }: Identity): string => `${path} ${principal.org_id} ${principal.role}`

const answers = new WeakMap<Dashboard, Map<string, { until: number; answer: Promise<unknown> }>>()

/** What depends on organisation and role only is made once for everybody who asks within the same moment. */
function shared<T>(dashboard: Dashboard, key: string, ms: number, produce: () => Promise<T>): Promise<T> {
  let known = answers.get(dashboard)
  if (!known) answers.set(dashboard, (known = new Map<string, { until: number; answer: Promise<unknown> }>()))
  const now = performance.now()
  const last = known.get(key)
  if (last && last.until > now) return last.answer as Promise<T>
  const answer = produce()
  known.set(key, { until: now + ms, answer })
  answer.catch(() => known.delete(key))
  return answer
}

async function serveAction(dashboard: Dashboard, action: ActionRoute, request: Request, response: Response): Promise<void> {
  const { sessions, security } = dashboard
  const identity = await sessions.identify(request)
  security.checkOrigin(request, sessions.carriesCredentials(request))
  if (!identity && action.permission !== 'public') {
    response.redirect(303, '/sign-in')
    return
  }
  admit(action.permission, identity)
  const call = {
    ctx: contextFor(dashboard, identity, request),
    params: request.params as Record<string, string>,
    identity: identity ?? null,
  }
  const typed = await readForm(request)
  const query = parse(action.query, queryOf(request.originalUrl), 400)
  try {
    const body = parse(action.body, typed, 422)
    await sendAnswer(dashboard, await action.answer({ ...call, query, body }), request, response, identity)
  } catch (error) {
    if (!(error instanceof Invalid) || !action.again) throw error
    const answer = await action.again({ ...call, query, body: undefined, typed, error })
    await sendAnswer(dashboard, answer.kind === 'view' ? { status: 422, ...answer } : answer, request, response, identity)
  }
}

async function readForm(request: Request): Promise<Record<string, string>> {
  if (!/^application\/x-www-form-urlencoded\s*(;|$)/i.test(request.headers['content-type'] ?? 'application/x-www-form-urlencoded'))
    throw new UnsupportedType('Send a form.')
  return Object.fromEntries(new URLSearchParams(await readBody(request)))
}

async function sendAnswer(
  dashboard: Dashboard,
  answer: Page | Answer,
  request: Request,
  response: Response,
  identity: Identity | undefined,
): Promise<void> {
  switch (answer.kind) {
    case 'view': {
      const page: Page = 'body' in answer ? answer : { ...answer, seq: dashboard.seq(), body: dashboard.renderer.body(answer) }
      // Turbo takes one frame out of the answer: the page around it would be made for nothing.
      if (request.headers['turbo-frame'] && (answer.status ?? 200) === 200) {
        sendText(request, response, 200, 'text/html; charset=utf-8', `<!doctype html><title></title>${page.body}`)
        return
      }
      if (answer.retryAfter) response.setHeader('Retry-After', answer.retryAfter)
      const flash = takeFlash(request, response)
      const { before, body, after } = await dashboard.renderer.page(page, identity?.principal, request.path, flash)
      const status = answer.status ?? 200
      if (body !== '' && page.compressedBody && takesGzip(request))
        sendCompressed(response, status, html, gzipAround(before, page.compressedBody, after))
      else sendText(request, response, status, html, before + body + after)
      return
    }
    case 'redirect':
      if (answer.flash) giveFlash(dashboard, response, answer.flash)
      response.redirect(303, answer.to)
      return
    case 'sign-in':
      await beginSession(dashboard, request, answer.userId)
      response.redirect(303, answer.to)
      return
    case 'sign-out':
      await new Promise<void>((resolve, reject) => {
        request.session.destroy((error: unknown) => {
          if (error) reject(asError(error))
          else resolve()
        })
      })
      response.clearCookie(dashboard.security.cookieName, {
        path: '/',
        httpOnly: true,
        sameSite: 'lax',
        secure: dashboard.security.secureCookies,
      })
      // The back button must not show what was on the screen.
      response.setHeader('Clear-Site-Data', '"cache"')
      response.redirect(303, answer.to)
  }
}

/** Under a new id: one that was known before somebody signed in is worth nothing afterwards. */
async function beginSession({ security }: Dashboard, request: Request, userId: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    request.session.regenerate((error: unknown) => {
      if (error) {
        reject(asError(error))
        return
      }
      request.session.userId = userId
      request.session.address = security.addressOf(request)
      request.session.device = request.headers['user-agent'] ?? ''
      request.session.save((error: unknown) => {
        if (error) reject(asError(error))
        else resolve()
      })
    })
  })
}

// ---- What was done, said once on the next page

function giveFlash({ security }: Dashboard, response: Response, flash: Flash): void {
  response.cookie(flashCookie, Buffer.from(JSON.stringify(flash)).toString('base64url'), {
    httpOnly: true,
    sameSite: 'lax',
    path: '/',
    maxAge: 20_000,
    secure: security.secureCookies,
  })
}

const FlashCookie = z.object({ kind: z.enum(['ok', 'warn', 'err']), text: z.string().max(500) })

function takeFlash(request: Request, response: Response): Flash | null {
  const value = cookieValue(request.headers.cookie, flashCookie)
  if (!value) return null
  response.clearCookie(flashCookie, { path: '/' })
  try {
    return FlashCookie.parse(JSON.parse(Buffer.from(value, 'base64url').toString()))
  } catch {
    return null
  }
}

// ---- Errors of pages

const wantsJson = (request: Request): boolean =>
  request.path.startsWith('/api/') || request.path === '/live/poll' || !/text\/html|\*\/\*/.test(request.headers.accept ?? '*/*')

async function answerError(dashboard: Dashboard, thrown: unknown, request: Request, response: Response): Promise<void> {
  if (wantsJson(request)) {
    sendProblem(dashboard, request, response, thrown)
    return
  }
  const error = asAppError(dashboard, request, thrown)
  if (error.status === 401 && request.headers.authorization)
    response.setHeader('WWW-Authenticate', 'Basic realm="Operations Center", charset="UTF-8"')
  if (error instanceof TooMany) response.setHeader('Retry-After', error.retryAfterSeconds)
  if (!request.complete) response.setHeader('Connection', 'close')
  let identity: Identity | undefined
  try {
    identity = await dashboard.sessions.identify(request)
  } catch {
    identity = undefined
  }
  const { status, title, message, retryAfterSeconds } = error
  try {
    await sendAnswer(
      dashboard,
      {
        kind: 'view',
        name: 'shared/error',
        title,
        status,
        props: { status, title, detail: message, requestId: status >= 500 ? requestIdOf(request) : null, retryAfter: retryAfterSeconds },
      },
      request,
      response,
      identity,
    )
  } catch (error) {
    // The page for errors needs the database too; without it, a line of text still says what is wrong.
    dashboard.platform.log.error({ err: asError(error) }, 'the error page failed')
    sendText(request, response, status, 'text/plain; charset=utf-8', `${title}\n\n${message}\n`)
  }
}
