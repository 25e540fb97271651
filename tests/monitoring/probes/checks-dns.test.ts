import { probeDns } from '../../../monitoring/probes/checks/dns'
import type { DnsSpec, Outcome, RecordType } from '../../../monitoring/probes/checks/probe'
import { servers, type NameServer } from '../../helpers/servers'
import { expectTimeout, options } from './probing'

const own = servers()
let server: NameServer

const records: Record<string, Partial<Record<RecordType, string[]>>> = {
  'example.test': {
    A: ['192.0.2.1', '192.0.2.2'],
    AAAA: ['2001:db8::1'],
    MX: ['10 mail.example.test', '20 backup.example.test'],
    NS: ['ns1.example.test'],
    TXT: ['v=spf1 include:_spf.example.test -all', 'other'],
    SOA: ['ns1.example.test admin.example.test 2026112101 7200 3600 1209600 300'],
    CAA: ['0 issue letsencrypt.org'],
  },
  'www.example.test': { CNAME: ['example.test'] },
  '_sip._tcp.example.test': { SRV: ['1 2 5060 sip.example.test'] },
  '1.2.0.192.in-addr.arpa': { PTR: ['host.example.test'] },
  '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa': { PTR: ['six.example.test'] },
}
const troubles: Record<string, 'failure' | 'refused' | 'silent' | 'garbage'> = {
  'failing.test': 'failure',
  'refused.test': 'refused',
  'silent.test': 'silent',
  'garbage.test': 'garbage',
}

beforeAll(async () => {
  server = await own.dns((name, type) => {
    const trouble = troubles[name]
    if (trouble) return trouble
    return records[name] ? (records[name][type] ?? []) : 'unknown'
  })
})
afterAll(own.close)

const spec = (name: string, type: RecordType, given: Partial<DnsSpec> = {}): DnsSpec => ({
  name,
  type,
  server: `127.0.0.1:${server.port}`,
  expect: null,
  ...given,
})
const ask = (name: string, type: RecordType, expected: string | null = null): Promise<Outcome> =>
  probeDns(spec(name, type, { expect: expected }), options())

describe('A DNS check', () => {
  test.each<[string, RecordType, string, string]>([
    ['example.test', 'A', '192.0.2.2', 'A is 192.0.2.1, 192.0.2.2'],
    ['EXAMPLE.test.', 'AAAA', '2001:DB8:0::1', 'AAAA is 2001:db8::1'],
    ['example.test', 'MX', '10 mail.example.test', 'MX is 10 mail.example.test, 20 backup.example.test'],
    ['example.test', 'NS', 'NS1.example.test.', 'NS is ns1.example.test'],
    ['example.test', 'TXT', 'v=spf1', 'TXT is v=spf1 include:_spf.example.test -all, other'],
    ['example.test', 'SOA', '2026112101', 'SOA is ns1.example.test admin.example.test 2026112101 7200 3600 1209600 300'],
    ['example.test', 'CAA', 'letsencrypt.org', 'CAA is 0 issue letsencrypt.org'],
    ['www.example.test', 'CNAME', 'example.test', 'CNAME is example.test'],
    ['_sip._tcp.example.test', 'SRV', '5060 sip', 'SRV is 1 2 5060 sip.example.test'],
    ['192.0.2.1', 'PTR', 'host.example.test', 'PTR is host.example.test'],
    ['2001:db8::1', 'PTR', 'six.example.test', 'PTR is six.example.test'],
  ])('of %s %s finds %s', async (name, type, expected, message) => {
    expect(await ask(name, type)).toMatchObject({ ok: true, message })
    expect(await ask(name, type, expected)).toMatchObject({ ok: true, details: { server: '127.0.0.1' } })
  })

  test.each<[RecordType, string]>([
    ['A', '192.0.2.3'],
    ['A', '2.0.2.1'],
    ['AAAA', '2001:db8::2'],
    ['NS', 'ns1'],
    ['TXT', 'V=SPF1'],
    ['MX', '10 mail.example.org'],
  ])('that expects the %s record %s does not find it', async (type, expected) => {
    const outcome = await ask('example.test', type, expected)
    expect(outcome).toMatchObject({ ok: false, duration: expect.any(Number) as number })
    expect(outcome.message).toMatch(new RegExp(`^${type} is .*, expected ${expected}$`))
  })

  test('tells apart what can be wrong with a name', async () => {
    expect((await ask('example.test', 'SRV')).message).toBe('No SRV record for example.test')
    expect((await ask('unknown.test', 'A')).message).toBe('There is no name unknown.test')
    expect((await ask('failing.test', 'A')).message).toBe('The DNS server could not find out (SERVFAIL)')
    expect((await ask('refused.test', 'A')).message).toBe('The DNS server refused to answer')
    for (const name of ['', 'a b', 'x/y', `${'a'.repeat(300)}.test`])
      expect((await ask(name, 'A')).message).toMatch(/is not a name that DNS knows/)
    expect((await ask('192.0.2.1', 'A')).message).toBe('An address has no records but PTR')
  })

  test('of a server that never answers is given up when the time is over', async () => {
    await expectTimeout((given) => probeDns(spec('silent.test', 'A'), given), /^No answer from DNS within 400 ms$/)
  })

  test('of a server that answers nonsense is down', async () => {
    const outcome = await probeDns(spec('garbage.test', 'A'), options({ timeout: 1_500 }))
    expect(outcome.ok).toBe(false)
    expect(outcome.message).toMatch(/nonsense|No answer from DNS|No DNS server answered/)
  })

  test('of a server where nothing listens is down', async () => {
    const gone = await own.dns(() => [])
    await gone.close()
    const outcome = await probeDns(spec('example.test', 'A', { server: `127.0.0.1:${gone.port}` }), options({ timeout: 3_000 }))
    expect(outcome.message).toMatch(/Nothing answers DNS there|No DNS server answered/)
  })

  test.each(['127.0.0.2', '10.0.0.1:53', '[::1]:53', '::1', '169.254.169.254', 'localhost.', '2130706434'])(
    'does not ask the server %s, which nobody allowed',
    async (name) => {
      const outcome = await probeDns(spec('example.test', 'A', { server: name }), options({ allowed: [] }))
      expect(outcome.message).toMatch(/no administrator has allowed it/)
    },
  )

  test.each(['a b', '1.1.1.1:0', '1.1.1.1:99999', '[1.1.1.1', '1.1.1.1:53:53', 'x:y', 'http://1.1.1.1'])(
    'does not take %j for a server',
    async (name) => {
      expect((await probeDns(spec('example.test', 'A', { server: name }), options())).message).toMatch(
        /is not a DNS server|neither a host name nor an address/,
      )
    },
  )
})
