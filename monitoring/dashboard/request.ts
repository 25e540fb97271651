import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import rawBody from 'raw-body'
import { z } from 'zod'
import { contextOf, home, type Context } from '../context'
import { asError, Forbidden, Invalid, Malformed, TooLarge, Unauthorized, UnsupportedType, type FieldError } from '../errors'
import { may, type Action } from '../permissions'
import type { Access } from './endpoint'
import type { Dashboard } from './http'
import type { Identity } from './session'

const bodyLimit = 1_000_000

const requestIds = new WeakMap<IncomingMessage, string>()

export const requestIdOf = (request: IncomingMessage): string => {
  let id = requestIds.get(request)
  if (id === undefined) requestIds.set(request, (id = randomUUID()))
  return id
}

export function contextFor({ platform, security }: Dashboard, identity: Identity | undefined, request: IncomingMessage): Context {
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
export function admit(access: Access, identity: Identity | undefined): void {
  if (access === 'public') return
  if (!identity) throw new Unauthorized()
  if (access !== 'self' && !may(identity.principal, access)) throw new Forbidden(refusal(access))
}

const refusal = (action: Action): string => `Your role does not allow “${action}”. An admin can change your role.`

export const noParameters = z.strictObject({})

/** Parameters by name; one that is given twice is a list, which no schema takes by accident. */
export function queryOf(url: string): Record<string, unknown> {
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

export function parse(schema: z.ZodType | undefined, value: unknown, status: 400 | 422): unknown {
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

export async function readJson(request: IncomingMessage): Promise<unknown> {
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

export async function readForm(request: IncomingMessage): Promise<Record<string, string>> {
  if (!/^application\/x-www-form-urlencoded\s*(;|$)/i.test(request.headers['content-type'] ?? 'application/x-www-form-urlencoded'))
    throw new UnsupportedType('Send a form.')
  return Object.fromEntries(new URLSearchParams(await readBody(request)))
}
