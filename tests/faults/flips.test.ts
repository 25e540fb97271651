import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { sqliteFile } from '../../monitoring/db/open'
import { until } from '../helpers/until'
import { cycles, makeGround, randomness, signIn, startConsole, tell, type Console, type Ground } from './console'

const checks = 6

describe('a console that is killed while checks go up and down', () => {
  let ground: Ground
  let current: Console | undefined
  let target: Server
  let isUp = true
  beforeAll(async () => {
    ground = await makeGround()
    target = createServer((request, response) => {
      request.resume()
      response.statusCode = isUp ? 200 : 500
      response.end()
    })
    await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve))
  })
  afterAll(async () => {
    current?.child.kill('SIGKILL')
    await current?.ended
    target.closeAllConnections()
    target.close()
    ground.clear()
  })

  async function send(method: string, path: string, headers: Record<string, string>, body?: object): Promise<unknown> {
    const answer = await fetch(ground.url + path, {
      method,
      headers: { ...headers, 'Content-Type': 'application/json' },
      ...(body ? { body: JSON.stringify(body) } : {}),
    })
    if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${await answer.text()}`)
    return await answer.json()
  }

  /** What stands on the disk, read from a copy, so that the console finds its log as the kill left it. */
  function look<T>(read: (db: Database.Database) => T): T {
    const copy = join(ground.folder, 'copy')
    rmSync(copy, { recursive: true, force: true })
    mkdirSync(copy)
    for (const end of ['', '-wal'])
      if (existsSync(sqliteFile(ground.dataDir) + end)) cpSync(sqliteFile(ground.dataDir) + end, sqliteFile(copy) + end)
    const db = new Database(sqliteFile(copy))
    try {
      return read(db)
    } finally {
      db.close()
    }
  }

  /** Each check with its incidents and its events; a flip is all three, or none. */
  const disagreements = (ids: readonly string[]): unknown[] =>
    look((db) => {
      const count = (sql: string, id: string) => db.prepare(sql).pluck().get(id) as number
      const odd: unknown[] = ids
        .map((id) => ({
          id,
          state: db.prepare('select state from checks where id = ?').pluck().get(id) as string,
          open: count('select count(*) from incidents where check_id = ? and ended_at is null', id),
          begun: count('select count(*) from incidents where check_id = ?', id),
          ended: count(`select count(*) from incidents where check_id = ? and ended_by = 'recovered'`, id),
          down: count(`select count(*) from events where type = 'check.down' and json_extract(data, '$.check') = ?`, id),
          up: count(`select count(*) from events where type = 'check.up' and json_extract(data, '$.check') = ?`, id),
        }))
        .filter(
          ({ state, open, begun, ended, down, up }) =>
            open !== (state === 'down' ? 1 : 0) || begun !== down || ended !== up || begun !== ended + open,
        )
      const integrity = db.pragma('integrity_check', { simple: true })
      return integrity === 'ok' ? odd : [...odd, integrity]
    })

  const flips = () =>
    look((db) => db.prepare(`select count(*) from events where type in ('check.down', 'check.up')`).pluck().get() as number)

  test(
    'has at most one open incident of each, and states, incidents and events agree',
    async () => {
      const random = randomness()
      const rounds = cycles(2)
      current = await startConsole(ground)
      let headers = await signIn(ground.url)
      await send('PUT', '/api/checks/targets', headers, { allowed: ['127.0.0.0/8'] })
      const { port } = target.address() as AddressInfo
      const spec = { url: `http://127.0.0.1:${port}/` }
      const ids: string[] = []
      for (let no = 0; no < checks; no++) {
        const made = await send('POST', '/api/checks', headers, {
          ...{ name: `flip ${no}`, kind: 'http', spec, interval_s: 5, timeout_ms: 2000, retries: 0 },
        })
        ids.push((made as { id: string }).id)
      }
      let before = 0
      for (let round = 0; round < rounds; round++) {
        const state = { running: true }
        // Beside the looks of every 5 s, somebody who asks for more: nearly each of them is a flip.
        const asking = ids.map(async (id) => {
          while (state.running) {
            isUp = random() < 0.5
            await send('POST', `/api/checks/${id}/run`, headers).catch(() => undefined)
          }
        })
        // Some of each round, and then at any moment.
        await until(() => flips() >= before + checks, 60_000)
        await new Promise((resolve) => setTimeout(resolve, random() * 700))
        current.child.kill('SIGKILL')
        expect(await current.ended).toEqual({ code: null, signal: 'SIGKILL' })
        state.running = false
        await Promise.all(asking)
        expect(disagreements(ids)).toEqual([])
        before = flips()
        current = await startConsole(ground)
        headers = await signIn(ground.url)
      }
      // It goes on where it was: the looks of every 5 s end what is open.
      isUp = true
      await until(() => look((db) => db.prepare('select count(*) from incidents where ended_at is null').pluck().get() === 0), 60_000)
      current.child.kill('SIGKILL')
      await current.ended
      expect(disagreements(ids)).toEqual([])
      tell(`kill -9 in the middle of flips: ${rounds} times, ${flips()} flips of ${checks} checks, 0 disagreements`)
    },
    300_000 + cycles(0) * 20_000,
  )
})
