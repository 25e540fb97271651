import type { Request, Response } from 'express'
import { z } from 'zod'
import { asError, Forbidden, Invalid, TooMany } from '../errors'
import { asAppError, challengeTo, keyOf, sendCompressed, sendProblem, sendText, shared, takesGzip } from './answer'
import type { ActionRoute, Answer, Call, Flash, PageRoute } from './endpoint'
import { compressOnce, gzipAround } from './gzip'
import type { Dashboard } from './http'
import { clientOf } from './limits'
import type { Page } from './render'
import { admit, contextFor, originOf, parse, queryOf, readForm, requestIdOf } from './request'
import { cookieValue, type Identity } from './session'

const html = 'text/html; charset=utf-8'

const flashCookie = 'operations-center-said'

/** Pages and forms are for people: programs have the API. */
export async function personOf({ sessions }: Dashboard, request: Request, options?: { touch: boolean }): Promise<Identity | undefined> {
  const identity = await sessions.identify(request, options)
  if (identity?.key) throw new Forbidden('An API key is for the API and its sockets: pages and forms are for people.')
  return identity
}

export async function servePage(dashboard: Dashboard, page: PageRoute, request: Request, response: Response): Promise<void> {
  const identity = await personOf(dashboard, request)
  if (!identity && page.permission !== 'public') {
    // A program that sent nothing gets a page to sign in on, as a person does.
    response.redirect(303, `/sign-in?next=${encodeURIComponent(request.originalUrl)}`)
    return
  }
  admit(page.permission, identity)
  const call = {
    ctx: contextFor(dashboard, identity, request),
    params: request.params,
    origin: originOf(dashboard, request),
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

export async function serveAction(dashboard: Dashboard, action: ActionRoute, request: Request, response: Response): Promise<void> {
  const { sessions, security, limits } = dashboard
  const address = security.addressOf(request)
  if (action.limit) await limits.check(request, response, { address }, action.limit)
  const early = await personOf(dashboard, request)
  security.checkOrigin(request, sessions.carriesCredentials(request))
  if (early) await limits.check(request, response, clientOf(early, address), 'forms')
  if (early || action.permission === 'public') admit(action.permission, early)
  const form = await readForm(request)
  // A form can take half a minute to arrive: whoever was shut out meanwhile does not act with what they had before.
  const identity = early && (await personOf(dashboard, request, { touch: false }))
  if (!identity && action.permission !== 'public') {
    response.redirect(303, '/sign-in')
    return
  }
  admit(action.permission, identity)
  const call = {
    ctx: contextFor(dashboard, identity, request),
    params: request.params as Record<string, string>,
    identity: identity ?? null,
    origin: originOf(dashboard, request),
  }
  const query = parse(action.query, queryOf(request.originalUrl), 400)
  try {
    const body = parse(action.body, form, 422)
    await sendAnswer(dashboard, await action.answer({ ...call, query, body }), request, response, identity)
  } catch (error) {
    if (!(error instanceof Invalid) || !action.again) throw error
    const chosen = Object.fromEntries(Object.entries(form).map(([name, given]) => [name, [given].flat()]))
    const typed = Object.fromEntries(Object.entries(chosen).map(([name, all]) => [name, all.at(-1) ?? '']))
    const answer = await action.again({ ...call, query, body: undefined, typed, chosen, error })
    await sendAnswer(dashboard, answer.kind === 'view' ? { status: 422, ...answer } : answer, request, response, identity)
  }
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
      await dashboard.sessions.begin(request, answer.userId, answer.since)
      response.redirect(303, answer.to)
      return
    case 'sign-out':
      await dashboard.sessions.end(request)
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

export async function answerError(dashboard: Dashboard, thrown: unknown, request: Request, response: Response): Promise<void> {
  if (wantsJson(request)) {
    sendProblem(dashboard, request, response, thrown)
    return
  }
  const error = asAppError(dashboard, request, thrown)
  if (error.status === 401 && request.headers.authorization) response.setHeader('WWW-Authenticate', challengeTo(request))
  if (error instanceof TooMany) response.setHeader('Retry-After', error.retryAfterSeconds)
  if (!request.complete) response.setHeader('Connection', 'close')
  let identity: Identity | undefined
  try {
    identity = await personOf(dashboard, request)
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
