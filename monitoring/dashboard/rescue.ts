import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Config } from '../config'
import { AppError, asError } from '../errors'
import type { Log } from '../log'
import { openAccess } from '../rescue/access'
import { openAttempts } from '../rescue/attempts'
import { openGuesses } from '../rescue/guesses'
import { openPages, type RescuePage } from '../rescue/pages'
import { spaceOf } from '../rescue/space'
import { openTasks } from '../rescue/tasks'
import { passes, type Trouble } from '../rescue/trouble'
import { readRing } from '../ring'
import { securityOf } from './security'
import { cookieValue } from './session'

export interface RescueOptions {
  readonly config: Config
  readonly log: Log
  readonly now: () => number
  readonly version: string
  readonly trouble: Trouble
  /** Where PM2 writes what the console prints. */
  readonly logs: readonly string[]
  /** Tries to start the console. Null: it did, and rescue mode is over. */
  readonly retry: () => Promise<Trouble | null>
  /** How often it is tried by itself, where that can help. */
  readonly everyMs?: number
  /** The link that lets whoever reads the log in; another one after each use. */
  readonly announce: (link: string) => void
}

export interface Rescue {
  listen(): Promise<string>
  /** Resolves when the console has started: rescue mode has to stop listening, so that it can. */
  readonly over: Promise<void>
  close(): Promise<void>
}

const cookieName = 'operations-center-rescue'
const sessionSeconds = 8 * 3600
const html = 'text/html; charset=utf-8'

type Handler = (request: IncomingMessage, response: ServerResponse, path: string) => Promise<void> | void

