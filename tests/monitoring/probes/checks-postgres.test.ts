import { createConnection, createServer, type Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'
import { Client } from 'pg'
import { probePostgres } from '../../../monitoring/probes/checks/postgres'
import type { Outcome } from '../../../monitoring/probes/checks/probe'
import { findPostgres } from '../../helpers/postgres'
import { certificates, pour, servers, type Listening } from '../../helpers/servers'
import { until } from '../../helpers/until'
import { expectTimeout, options } from './probing'

const own = servers()
afterAll(own.close)

const ask = (url: string, query: string | null = null): Promise<Outcome> => probePostgres({ url, query }, options())
const at = ({ port }: Listening): string => `postgres://someone:S3CR3T@127.0.0.1:${port}/db`
const raw = (serve: (socket: Socket) => unknown): Promise<Listening> =>
  own.listen(
    createServer((socket) => {
      socket.once('data', () => serve(socket))
    }),
  )

describe('A real PostgreSQL', () => {
  let found: { url?: string; reason?: string; stop?: () => Promise<void> }
  let url = ''

  beforeAll(async () => {
    found = await findPostgres()
    if (found.url === undefined) return
    url = found.url.replace('localhost', '127.0.0.1')
    const client = new Client({ connectionString: url })
    await client.connect()
    await client.query('drop table if exists checks_probe_test; create table checks_probe_test (n integer)')
    await client.end()
  }, 60_000)
  afterAll(async () => {
    if (found.url === undefined) return
    const client = new Client({ connectionString: url })
    await client.connect()
    await client.query('drop table checks_probe_test')
    await client.end()
    await found.stop?.()
  })

  const missing = (): boolean => {
    if (found.url === undefined) process.stdout.write(`left out: ${expect.getState().currentTestName}: ${found.reason}\n`)
    return found.url === undefined
  }

  test('answers, and so does a query', async () => {
    if (missing()) return
    expect(await ask(url)).toMatchObject({ ok: true, message: 'Answered', details: { address: '127.0.0.1' } })
    expect(await ask(url, 'select 40 + 2')).toMatchObject({ ok: true, message: 'The query answered 42' })
    expect((await ask(url, 'select true')).message).toBe('The query answered true')
    expect(await ask(url, 'select count(*) > 5 from checks_probe_test')).toMatchObject({ ok: false, message: 'The query answered false' })
    expect((await ask(url, "select 'f' || ''")).ok).toBe(true)
    expect((await ask(url, 'select null')).message).toBe('The query answered null')
    expect((await ask(url, 'select 1 where false')).message).toBe('The query answered no row')
  })

  test('cannot be changed by a query', async () => {
    if (missing()) return
    expect((await ask(url, 'insert into checks_probe_test values (1)')).message).toMatch(/read-only transaction/)
    expect((await ask(url, 'commit; insert into checks_probe_test values (1)')).message).toMatch(/multiple commands/)
    expect((await ask(url, 'select 1; drop table checks_probe_test')).message).toMatch(/multiple commands/)
    expect((await ask(url, 'select count(*) from checks_probe_test')).message).toBe('The query answered 0')
    expect((await ask(url, 'select nonsense')).message).toMatch(/^Column "nonsense" does not exist/)
  })

  test('whose query takes too long is given up when the time is over, and does not go on', async () => {
    if (missing()) return
    await expectTimeout((given) => probePostgres({ url, query: 'select pg_sleep(60)' }, given), /within 400 ms$|statement timeout/)
    await until(
      async () =>
        (await ask(url, "select count(*) = 0 from pg_stat_activity where query like 'select pg_sleep(60)%' and state = 'active'")).ok,
    )
  })

  test('whose query answers with a million rows, or one of 100 MB, is read for 512 kB', async () => {
    if (missing()) return
    const before = process.memoryUsage().rss
    expect((await ask(url, 'select generate_series(1, 10000000)')).message).toBe('The answer is larger than 512 kB')
    expect((await ask(url, "select repeat('x', 100000000)")).message).toBe('The answer is larger than 512 kB')
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024)
  })

  test('refuses a database or a person that it does not know', async () => {
    if (missing()) return
    expect((await ask(url.replace(/\/\w+$/, '/nowhere'))).message).toBe('Database "nowhere" does not exist')
    const { port } = new URL(url)
    expect((await ask(`postgres://nobody-there@127.0.0.1:${port}/postgres`)).message).toMatch(/^Role "nobody-there" does not exist/)
  })

  test('takes no password from the environment or the home of the console', async () => {
    if (missing()) return
    let sent = ''
    process.env['PGPASSWORD'] = 'S3CR3T-of-the-console'
    const server = await raw((socket) => {
      socket.on('data', (chunk: Buffer) => (sent += chunk.toString()))
      // Asks for the password in plain text
      socket.write(Buffer.from('520000000800000003', 'hex'))
    })
    const outcome = await probePostgres({ url: `postgres://someone@127.0.0.1:${server.port}/db`, query: null }, options({ timeout: 300 }))
    delete process.env['PGPASSWORD']
    expect(outcome.ok).toBe(false)
    expect(sent).toBe('p\0\0\0\u0005\0')
  })

  test('is reached through TLS as the URL says, and its certificate is looked at', async () => {
    if (missing()) return
    const authority = await certificates()
    const { port } = new URL(url)
    // PostgreSQL itself runs without TLS in tests: this end of a tunnel adds it, and speaks to the real one
    const identity = await authority.issue(['127.0.0.1'])
    const server = await raw((socket) => {
      socket.write('S')
      const secured = new TLSSocket(socket, { isServer: true, secureContext: createSecureContext(identity) })
      const inside = createConnection(Number(port), '127.0.0.1')
      secured.on('error', () => inside.destroy())
      inside.on('error', () => secured.destroy())
      secured.pipe(inside).pipe(secured)
    })
    const through = (mode: string, authorities: string[] = []): Promise<Outcome> =>
      probePostgres({ url: `${url.replace(`:${port}`, `:${server.port}`)}?sslmode=${mode}`, query: null }, options({ authorities }))
    expect(await through('verify-full', [authority.authority])).toMatchObject({ ok: true, certificate_at: expect.any(Number) as number })
    expect((await through('verify-full')).message).toMatch(/authority that this machine does not trust|without those between/)
    expect((await through('verify-ca')).ok).toBe(false)
    expect((await through('require')).ok).toBe(true)
    expect((await ask(`${url}?sslmode=require`)).message).toBe('The server does not offer TLS')
    await authority.remove()
  })
})

