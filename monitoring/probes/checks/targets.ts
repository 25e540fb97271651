import { readFile } from 'node:fs/promises'
import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import ipaddr from 'ipaddr.js'
import { codeOf, plain, ProbeFailure, type Targets } from './probe'

export interface Address {
  address: string
  family: 4 | 6
}

/** Stands between what somebody typed and what this machine connects to. */
export interface Guard {
  /** Why a host is refused, as far as that can be said without asking DNS: for forms. Null: nothing speaks against it so far. */
  refusal(host: string): string | null
  /** The addresses that may be dialled. Who dials anything else than exactly these has not asked. */
  resolve(host: string, signal?: AbortSignal): Promise<Address[]>
}

type Parsed = ipaddr.IPv4 | ipaddr.IPv6
type Network = [Parsed, number]

const ranges: Record<string, string> = {
  loopback: 'a loopback address of this machine',
  private: 'a private address',
  uniqueLocal: 'a private address',
  deprecatedSiteLocal: 'a private address',
  linkLocal: 'a link-local address',
  carrierGradeNat: 'an address of a provider’s private network',
  multicast: 'a multicast address',
  broadcast: 'a broadcast address',
  unspecified: 'not the address of one machine',
}

const publicV6 = ipaddr.parseCIDR('2000::/3') as [ipaddr.IPv6, number]
// Public by its number, but answered inside Azure only, and with what a machine there is trusted with
const metadata = '168.63.129.16'
// One answers long before the other on a machine without IPv6, and it shall not wait for that
const otherFamilyPatience = 300
const hostsFileAge = 30_000

export function guard(targets: Targets): Guard {
  const allowed = targets.allowed.map(networkOf).filter((network) => network !== null)
  const isAllowed = (address: Parsed): boolean => allowed.some((network) => within(address, network))

  function judge(address: Parsed): string | null {
    if (address.kind() === 'ipv4') return isAllowed(address) || isPublicV4(address as ipaddr.IPv4) ? null : rangeName(address)
    const v6 = address as ipaddr.IPv6
    // What a translator behind this prefix is asked for must be allowed too, or it would be the way round everything here
    if (v6.range() === 'rfc6052') return isAllowed(v6) && judge(embeddedV4(v6)) === null ? null : 'an address translated to IPv4'
    return isAllowed(v6) || (v6.match(publicV6) && v6.range() === 'unicast') ? null : rangeName(v6)
  }

  const refuse = (address: Parsed, host: string, reason: string): string => {
    const shown = address.toString()
    return `${shown}${host === shown ? '' : ` (${host})`} is ${reason}, and no administrator has allowed it as a target`
  }

  function refusal(host: string): string | null {
    const name = hostOf(host)
    if (name === null) return 'This is neither a host name nor an address'
    return sort(literal(name) ?? [], name).refused
  }

  /** Judged and dialled in one spelling: ::ffff:10.0.0.1 is 10.0.0.1 */
  function sort(found: readonly Address[], name: string): { usable: Address[]; refused: string | null } {
    const usable: Address[] = []
    let refused: string | null = null
    for (const { address } of found) {
      const parsed = ipaddr.process(address)
      const reason = judge(parsed)
      if (reason === null) usable.push({ address: parsed.toString(), family: parsed.kind() === 'ipv4' ? 4 : 6 })
      else refused ??= refuse(parsed, name, reason)
    }
    return { usable, refused: usable.length > 0 ? null : refused }
  }

  return {
    refusal,
    async resolve(host, signal) {
      const name = hostOf(host)
      if (name === null) throw new ProbeFailure(`“${plain(host, 80)}” is neither a host name nor an address`)
      const found = literal(name) ?? (await hostsFile()).get(name) ?? (await ask(name, targets.resolver ?? ownResolver(signal)))
      const { usable, refused } = sort(found, name)
      if (usable.length === 0) throw new ProbeFailure(refused ?? `no address for ${name}`)
      return usable
    },
  }
}