/** A small server in the console's place: says what is wrong, helps to mend it, and needs neither the database nor the build. */
export function openRescue(options: RescueOptions): Rescue {
  const { config, log, now, announce } = options
  const { dataDir } = config
  const security = securityOf(config)
  const access = openAccess(dataDir, { salt: `${process.pid} ${now()}`, now })
  const attempts = openAttempts({ ...options, everyMs: options.everyMs ?? 15_000 })
  const pages = openPages(config.timezone, log)
  const tasks = openTasks({ dataDir, logs: options.logs, onPostgres: config.databaseUrl !== null, now })
  const guesses = openGuesses(now)
  let address = ''
  let said: RescuePage['said'] = null

  const tellLink = () => {
    announce(`${(config.publicUrl?.origin ?? address).replace(/\/$/, '')}/rescue?token=${access.token}`)
  }
  const isIn = ({ headers }: IncomingMessage): boolean => access.isSession(cookieValue(headers.cookie, cookieName))

  // ---- For everybody

  const json =
    (status: number, body: object): Handler =>
    (_request, response) => {
      send(response, status, 'application/json; charset=utf-8', JSON.stringify(body))
    }

  const problem: Handler = (_request, response) => {
    response.setHeader('Retry-After', 15)
    const detail = 'The console could not start, and stores nothing at the moment. Send it again later.'
    const body = { type: 'about:blank', title: 'Operations Center is in rescue mode', status: 503, detail }
    send(response, 503, 'application/problem+json; charset=utf-8', JSON.stringify(body))
  }

  const closed: Handler = (_request, response) => {
    response.setHeader('Retry-After', 15)
    send(response, 503, html, pages.page('rescue/closed', { retries: passes(attempts.trouble) }, 'Rescue mode', true))
  }

  const anywhere: Handler = (request, response, path) => (isIn(request) ? redirect(response, '/rescue') : closed(request, response, path))

  // ---- For whoever has the link

  const door: Handler = (request, response, path) => {
    const token = new URL(request.url ?? '/', 'http://localhost').searchParams.get('token')
    if (isIn(request)) {
      if (token === null) show(response)
      else redirect(response, '/rescue')
      return
    }
    if (token === null) return closed(request, response, path)
    const fits = access.isToken(token)
    if (!fits) guesses.countWrong(security.addressOf(request))
    send(response, fits ? 200 : 403, html, pages.page('rescue/enter', { token, fits }, 'Rescue mode'))
  }

  /** A link is used up by the button, not by a program that looks at links in messages. */
  const enter: Handler = async (request, response) => {
    const { token = '' } = await readForm(request)
    const session = access.enter(token)
    if (session === null) {
      guesses.countWrong(security.addressOf(request))
      send(response, 403, html, pages.page('rescue/enter', { token: '', fits: false }, 'Rescue mode'))
      return
    }
    // First of all: whatever becomes of this answer, there is a link that works.
    tellLink()
    log.warn({ address: security.addressOf(request) }, 'the rescue link was used, and is not good any more')
    const secure = security.secureCookies ? '; Secure' : ''
    response.setHeader('Set-Cookie', `${cookieName}=${session}; HttpOnly; SameSite=Strict; Path=/; Max-Age=${sessionSeconds}${secure}`)
    redirect(response, '/rescue')
  }

  function show(response: ServerResponse): void {
    const { trouble, nextAt } = attempts
    const page: RescuePage = {
      ...{ trouble, retries: passes(trouble), nextAt, said, version: options.version, dataDir },
      ...{ space: spaceOf(dataDir), steps: tasks.steps(trouble), copies: tasks.copies(trouble) },
      ...{ mayBegin: tasks.mayBegin(trouble), events: readRing(dataDir, 60) },
    }
    said = null
    send(response, 200, html, pages.page('rescue/index', page, trouble.title, page.retries))
  }

  const ask: Handler = (request, response, path) => {
    if (!isIn(request)) return closed(request, response, path)
    const question = tasks.ask(attempts.trouble, path)
    send(response, 200, html, pages.page('rescue/confirm', { question }, question.title))
  }

  const act: Handler = async (request, response, path) => {
    const form = await readForm(request)
    if (!isIn(request)) return closed(request, response, path)
    if (path === '/rescue/again') return again(response)
    const question = tasks.ask(attempts.trouble, path, true)
    if (question.word !== null && form['word']?.trim().toLowerCase() !== question.word) {
      send(response, 422, html, pages.page('rescue/confirm', { question }, question.title))
      return
    }
    log.warn({ task: path, address: security.addressOf(request) }, 'rescue mode was told to do something')
    try {
      said = { kind: 'ok', text: await tasks.carryOut(attempts.trouble, path) }
    } catch (error) {
      log.error({ err: asError(error), task: path }, 'rescue mode could not do what it was told')
      said = { kind: 'err', text: `That did not work: ${asError(error).message}` }
      redirect(response, '/rescue')
      return
    }
    // It may have been all that was needed.
    await again(response)
  }

  async function again(response: ServerResponse): Promise<void> {
    if (await attempts.make()) {
      send(response, 200, html, pages.page('rescue/starting', {}, 'Starting', true))
      return
    }
    said ??= { kind: 'err', text: 'Tried again: it is still so.' }
    redirect(response, '/rescue')
  }

  async function readForm(request: IncomingMessage): Promise<Record<string, string>> {
    security.checkOrigin(request, request.headers.cookie !== undefined)
    let text = ''
    for await (const chunk of request as AsyncIterable<Buffer>) {
      text += chunk.toString()
      if (text.length > 10_000) throw new AppError(413, 'Too large', 'This form is too long.')
    }
    return Object.fromEntries(new URLSearchParams(text))
  }

  function handlerOf(method: string, path: string): Handler {
    if (path === '/livez') return json(200, { status: 'ok', mode: 'rescue' })
    if (path === '/healthz') return json(503, { status: 'unavailable', mode: 'rescue' })
    if (path.startsWith('/api/') || path === '/live/poll' || path === '/metrics') return problem
    if (method === 'POST') return path === '/rescue' ? enter : path.startsWith('/rescue/') ? act : problem
    if (method !== 'GET' && method !== 'HEAD') return problem
    const file = pages.files.get(path)
    if (file)
      return (_request, response) => {
        send(response, 200, file.type, file.body)
      }
    return path === '/rescue' ? door : path.startsWith('/rescue/') ? ask : anywhere
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of security.headers) response.setHeader(name, value)
    // No connection is left over when the console wants the port.
    response.setHeader('Connection', 'close')
    const path = (request.url ?? '/').replace(/\?.*/s, '')
    try {
      await handlerOf(request.method ?? 'GET', path)(request, response, path)
    } catch (error) {
      const known = error instanceof AppError ? error : null
      if (!known) log.error({ err: asError(error) }, 'rescue mode could not answer')
      if (known?.retryAfterSeconds != null) response.setHeader('Retry-After', known.retryAfterSeconds)
      const text = known ? `${known.title}\n\n${known.message}\n` : 'Something went wrong on our side. The log has the details.\n'
      if (response.headersSent) response.destroy()
      else send(response, known?.status ?? 500, 'text/plain; charset=utf-8', text)
    }
  }

  const server = createServer({ headersTimeout: 20_000, requestTimeout: 30_000 }, (request, response) => void serve(request, response))
  server.on('upgrade', (_request, socket) => {
    socket.end('HTTP/1.1 503 Service Unavailable\r\nRetry-After: 15\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
  })
  return {
    over: attempts.over,
    listen: () =>
      new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen(config.port, config.host, () => {
          server.off('error', reject)
          const { address: host, port } = server.address() as AddressInfo
          const shown = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
          address = `http://${shown.includes(':') ? `[${shown}]` : shown}:${port}`
          attempts.begin()
          tellLink()
          resolve(address)
        })
      }),
    async close() {
      await attempts.stop()
      access.end()
      await new Promise<void>((resolve) => {
        server.close(() => {
          resolve()
        })
        // A browser that keeps its connection must not keep the console from starting.
        setTimeout(() => {
          server.closeAllConnections()
        }, 500).unref()
      })
    },
  }
}

function redirect(response: ServerResponse, to: string): void {
  response.setHeader('Location', to)
  send(response, 303, 'text/plain; charset=utf-8', '')
}

function send(response: ServerResponse, status: number, type: string, body: string | Buffer): void {
  response.statusCode = status
  response.setHeader('Content-Type', type)
  response.setHeader('Content-Length', Buffer.byteLength(body))
  response.end(response.req.method === 'HEAD' ? undefined : body)
}
