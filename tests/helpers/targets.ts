import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestApp } from './app'
import { sessionOf } from './people'
import { bodyOf } from './routes'

export interface Target {
  readonly url: string
  /** What it answers from now on. */
  answer: (request: IncomingMessage, response: ServerResponse) => void
  status(code: number): void
  readonly requests: IncomingMessage[]
  close(): Promise<void>
}

/** A server of this machine that a check can look at. */
export async function startTarget(): Promise<Target> {
  const requests: IncomingMessage[] = []
  const server: Server = createServer((request, response) => {
    requests.push(request)
    request.resume()
    target.answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const target: Target = {
    url: `http://127.0.0.1:${port}/health`,
    requests,
    answer: (_request, response) => response.end('{"status":"fine"}'),
    status(code) {
      target.answer = (_request, response) => {
        response.statusCode = code
        response.end('said')
      }
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => {
          resolve()
        })
      }),
  }
  return target
}

/** Lets checks of the first organisation look at this machine. */
export async function allowLoopback(app: TestApp): Promise<void> {
  const alice = await sessionOf(app, 'alice')
  bodyOf(await alice.put('/api/checks/targets').send({ allowed: ['127.0.0.0/8', '::1'] }), 'PUT /api/checks/targets')
}

export interface CheckBody {
  id: string
  name: string
  state: string
  word: string
  message: string | null
  spec: Record<string, unknown>
  target: string
  tags: string[]
  interval_s: number
  timeout_ms: number
  retries: number
  retry_s: number
  duration_ms: number | null
  checked_at: string | null
  next_at: string | null
  incident_id: string | null
  maintenance: { id: string; name: string } | null
  push_url?: string
  changed_at: string
}

let counter = 0

// A session of its own each time: tests move the clock by days, and sessions end.

export async function makeCheck(app: TestApp, body: Readonly<Record<string, unknown>>): Promise<CheckBody> {
  const alice = await sessionOf(app, 'alice')
  return bodyOf<CheckBody>(await alice.post('/api/checks').send({ name: `check ${++counter}`, ...body }), 'POST /api/checks')
}

export const httpCheck = (app: TestApp, { url }: Pick<Target, 'url'>, more: Readonly<Record<string, unknown>> = {}): Promise<CheckBody> =>
  makeCheck(app, { kind: 'http', spec: { url }, interval_s: 60, retries: 0, ...more })

export async function checkNow(app: TestApp, id: string): Promise<CheckBody> {
  return bodyOf<CheckBody>(await (await sessionOf(app, 'alice')).get(`/api/checks/${id}`), 'GET /api/checks/:id')
}

export interface IncidentBody {
  id: string
  check_id: string
  check_name: string | null
  title: string
  cause: string
  started_at: string
  ended_at: string | null
  ended_by: string | null
  duration_ms: number
  acknowledged: { at: string; by: string } | null
  notes: { text: string; author: { name: string }; published_at: string | null }[]
  snapshot_id: string | null
}

export async function incidentsOf(app: TestApp, check: string, more = ''): Promise<IncidentBody[]> {
  const answer = await (await sessionOf(app, 'alice')).get(`/api/incidents?check=${check}&limit=500${more}`)
  return bodyOf<{ items: IncidentBody[] }>(answer, 'GET /api/incidents').items
}
