import fc from 'fast-check'
import type { Listening } from '../../helpers/servers'
import { servers } from '../../helpers/servers'
import { probeHttp } from '../../../monitoring/probes/checks/http'
import { probePostgres } from '../../../monitoring/probes/checks/postgres'
import { probeRedis } from '../../../monitoring/probes/checks/redis'
import { probeTcp } from '../../../monitoring/probes/checks/tcp'
import { guard, hostOf, parseNetwork } from '../../../monitoring/probes/checks/targets'
import { httpSpec, options } from './probing'

const own = servers()
let canary: Listening
let v6: Listening | undefined

const refused = [
  '127.0.0.1',
  '127.1',
  '127.0.1',
  '127.127.127.127',
  '0177.0.0.1',
  '0x7f.0.0.1',
  '0x7f.1',
  '2130706433',
  '0x7f000001',
  '017700000001',
  '127.0.0.1.',
  '①②⑦.⓪.⓪.①',
  '１２７.０.０.１',
  '127。0。0。1',
  'localhost',
  'LOCALHOST',
  'localhost.',
  'ｌｏｃａｌｈｏｓｔ',
  'any.localhost',
  '[::1]',
  '::1',
  '0:0:0:0:0:0:0:1',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '0:0:0:0:0:ffff:7f00:1',
  '::127.0.0.1',
  '::7f00:1',
  '::ffff:0:7f00:1',
  '64:ff9b::7f00:1',
  '64:ff9b::8.8.8.8',
  '64:ff9b:1::7f00:1',
  '2002:7f00:1::',
  '2002:808:808::1',
  '2001::1',
  'fe80::1',
  'fec0::1',
  'fc00::1',
  'fd00:ec2::254',
  'ff02::1',
  '::',
  '2001:db8::1',
  '100::1',
  '5f00::1',
  '0',
  '0.0.0.0',
  '0.1.2.3',
  '10.0.0.1',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.1.1',
  '169.254.169.254',
  '0xa9fea9fe',
  '2852039166',
  '::ffff:169.254.169.254',
  '168.63.129.16',
  '192.0.0.192',
  '100.64.0.1',
  '100.100.100.200',
  '198.18.0.1',
  '203.0.113.1',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
]

const accepted = [
  '8.8.8.8',
  '1.1.1.1',
  '134744072',
  '0x08080808',
  '2606:4700:4700::1111',
  '[2606:4700:4700::1111]',
  '::ffff:8.8.8.8',
  'example.com',
  'EXAMPLE.com.',
  'bücher.example',
  '_dmarc.example.com',
]

const nonsense = [
  '',
  ' ',
  'a b',
  'user@host',
  'host:80',
  'host/path',
  'host?x',
  'host#x',
  'host\\x',
  '1.2.3.4.5',
  '256.1.1.1',
  '0x1ffffffff',
  '1::2::3',
  'fe80::1%eth0',
  '[::1',
  'a..b',
  '-a.example',
  `${'a'.repeat(64)}.example`,
  'a\u0000b',
  '%31%32%37.0.0.1',
  '127.0.0.1\r\nHost: x',
]

beforeAll(async () => {
  canary = await own.http((_request, response) => response.end('canary'), '0.0.0.0')
  v6 = await own.http((_request, response) => response.end('canary'), '::1').catch(() => undefined)
})
afterAll(own.close)

