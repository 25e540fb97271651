import type { IncomingMessage, ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import { AppError, asError, Malformed } from '../errors'
import { level } from './gzip'
import type { Dashboard } from './http'
import { requestIdOf } from './request'
import type { Identity } from './session'

/** Below this, compressing costs more than it saves. */
const worthCompressing = 1000

export const takesGzip = (request: IncomingMessage): boolean => /\bgzip\b/.test(request.headers['accept-encoding'] ?? '')

export function sendText(request: IncomingMessage, response: ServerResponse, status: number, type: string, text: string): void {
  if (text.length >= worthCompressing && takesGzip(request)) sendCompressed(response, status, type, gzipSync(text, { level }))
  else {
    response.statusCode = status
    response.setHeader('Content-Type', type)
    response.setHeader('Content-Length', Buffer.byteLength(text))
    response.end(text)
  }
}

export function sendCompressed(response: ServerResponse, status: number, type: string, compressed: Buffer): void {
  response.statusCode = status
  response.setHeader('Content-Type', type)
  response.setHeader('Content-Encoding', 'gzip')
  response.appendHeader('Vary', 'Accept-Encoding')
  response.setHeader('Content-Length', compressed.length)
  response.end(compressed)
}

/** What to authenticate with. Whoever sent a key is a program: a browser must not ask for a password because of it. */
export const challengeTo = ({ headers: { authorization = '' } }: IncomingMessage): string =>
  /^bearer /i.test(authorization)
    ? 'Bearer realm="Operations Center", error="invalid_token"'
    : 'Basic realm="Operations Center", charset="UTF-8"'

/** RFC 9457. What is not an AppError is a bug: logged whole, and shown as nothing but its request id. */
export function sendProblem(dashboard: Dashboard, request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
  const error = asAppError(dashboard, request, thrown)
  if (response.headersSent) {
    response.destroy()
    return
  }
  if (error.status === 401) response.setHeader('WWW-Authenticate', challengeTo(request))
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

/** The address of a request as the log may have it: tokens work once, but an error leaves them unused. */
function urlForLog(url = ''): string {
  const start = url.indexOf('?') + 1
  if (start === 0) return url
  const query = url.slice(start).split('&')
  const shown = query.map((part) => {
    const [name = ''] = new URLSearchParams(part).keys()
    return /^(?:token|next)\b/i.test(name) ? `${name}=•••••` : part
  })
  return url.slice(0, start) + shown.join('&')
}

export function asAppError({ platform }: Dashboard, request: IncomingMessage, thrown: unknown): AppError {
  if (thrown instanceof AppError) {
    if (thrown.status >= 500)
      platform.log.warn({ err: thrown, request_id: requestIdOf(request), url: urlForLog(request.url) }, thrown.title)
    return thrown
  }
  const { status, message } = thrown as { status?: number; message?: string }
  // Express's own: a path that cannot be decoded.
  if (status === 400) return new Malformed(`The address cannot be read: ${message ?? ''}`.slice(0, 200))
  platform.log.error(
    { err: asError(thrown), request_id: requestIdOf(request), method: request.method, url: urlForLog(request.url) },
    'a request failed',
  )
  return new AppError(500, 'Something went wrong on our side', 'The log of the server has the details under the id of this request.')
}

export const keyOf = (path: string, { principal }: Identity): string => `${path} ${principal.org_id} ${principal.rights.key}`

const answers = new WeakMap<Dashboard, Map<string, { until: number; answer: Promise<unknown> }>>()

/** What depends on organisation and rights only is made once for everybody who asks within the same moment. */
export function shared<T>(dashboard: Dashboard, key: string, ms: number, produce: () => Promise<T>): Promise<T> {
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
