import { z } from 'zod'
import { permissions } from '../permissions'
import type { EndpointRoute, Routes } from './endpoint'
import { isOptional } from './request'

type Json = Record<string, unknown>

const titles: Readonly<Record<number, string>> = {
  200: 'Done',
  201: 'Stored',
  202: 'Taken on',
  400: 'Malformed: the address, a parameter or the body cannot be read',
  401: 'Nobody is signed in, or the credentials are wrong',
  403: 'The role does not allow it, or another site sent it',
  404: 'There is no such thing, or it is not yours to see',
  409: 'It does not fit the state that the thing is in',
  413: 'The body is larger than 1,000,000 bytes',
  415: 'The body is not JSON',
  422: 'A field is wrong; `errors` says which, and why',
  429: 'Too many requests; `Retry-After` says when to come back',
  500: 'A mistake on our side; the log has it under the id in `instance`',
  503: 'Something that is needed does not answer',
}

const Problem = {
  type: 'object',
  description: 'RFC 9457',
  required: ['type', 'title', 'status', 'detail', 'instance'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'In words for a person' },
    instance: { type: 'string', description: 'urn:request: and the id under which the log knows it' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['field', 'message'],
        properties: { field: { type: 'string' }, message: { type: 'string' } },
      },
    },
  },
}

/** The OpenAPI 3.1 document of everything that was declared: zod's own JSON Schema is what 3.1 uses. */
export function documentOf(features: readonly Routes[], version: string): Json & { openapi: string } {
  const paths: Record<string, Json> = {}
  const named: Record<string, unknown> = {}
  for (const { endpoints } of features)
    for (const endpoint of endpoints) {
      const path = endpoint.path.replace(/:(\w+)/g, '{$1}')
      paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: operationOf(endpoint, named) }
    }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Operations Center',
      version,
      description:
        'Times are ISO 8601 in UTC. Lists answer `{"items": […], "next": cursor or null}` and take `limit` and `cursor`. Errors are problem documents (RFC 9457). Unknown fields are refused.',
    },
    servers: [{ url: '/' }],
    security: [{ key: [] }, { basic: [] }, { session: [] }],
    tags: features.filter(({ endpoints }) => endpoints.length > 0).map(({ feature }) => ({ name: feature })),
    paths,
    components: {
      schemas: { Problem, ...named },
      securitySchemes: {
        key: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'jug_<user>_<timestamp>_<signature>',
          description: 'An API key, as POST /api/keys gives it once',
        },
        basic: { type: 'http', scheme: 'basic' },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: 'operations-center',
          description: 'What signing in by the form gives; `__Host-operations-center` over https',
        },
      },
    },
  }
}

function operationOf(endpoint: EndpointRoute, named: Record<string, unknown>): Json {
  const { method, path, tag, summary, description, permission, query, body, response, status = 200, alsoAs = [], errors = [] } = endpoint
  const isPublic = permission === 'public'
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name = '']) => name)
  const problems = [...new Set([400, ...(isPublic ? [] : [401, 403]), ...(body ? [413, 415, 422] : []), 429, 500, ...errors])].sort()
  const who =
    isPublic || permission === 'anyone'
      ? ''
      : permission === 'self'
        ? '\n\nFor people: an API key cannot do it.'
        : `\n\nNeeds \`${permission}\`: ${permissions[permission].least} or more, or a role that has it.`
  const parameters = [
    ...names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
    ...(query ? parametersOf(query, named) : []),
  ]
  return {
    operationId: `${method.toLowerCase()}${path.replace(/[^a-zA-Z0-9]+(\w)?/g, (_, letter: string | undefined) => (letter ?? '').toUpperCase())}`,
    tags: [tag],
    summary,
    ...((description ?? '') + who ? { description: `${description ?? ''}${who}`.trim() } : {}),
    'x-permission': permission,
    ...(isPublic ? { security: [] } : {}),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body
      ? { requestBody: { required: !isOptional(body), content: { 'application/json': { schema: schemaOf(body, 'input', named) } } } }
      : {}),
    responses: {
      [status]: {
        description: titles[status] ?? 'Done',
        content: {
          ...Object.fromEntries(alsoAs.map((type) => [type, { schema: { type: 'string' } }])),
          'application/json': { schema: schemaOf(response, 'output', named) },
        },
      },
      ...Object.fromEntries(
        problems.map((code) => [
          code,
          {
            description: titles[code] ?? 'Refused',
            content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
          },
        ]),
      ),
    },
  }
}

function parametersOf(query: z.ZodType, named: Record<string, unknown>): Json[] {
  const { properties = {}, required = [] } = schemaOf(query, 'input', named) as { properties?: Record<string, Json>; required?: string[] }
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    ...(description ? { description } : {}),
    schema,
  }))
}

/** A schema with a name (`meta({ id })`) stands once, under the document's components. */
function schemaOf(schema: z.ZodType, io: 'input' | 'output', named: Record<string, unknown>): Json {
  const { $schema: _dialect, $defs = {}, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any', reused: 'inline' })
  const moved = (part: unknown) => JSON.parse(JSON.stringify(part).replaceAll('"#/$defs/', '"#/components/schemas/')) as Json
  Object.assign(named, moved($defs))
  return moved(rest)
}
