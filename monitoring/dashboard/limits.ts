import type { IncomingMessage, ServerResponse } from 'node:http'
import { ipKeyGenerator, rateLimit, type RateLimitRequestHandler } from 'express-rate-limit'
import type { Config } from '../config'
import { TooMany } from '../errors'

export type LimitName = 'api' | 'ingest'

export interface Limits {
  /** Counts one request of a client (a person, or an address); throws when it is one too many. */
  check(request: IncomingMessage, response: ServerResponse, client: string, limit: LimitName): Promise<void>
}

const windowMs = 60_000

/** express-rate-limit, asked outside of Express as well. Sets the standard RateLimit headers. */
export function openLimits(config: Config): Limits {
  const clients = new WeakMap<IncomingMessage, string>()
  const refused = new WeakSet<IncomingMessage>()
  const make = (identifier: string, limit: number): RateLimitRequestHandler =>
    rateLimit({
      windowMs,
      limit,
      identifier,
      standardHeaders: 'draft-8',
      legacyHeaders: false,
      // The client is worked out by us, from the proxies that the configuration names.
      validate: false,
      keyGenerator: (request) => clients.get(request) ?? 'unknown',
      handler: (request, _response, next) => {
        refused.add(request)
        next()
      },
    })
  const limits: Record<LimitName, RateLimitRequestHandler> = {
    api: make('api', config.apiRateLimit),
    ingest: make('ingest', config.ingestRateLimit),
  }
  return {
    async check(request, response, client, limit) {
      // A network of IPv6 addresses is one client.
      clients.set(request, client.includes(':') && !client.includes('-') ? ipKeyGenerator(client) : client)
      type Express = Parameters<RateLimitRequestHandler>
      // The one method of Express's response that it calls and Node's own does not have.
      const expressive = Object.assign(response, { append: response.appendHeader.bind(response) })
      await new Promise<void>((resolve, reject) => {
        void limits[limit](request as Express[0], expressive as unknown as Express[1], (error?: unknown) => {
          if (error) reject(error instanceof Error ? error : new Error('rate limit'))
          else resolve()
        })
      })
      if (!refused.has(request)) return
      const seconds = Number(response.getHeader('Retry-After') ?? windowMs / 1000)
      throw new TooMany(
        `The limit is ${limit === 'api' ? config.apiRateLimit : config.ingestRateLimit} requests in 60 s. Try again in ${seconds} s.`,
        seconds,
      )
    },
  }
}
