import { listen, type Listener } from '../helpers/app'
import { audit, cycles, launch, makeGround, randomness, signIn, startConsole, tell, type Console, type Ground } from './console'
import { startLoad } from './load'

describe('a console that is asked to leave', () => {
  let ground: Ground
  let current: Console | undefined
  beforeEach(async () => {
    ground = await makeGround()
  })
  afterEach(async () => {
    current?.child.kill('SIGKILL')
    await current?.ended
    ground.clear()
  })

  test(
    'under load answers what was sent, closes its sockets with 1012, loses nothing, and is gone within ten seconds',
    async () => {
      const random = randomness()
      const rounds = Math.min(cycles(1), 20)
      const took: number[] = []
      let events = 0
      for (let round = 0; round < rounds; round++) {
        current = await startConsole(ground)
        const headers = await signIn(ground.url)
        const sockets: Listener[] = []
        for (const path of ['/live?topics=events', '/ws/events?topics=events'])
          sockets.push(await listen(`${ground.url.replace('http', 'ws')}${path}`, headers))
        const closes = sockets.map(({ socket }) => new Promise<number>((resolve) => socket.once('close', resolve)))
        // One that answers nothing any more, as a phone without network: it must not hold the process.
        const silent = await listen(`${ground.url.replace('http', 'ws')}/live?topics=events`, headers)
        silent.socket.pause()
        const load = startLoad(ground.url, headers)
        await new Promise((resolve) => setTimeout(resolve, 500 + random() * 700))
        const from = performance.now()
        current.child.kill('SIGTERM')
        expect(await current.ended).toEqual({ code: 0, signal: null })
        took.push(performance.now() - from)
        expect(await Promise.all(closes)).toEqual([1012, 1012])
        expect(sockets[0]?.frames.some((frame) => frame.startsWith('!bye '))).toBe(true)
        silent.close()
        const done = load.stop()
        // Refused afterwards, as there is no other process; but nothing that was sent went without an answer.
        await done
        expect([...load.others.keys()].filter((what) => what !== 'refused')).toEqual([])
        expect(load.acknowledged.size).toBeGreaterThan(0)
        expect(audit(ground.dataDir, load.acknowledged)).toMatchObject({ lost: [], integrity: 'ok' })
        expect(current.output()).not.toMatch(/"level":[56]0/)
        events += load.acknowledged.size
      }
      expect(Math.max(...took)).toBeLessThan(10_000)
      tell(
        `SIGTERM: ${rounds} times, ${events} events acknowledged, 0 lost, 0 cut; gone after ${Math.round(Math.max(...took))} ms at the longest`,
      )
    },
    60_000 + cycles(0) * 6000,
  )

  test('a second console in the same data folder refuses to start, says who is there, and disturbs nobody', async () => {
    current = await startConsole(ground)
    const second = launch(ground, { PORT: '0' })
    expect((await second.ended).code).toBe(1)
    expect(second.output()).toContain(`another console (process ${current.child.pid ?? 0}) already works in ${ground.dataDir}`)
    expect((await fetch(`${ground.url}/healthz`)).status).toBe(200)
    // One that was killed leaves no lock behind.
    current.child.kill('SIGKILL')
    await current.ended
    current = await startConsole(ground)
  })
})
