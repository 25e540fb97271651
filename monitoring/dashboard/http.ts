import type { IncomingMessage, ServerResponse } from 'node:http'
import express, { type Express, type Request, type Response } from 'express'
import type { Platform } from '../context'
import { AppError, NotFound, Unauthorized } from '../errors'
import { sendProblem } from './answer'
import { serveEndpoint } from './api'
import { serveAssets } from './assets'
import type { EndpointRoute, Routes } from './endpoint'
import type { Limits } from './limits'
import { answerError, personOf, serveAction, servePage } from './pages'
import { tellRefusal, type TakeRefusal } from './refusals'
import type { Renderer } from './render'
import { serveMetrics, type Scrape } from './scrape'
import type { Security } from './security'
import type { Identity, Sessions } from './session'

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
  /** Somebody who is signed in was answered 403. */
  readonly refused: TakeRefusal
  /** What Prometheus reads. */
  readonly scrape: Scrape
  /** False while the database cannot be read, or the server is on its way out. */
  readonly ready: () => Promise<boolean>
}

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
    start(dashboard, request, response)
    serveEndpoint(dashboard, endpoint, request, response, {}).catch((error: unknown) => {
      tellRefusal(dashboard, request, error)
      sendProblem(dashboard, request, response, error)
    })
  }
}

function start({ security }: Dashboard, request: IncomingMessage, response: ServerResponse): void {
  for (const [name, value] of security.headers) response.setHeader(name, value)
  for (const [name, value] of security.sharedWith(request)) response.setHeader(name, value)
}

function expressOf(dashboard: Dashboard): Express {
  const { sessions, routes } = dashboard
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.set('query parser', false)
  app.use((request, response, next) => {
    start(dashboard, request, response)
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
  // The process itself, whatever it can reach.
  app.get('/livez', (_request, response) => {
    response.json({ status: 'ok' })
  })
  app.get('/metrics', (request, response) => serveMetrics(dashboard, request, response))
  app.get('/live/poll', async (request, response) => {
    // A page asks by itself: that does not keep a session from ending.
    const identity = await personOf(dashboard, request, { touch: false })
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
          tellRefusal(dashboard, request, error)
          sendProblem(dashboard, request, response, error)
        }
      })
    }
  }
  // Asked by browsers before a page of another site sends a key. Whose site it may be, the headers say that are there already.
  app.options(/^\/api\//, (_request, response, next) => {
    if (!response.hasHeader('Access-Control-Allow-Origin')) {
      next()
      return
    }
    response.setHeader('Access-Control-Allow-Methods', 'GET, POST, PUT, PATCH, DELETE')
    response.setHeader('Access-Control-Allow-Headers', 'authorization, content-type')
    response.setHeader('Access-Control-Max-Age', 600)
    response.status(204).end()
  })
  const methods = methodsByPath(routes)
  app.use(async (request, response) => {
    const allowed = [...methods].filter(([path]) => matches(path, request.path)).flatMap(([, list]) => list)
    if (allowed.length > 0) {
      response.setHeader('Allow', allowed.join(', '))
      throw new AppError(405, 'Method not allowed', `${request.path} takes ${allowed.join(', ')}.`)
    }
    if (request.path.startsWith('/api/'))
      await dashboard.limits.check(request, response, { address: dashboard.security.addressOf(request) }, 'api')
    throw new NotFound()
  })
  app.use((error: unknown, request: Request, response: Response, next: (error?: unknown) => void) => {
    tellRefusal(dashboard, request, error)
    if (response.headersSent) next(error)
    else void answerError(dashboard, error, request, response)
  })
  return app
}

function methodsByPath(routes: readonly Routes[]): Map<string, string[]> {
  const methods = new Map<string, string[]>([
    ['/healthz', ['GET']],
    ['/livez', ['GET']],
    ['/metrics', ['GET']],
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
