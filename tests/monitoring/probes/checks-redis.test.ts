import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTls } from 'node:tls'
import { probeRedis } from '../../../monitoring/probes/checks/redis'
import type { Outcome } from '../../../monitoring/probes/checks/probe'
import { certificates, pour, servers, type Listening } from '../../helpers/servers'
import { until } from '../../helpers/until'
import { expectTimeout, options } from './probing'

const own = servers()
afterAll(own.close)

const ask = (url: string): Promise<Outcome> => probeRedis({ url }, options())
const at = ({ port }: Listening, path = '', user = ''): string => `redis://${user}127.0.0.1:${port}${path}`

/** A server that answers each word it knows with a line. */
const answering = (answers: Record<string, string>): Promise<Listening> =>
  own.tcp((socket) =>
    socket.on('data', (chunk: Buffer) => {
      const command = /^\*\d+\r\n\$\d+\r\n(\w+)/.exec(chunk.toString())?.[1] ?? ''
      socket.write(answers[command] ?? '-ERR unknown command\r\n')
    }),
  )

const real = spawnSync('redis-server', ['--version']).status === 0
const describeReal = real ? describe : describe.skip

describeReal(real ? 'A real Redis' : 'A real Redis (left out: there is no redis-server on this machine)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'operations-center-redis-'))
  let redis: ChildProcess
  let port = 0

  beforeAll(async () => {
    const free = createServer().listen(0, '127.0.0.1')
    await until(() => free.listening)
    port = (free.address() as AddressInfo).port
    await new Promise((resolve) => free.close(resolve))
    const file = join(folder, 'redis.conf')
    writeFileSync(file, `bind 127.0.0.1\nport ${port}\ndir ${folder}\nsave ""\nrequirepass p@ss\nuser reader on >other +ping +select\n`)
    redis = spawn('redis-server', [file], { stdio: 'ignore' })
    await until(async () => (await ask(`redis://:p%40ss@127.0.0.1:${port}`)).ok)
  })
  afterAll(async () => {
    const ended = new Promise((resolve) => redis.once('exit', resolve))
    redis.kill()
    await ended
    rmSync(folder, { recursive: true, force: true })
  })

  test('answers a PING, in the database that the URL names', async () => {
    expect(await ask(`redis://:p%40ss@127.0.0.1:${port}/15`)).toMatchObject({
      ok: true,
      message: 'PONG',
      details: { address: '127.0.0.1' },
    })
    expect((await ask(`redis://reader:other@127.0.0.1:${port}`)).ok).toBe(true)
  })

  test('refuses a wrong password, none at all, and a database it does not have', async () => {
    expect((await ask(`redis://:wrong@127.0.0.1:${port}`)).message).toMatch(/^Sign-in refused: WRONGPASS/)
    expect((await ask(`redis://127.0.0.1:${port}`)).message).toBe('Redis asks for a password, and the URL has none')
    expect((await ask(`redis://:p%40ss@127.0.0.1:${port}/99`)).message).toMatch(/^Database 99 refused: ERR/)
  })

  test('is down when it is stopped, and up again when it goes on', async () => {
    redis.kill('SIGSTOP')
    await expectTimeout((given) => probeRedis({ url: `redis://:p%40ss@127.0.0.1:${port}` }, given), /^No answer within 400 ms$/)
    redis.kill('SIGCONT')
    await until(async () => (await ask(`redis://:p%40ss@127.0.0.1:${port}`)).ok)
  })
})

test('A Redis that is still loading says so', async () => {
  const server = await answering({ PING: '-LOADING Redis is loading the dataset in memory\r\n' })
  expect((await ask(at(server))).message).toBe('Redis is still loading its data')
})

test('A Redis behind TLS must have a good certificate', async () => {
  const authority = await certificates()
  const pong = (socket: Socket): void => void socket.on('data', () => socket.write('+PONG\r\n'))
  const server = await own.listen(createTls(await authority.issue(['127.0.0.1']), pong).on('tlsClientError', () => undefined))
  const url = `rediss://127.0.0.1:${server.port}`
  const trusted = await probeRedis({ url }, options({ authorities: [authority.authority] }))
  expect(trusted).toMatchObject({ ok: true, certificate_at: expect.any(Number) as number })
  expect((await ask(url)).message).toMatch(/authority that this machine does not trust|without those between/)
  await authority.remove()
})

test.each([
  ['nothing, and closes', (socket: Socket) => socket.end(), /broken off|without an answer/],
  ['HTTP', (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'), /not Redis/],
  ['a flood', (socket: Socket) => pour(socket, Buffer.alloc(65_536, 'x')), /not Redis/],
  ['a number', (socket: Socket) => socket.end(':1\r\n'), /not Redis/],
  ['another word', (socket: Socket) => socket.end('+OK\r\n'), /^PING was answered with: OK$/],
])('A server that answers with %s is down', async (_what, serve, words) => {
  const server = await own.tcp((socket) => {
    serve(socket)
  })
  expect((await ask(at(server))).message).toMatch(words)
  await until(() => server.open === 0)
})

test('A server that sends a byte now and then is given up when the time is over', async () => {
  const server = await own.tcp((socket) => pour(socket, Buffer.from('x'), 20))
  await expectTimeout((given) => probeRedis({ url: at(server) }, given), /^No answer within 400 ms$/)
})

test('A server that repeats the password does not bring it into the message', async () => {
  const server = await answering({ AUTH: "-ERR unknown command 'AUTH', with args beginning with: 'S3CR3T'\r\n" })
  expect(JSON.stringify(await ask(at(server, '', ':S3CR3T@')))).toMatch(/^(?!.*S3CR3T).*•••/)
})

test('A password cannot smuggle in a command', async () => {
  let received = ''
  const server = await own.tcp((socket) =>
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString()
      socket.write('-WRONGPASS no\r\n')
    }),
  )
  await ask(at(server, '', ':x%0D%0AFLUSHALL%0D%0A@'))
  expect(received).toBe('*2\r\n$4\r\nAUTH\r\n$13\r\nx\r\nFLUSHALL\r\n\r\n')
})

test.each([
  'http://127.0.0.1',
  'redis://',
  'redis:///0',
  'redis://127.0.0.1/x',
  'redis://127.0.0.1/0?a=b',
  'unix:///tmp/redis.sock',
  'redis://%zz:x@127.0.0.1',
  '',
])('%j is not the URL of a Redis', async (url) => {
  expect((await ask(url)).ok).toBe(false)
})
