import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import rawBody from 'raw-body'
import { z } from 'zod'
import { contextOf, home, visitor, type Context } from '../context'
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
  if (!identity) return contextOf(platform, visitor(address, request.headers['user-agent']), home)
  const { id, username, rights, org_id } = identity.principal
  return contextOf(platform, { kind: 'user', id, name: username, rights, key: identity.key, address }, org_id)
}

/** Under which address whoever sends this sees the console. */
export function originOf({ platform }: Dashboard, request: IncomingMessage): string {
  const { publicUrl, port } = platform.config
  const host = request.headers.host ?? ''
  return publicUrl?.origin ?? `http://${/^[\w.:[\]-]+$/.test(host) ? host : `127.0.0.1:${port}`}`
}

/** Who may go on; throws for everybody else. */
export function admit(access: Access, identity: Identity | undefined): void {
  if (access === 'public') return
  if (!identity) throw new Unauthorized()
  if (access === 'anyone') return
  if (access === 'self') {
    if (identity.key) throw new Forbidden('This is for people: an API key cannot do it.')
  } else if (!may(identity.principal, access)) throw new Forbidden(refusal(access, identity))
}

const refusal = (action: Action, { key }: Identity): string =>
  key
    ? `The key “${key.name}” does not allow “${action}”: neither its role, its scopes nor its owner may be without it.`
    : `Your role does not allow “${action}”. An admin can change your role.`

export const noParameters = z.strictObject({})

type Given = Record<string, string | string[]>

/** Parameters by name; one that is given twice is a list, which no schema takes by accident. */
function byName(parameters: URLSearchParams): Given {
  const given = Object.create(null) as Given
  for (const name of new Set(parameters.keys())) {
    const [first = '', ...others] = parameters.getAll(name)
    given[name] = others.length > 0 ? [first, ...others] : first
  }
  return { ...given }
}

export function queryOf(url: string): Given {
  const mark = url.indexOf('?')
  return mark < 0 ? {} : byName(new URLSearchParams(url.slice(mark + 1)))
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

/** Whether nothing at all can be sent in place of such a body: its schema says what that means. */
export const isOptional = (schema: z.ZodType): boolean => schema.safeParse(undefined).success

/** A request without a body, as Node has read its headers. */
export const isEmpty = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0

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

export async function readForm(request: IncomingMessage): Promise<Given> {
  if (!/^application\/x-www-form-urlencoded\s*(;|$)/i.test(request.headers['content-type'] ?? 'application/x-www-form-urlencoded'))
    throw new UnsupportedType('Send a form.')
  return byName(new URLSearchParams(await readBody(request)))
}
