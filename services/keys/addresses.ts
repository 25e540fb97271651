import { BlockList, isIP } from 'node:net'

const partsOf = (range: string): { address: string; family: 'ipv4' | 'ipv6'; prefix: number } | null => {
  const [, address = '', bits] = /^([0-9a-fA-F.:]+)(?:\/(\d{1,3}))?$/.exec(range) ?? []
  const version = isIP(address)
  const longest = version === 4 ? 32 : 128
  const prefix = bits === undefined ? longest : Number(bits)
  return version === 0 || prefix > longest ? null : { address, family: version === 4 ? 'ipv4' : 'ipv6', prefix }
}

/** An address, or a network like 10.0.0.0/8. */
export const isRange = (text: string): boolean => partsOf(text) !== null

/** Whether an address is among these; none given: every one is. */
export function matcherOf(ranges: readonly string[] | null): (address: string | null) => boolean {
  if (ranges === null) return () => true
  const list = new BlockList()
  for (const range of ranges) {
    const parts = partsOf(range)
    if (parts) list.addSubnet(parts.address, parts.prefix, parts.family)
  }
  return (address) => {
    const version = isIP(address ?? '')
    return address !== null && version !== 0 && list.check(address, version === 4 ? 'ipv4' : 'ipv6')
  }
}
