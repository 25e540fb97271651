import { rightsOf } from '../../../monitoring/permissions'
import { connect } from 'node:net'
import { report } from '../../../services/events'
import { listen, startApp, type TestApp } from '../../helpers/app'
import { until } from '../../helpers/until'
import { openQuickHub, type QuickHub } from './quick-hub'

describe('sockets that are slow, silent or dead', () => {
  let app: TestApp
  let quick: QuickHub | undefined
  beforeAll(async () => {
    app = await startApp()
  })
  afterEach(async () => {
    await quick?.close()
    quick = undefined
  })
  afterAll(() => app.close())

  const never = 600_000

  test('one that stops reading is closed, the others get everything, and memory stays where it was', async () => {
    const slow = await app.live('carol', '/ws/events?topics=events')
    const others = await Promise.all(Array.from({ length: 6 }, () => app.live('carol', '/ws/events?topics=events')))
    const counts = others.map(() => 0)
    for (const [index, { socket, frames }] of others.entries())
      socket.on('message', (data: Buffer) => {
        counts[index] = (counts[index] ?? 0) + (data.toString().match(/"id":"bulk-/g)?.length ?? 0)
        frames.length = 0
      })
    const filler = 'x'.repeat(50_000)
    slow.socket.pause()
    const before = process.memoryUsage().external
    let most = 0
    for (let index = 0; index < 300; index++) {
      await report(app.ctx, [{ id: `bulk-${index}`, type: 'bulk', source: 'test', data: filler }])
      await until(() => counts.every((count) => count > index - 20))
      most = Math.max(most, process.memoryUsage().external - before)
    }
    await until(() => counts.every((count) => count === 300))
    // The slow one is gone on the server's side, though it has not noticed.
    await until(() => app.hub.sockets === others.length)
    expect(most).toBeLessThan(50_000_000)
    slow.socket.resume()
    await new Promise((resolve) => slow.socket.once('close', resolve))
  }, 60_000)

  test('one that answers no ping is cut off; one that answers stays', async () => {
    quick = await openQuickHub(app, { events: {} }, { beatMs: never, checkMs: never, pingMs: 200 })
    const { hub, url } = quick
    const dead = await listen(`${url}/live?topics=events`, {})
    const alive = await listen(`${url}/live?topics=events`, {})
    dead.socket.pause()
    await until(() => hub.sockets === 1)
    const pings: unknown[] = []
    alive.socket.on('ping', (data) => pings.push(data))
    await until(() => pings.length >= 3)
    expect(alive.socket.readyState).toBe(alive.socket.OPEN)
    dead.close()
    alive.close()
  })

  test('one that sends pings and never reads the answers is cut off', async () => {
    quick = await openQuickHub(app, { events: {} }, { beatMs: 50, checkMs: never, pingMs: never })
    const { hub, url } = quick
    const raw = connect(Number(new URL(url).port), '127.0.0.1')
    raw.on('error', () => undefined)
    raw.write(
      'GET /live?topics=events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    await until(() => hub.sockets === 1)
    // Masked with zeros.
    const ping = Buffer.concat([Buffer.from([0x89, 0x80 | 125, 0, 0, 0, 0]), Buffer.alloc(125, 'x')])
    const flood = Buffer.concat(Array.from({ length: 5000 }, () => ping))
    await until(() => {
      if (raw.writableLength < 5_000_000) raw.write(flood)
      return hub.sockets === 0
    }, 20_000)
    expect(hub.sockets).toBe(0)
    raw.destroy()
  })

  test('a database that is away for a moment signs nobody out; another role does', async () => {
    quick = await openQuickHub(app, { events: {} }, { beatMs: 50, checkMs: 100, pingMs: never })
    const { who } = quick
    if (who instanceof Error) throw who
    const socket = await listen(`${quick.url}/live?topics=events`, {})
    const closed = new Promise<number>((resolve) => socket.socket.once('close', resolve))
    const beats = () => socket.frames.filter((frame) => frame.startsWith('~')).length
    quick.who = new Error('away')
    const before = beats()
    await until(() => beats() > before + 6)
    expect(socket.socket.readyState).toBe(socket.socket.OPEN)
    quick.who = { ...who, principal: { ...who.principal, rights: rightsOf.admin } }
    expect(await closed).toBe(4401)
  })
})
