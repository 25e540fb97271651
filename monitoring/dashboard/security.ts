import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import helmet from 'helmet'
import proxyAddr from 'proxy-addr'
import type { Config } from '../config'
import { OtherSite } from '../errors'

export interface Security {
  /** Every answer carries these. */
  readonly headers: readonly (readonly [string, string])[]
  readonly secureCookies: boolean
  readonly cookieName: string
  /** The client's address, believing only the proxies that the configuration names. */
  addressOf(request: IncomingMessage): string
  /** Refuses what another site makes a browser send. `credentials`: the request carries what a browser adds by itself. */
  checkOrigin(request: IncomingMessage, credentials: boolean): void
  /** What lets a page of a site that the configuration names read answers of the API. Never with what a browser adds by itself. */
  sharedWith(request: IncomingMessage): readonly (readonly [string, string])[]
  /** For WebSocket upgrades, which no CORS rule covers. */
  isOwnOrigin(request: IncomingMessage): boolean
}

export function securityOf(config: Config): Security {
  const https = config.publicUrl?.protocol === 'https:'
  const { trustProxy, publicUrl, corsOrigins } = config
  const trust: Parameters<typeof proxyAddr>[1] =
    trustProxy === null
      ? () => false
      : typeof trustProxy === 'number'
        ? (_address, hop) => hop < trustProxy
        : proxyAddr.compile([...trustProxy])

  function isOwnOrigin(request: IncomingMessage): boolean {
    const { origin, host } = request.headers
    if (!origin || !URL.canParse(origin)) return false
    const given = new URL(origin)
    // Over https, a page of the same host that came over plain http may be anybody's.
    return given.host === publicUrl?.host ? given.protocol === publicUrl.protocol : given.host === host
  }

  return {
    headers: headersOf(https),
    secureCookies: https,
    // The prefix makes browsers refuse it from anywhere but this very host over https.
    cookieName: https ? '__Host-operations-center' : 'operations-center',
    addressOf: (request) => plainAddress(proxyAddr(request, trust)),
    isOwnOrigin,
    sharedWith({ url, headers: { origin } }) {
      if (corsOrigins.length === 0 || !url?.startsWith('/api/')) return []
      const varies = ['Vary', 'Origin'] as const
      if (origin === undefined || !corsOrigins.includes(origin)) return [varies]
      return [
        varies,
        ['Access-Control-Allow-Origin', origin],
        ['Access-Control-Expose-Headers', 'RateLimit, RateLimit-Policy, Retry-After'],
      ]
    },
    checkOrigin(request, credentials) {
      const site = request.headers['sec-fetch-site']
      const { origin } = request.headers
      // Browsers leave Sec-Fetch-Site out on plain http to an address, so the Origin decides there.
      const own =
        site !== undefined ? site === 'same-origin' || site === 'none' : origin !== undefined ? isOwnOrigin(request) : !credentials
      if (!own) throw new OtherSite()
    },
  }
}

const plainAddress = (address: string | undefined): string =>
  address === undefined ? 'unknown' : address.startsWith('::ffff:') ? address.slice(7) : address

/** helmet decides once; its headers are the same for every answer. */
function headersOf(https: boolean): [string, string][] {
  const response = new ServerResponse(new IncomingMessage(new Socket()))
  helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'self'"],
        'script-src': ["'self'"],
        'style-src': ["'self'"],
        'img-src': ["'self'", 'data:'],
        'font-src': ["'self'"],
        'connect-src': ["'self'"],
        'object-src': ["'none'"],
        'base-uri': ["'none'"],
        'form-action': ["'self'"],
        'frame-ancestors': ["'none'"],
      },
    },
    // With helmet's default `no-referrer` the Origin of our own forms would be "null" on plain http.
    referrerPolicy: { policy: 'same-origin' },
    strictTransportSecurity: https,
    xFrameOptions: { action: 'deny' },
    // Only meaningful over https; on a plain address browsers complain about it.
    crossOriginOpenerPolicy: https,
    originAgentCluster: https,
  })(new IncomingMessage(new Socket()), response, () => undefined)
  response.removeHeader('X-Powered-By')
  return [
    ...Object.entries(response.getHeaders()).map(([name, value]): [string, string] => [name, String(value)]),
    ['cache-control', 'no-store'],
  ]
}
