import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { listen } from '../helpers/app'
import { until } from '../helpers/until'
import { account, audit, cycles, isReady, makeGround, root, signIn, tell, type Ground } from './console'
import { startLoad } from './load'

describe('pm2 reload', () => {
  let ground: Ground
  const pm2 = (...words: string[]) =>
    promisify(execFile)(process.execPath, [join(root, 'node_modules/pm2/bin/pm2'), ...words], {
      cwd: root,
      env: { ...ground.env, ADMIN_PASSWORD: '', ADMIN_PASSWORD_FILE: join(ground.folder, 'password') },
    })
  const daemon = () => readFileSync(join(ground.folder, 'pm2/pm2.pid'), 'utf8').trim()
  /** The processes that PM2 keeps, as the kernel knows them. */
  const workers = () =>
    readFileSync(`/proc/${daemon()}/task/${daemon()}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('dashboard/server.js')
        } catch {
          return false
        }
      })

  beforeAll(async () => {
    ground = await makeGround()
    writeFileSync(join(ground.folder, 'password'), account.password)
    await pm2('start', 'ecosystem.config.js')
    await until(() => isReady(ground.url), 20_000)
  }, 60_000)
  afterAll(async () => {
    await pm2('kill')
    ground.clear()
  }, 30_000)

  test(
    'under load refuses nobody, cuts nobody and loses nothing; the new process is there before the old one leaves',
    async () => {
      const rounds = Math.min(cycles(1), 10)
      const headers = await signIn(ground.url)
      let events = 0
      let most = 0
      for (let round = 0; round < rounds; round++) {
        const before = workers()
        expect(before).toHaveLength(1)
        const page = await listen(`${ground.url.replace('http', 'ws')}/live?topics=events`, headers)
        const closed = new Promise<number>((resolve) => page.socket.once('close', resolve))
        const load = startLoad(ground.url, headers)
        await until(() => load.acknowledged.size > 50)
        const watch = setInterval(() => (most = Math.max(most, workers().length)), 20)
        await pm2('reload', 'ecosystem.config.js')
        clearInterval(watch)
        const afterwards = load.acknowledged.size
        await until(() => load.acknowledged.size > afterwards + 50)
        await load.stop()
        expect(await closed).toBe(1012)
        expect(Object.fromEntries(load.others)).toEqual({})
        expect(audit(ground.dataDir, load.acknowledged)).toMatchObject({ lost: [], integrity: 'ok' })
        const now = workers()
        expect(now).toHaveLength(1)
        expect(now).not.toEqual(before)
        events += load.acknowledged.size
      }
      expect(most).toBe(2)
      tell(`pm2 reload: ${rounds} times, ${events} events acknowledged, 0 lost, 0 refused, 0 cut; two processes for a moment`)
    },
    60_000 + cycles(0) * 15_000,
  )
})
