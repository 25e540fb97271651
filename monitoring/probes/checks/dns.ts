import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { Answered, attempt, type Run } from './attempt'
import { codeOf, plain, ProbeFailure, type DnsSpec, type Probe, type RecordType } from './probe'
import { hostOf } from './targets'

type Asker = (resolver: Resolver, name: string) => Promise<string[]>

// Each record in the one line that zone files and dig have for it
const askers: Record<RecordType, Asker> = {
  A: (resolver, name) => resolver.resolve4(name),
  AAAA: async (resolver, name) => (await resolver.resolve6(name)).map(plainAddress),
  CNAME: (resolver, name) => resolver.resolveCname(name),
  NS: (resolver, name) => resolver.resolveNs(name),
  PTR: (resolver, name) => resolver.resolvePtr(name),
  TXT: async (resolver, name) => (await resolver.resolveTxt(name)).map((parts) => parts.join('')),
  MX: async (resolver, name) => (await resolver.resolveMx(name)).map(({ priority, exchange }) => `${priority} ${exchange}`),
  SRV: async (resolver, name) =>
    (await resolver.resolveSrv(name)).map(({ priority, weight, port, name: host }) => `${priority} ${weight} ${port} ${host}`),
  CAA: async (resolver, name) =>
    (await resolver.resolveCaa(name)).map(({ critical, ...property }) => {
      const [tag = '', value = ''] = Object.entries(property)[0] ?? []
      return `${critical} ${tag} ${value}`
    }),
  SOA: async (resolver, name) => {
    const { nsname, hostmaster, serial, refresh, retry, expire, minttl } = await resolver.resolveSoa(name)
    return [[nsname, hostmaster, serial, refresh, retry, expire, minttl].join(' ')]
  },
}

// Of these one asks for a part ("v=spf1", a serial number); of the others for the whole
const partial = new Set<RecordType>(['TXT', 'MX', 'SRV', 'CAA', 'SOA'])

export const probeDns: Probe<DnsSpec> = (spec, options) =>
  attempt(options, async (run) => {
    const name = nameOf(spec)
    const resolver = await resolverFor(run, spec.server)
    run.finally(() => resolver.cancel())
    run.stage = 'no answer from DNS'
    const found = await ask(resolver, spec.type, name)
    run.details['records'] = found.length
    run.details['answer'] = plain(found.slice(0, 8).join(', '), 300)
    const shown = plain(found.slice(0, 3).join(', '), 120)
    if (spec.expect !== null && spec.expect !== '' && !found.some((record) => matches(spec, record)))
      throw new Answered(`${spec.type} is ${shown}, expected ${plain(spec.expect, 80)}`)
    return { ok: true, message: `${spec.type} is ${shown}` }
  })

function nameOf({ name, type }: DnsSpec): string {
  if (isIP(name) !== 0) {
    if (type !== 'PTR') throw new ProbeFailure('An address has no records but PTR')
    return reverse(name)
  }
  const host = hostOf(name)
  if (host === null || isIP(host) !== 0) throw new ProbeFailure(`“${plain(name, 80)}” is not a name that DNS knows`)
  return host
}

function reverse(address: string): string {
  const parsed = ipaddr.parse(address)
  const bytes = parsed.toByteArray()
  if (parsed.kind() === 'ipv4') return `${bytes.reverse().join('.')}.in-addr.arpa`
  const digits = Buffer.from(bytes).toString('hex').split('').reverse()
  return `${digits.join('.')}.ip6.arpa`
}

async function resolverFor(run: Run, server: string | null): Promise<Resolver> {
  const asked = server?.trim() ?? ''
  const [, bracketed, host = bracketed ?? asked, port = '53'] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(asked) ?? []
  const resolver = new Resolver({ timeout: Math.max(500, Math.ceil(run.options.timeout / 4)), tries: 3 })
  if (asked === '') return resolver
  run.stage = 'no address for the DNS server'
  const [first] = await run.guard.resolve(host, run.signal)
  if (!first || Number(port) < 1 || Number(port) > 65_535) throw new ProbeFailure(`“${plain(asked, 80)}” is not a DNS server`)
  run.details['server'] = first.address
  resolver.setServers([first.family === 6 ? `[${first.address}]:${port}` : `${first.address}:${port}`])
  return resolver
}

async function ask(resolver: Resolver, type: RecordType, name: string): Promise<string[]> {
  try {
    const found = await askers[type](resolver, name)
    if (found.length > 0) return found
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOTFOUND') throw new Answered(`there is no name ${name}`)
    if (code === 'ECONNREFUSED') throw new ProbeFailure('nothing answers DNS there')
    if (code !== 'ENODATA') throw error
  }
  throw new Answered(`no ${type} record for ${name}`)
}

function matches({ type, expect }: DnsSpec, record: string): boolean {
  const wanted = expect?.trim() ?? ''
  if (type === 'TXT') return record.includes(wanted)
  if (partial.has(type)) return record.toLowerCase().includes(wanted.toLowerCase())
  if (type === 'AAAA') return isIP(wanted) === 6 && plainAddress(wanted) === record
  return record.toLowerCase() === wanted.toLowerCase().replace(/\.$/, '')
}

function plainAddress(address: string): string {
  return ipaddr.parse(address).toString()
}
