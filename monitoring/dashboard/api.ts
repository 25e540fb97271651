import type { IncomingMessage, ServerResponse } from 'node:http'
import { AppError, Malformed, OtherSite } from '../errors'
import { keyOf, sendText, shared } from './answer'
import { Download, sendDownload } from './download'
import type { EndpointRoute } from './endpoint'
import type { Dashboard } from './http'
import { clientOf, type Client } from './limits'
import { admit, contextFor, isEmpty, isOptional, noParameters, originOf, parse, queryOf, readJson } from './request'
import type { Identity } from './session'

export async function serveEndpoint(
  dashboard: Dashboard,
  endpoint: EndpointRoute,
  request: IncomingMessage,
  response: ServerResponse,
  params: Readonly<Record<string, string>>,
): Promise<void> {
  if (endpoint.head === false && request.method === 'HEAD') throw new AppError(405, 'Method not allowed', 'This is for GET and POST.')
  const { sessions, security, limits } = dashboard
  const address = security.addressOf(request)
  const count = async (client: Client) => {
    // The document of the API and its pages are the console's own.
    if (endpoint.path.startsWith('/api/')) await limits.check(request, response, client, endpoint.limit ?? 'api')
  }
  let identity: Identity | undefined
  try {
    refuseKeyInAddress(request.url ?? '')
    identity = await sessions.identify(request)
  } catch (error) {
    await count({ address })
    throw error
  }
  await count(clientOf(identity, address))
  admit(endpoint.permission, identity)
  // A browser adds no key by itself: whoever sends one has it.
  if (!identity?.key) {
    if (endpoint.method !== 'GET') security.checkOrigin(request, sessions.carriesCredentials(request))
    // A link on another site must not make a browser fetch what leaves a trace.
    else if (endpoint.path.startsWith('/api/') && request.headers['sec-fetch-site'] === 'cross-site') throw new OtherSite()
  }
  const query = parse(endpoint.query ?? noParameters, queryOf(request.url ?? ''), 400)
  let body: unknown
  if (endpoint.body) {
    body = parse(endpoint.body, isEmpty(request) && isOptional(endpoint.body) ? undefined : await readJson(request), 422)
    // A body can take half a minute to arrive: whoever was shut out meanwhile does not act with what they had before.
    identity = await sessions.identify(request, { touch: false })
    admit(endpoint.permission, identity)
  }
  const ctx = contextFor(dashboard, identity, request)
  const produce = async () => {
    const answer = await endpoint.answer({ ctx, params, query, body, identity: identity ?? null, origin: originOf(dashboard, request) })
    return answer instanceof Download ? answer : JSON.stringify(answer)
  }
  const answer = await (endpoint.shared && identity
    ? shared(dashboard, keyOf(endpoint.path, identity), endpoint.shared, produce)
    : produce())
  if (answer instanceof Download) await sendDownload(response, answer)
  else sendText(request, response, endpoint.status ?? 200, 'application/json; charset=utf-8', answer)
}

/** Addresses stand in logs, histories and referrers. */
function refuseKeyInAddress(url: string): void {
  const isKey = (text: string) => /jug_[a-z0-9._-]{1,80}_\d{1,15}_[0-9a-f]{64}/i.test(text)
  const given = Object.entries(queryOf(url))
  if (given.some(([name, value]) => /^(?:api[-_]?key|access[-_]?token)$/i.test(name) || [name, value].flat().some(isKey)))
    throw new Malformed(
      'A key does not belong in the address: send it in the header “Authorization: Bearer <key>”, and make another one of this.',
    )
}
