import type { IncomingMessage, ServerResponse } from 'node:http'
import { keyOf, sendText, shared } from './answer'
import type { EndpointRoute } from './endpoint'
import type { Dashboard } from './http'
import { admit, contextFor, noParameters, parse, queryOf, readJson } from './request'
import type { Identity } from './session'

export async function serveEndpoint(
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
