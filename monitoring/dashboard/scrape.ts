import type { Request, Response } from 'express'
import type { Context } from '../context'
import { Unauthorized } from '../errors'
import { sendText } from './answer'
import type { Dashboard } from './http'
import { clientOf } from './limits'
import { admit, contextFor } from './request'

export type Scrape = (ctx: Context) => Promise<{ readonly type: string; readonly text: string }>

const loopback = /^(?:127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/
const forwarded = ['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip', 'forwarded', 'via', 'cf-connecting-ip'] as const

/**
 * Whether a program on this very machine asks, of a console that only this machine can reach: where others can, whatever passes
 * connections on (a tunnel, a container's port) comes from this machine in the name of everybody. What a proxy passed on counts as
 * coming from outside; and a page that a browser here opened calls the console by another name.
 */
function isLocal({ platform }: Dashboard, { socket, headers, httpVersion }: Request): boolean {
  const { host, trustProxy, publicUrl } = platform.config
  if (!(loopback.test(host) || host.toLowerCase() === 'localhost')) return false
  // Where there is a proxy, it may pass requests on without a word of it; nginx does so by default, in HTTP/1.0.
  if (trustProxy !== null || publicUrl !== null || httpVersion === '1.0') return false
  if (!loopback.test(socket.remoteAddress ?? '') || forwarded.some((name) => headers[name] !== undefined)) return false
  return /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?$/i.test(headers.host ?? '') && headers['sec-fetch-site'] === undefined
}

/** GET /metrics: for Prometheus, with a key that may read figures, or without one from this machine, where the console listens to nobody else. */
export async function serveMetrics(dashboard: Dashboard, request: Request, response: Response): Promise<void> {
  const { sessions, limits, security } = dashboard
  const identity = await sessions.identify(request, { touch: false })
  await limits.check(request, response, clientOf(identity, security.addressOf(request)), 'api')
  if (identity) admit('metrics.read', identity)
  else if (!isLocal(dashboard, request))
    throw new Unauthorized('Figures are for programs with a key that may read them: “Authorization: Bearer <key>”.')
  const { type, text } = await dashboard.scrape(contextFor(dashboard, identity, request))
  sendText(request, response, 200, type, text)
}