describe('Addresses that are not public', () => {
  test.each(refused)('%s is refused when it is typed, and again when it is dialled', async (host) => {
    const strict = options({ allowed: [] })
    const inUrl = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
    expect(guard(strict.targets).refusal(host)).toMatch(/no administrator has allowed it/)
    const before = canary.connections + (v6?.connections ?? 0)
    const outcomes = await Promise.all([
      probeHttp(httpSpec(`http://${inUrl}:${canary.port}/`), strict),
      probeTcp({ host, port: canary.port, send: null, expect: null }, strict),
      probePostgres({ url: `postgres://${inUrl}:${canary.port}/x`, query: null }, strict),
      probeRedis({ url: `redis://${inUrl}:${canary.port}` }, strict),
    ])
    // A form that says redis:// may not know every spelling of an address that a browser knows; what counts is that none gets through
    for (const { ok, message } of outcomes)
      expect({ ok, message }).toEqual({
        ok: false,
        message: expect.stringMatching(/no administrator has allowed it|neither a host name nor an address|URL begins with/) as string,
      })
    expect(outcomes[0].message).toMatch(/no administrator/)
    expect(canary.connections + (v6?.connections ?? 0)).toBe(before)
  })

  test('are refused in all their numbers', () => {
    const strict = guard({ allowed: [] })
    const octet = fc.nat(255)
    const privateAddress = fc.oneof(
      fc.tuple(fc.constantFrom(0, 10, 127), octet, octet, octet),
      fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), octet, octet),
      fc.tuple(fc.constant(192), fc.constant(168), octet, octet),
      fc.tuple(fc.constant(169), fc.constant(254), octet, octet),
      fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), octet, octet),
      fc.tuple(fc.integer({ min: 224, max: 255 }), octet, octet, octet),
    )
    fc.assert(
      fc.property(privateAddress, ([a, b, c, d]) => {
        const number = ((a * 256 + b) * 256 + c) * 256 + d
        const hex = (part: number): string => part.toString(16).padStart(2, '0')
        const spellings = [
          `${a}.${b}.${c}.${d}`,
          String(number),
          `0x${number.toString(16)}`,
          `0${number.toString(8)}`,
          `${a}.${(b * 256 + c) * 256 + d}`,
          `::ffff:${a}.${b}.${c}.${d}`,
          `64:ff9b::${hex(a)}${hex(b)}:${hex(c)}${hex(d)}`,
          `2002:${hex(a)}${hex(b)}:${hex(c)}${hex(d)}::1`,
        ]
        for (const spelling of spellings) expect(strict.refusal(spelling)).not.toBeNull()
      }),
    )
  })
})

test.each(accepted)('%s may be dialled', (host) => {
  expect(guard({ allowed: [] }).refusal(host)).toBeNull()
})

test.each(nonsense)('%j is neither a name nor an address', (host) => {
  expect(hostOf(host)).toBeNull()
  expect(guard({ allowed: ['0.0.0.0/0', '::/0'] }).refusal(host)).not.toBeNull()
})

describe('A network that an administrator allowed', () => {
  test('is reached, and its neighbours are not', async () => {
    const allowed = guard({ allowed: ['10.1.0.0/16', 'fd00::/64', '127.0.0.1', 'not a network', '10.9.9.9/99'] })
    expect(allowed.refusal('10.1.255.255')).toBeNull()
    expect(allowed.refusal('10.2.0.0')).not.toBeNull()
    expect(allowed.refusal('fd00::5')).toBeNull()
    expect(allowed.refusal('fd00:0:0:1::5')).not.toBeNull()
    expect(allowed.refusal('127.0.0.1')).toBeNull()
    expect(allowed.refusal('127.0.0.2')).not.toBeNull()
    expect(await allowed.resolve('localhost')).toEqual([{ address: '127.0.0.1', family: 4 }])
  })

  test('counts for an address in whatever spelling, and it is dialled as it was judged', async () => {
    const allowed = guard({ allowed: ['127.0.0.1'] })
    for (const spelling of ['127.1', '2130706433', '::ffff:127.0.0.1', '[::ffff:7f00:1]'])
      expect(await allowed.resolve(spelling)).toEqual([{ address: '127.0.0.1', family: 4 }])
  })

  test('of IPv6 translated to IPv4 opens nothing that is not open without the translator', () => {
    const allowed = guard({ allowed: ['64:ff9b::/96'] })
    expect(allowed.refusal('64:ff9b::8.8.8.8')).toBeNull()
    expect(allowed.refusal('64:ff9b::127.0.0.1')).not.toBeNull()
    expect(allowed.refusal('64:ff9b::10.0.0.1')).not.toBeNull()
  })

  test('is written one way', () => {
    expect(parseNetwork('10.1.2.3/8')).toBe('10.0.0.0/8')
    expect(parseNetwork(' 192.168.1.7 ')).toBe('192.168.1.7/32')
    expect(parseNetwork('FD00::1/8')).toBe('fd00::/8')
    expect(parseNetwork('::1')).toBe('::1/128')
    for (const text of [
      '',
      '10.0.0.0/33',
      '::/129',
      '10.0.0.0/-1',
      '10.0.0.0/8/8',
      '10.0.0/8',
      'example.com',
      'fe80::1%eth0/64',
      '10.0.0.0/',
    ])
      expect(parseNetwork(text)).toBeNull()
  })
})

