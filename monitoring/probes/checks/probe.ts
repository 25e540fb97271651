import type { Resolver } from 'node:dns/promises'
import { isNativeError } from 'node:util/types'

/** What a probe found, in words for people and figures for the charts. */
export interface Outcome {
  ok: boolean
  /** For people: "HTTP 503, expected 200–299", "no answer within 10 s". */
  message: string
  /** Milliseconds; null where a duration says nothing. */
  duration: number | null
  /** The moment at which the certificate ends. */
  certificate_at?: number | null
  /** The probe is fine, but something will not be for long: "the certificate ends in 6 days". */
  warning?: string | null
  /** For "test before saving": status, address, bytes, protocol, redirects. */
  details?: Record<string, string | number | null>
}

/** Which addresses a probe may reach. */
export interface Targets {
  /** Networks (CIDR) that an administrator allowed beside the public ones. */
  allowed: readonly string[]
  /** Asked instead of the machine's own resolver. */
  resolver?: Resolver
  /** Certificates (PEM) trusted beside the well-known authorities. */
  authorities?: readonly string[]
}

export interface ProbeOptions {
  /** Milliseconds for the whole of it, retries and redirects included. */
  timeout: number
  signal: AbortSignal
  now: () => number
  targets: Targets
}

export interface HttpSpec {
  url: string
  method: string
  headers: readonly { name: string; value: string }[]
  body: string | null
  /** "200-299, 401" */
  statuses: string
  keyword: string | null
  /** True: the keyword must not occur. */
  keyword_absent: boolean
  json_path: string | null
  /** Null: something must be there. */
  json_equals: string | null
  /** 0 to 10. */
  redirects: number
  certificate_days: number | null
  verify_certificate: boolean
}

export interface TcpSpec {
  host: string
  port: number
  send: string | null
  expect: string | null
}

export const recordTypes = ['A', 'AAAA', 'CNAME', 'MX', 'NS', 'TXT', 'SRV', 'CAA', 'SOA', 'PTR'] as const

export type RecordType = (typeof recordTypes)[number]

export interface DnsSpec {
  name: string
  type: RecordType
  /** Null: the resolvers of this machine. "1.1.1.1" or "1.1.1.1:5353" or "[2606:4700::1111]:53". */
  server: string | null
  expect: string | null
}

export interface PostgresSpec {
  url: string
  query: string | null
}

export interface RedisSpec {
  url: string
}

/** A command runs only by its name in the file that the machine's administrator wrote. */
export interface CommandSpec {
  name: string
}

/** What ends a probe with words of our own: the message is shown to people. */
export class ProbeFailure extends Error {}

/** ECONNREFUSED and the like; empty where there is none. */
export function codeOf(error: unknown): string {
  return isNativeError(error) && 'code' in error && typeof error.code === 'string' ? error.code : ''
}

/** Text of somebody else's on one line: nothing in it that moves a cursor, hides or turns round what follows. */
export function plain(text: string, longest = 200): string {
  const line = text
    .slice(0, longest * 4)
    .replace(/[\p{C}\p{Z}]+/gu, ' ')
    .trim()
  return line.length > longest ? `${line.slice(0, longest)}…` : line
}

export type Probe<S> = (spec: S, options: ProbeOptions) => Promise<Outcome>
