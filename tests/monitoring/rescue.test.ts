import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readConfig } from '../../monitoring/config'
import { openRescue, type Rescue } from '../../monitoring/dashboard/rescue'
import { openLog } from '../../monitoring/log'
import { stepsOf } from '../../monitoring/rescue/space'
import { troubleOf, type Trouble } from '../../monitoring/rescue/trouble'

let folder: string
let rescue: Rescue | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'oc-rescue-'))
})
afterEach(async () => {
  await rescue?.close()
  rescue = undefined
  rmSync(folder, { recursive: true })
})

const place = () => ({ dataDir: folder, databaseUrl: null })
const withCode = (code: string, message = code, cause?: unknown) => Object.assign(new Error(message, { cause }), { code })
const full = (): Trouble => {
  const trouble = troubleOf(withCode('ENOSPC', 'no space left on device'), place())
  if (!trouble) throw new Error('This is a trouble')
  return trouble
}

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => {
        resolve(port)
      })
    })
  })

async function open(trouble: Trouble, retry: () => Promise<Trouble | null>, env: Readonly<Record<string, string>> = {}) {
  const links: string[] = []
  const config = readConfig({ DATA_DIR: folder, PORT: String(await freePort()), HOST: '127.0.0.1', ...env }, '/nonexistent/.env')
  const opened = openRescue({
    ...{ config, log: openLog('silent'), now: () => Date.now(), version: '1', trouble, logs: [], retry, everyMs: 50 },
    announce: (link) => links.push(link),
  })
  rescue = opened
  const url = await opened.listen()
  const send = (path: string, fields: Record<string, string>, cookie = '', headers: Readonly<Record<string, string>> = {}) =>
    fetch(url + path, {
      method: 'POST',
      headers: { Origin: url, Cookie: cookie, ...headers },
      body: new URLSearchParams(fields),
      redirect: 'manual',
    })
  return { url, links, send, opened }
}

const tokenOf = (link = '') => new URL(link).searchParams.get('token') ?? ''

test('the same error of SQLite is a full disk or a closed folder, as the file system says; what is no trouble of storage is none', () => {
  expect(full().kind).toBe('full')
  expect(troubleOf(withCode('SQLITE_CANTOPEN'), place())?.kind).toBe('denied')
  expect(troubleOf(new Error('wrapped', { cause: withCode('SQLITE_FULL') }), place())?.kind).toBe('full')
  expect(troubleOf(withCode('SQLITE_BUSY'), place())?.kind).toBe('locked')
  expect(troubleOf(withCode('SQLITE_ERROR', 'no such table: users'), place())?.kind).toBe('damaged')
  expect(troubleOf(withCode('ECONNREFUSED'), { ...place(), databaseUrl: 'postgres://localhost/oc' })?.kind).toBe('unreachable')
  expect(troubleOf(withCode('EADDRINUSE'), place())).toBeNull()
  expect(troubleOf(new TypeError('a mistake of ours'), place())).toBeNull()
})

test('a link is good once, and guessing is slowed', async () => {
  const { url, links, send } = await open(full(), () => Promise.resolve(full()))
  const token = tokenOf(links[0])
  // Looked at as often as anybody likes, by programs that open links in messages.
  for (let index = 0; index < 3; index++) expect((await fetch(`${url}/rescue?token=${token}`)).status).toBe(200)
  const inside = await send('/rescue', { token })
  expect([inside.status, inside.headers.get('set-cookie')]).toEqual([303, expect.stringContaining('HttpOnly; SameSite=Strict')])
  expect((await send('/rescue', { token })).status).toBe(403)
  expect(links).toHaveLength(2)
  expect(tokenOf(links[1])).not.toBe(token)
  const other = await fetch(`${url}/rescue`, {
    method: 'POST',
    headers: { Origin: 'https://evil.example' },
    body: new URLSearchParams({ token: tokenOf(links[1]) }),
  })
  expect(other.status).toBe(403)
  const answers = []
  for (let index = 0; index < 40; index++) answers.push((await fetch(`${url}/rescue?token=guess-${index}`)).status)
  expect(answers.slice(-5)).toEqual([429, 429, 429, 429, 429])
  expect((await send('/rescue', { token: 'guess' })).status).toBe(429)
})