describe('Names', () => {
  test('that lead to a public and to a private address use the public one only', async () => {
    const dns = await own.dns((_name, type) => (type === 'A' ? ['10.0.0.1', '127.0.0.1'] : ['fd00::1', '::1']))
    expect(await guard({ allowed: ['127.0.0.1'], resolver: dns.resolver }).resolve('both.test')).toEqual([
      { address: '127.0.0.1', family: 4 },
    ])
  })

  test('that lead to private addresses only are refused, and the message names one', async () => {
    const dns = await own.dns((_name, type) => (type === 'A' ? ['10.0.0.1'] : ['::ffff:a00:1']))
    const outcome = await probeHttp(httpSpec('http://inside.test/'), options({ resolver: dns.resolver }))
    expect(outcome).toMatchObject({
      ok: false,
      duration: null,
      message: '10.0.0.1 (inside.test) is a private address, and no administrator has allowed it as a target',
    })
  })

  test('that are good on the first look and loopback on the second are dialled where they were judged', async () => {
    const inside = await own.http((_request, response) => response.end('inside'), '127.0.0.2')
    const outside = await own.http((_request, response) => response.end('outside'))
    const dns = await own.dns((_name, type, count) => (type === 'A' ? [count === 0 ? '127.0.0.1' : '127.0.0.2'] : []))
    const given = options({ resolver: dns.resolver })
    const first = await probeHttp(httpSpec(`http://turning.test:${outside.port}/`, { keyword: 'outside' }), given)
    expect(first).toMatchObject({ ok: true, details: { address: '127.0.0.1' } })
    expect(dns.questions.filter((question) => question === 'turning.test A')).toHaveLength(1)
    const second = await probeHttp(httpSpec(`http://turning.test:${inside.port}/`), given)
    expect(second.message).toMatch(/^127\.0\.0\.2 \(turning\.test\) is a loopback address/)
    expect(inside.connections).toBe(0)
  })

  test('without an address, without a server that knows, and without one that answers are told apart', async () => {
    const answers = {
      'none.test': [],
      'unknown.test': 'unknown',
      'failing.test': 'failure',
      'silent.test': 'silent',
      'garbage.test': 'garbage',
    } as const
    const dns = await own.dns((name) => answers[name as keyof typeof answers])
    const ask = async (name: string): Promise<string> =>
      (await probeTcp({ host: name, port: 80, send: null, expect: null }, options({ timeout: 3_000, resolver: dns.resolver }))).message
    expect(await ask('none.test')).toBe('The name has no address')
    expect(await ask('unknown.test')).toBe('There is no such name')
    expect(await ask('failing.test')).toMatch(/could not find out/)
    expect(await ask('silent.test')).toMatch(/No DNS server answered|No answer from DNS within 3 s/)
    expect(await ask('garbage.test')).toMatch(/nonsense|No DNS server answered|No answer from DNS/)
  })

  test('whose IPv6 question is never answered do not hold up the IPv4 address', async () => {
    const server = await own.http((_request, response) => response.end())
    const dns = await own.dns((_name, type) => (type === 'A' ? ['127.0.0.1'] : 'silent'))
    const outcome = await probeHttp(httpSpec(`http://half.test:${server.port}/`), options({ resolver: dns.resolver }))
    expect(outcome.ok).toBe(true)
    expect(outcome.duration).toBeLessThan(1_000)
  })
})
