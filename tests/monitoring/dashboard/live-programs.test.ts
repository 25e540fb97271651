import { report } from '../../../services/events'
import { startApp, type Listener, type TestApp } from '../../helpers/app'
import { until } from '../../helpers/until'

interface Frame {
  seq: number | null
  hello?: boolean
  missed_too_much?: boolean
  changes?: { topic: string; items: { id: string }[] }[]
}

describe('a program that follows events', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp()
  })
  afterAll(() => app.close())

  const follow = (query = '') => app.live('carol', `/ws/events?topics=events${query}`)
  const framesOf = ({ frames }: Listener) => frames.map((frame) => JSON.parse(frame) as Frame)
  const idsOf = (listener: Listener) =>
    framesOf(listener).flatMap(({ changes = [] }) => changes.flatMap(({ items }) => items.map(({ id }) => id)))
  const tell = (...ids: string[]) =>
    report(
      app.ctx,
      ids.map((id) => ({ id, type: 'test', source: 'programs' })),
    )

  test('is greeted with where it begins, and gets one frame of JSON per commit, as the API gives them', async () => {
    const program = await follow()
    await program.frame((frame) => frame.includes('hello'))
    expect(framesOf(program)[0]).toEqual({ seq: app.hub.seq(), hello: true, missed_too_much: false })
    await tell('one', 'two', 'three')
    await program.frame((frame) => frame.includes('three'))
    const [, frame] = framesOf(program)
    expect(frame?.seq).toBe(app.hub.seq())
    const listed = await app.basic('carol').get('/api/events?limit=3')
    expect(frame?.changes).toEqual([{ topic: 'events', items: (listed.body as { items: unknown[] }).items.reverse() }])
  })

  test('that was away gets every event that it missed once, in order, and then what follows, while others write all the time', async () => {
    const since = app.hub.seq()
    const sent: string[] = []
    const state = { writing: true }
    const writer = (async () => {
      for (let index = 0; state.writing; index++) {
        sent.push(`busy-${index}`)
        await tell(`busy-${index}`)
      }
    })()
    await until(() => sent.length > 60)
    const program = await follow(`&since=${since}`)
    await until(() => sent.length > 120)
    state.writing = false
    await writer
    await until(() => idsOf(program).includes(sent.at(-1) ?? ''))
    expect(idsOf(program)).toEqual(sent)
    const numbers = framesOf(program).map(({ seq }) => seq ?? 0)
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
    expect(numbers[0]).toBe(since)
  })

  test('that breaks off in the middle of catching up can go on from the last number it got', async () => {
    const since = app.hub.seq()
    const sent = Array.from({ length: 35 }, (_, index) => `step-${index}`)
    for (const id of sent) await tell(id)
    await app.hub.drain()
    const first = await follow(`&since=${since}`)
    await first.frame((frame) => frame.includes('step-0'))
    first.close()
    const half = framesOf(first).at(-1)?.seq ?? 0
    const second = await follow(`&since=${half}`)
    await until(() => idsOf(second).includes('step-34') || half === app.hub.seq())
    expect([...idsOf(first), ...idsOf(second)]).toEqual(sent)
  })

  test('is told when it missed too much, and follows from there', async () => {
    const since = app.hub.seq()
    await app.ctx.transaction((ctx) => {
      for (let index = 0; index < 501; index++) ctx.changed('events', `0-${-index}`)
      return Promise.resolve()
    })
    await app.hub.drain()
    const program = await follow(`&since=${since}`)
    await program.frame((frame) => frame.includes('hello'))
    expect(framesOf(program)[0]).toEqual({ seq: app.hub.seq(), hello: true, missed_too_much: true })
    await tell('after-too-much')
    await program.frame((frame) => frame.includes('after-too-much'))
  })
})
