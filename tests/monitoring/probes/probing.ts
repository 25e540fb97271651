import type { Resolver } from 'node:dns/promises'
import type { HttpSpec, Outcome, ProbeOptions } from '../../../monitoring/probes/checks/probe'

const loopback = ['127.0.0.1/32']

interface Given {
  timeout?: number
  allowed?: readonly string[]
  resolver?: Resolver
  authorities?: readonly string[]
  signal?: AbortSignal
}

/** Options of a probe that may reach this machine by 127.0.0.1, and by that address only. */
export function options({ timeout = 5_000, allowed = loopback, resolver, authorities, signal }: Given = {}): ProbeOptions {
  return {
    timeout,
    signal: signal ?? new AbortController().signal,
    now: Date.now,
    targets: { allowed, ...(resolver ? { resolver } : {}), ...(authorities ? { authorities } : {}) },
  }
}

export function httpSpec(url: string, given: Partial<HttpSpec> = {}): HttpSpec {
  return {
    url,
    method: 'GET',
    headers: [],
    body: null,
    statuses: '200-299',
    keyword: null,
    keyword_absent: false,
    json_path: null,
    json_equals: null,
    redirects: 5,
    certificate_days: null,
    verify_certificate: true,
    ...given,
  }
}

/** Runs a probe that is given 400 ms, and expects it to end by then, with these words. */
export async function expectTimeout(probe: (given: ProbeOptions) => Promise<Outcome>, words: RegExp, given: Given = {}): Promise<void> {
  const began = performance.now()
  const outcome = await probe(options({ timeout: 400, ...given }))
  const took = performance.now() - began
  expect(outcome.ok).toBe(false)
  expect(outcome.message).toMatch(words)
  // 250 ms are the probe's own grace; the rest is for a machine that is busy with other tests
  expect(took).toBeLessThan(400 + 250 + 500)
}
