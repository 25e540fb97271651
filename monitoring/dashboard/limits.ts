import type { IncomingMessage, ServerResponse } from 'node:http'
import { ipKeyGenerator, rateLimit, type RateLimitRequestHandler } from 'express-rate-limit'
import type { Config } from '../config'
import { TooMany } from '../errors'
import type { Identity } from './session'

export type LimitName = 'api' | 'forms' | 'ingest' | 'sign-in'

/** Who is counted: a key or a person by their id, everybody else by where they come from. */
export type Client = { readonly id: string; readonly limit: number | null } | { readonly address: string }

export const clientOf = (identity: Identity | undefined, address: string): Client =>
  identity ? { id: identity.key?.id ?? identity.principal.id, limit: identity.key?.limit ?? null } : { address }

export interface Limits {
  /** Counts one request of a client; throws when it is one too many. A client's own limit is for all its requests together. */
  check(request: IncomingMessage, response: ServerResponse, client: Client, limit: LimitName): Promise<void>
}

const windowMs = 60_000

interface Counted {
  readonly client: string
  readonly most: number
}

/** express-rate-limit, asked outside of Express as well. Sets the standard RateLimit headers. */
export function openLimits(config: Config): Limits {
  const counted = new WeakMap<IncomingMessage, Counted>()
  const refused = new WeakSet<IncomingMessage>()
  const usual: Readonly<Record<LimitName, number>> = {
    api: config.apiRateLimit,
    forms: config.apiRateLimit,
    ingest: config.ingestRateLimit,
    'sign-in': config.signInRateLimit,
  }
  const make = (name: LimitName): RateLimitRequestHandler =>
    rateLimit({
      windowMs,
      limit: (request) => counted.get(request)?.most ?? usual[name],
      identifier: name,
      standardHeaders: 'draft-8',
      legacyHeaders: false,
      // The client is worked out by us, from the proxies that the configuration names.
      validate: false,
      keyGenerator: (request) => counted.get(request)?.client ?? 'unknown',
      handler: (request, _response, next) => {
        refused.add(request)
        next()
      },
    })
  const limits: Record<LimitName, RateLimitRequestHandler> = {
    api: make('api'),
    forms: make('forms'),
    ingest: make('ingest'),
    'sign-in': make('sign-in'),
  }
  return {
    async check(request, response, client, limit) {
      const own = 'id' in client ? client.limit : null
      const name = own === null ? limit : 'api'
      const most = own ?? usual[name]
      // A network of IPv6 addresses is one client.
      counted.set(request, { client: 'id' in client ? client.id : ipKeyGenerator(client.address), most })
      type Express = Parameters<RateLimitRequestHandler>
      // The one method of Express's response that it calls and Node's own does not have.
      const expressive = Object.assign(response, { append: response.appendHeader.bind(response) })
      await new Promise<void>((resolve, reject) => {
        void limits[name](request as Express[0], expressive as unknown as Express[1], (error?: unknown) => {
          if (error) reject(error instanceof Error ? error : new Error('rate limit'))
          else resolve()
        })
      })
      if (!refused.has(request)) return
      const seconds = Number(response.getHeader('Retry-After') ?? windowMs / 1000)
      throw new TooMany(`The limit is ${most} requests in 60 s. Try again in ${seconds} s.`, seconds)
    },
  }
}
