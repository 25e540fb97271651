import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { openHub, type Hub, type Pace } from '../../../monitoring/dashboard/live'
import { securityOf } from '../../../monitoring/dashboard/security'
import type { Identity } from '../../../monitoring/dashboard/session'
import { report } from '../../../services/events'
import { listen, startApp, type TestApp } from '../../helpers/app'
import { until } from '../../helpers/until'

describe('sockets that are slow, silent or dead', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp()
  })
  afterAll(() => app.close())

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

  describe('with a pulse that is quick enough to wait for', () => {
    const identity: { now: Identity | undefined; error: Error | undefined } = { now: undefined, error: undefined }
    const opened: { hub: Hub; server: Server }[] = []
    beforeAll(() => {
      const principal = {
        id: 'user-carol',
        username: 'carol',
        org_id: 'home',
        org_name: '',
        role: 'viewer',
        theme: 'auto',
        timezone: null,
        created_at: 0,
      } as const
      identity.now = { principal, session: null }
    })
    afterEach(async () => {
      for (const { hub, server } of opened.splice(0)) {
        hub.close()
        await new Promise((resolve) => server.close(resolve))
      }
    })

    /** The hub alone, on the same database. */
    async function openQuick(pace: Pace): Promise<{ hub: Hub; url: string }> {
      const hub = openHub({
        platform: app.platform,
        security: securityOf(app.platform.config),
        sessions: {
          identify: () => (identity.error ? Promise.reject(identity.error) : Promise.resolve(identity.now)),
          carriesCredentials: () => false,
          middleware: (_request, _response, next) => {
            next()
          },
        },
        topics: new Map([['events', { permission: 'events.read' }]]),
        render: () => '',
        pace,
      })
      const server = createServer()
      hub.attach(server)
      opened.push({ hub, server })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return { hub, url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/live?topics=events` }
    }

    test('one that answers no ping is cut off; one that answers stays', async () => {
      const { hub, url } = await openQuick({ beatMs: 60_000, checkMs: 60_000, pingMs: 200 })
      const dead = await listen(url, {})
      const alive = await listen(url, {})
      dead.socket.pause()
      await until(() => hub.sockets === 1)
      const pings: unknown[] = []
      alive.socket.on('ping', (data) => pings.push(data))
      await until(() => pings.length >= 3)
      expect(alive.socket.readyState).toBe(alive.socket.OPEN)
      alive.close()
      dead.close()
      await until(() => hub.sockets === 0)
    })

    test('a database that is away for a moment signs nobody out; another role does', async () => {
      const { url } = await openQuick({ beatMs: 50, checkMs: 100, pingMs: 60_000 })
      const socket = await listen(url, {})
      const closed = new Promise<number>((resolve) => socket.socket.once('close', resolve))
      const beats = () => socket.frames.filter((frame) => frame.startsWith('~')).length
      identity.error = new Error('away')
      const before = beats()
      await until(() => beats() > before + 6)
      expect(socket.socket.readyState).toBe(socket.socket.OPEN)
      identity.error = undefined
      const { now } = identity
      if (now) identity.now = { ...now, principal: { ...now.principal, role: 'admin' } }
      expect(await closed).toBe(4401)
    })

    test('one that sends pings and never reads the answers is cut off', async () => {
      const { hub, url } = await openQuick({ beatMs: 50, checkMs: 60_000, pingMs: 60_000 })
      const socket = await listen(url, {})
      // Paused by hand below the library, which would answer nothing but still read.
      socket.socket.pause()
      await until(() => {
        for (let index = 0; index < 5000 && socket.socket.bufferedAmount < 4_000_000; index++) socket.socket.ping('x'.repeat(120))
        return hub.sockets === 0
      }, 20_000)
      socket.close()
      expect(hub.sockets).toBe(0)
    })
  })
})
