import { Unavailable } from '../../../monitoring/errors'
import { listen, startApp, type TestApp } from '../../helpers/app'
import { until } from '../../helpers/until'
import { openQuickHub, type QuickHub } from './quick-hub'

function gated(): { passed: Promise<void>; open: () => void } {
  let open: () => void = () => undefined
  const passed = new Promise<void>((resolve) => (open = resolve))
  return {
    passed,
    open: () => {
      open()
    },
  }
}

describe('painting what changed', () => {
  let app: TestApp
  let quick: QuickHub
  beforeAll(async () => {
    app = await startApp()
  })
  afterEach(() => quick.close())
  afterAll(() => app.close())

  const change = (topic: string, subject: string) =>
    app.ctx.transaction((ctx) => {
      ctx.changed(topic, subject)
      return Promise.resolve()
    })

  test('frames leave in the order of their numbers, also when an earlier one takes longer to paint', async () => {
    const gate = gated()
    quick = await openQuickHub(app, {
      work: {
        data: async (_ctx, subjects) => {
          if (subjects.includes('slow')) await gate.passed
          return subjects
        },
      },
    })
    const program = await listen(`${quick.url}/ws/events?topics=work`, {})
    await program.frame((frame) => frame.includes('hello'))
    await change('work', 'slow')
    await quick.hub.drain()
    await change('work', 'quick')
    await quick.hub.drain()
    // A round trip: had the quick one been sent, it would be here.
    const pong = new Promise((resolve) => program.socket.once('pong', resolve))
    program.socket.ping()
    await pong
    gate.open()
    await program.frame((frame) => frame.includes('quick'))
    const frames = program.frames.slice(1).map((frame) => JSON.parse(frame) as { seq: number; changes: { items: string[] }[] })
    expect(frames.map(({ changes }) => changes[0]?.items)).toEqual([['slow'], ['quick']])
    expect(frames[0]?.seq).toBeLessThan(frames[1]?.seq ?? 0)
    program.close()
  })

  test('what follows waits until a slow reader has got what it missed', async () => {
    const filler = 'x'.repeat(500_000)
    quick = await openQuickHub(app, {
      work: { data: (_ctx, subjects) => Promise.resolve(subjects.map((subject) => ({ subject, filler }))) },
    })
    const since = quick.hub.seq()
    for (let index = 0; index < 60; index++) await change('work', `missed-${index}`)
    await quick.hub.drain()
    const program = await listen(`${quick.url}/ws/events?topics=work&since=${since}`, {})
    program.socket.pause()
    await change('work', 'live')
    await quick.hub.drain()
    program.socket.resume()
    await program.frame((frame) => frame.includes('"live"'))
    const subjects = program.frames.join().match(/(?<="subject":")[\w-]+/g)
    expect(subjects).toEqual([...Array.from({ length: 60 }, (_, index) => `missed-${index}`), 'live'])
    program.close()
  })

  test('a page that comes back while a change waits for its turn gets it once', async () => {
    quick = await openQuickHub(app, { work: { paint: (_ctx, subjects) => Promise.resolve(subjects.join()) } })
    const first = await listen(`${quick.url}/live?topics=work`, {})
    await first.frame((frame) => /^\d+\n$/.test(frame))
    const since = quick.hub.seq()
    await change('work', 'at-once')
    await quick.hub.drain()
    await change('work', 'waiting')
    await quick.hub.drain()
    const second = await listen(`${quick.url}/live?topics=work&since=${since}`, {})
    await first.frame((frame) => frame.includes('waiting'))
    await change('work', 'end')
    await second.frame((frame) => frame.includes('end'))
    expect(second.frames.filter((frame) => frame.includes('waiting'))).toHaveLength(1)
    first.close()
    second.close()
  })

  test('a topic that throws does not keep the others back, and what the database could not give comes later, without a number before', async () => {
    app.expectLog(/a live part could not be painted/)
    let away = true
    quick = await openQuickHub(app, {
      poisoned: { data: () => Promise.reject(new Error('poison')) },
      away: { data: (_ctx, subjects) => (away ? Promise.reject(new Unavailable('The database', 'away')) : Promise.resolve(subjects)) },
      healthy: { data: (_ctx, subjects) => Promise.resolve(subjects) },
    })
    const program = await listen(`${quick.url}/ws/events?topics=poisoned,away,healthy`, {})
    await program.frame((frame) => frame.includes('hello'))
    await app.ctx.transaction((ctx) => {
      for (const topic of ['poisoned', 'away', 'healthy']) ctx.changed(topic, 'x')
      return Promise.resolve()
    })
    const frame = await program.frame((frame) => frame.includes('healthy'))
    expect(JSON.parse(frame)).toEqual({
      seq: null,
      changes: [
        { topic: 'poisoned', items: [], missed_too_much: true },
        { topic: 'healthy', items: ['x'] },
      ],
    })
    away = false
    const later = await program.frame((frame) => frame.includes('"away"'))
    expect(JSON.parse(later)).toEqual({ seq: quick.hub.seq(), changes: [{ topic: 'away', items: ['x'] }] })
    program.close()
  })

  test('of a transient topic, only the newest is painted when painting takes longer than it is worth', async () => {
    let painted = 0
    const gate = gated()
    quick = await openQuickHub(app, {
      'work.now': {
        paint: async () => {
          painted += 1
          await gate.passed
          return `<p>${painted}</p>`
        },
      },
    })
    const page = await listen(`${quick.url}/live?topics=work.now`, {})
    await page.frame((frame) => /^\d+\n$/.test(frame))
    for (let index = 0; index < 100; index++) quick.hub.publish('work.now', 'home', 'now')
    gate.open()
    await until(() => page.frames.some((frame) => frame === '\n<p>2</p>'))
    expect(painted).toBe(2)
    page.close()
  })

  test('a transient topic rests between two rounds, whatever is published meanwhile, and loses nothing of it', async () => {
    const rounds: { at: number; subjects: readonly string[] }[] = []
    quick = await openQuickHub(app, {
      'work.now': {
        paint: (_ctx, subjects) => {
          rounds.push({ at: performance.now(), subjects })
          return Promise.resolve(`<p>${subjects.join()}</p>`)
        },
      },
      'other.now': { paint: () => Promise.resolve('<p>other</p>') },
    })
    const page = await listen(`${quick.url}/live?topics=work.now,other.now`, {})
    await page.frame((frame) => /^\d+\n$/.test(frame))
    for (let index = 0; index < 40; index++) {
      quick.hub.publish('work.now', 'home', `check-${index}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
      // Another topic does not wait for this one's rest.
      if (index === 5) quick.hub.publish('other.now', 'home', 'now')
    }
    await page.frame((frame) => frame.includes('check-39'))
    expect(page.frames.indexOf('\n<p>other</p>')).toBe(page.frames.findIndex((frame) => frame.includes('check-1,')) - 1)
    expect(rounds.flatMap(({ subjects }) => subjects)).toEqual(Array.from({ length: 40 }, (_, index) => `check-${index}`))
    const rests = rounds.slice(1).map(({ at }, index) => at - (rounds[index]?.at ?? 0))
    expect(Math.min(...rests)).toBeGreaterThanOrEqual(245)
    page.close()
  })
})