test('whoever guesses keeps nobody out: the right link works meanwhile, and each that is used up is followed by another', async () => {
  const { url, links, send } = await open(full(), () => Promise.resolve(full()), { TRUST_PROXY: 'loopback' })
  const guess = async (address: string, count: number) => {
    let last = 0
    for (let index = 0; index < count; index++)
      last = (await fetch(`${url}/rescue?token=guess-${index}`, { headers: { 'X-Forwarded-For': address } })).status
    return last
  }
  expect(await guess('203.0.113.7', 40)).toBe(429)
  // Somebody else may still mistype.
  expect(await guess('203.0.113.8', 1)).toBe(403)
  for (const from of ['203.0.113.7', '203.0.113.8']) {
    const token = tokenOf(links.at(-1))
    expect((await fetch(`${url}/rescue?token=${token}`, { headers: { 'X-Forwarded-For': from } })).status).toBe(200)
    const before = links.length
    const inside = await send('/rescue', { token }, '', { 'X-Forwarded-For': from })
    expect([inside.status, inside.headers.get('set-cookie')]).toEqual([303, expect.stringContaining('HttpOnly')])
    expect(links).toHaveLength(before + 1)
    expect(tokenOf(links.at(-1))).not.toBe(token)
  }
})

test('a task is only what is offered: no name leads to another file', async () => {
  writeFileSync(join(folder, 'server-secret'), 'x'.repeat(40))
  const { links, send } = await open(full(), () => Promise.resolve(full()))
  const cookie = (await send('/rescue', { token: tokenOf(links[0]) })).headers.get('set-cookie')?.split(';')[0] ?? ''
  for (const path of [
    '/rescue/steps/..%2Fserver-secret',
    '/rescue/copies/server-secret',
    '/rescue/copies/..%2F..%2Fetc%2Fpasswd',
    '/rescue/copies/%E0%A4%A',
    '/rescue/steps/constructor',
    '/rescue/begin',
    '/rescue/anything',
  ])
    expect([path, (await send(path, { word: 'restore' }, cookie)).status]).toEqual([path, 404])
})

test('what passes by itself is tried again until it has passed; what does not is not', async () => {
  let left = 3
  const { opened } = await open(full(), () => Promise.resolve(left-- > 0 ? full() : null))
  await opened.over
  expect(left).toBe(-1)
  await opened.close()
  const damaged = troubleOf(withCode('SQLITE_NOTADB'), place())
  let tries = 0
  const still = await open(damaged ?? full(), () => {
    tries += 1
    return Promise.resolve(damaged)
  })
  await fetch(`${still.url}/livez`)
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(tries).toBe(0)
})

test('each step says its bytes, and leaves everything else as it is', async () => {
  writeFileSync(join(folder, 'operations-center.db.before-0002_people'), Buffer.alloc(5000))
  writeFileSync(join(folder, 'operations-center.db.before-0003_health'), Buffer.alloc(7000))
  writeFileSync(join(folder, 'operations-center.db.before-0004_x.part'), Buffer.alloc(900))
  const log = join(folder, 'out.log')
  writeFileSync(log, 'a line of the log\n'.repeat(10_000))
  const steps = stepsOf({ dataDir: folder, logs: [log], trouble: full(), now: Date.now() })
  expect(steps.map(({ id, bytes }) => [id, bytes])).toEqual([
    ['leftovers', 900],
    ['copies', expect.any(Number)],
    ['own-logs', 180_000 - 65_536],
    ['copy', expect.any(Number)],
  ])
  for (const { id, run } of steps) if (id !== 'copy') await run()
  expect(stepsOf({ dataDir: folder, logs: [log], trouble: full(), now: Date.now() }).map(({ id }) => id)).toEqual(['copy'])
})
