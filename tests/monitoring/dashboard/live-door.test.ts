import { connect } from 'node:net'
import { WebSocket } from 'ws'
import { listen, password, startApp, type TestApp } from '../../helpers/app'
import { until } from '../../helpers/until'

describe('the door of the sockets', () => {
  let app: TestApp
  let ws: string
  let cookie: string
  beforeAll(async () => {
    app = await startApp()
    ws = app.url.replace('http', 'ws')
    cookie = (await app.as('carol')).cookie ?? ''
  })
  afterAll(() => app.close())

  const basic = (secret = password) => `Basic ${Buffer.from(`carol:${secret}`).toString('base64')}`
  const signedIn = () => ({ Cookie: cookie, Origin: app.url })
  const closeOf = (socket: WebSocket) => new Promise<number>((resolve) => socket.once('close', resolve))

  test.each([
    ['nobody who is signed in', '/live?topics=events', () => ({}), 401],
    ['a wrong password', '/ws/events?topics=events', () => ({ Authorization: basic('wrong') }), 401],
    ['a cookie from another site', '/live?topics=events', () => ({ Cookie: cookie, Origin: 'http://evil.example' }), 403],
    ['a cookie without an origin', '/live?topics=events', () => ({ Cookie: cookie }), 403],
    [
      'Basic from a page of another site',
      '/ws/events?topics=events',
      () => ({ Authorization: basic(), Origin: 'http://evil.example' }),
      403,
    ],
    ['a forged cookie', '/live?topics=events', () => ({ Cookie: `${cookie}x`, Origin: app.url }), 401],
    ['an unknown topic', '/live?topics=events,secrets', signedIn, 400],
    ['no topic', '/live', signedIn, 400],
    ['a topic that only pages have', '/ws/events?topics=metrics', signedIn, 400],
    ['a strange number', '/live?topics=events&since=-1', signedIn, 400],
    ['another path', '/other', signedIn, 404],
    ['a path that is no address', '//', signedIn, 404],
  ])('is closed to %s, in the handshake', async (_who, path, headers, status) => {
    await expect(listen(`${ws}${path}`, headers() as Record<string, string>)).rejects.toThrow(`refused with ${status}`)
  })

  test('is open to a page of its own, and to a program with Basic', async () => {
    for (const headers of [signedIn(), { Authorization: basic() }]) {
      const socket = await listen(`${ws}/ws/events?topics=events`, headers)
      expect(await socket.frame((frame) => frame.includes('hello'))).toContain('"missed_too_much":false')
      socket.close()
    }
  })

  test('is shut to one person who has 200 open, who is told why, until one of them is closed', async () => {
    const open = () => listen(`${ws}/live?topics=events`, signedIn())
    await until(() => app.hub.sockets === 0)
    const sockets = await Promise.all(Array.from({ length: 200 }, open))
    const refused = new WebSocket(`${ws}/ws/events?topics=events`, { headers: { Authorization: basic() } })
    const [status, text] = await new Promise<[number, string]>((resolve) => {
      refused.once('unexpected-response', (_request, response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (part: string) => (text += part))
        response.once('end', () => resolve([response.statusCode ?? 0, text]))
      })
    })
    expect([status, JSON.parse(text)]).toMatchObject([
      429,
      { status: 429, detail: 'You have 200 sockets open, which is the most. Close one of them first.' },
    ])
    // Others are not concerned, and neither are keys.
    const { key } = (await (await app.as('carol')).post('/api/keys').send({ name: 'follows', role: 'viewer' })).body as { key: string }
    for (const headers of [{ Cookie: (await app.as('bob')).cookie ?? '', Origin: app.url }, { Authorization: `Bearer ${key}` }])
      (await listen(`${ws}/ws/events?topics=events`, headers)).close()
    sockets[0]?.close()
    const again = await until(() => open().catch(() => undefined))
    await expect(open()).rejects.toThrow('refused with 429')
    for (const socket of [...sockets, again]) socket.close()
    await until(() => app.hub.sockets === 0)
    ;(await open()).close()
  })

  test('does not stay half open after a refusal', async () => {
    const held = () => new Promise<number>((resolve) => app.server.getConnections((_error, count) => resolve(count)))
    const socket = connect({ port: Number(new URL(app.url).port), host: '127.0.0.1', allowHalfOpen: true })
    socket.on('error', () => undefined)
    socket.write('GET /live?topics=events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    const before = await until(held)
    socket.resume()
    await new Promise((resolve) => socket.once('end', resolve))
    await until(async () => (await held()) < before)
    expect(socket.writable).toBe(true)
    socket.destroy()
  })

  test('hears nothing from its clients: garbage is ignored, and what is too large ends the one who sent it', async () => {
    const [loud, garbage, other] = await Promise.all([1, 2, 3].map(() => listen(`${ws}/live?topics=events`, signedIn())))
    if (!loud || !garbage || !other) throw new Error('no sockets')
    const closed = closeOf(loud.socket)
    loud.socket.send('x'.repeat(10_000))
    expect(await closed).toBe(1009)
    for (const rubbish of ['{"subscribe":"events"', '\u0000', '{"topics":["secrets"]}', Buffer.alloc(100, 0xff)])
      garbage.socket.send(rubbish)
    const pong = new Promise((resolve) => garbage.socket.once('pong', resolve))
    garbage.socket.ping()
    await pong
    expect([garbage.socket.readyState, other.socket.readyState]).toEqual([WebSocket.OPEN, WebSocket.OPEN])
    garbage.close()
    other.close()
  })

  test('a frame that breaks the protocol ends its own socket only', async () => {
    const other = await listen(`${ws}/live?topics=events`, signedIn())
    const raw = connect(Number(new URL(app.url).port), '127.0.0.1')
    raw.write(
      `GET /live?topics=events HTTP/1.1\r\nHost: ${new URL(app.url).host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: ${cookie}\r\nOrigin: ${app.url}\r\n\r\n`,
    )
    await new Promise((resolve) => raw.once('data', resolve))
    const ended = new Promise((resolve) => raw.once('close', resolve))
    // Not masked, and with reserved bits.
    raw.write(Buffer.from([0xf1, 0x05, 1, 2, 3, 4, 5]))
    await ended
    expect(other.socket.readyState).toBe(WebSocket.OPEN)
    other.close()
  })

  test('closes for a session that has ended, within five seconds, and for that one only', async () => {
    const agent = await app.as('bob')
    const bob = await app.live('bob', '/live?topics=events')
    const carol = await listen(`${ws}/live?topics=events`, signedIn())
    const from = performance.now()
    const closed = closeOf(bob.socket)
    await agent.post('/sign-out').type('form').send({}).expect(303)
    expect(await closed).toBe(4401)
    expect(performance.now() - from).toBeLessThan(5000)
    expect(carol.socket.readyState).toBe(WebSocket.OPEN)
    carol.close()
    await until(() => app.hub.sockets === 0)
  })
})
