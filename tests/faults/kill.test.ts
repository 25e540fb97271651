import { audit, cycles, makeGround, randomness, signIn, startConsole, tell, type Console, type Ground } from './console'
import { startLoad } from './load'

describe('a console that is killed at any moment', () => {
  let ground: Ground
  let current: Console | undefined
  beforeAll(async () => {
    ground = await makeGround()
  })
  afterAll(async () => {
    current?.child.kill('SIGKILL')
    await current?.ended
    ground.clear()
  })

  test(
    'has every acknowledged event when it is back, none twice, and a whole database',
    async () => {
      const random = randomness()
      const rounds = cycles(4)
      current = await startConsole(ground)
      const load = startLoad(ground.url, await signIn(ground.url))
      const ready: number[] = []
      for (let round = 0; round < rounds; round++) {
        const before = load.acknowledged.size
        await new Promise((resolve) => setTimeout(resolve, 300 + random() * 900))
        current.child.kill('SIGKILL')
        expect(await current.ended).toEqual({ code: null, signal: 'SIGKILL' })
        const acknowledged = new Set(load.acknowledged)
        current = await startConsole(ground)
        ready.push(current.readyMs)
        // Something was stored in each round, so that there was something to lose.
        expect(acknowledged.size).toBeGreaterThan(before)
        expect(audit(ground.dataDir, acknowledged)).toMatchObject({ lost: [], twice: 0, integrity: 'ok' })
      }
      await load.stop()
      const found = audit(ground.dataDir, load.acknowledged)
      expect(found).toMatchObject({ lost: [], twice: 0, integrity: 'ok' })
      ready.sort((a, b) => a - b)
      tell(
        `kill -9: ${rounds} times, ${load.acknowledged.size} events acknowledged, ${found.lost.length} lost, ${found.twice} twice; ` +
          `ready again after ${Math.round(ready[ready.length >> 1] ?? 0)} ms (median), ${Math.round(ready.at(-1) ?? 0)} ms (longest)`,
      )
    },
    60_000 + cycles(0) * 6000,
  )
})
