import { createServer as createTls } from 'node:tls'
import { probeHttp } from '../../../monitoring/probes/checks/http'
import type { HttpSpec, Outcome } from '../../../monitoring/probes/checks/probe'
import { certificates, servers, type Certificates, type Identity, type Listening, type NameServer } from '../../helpers/servers'
import { until } from '../../helpers/until'
import { expectTimeout, httpSpec, options } from './probing'

const own = servers()
let authority: Certificates
let dns: NameServer

beforeAll(async () => {
  authority = await certificates()
  dns = await own.dns((_name, type) => (type === 'A' ? ['127.0.0.1'] : []))
})
afterAll(async () => {
  await own.close()
  await authority.remove()
})

const secrets: string[] = []

async function serving(identity: Identity): Promise<Listening> {
  return own.https(identity, (request, response) => {
    secrets.push(String(request.headers['x-api-key']))
    response.end('ok')
  })
}

const ask = ({ port }: Listening, given: Partial<HttpSpec> = {}, host = 'good.test'): Promise<Outcome> =>
  probeHttp(httpSpec(`https://${host}:${port}/`, given), options({ resolver: dns.resolver, authorities: [authority.authority] }))

const headers = [{ name: 'X-Api-Key', value: 'S3CR3T' }]

test('A good certificate is good, and the outcome says until when', async () => {
  const outcome = await ask(await serving(await authority.issue(['good.test'], 90)))
  expect(outcome).toMatchObject({ ok: true, details: { tls: expect.stringMatching(/^TLSv1\.[23]$/) as string, status: 200 } })
  expect(Math.abs(Number(outcome.certificate_at) - (Date.now() + 90 * 86_400_000))).toBeLessThan(60_000)
  expect(outcome.warning).toBeUndefined()
})

test('A certificate for the address itself is good for it', async () => {
  expect((await ask(await serving(await authority.issue(['127.0.0.1'])), {}, '127.0.0.1')).ok).toBe(true)
})

test('A certificate that ends soon is a warning and not a failure', async () => {
  const server = await serving(await authority.issue(['good.test'], 6.5))
  expect(await ask(server, { certificate_days: 14 })).toMatchObject({ ok: true, warning: 'The certificate ends in 6 days' })
  expect((await ask(server, { certificate_days: 6 })).warning).toBeUndefined()
  const today = await serving(await authority.issue(['good.test'], 0.5))
  expect((await ask(today, { certificate_days: 1 })).warning).toBe('The certificate ends within a day')
})

describe('A bad certificate', () => {
  const bad: [string, RegExp, () => Promise<Identity>][] = [
    ['that has expired', /^The certificate has expired$/, () => authority.issue(['good.test'], -3)],
    ['that is self-signed', /self-signed/, () => authority.selfSigned('good.test')],
    [
      'for another host',
      /^The certificate is not for good\.test but for other\.test, \*\.other\.test$/,
      () => authority.issue(['other.test', '*.other.test']),
    ],
    [
      'of an authority that nobody knows',
      /authority that this machine does not trust|without those between/,
      async () => {
        const stranger = await certificates()
        const identity = await stranger.issue(['good.test'])
        await stranger.remove()
        return identity
      },
    ],
  ]

  test.each(bad)('%s is refused before anything secret is sent', async (_what, words, make) => {
    const server = await serving(await make())
    secrets.length = 0
    const outcome = await ask(server, { headers })
    expect(outcome.ok).toBe(false)
    expect(outcome.message).toMatch(words)
    expect(outcome.certificate_at).toEqual(expect.any(Number))
    expect(secrets).toEqual([])
  })

  test.each(bad)('%s is taken where the check says not to look at it', async (_what, _words, make) => {
    expect((await ask(await serving(await make()), { verify_certificate: false })).ok).toBe(true)
  })

  test('that has expired is still told of where nobody looks at it', async () => {
    const outcome = await ask(await serving(await authority.issue(['good.test'], -3)), { verify_certificate: false })
    expect(outcome).toMatchObject({ ok: true, warning: 'The certificate has expired' })
    expect(outcome.certificate_at).toBeLessThan(Date.now())
  })

  test('behind a redirect is refused like one in front', async () => {
    const behind = await serving(await authority.issue(['other.test']))
    const front = await own.https(await authority.issue(['good.test']), (_request, response) =>
      response.writeHead(302, { location: `https://good.test:${behind.port}/` }).end(),
    )
    expect((await ask(front)).message).toMatch(/not for good\.test/)
  })
})

test('A server that never finishes the TLS handshake is given up when the time is over', async () => {
  const silent = await own.tcp(() => undefined)
  await expectTimeout((given) => probeHttp(httpSpec(`https://127.0.0.1:${silent.port}/`), given), /^No TLS handshake within 400 ms$/)
  const dripping = await own.tcp((socket) => {
    // The head of a handshake record of 16 kB, of which a byte arrives now and then
    socket.once('data', () => {
      socket.write(Buffer.from([22, 3, 3, 64, 0]))
      const timer = setInterval(() => socket.write(Buffer.from([2])), 20)
      socket.on('close', () => clearInterval(timer))
    })
  })
  await expectTimeout(
    (given) => probeHttp(httpSpec(`https://127.0.0.1:${dripping.port}/`), given),
    /^No TLS handshake within 400 ms$|^The TLS handshake failed/,
  )
  await until(() => silent.open === 0 && dripping.open === 0)
})

test('A port that does not speak TLS, or only what is no longer safe, is named as such', async () => {
  const plain = await own.http((_request, response) => response.end())
  expect((await ask(plain)).message).toMatch(/does not speak TLS/)
  const old = await own.listen(
    createTls({
      ...(await authority.issue(['good.test'])),
      minVersion: 'TLSv1.1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    }).on('tlsClientError', () => undefined),
  )
  expect((await ask(old)).message).toMatch(/no longer safe|TLS handshake failed/)
})