/** One spelling for a host: a lower-case name without its last dot, or an address as it is written ordinarily; null when it is neither. */
export function hostOf(text: string): string | null {
  const bare = text.trim().replace(/^\[(.*)\]$/, '$1')
  if (bare === '' || /[\s/\\?#@[\]%]/.test(bare)) return null
  if (bare.includes(':')) return isIP(bare) === 6 ? ipaddr.process(bare).toString() : null
  let host: string
  try {
    // Decimal, octal, hexadecimal and shortened addresses, full-width digits, names in other scripts: as browsers read them
    host = new URL(`http://${bare}/`).hostname.replace(/\.$/, '')
  } catch {
    return null
  }
  if (isIP(host) === 4) return host
  return host.length <= 253 && /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/.test(host)
    ? host
    : null
}

/** A network as it is kept: "10.0.0.0/8"; a single address becomes a network of one; null when it is neither. */
export function parseNetwork(text: string): string | null {
  const network = networkOf(text.trim())
  if (network === null) return null
  const [address, bits] = network
  const cidr = `${address.toString()}/${bits}`
  const first = address.kind() === 'ipv4' ? ipaddr.IPv4.networkAddressFromCIDR(cidr) : ipaddr.IPv6.networkAddressFromCIDR(cidr)
  return `${first.toString()}/${bits}`
}

function networkOf(text: string): Network | null {
  const [, address = '', bits] = /^([\d.a-f:]+)(?:\/(\d{1,3}))?$/i.exec(text) ?? []
  if (isIP(address) === 0) return null
  const parsed = ipaddr.parse(address)
  const most = parsed.kind() === 'ipv4' ? 32 : 128
  const prefix = bits === undefined ? most : Number(bits)
  return prefix <= most ? [parsed, prefix] : null
}

function within(address: Parsed, [network, bits]: Network): boolean {
  return address.kind() === network.kind() && address.match(network, bits)
}

function isPublicV4(address: ipaddr.IPv4): boolean {
  return address.range() === 'unicast' && address.toString() !== metadata
}

function rangeName(address: Parsed): string {
  return ranges[address.range()] ?? 'not a public address'
}

function embeddedV4(address: ipaddr.IPv6): ipaddr.IPv4 {
  return new ipaddr.IPv4(address.toByteArray().slice(12))
}

function literal(host: string): Address[] | null {
  const family = isIP(host)
  if (family === 4 || family === 6) return [{ address: host, family }]
  // RFC 6761: this name never leaves the machine, whatever a resolver says of it
  if (host !== 'localhost' && !host.endsWith('.localhost')) return null
  return [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 },
  ]
}

function ownResolver(signal: AbortSignal | undefined): Resolver {
  const resolver = new Resolver({ timeout: 2_000, tries: 2 })
  signal?.addEventListener('abort', () => resolver.cancel(), { once: true })
  return resolver
}

/**
 * Asks DNS itself rather than through getaddrinfo, which holds one of the few threads that files and passwords need as well for as long
 * as a dead name server lets it wait.
 */
async function ask(name: string, resolver: NonNullable<Targets['resolver']>): Promise<Address[]> {
  const found: Address[] = []
  let nothing: unknown
  const one = (family: 4 | 6, answer: Promise<string[]>): Promise<boolean> =>
    answer.then(
      (addresses) => {
        found.push(...addresses.map((address) => ({ address, family })))
        return addresses.length > 0
      },
      (error: unknown) => {
        // "There is no such record" says less than "the server does not answer"
        if (nothing === undefined || codeOf(error) !== 'ENODATA') nothing = error
        return false
      },
    )
  const both = [one(4, resolver.resolve4(name)), one(6, resolver.resolve6(name))]
  const first = await Promise.race(both)
  await (first ? Promise.race([Promise.all(both), pause(otherFamilyPatience, undefined, { ref: false })]) : Promise.all(both))
  if (found.length === 0) throw nothing === undefined ? new ProbeFailure(`no address for ${name}`) : (nothing as Error)
  return found.sort((a, b) => a.family - b.family)
}

let hosts: { at: number; names: Promise<Map<string, Address[]>> } | undefined

function hostsFile(): Promise<Map<string, Address[]>> {
  if (!hosts || performance.now() - hosts.at > hostsFileAge)
    hosts = { at: performance.now(), names: readFile('/etc/hosts', 'utf8').then(parseHosts, () => new Map<string, Address[]>()) }
  return hosts.names
}

function parseHosts(text: string): Map<string, Address[]> {
  const names = new Map<string, Address[]>()
  for (const line of text.split('\n')) {
    const [address = '', ...aliases] = line.replace(/#.*/, '').trim().split(/\s+/)
    const family = isIP(address)
    if (family !== 4 && family !== 6) continue
    for (const alias of aliases) names.set(alias.toLowerCase(), [...(names.get(alias.toLowerCase()) ?? []), { address, family }])
  }
  return names
}
