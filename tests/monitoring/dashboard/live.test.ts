import { report } from '../../../services/events'
import { listen, startApp, type Listener, type TestApp } from '../../helpers/app'
import { until } from '../../helpers/until'

const seqOf = (frame: string): string => frame.split('\n')[0] ?? ''
const paints = (target: string) => (frame: string) => frame.includes(`target="${target}"`)

describe('an open page', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp()
  })
  afterAll(() => app.close())

  const tell = (id: string) => report(app.ctx, [{ id, type: 'test', source: 'live', subject: id }])
  const painted = ({ frames }: Listener) => frames.filter(paints('latest_events'))
  /** Opened, and told where it begins. */
  async function page(query = ''): Promise<Listener> {
    const listener = await app.live('carol', `/live?topics=events${query}`)
    await listener.frame((frame) => !frame.startsWith('~'))
    return listener
  }

  test('gets the part that changed, painted, with the number of the change', async () => {
    const carol = await page()
    await tell('a-change')
    const frame = await carol.frame((frame) => frame.includes('a-change'))
    expect(seqOf(frame)).toBe(String(app.hub.seq()))
    expect(frame).toContain('<turbo-stream action="replace" method="morph" target="latest_events">')
  })

  test('hears of one commit once, at once, and of many in quick succession at most four times a second', async () => {
    await new Promise((resolve) => setTimeout(resolve, 260))
    const carol = await page()
    const from = performance.now()
    await tell('first')
    await carol.frame((frame) => frame.includes('first'))
    expect(performance.now() - from).toBeLessThan(200)
    for (let index = 0; index < 40; index++) await tell(`quick-${index}`)
    await carol.frame((frame) => frame.includes('quick-39'))
    const seconds = (performance.now() - from) / 1000
    expect(painted(carol).length).toBeLessThanOrEqual(2 + Math.ceil(seconds * 4))
    expect(painted(carol).length).toBeGreaterThanOrEqual(2)
  })

  test('that was away gets what it missed in one frame, and nothing when it missed nothing', async () => {
    const carol = await page()
    carol.close()
    const since = app.hub.seq()
    await tell('missed-1')
    await tell('missed-2')
    await app.hub.drain()
    const back = await page(`&since=${since}`)
    const [frame = ''] = back.frames
    expect(seqOf(frame)).toBe(String(app.hub.seq()))
    expect(frame).toContain('missed-1')
    expect(frame).toContain('missed-2')
    expect(painted(back)).toHaveLength(1)
    const up = await page(`&since=${app.hub.seq()}`)
    expect(up.frames[0]).toBe(`${app.hub.seq()}\n`)
  })

  test('that missed too much, or whose number nobody knows any more, is told to refresh', async () => {
    const since = app.hub.seq()
    await app.ctx.transaction((ctx) => {
      for (let index = 0; index < 501; index++) ctx.changed('events', `none-${index}`)
      return Promise.resolve()
    })
    await app.hub.drain()
    expect((await page(`&since=${since}`)).frames[0]).toBe('!refresh')
    expect((await page('&since=999999999')).frames[0]).toBe('!refresh')
  })

  test('comes back in a crowd, and each of them has what was missed and goes on with what follows', async () => {
    const since = app.hub.seq()
    await tell('before-the-crowd')
    const crowd = await Promise.all(Array.from({ length: 100 }, () => page(`&since=${since}`)))
    await tell('after-the-crowd')
    for (const one of crowd) {
      await one.frame((frame) => frame.includes('before-the-crowd'))
      await one.frame((frame) => frame.includes('after-the-crowd'))
    }
    expect(app.hub.sockets).toBeGreaterThanOrEqual(100)
    for (const one of crowd) one.close()
    await until(() => app.hub.sockets < 100)
  })

  test('that cannot have a socket asks for the same parts', async () => {
    const carol = await app.as('carol')
    const since = app.hub.seq()
    const nothing = await carol.get(`/live/poll?topics=events&since=${since}`).expect(200)
    expect(nothing.text).toBe(`${since}\n`)
    const socket = await page()
    await tell('polled')
    const frame = await socket.frame((frame) => frame.includes('polled'))
    const polled = await carol.get(`/live/poll?topics=events&since=${since}`).expect(200)
    expect(polled.text).toBe(frame)
    await carol.get('/live/poll?topics=nonsense').expect(400)
    const nobody = await app.as(null)
    await nobody.get('/live/poll?topics=events').expect(401)
  })

  test('has a pulse that tells the time of the server', async () => {
    const carol = await page()
    const beat = await carol.frame((frame) => frame.startsWith('~'))
    expect(Math.abs(Number(beat.slice(1)) - app.ctx.now())).toBeLessThan(2000)
  })

  test('gets transient parts without a number, and they are not stored', async () => {
    const carol = await app.live('carol', '/live?topics=health.now')
    const { db } = app.ctx
    const count = async () => (await db.selectFrom('changes').select('seq').execute()).length
    const before = await count()
    await until(() => {
      app.platform.publish('health.now', 'home', 'now')
      return carol.frames.some((frame) => frame.startsWith('\n<turbo-stream'))
    })
    expect(await count()).toBe(before)
  })

  test('of an organisation never sees what happens in another one', async () => {
    const dave = await app.live('dave', '/live?topics=events')
    const carol = await page()
    const api = app.basic('dave')
    await tell('of-home')
    await carol.frame((frame) => frame.includes('of-home'))
    // Not even that something happened.
    expect(painted(dave)).toEqual([])
    await api
      .post('/api/events')
      .send({ events: [{ id: 'of-other', type: 'test', source: 'dave', subject: 'of-other' }] })
      .expect(201)
    await dave.frame((frame) => frame.includes('of-other'))
    expect(dave.frames.join()).not.toContain('of-home')
    expect(carol.frames.join()).not.toContain('of-other')
    const polled = await (await app.as('dave')).get('/live/poll?topics=events&since=0')
    expect(polled.text).not.toContain('of-home')
  })

  test('shows buttons only to those who may press them, in the same change', async () => {
    await app.ctx.db
      .insertInto('processes')
      .values({
        id: 'vm:1',
        org_id: 'home',
        host: 'vm',
        pm_id: 1,
        name: 'web',
        status: 'online',
        mode: 'fork',
        restarts: 0,
        seen_at: 0,
      } as never)
      .execute()
    const [bob, carol] = [await app.live('bob', '/live?topics=processes'), await app.live('carol', '/live?topics=processes')]
    await app.ctx.transaction((ctx) => {
      ctx.changed('processes', 'vm:1')
      return Promise.resolve()
    })
    const isRow = (frame: string) => frame.includes('web')
    expect(await bob.frame(isRow)).toContain('/restart')
    expect(await carol.frame(isRow)).not.toContain('/restart')
  })

  test('is told to come back when the console leaves', async () => {
    const leaving = await startApp()
    const { cookie } = await leaving.as('carol')
    const socket = await listen(`${leaving.url.replace('http', 'ws')}/live?topics=events`, { Cookie: cookie ?? '', Origin: leaving.url })
    const closed = new Promise<number>((resolve) => socket.socket.once('close', resolve))
    await leaving.close()
    expect(await closed).toBe(1012)
    expect(socket.frames.at(-1)).toMatch(/^!bye \d+$/)
  })
})