describe('A server', () => {
  test('that never answers, or a byte now and then, is given up when the time is over', async () => {
    const silent = await raw(() => undefined)
    await expectTimeout((given) => probePostgres({ url: at(silent), query: null }, given), /^No sign-in within 400 ms$/)
    const dripping = await raw((socket) => {
      socket.write(Buffer.from('5200ffffff', 'hex'))
      pour(socket, Buffer.from('x'), 20)
    })
    await expectTimeout((given) => probePostgres({ url: at(dripping), query: null }, given), /^No sign-in within 400 ms$/)
    await until(() => silent.open === 0 && dripping.open === 0)
  })

  test('that floods is left after 512 kB', async () => {
    const server = await raw((socket) => {
      socket.write(Buffer.from('527fffffff', 'hex'))
      pour(socket, Buffer.alloc(65_536))
    })
    expect((await ask(at(server))).message).toBe('The answer is larger than 512 kB')
    await until(() => server.open === 0)
  })

  test('that asks for a billion rounds of hashing is refused', async () => {
    const message = (code: string, body: string | Buffer): Buffer => {
      const bytes = Buffer.from(body)
      const head = Buffer.alloc(5)
      head.write(code)
      head.writeUInt32BE(bytes.length + 4, 1)
      return Buffer.concat([head, bytes])
    }
    const server = await raw((socket) => {
      socket.write(message('R', '\0\0\0\u000aSCRAM-SHA-256\0\0'))
      socket.once('data', (chunk: Buffer) => {
        const nonce = /r=([^,]+)$/.exec(chunk.toString())?.[1] ?? ''
        socket.write(message('R', `\0\0\0\u000br=${nonce}x,s=c2FsdA==,i=1000000000`))
      })
    })
    const outcome = await ask(at(server))
    expect(outcome.ok).toBe(false)
    expect(outcome.message).toMatch(/iteration/)
  })

  test('that sends what no PostgreSQL would send is down, and the console goes on', async () => {
    const seeded = (seed: number): Buffer => {
      let state = seed
      const next = (): number => (state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648
      const codes = 'RSKZTDCEN1t23nsIGHWdcvA'
      const messages = Array.from({ length: 12 }, () => {
        const body = Buffer.from(Array.from({ length: Math.floor(next() * 24) }, () => (next() < 0.5 ? 0 : Math.floor(next() * 256))))
        const head = Buffer.alloc(5)
        head.write(codes[Math.floor(next() * codes.length)] ?? 'R')
        head.writeUInt32BE(next() < 0.8 ? body.length + 4 : Math.floor(next() * 40), 1)
        return Buffer.concat([head, body])
      })
      return Buffer.concat(messages)
    }
    const signIn = Buffer.from('5200000008000000005a0000000549', 'hex')
    let seed = 0
    const server = await raw((socket) => {
      seed++
      if (seed % 2 === 0) socket.write(signIn)
      socket.end(seeded(seed))
    })
    for (let round = 0; round < 20; round++) {
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, () => probePostgres({ url: at(server), query: 'select 1' }, options({ timeout: 1_000 }))),
      )
      for (const outcome of outcomes) expect(JSON.stringify(outcome)).not.toContain('S3CR3T')
    }
    await until(() => server.open === 0)
  })

  test('that is HTTP, or closes at once, is down', async () => {
    const http = await raw((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    expect((await ask(at(http))).ok).toBe(false)
    const closing = await raw((socket) => socket.end())
    expect((await ask(at(closing))).message).toMatch(/terminated unexpectedly|broken off/)
  })

  test('that offers TLS and something more in the same breath is refused', async () => {
    const server = await raw((socket) => socket.write('Sx'))
    expect((await ask(`${at(server)}?sslmode=require`)).message).toBe('The server does not offer TLS')
  })
})

test.each([
  'postgres://127.0.0.1/db?host=/var/run/postgresql',
  'postgres://127.0.0.1/db?sslcert=/etc/passwd',
  'postgres://127.0.0.1/db?sslmode=prefer',
  'postgres:///db',
  'postgres://%2Fvar%2Frun%2Fpostgresql/db',
  'socket:/var/run/postgresql',
  'mysql://127.0.0.1/db',
  'postgres://%zz@127.0.0.1/db',
  '/var/run/postgresql',
  '',
])('%j is not the URL of a PostgreSQL that checks reach', async (url) => {
  expect((await ask(url)).message).toMatch(/^The URL|^Sslmode is one of|neither a host name|percent-encoded/)
})
