import type { Socket } from 'node:net'
import { probeTcp } from '../../../monitoring/probes/checks/tcp'
import type { Outcome, TcpSpec } from '../../../monitoring/probes/checks/probe'
import { bytesOf } from '../../../monitoring/probes/checks/text'
import { pour, servers, type Listening } from '../../helpers/servers'
import { until } from '../../helpers/until'
import { expectTimeout, options } from './probing'

const own = servers()
afterAll(own.close)

const spec = ({ port }: Listening, given: Partial<TcpSpec> = {}): TcpSpec => ({
  host: '127.0.0.1',
  port,
  send: null,
  expect: null,
  ...given,
})
const ask = (server: Listening, given: Partial<TcpSpec> = {}): Promise<Outcome> => probeTcp(spec(server, given), options())

test('A port that accepts connections is up, and is left politely', async () => {
  const server = await own.tcp(() => undefined)
  expect(await ask(server)).toMatchObject({ ok: true, message: 'Connected', details: { address: '127.0.0.1' } })
  await until(() => server.open === 0)
})

test('A port that nobody listens at is down at once', async () => {
  const server = await own.tcp(() => undefined)
  await own.close()
  expect(await ask(server)).toMatchObject({ ok: false, message: 'Connection refused', duration: null })
})

test('What is sent may hold line ends and bytes, and what is expected is found wherever the answer is cut', async () => {
  const received: Buffer[] = []
  const server = await own.tcp((socket) =>
    socket.once('data', (chunk: Buffer) => {
      received.push(chunk)
      socket.write('220 mail.exam')
      setTimeout(() => socket.write('ple ESMTP\r\n'), 20)
    }),
  )
  const outcome = await ask(server, { send: 'EHLO a\\r\\n\\x00\\xff\\\\n', expect: 'example ESMTP\\r\\n' })
  expect(outcome).toMatchObject({ ok: true, details: { bytes: 24 } })
  expect(Buffer.concat(received)).toEqual(Buffer.from('EHLO a\r\n\0\u00ff\\n', 'latin1'))
})

test.each([
  ['a\\r\\nb', 'a\r\nb'],
  ['\\\\r', '\\r'],
  ['\\q\\', '\\q\\'],
  ['ä', 'ä'],
  ['', ''],
])('The text %j is the bytes %j', (text, bytes) => {
  expect(bytesOf(text).toString()).toBe(bytes)
})

test('An answer without what is expected is down, and its beginning is shown without what would disturb', async () => {
  const server = await own.tcp((socket) => socket.end('-NOAUTH \u001b[2Jno\r\nmore'))
  expect((await ask(server, { expect: '+PONG' })).message).toBe('The answer does not hold “+PONG”; it begins with “-NOAUTH [2Jno more”')
  const silent = await own.tcp((socket) => socket.end())
  expect((await ask(silent, { expect: 'x' })).message).toBe('The answer does not hold “x”: the connection was closed before anything came')
})

test.each([
  ['hangs', (): void => undefined],
  ['sends a byte now and then', (socket: Socket) => pour(socket, Buffer.from('y'), 20)],
])('A server that %s is given up when the time is over', async (_what, serve) => {
  const server = await own.tcp(serve)
  await expectTimeout((given) => probeTcp(spec(server, { expect: 'x' }), given), /^Connected, but no “x” within 400 ms$/)
  await until(() => server.open === 0)
})

test('A server that floods is left after 64 kB', async () => {
  const server = await own.tcp((socket) => pour(socket, Buffer.alloc(65_536, 'y')))
  expect((await ask(server, { expect: 'x' })).message).toMatch(/^The answer does not hold “x” in its first 64 kB; it begins with “yyy/)
  await until(() => server.open === 0)
})

test('An address where nothing answers is given up when the time is over', async () => {
  // A network of documentation: its packets go nowhere, or the machine says at once that there is no way
  const unreachable = { host: '192.0.2.1', port: 9, send: null, expect: null }
  const began = performance.now()
  const outcome = await probeTcp(unreachable, options({ timeout: 400, allowed: ['192.0.2.0/24'] }))
  expect(outcome.ok).toBe(false)
  expect(outcome.message).toMatch(/^No connection|cannot be reached|refused/)
  expect(performance.now() - began).toBeLessThan(1_150)
})

test.each([0, -1, 65_536, 1.5, Number.NaN])('%d is no port', async (port) => {
  expect((await probeTcp({ host: '127.0.0.1', port, send: null, expect: null }, options())).message).toBe(
    'The port is a number from 1 to 65535',
  )
})
