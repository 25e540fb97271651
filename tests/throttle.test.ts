import { Worker } from 'node:worker_threads'
import { getRounds } from 'bcrypt'
import type { Response } from 'supertest'
import { hashPassword, matchesPassword } from '../services/accounts/passwords'
import { listen, password, startApp, type TestApp } from './helpers/app'

let app: TestApp
beforeEach(async () => {
  app = await startApp({ env: { TRUST_PROXY: 'loopback' } })
})
afterEach(async () => {
  jest.restoreAllMocks()
  await app.close()
})

/** One try, from an address; answers the status. */
const byForm = async (username: string, given: string, from: string) =>
  (await app.as(null)).post('/sign-in').set('X-Forwarded-For', from).type('form').send({ username, password: given })
const basicOf = (username: string, given: string) => `Basic ${Buffer.from(`${username}:${given}`).toString('base64')}`
const byBasic = async (username: string, given: string, from: string) =>
  (await app.as(null)).get('/api/health').set({ 'X-Forwarded-For': from, Authorization: basicOf(username, given) })
const bySocket = (username: string, given: string, from: string): Promise<number> =>
  listen(`${app.url.replace('http', 'ws')}/ws/events?topics=events`, {
    'X-Forwarded-For': from,
    Authorization: basicOf(username, given),
  }).then(
    (listener) => {
      listener.close()
      return 101
    },
    (error: unknown) => Number(/\d+$/.exec((error as Error).message)?.[0]),
  )
/** The hashes that passwords are compared with from now on, in the thread that does it. */
function watchComparisons(): () => string[] {
  const asked = jest.spyOn(Worker.prototype, 'postMessage')
  return () => asked.mock.calls.flatMap(([message]) => (message as { question?: { hash?: string } }).question?.hash ?? [])
}
/** From now on only `advance` moves it: what a slow machine takes for comparing is not what these tests count. */
function stopClock(): void {
  jest.spyOn(Date, 'now').mockReturnValue(Date.now())
}
/** Goes on until the wait is so long that this test cannot outlast it. */
async function lockOut(once: (i: number) => Promise<Response>): Promise<void> {
  for (let i = 0; i < 40; i++) {
    const { status, text } = await once(i)
    const wait = Number(/Try again in (\d+) s/.exec(text)?.[1] ?? 0)
    if (status === 429 && wait > 30) return
    if (status === 429) app.advance(wait * 1000)
  }
  throw new Error('Nobody was slowed down')
}

test('wrong tries of one account are slowed to ten a minute from one network, by whatever way they come', async () => {
  const ways = [
    async (from: string) => (await byForm('alice', 'wrong', from)).status,
    async (from: string) => (await byBasic('ALICE', 'wrong', from)).status,
    (from: string) => bySocket('alice ', 'wrong', from),
  ]
  const answers: number[] = []
  const start = app.ctx.now()
  for (let i = 0; app.ctx.now() - start < 60_000; i++) {
    const status = (await ways[i % 3]?.('10.0.0.1')) ?? 0
    answers.push(status)
    if (status === 429) app.advance(700)
  }
  expect(new Set(answers)).toEqual(new Set([401, 429]))
  const tries = answers.filter((status) => status === 401).length
  expect(tries).toBeGreaterThanOrEqual(5)
  expect(tries).toBeLessThanOrEqual(10)
  expect(answers.slice(0, 4)).toEqual([401, 401, 401, 401])

  // Also the right password has to wait, else its refusal would tell that it is the right one.
  const [form, basic] = [await byForm('alice', password, '10.0.0.1'), await byBasic('alice', password, '10.0.0.1')]
  expect([form.status, basic.status, await bySocket('alice', password, '10.0.0.1')]).toEqual([429, 429, 429])
  const wait = Number(basic.headers['retry-after'])
  expect(wait).toBeGreaterThan(0)
  expect(wait).toBeLessThanOrEqual(60)
  expect(form.text).toMatch(/Try again in \d+ s/)
  app.advance(wait * 1000)
  expect((await byForm('alice', password, '10.0.0.1')).status).toBe(303)
})

test('tries at once are counted before they are compared', async () => {
  const comparisons = watchComparisons()
  const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => byForm('alice', `guess ${i}`, '10.0.0.1')))
  expect(answers.filter(({ status }) => status === 429)).toHaveLength(7)
  expect(comparisons()).toHaveLength(5)
})

// From networks that are new to an account: 20 tries at once at the most, one more each 6 s, the last 10 for those that have not failed.
test('tries at one account from many networks are slowed to thirty in the first minute, and to ten in each one afterwards', async () => {
  stopClock()
  const comparisons = watchComparisons()
  const many = (from: number, count: number) =>
    Promise.all(Array.from({ length: count }, (_, i) => byForm('alice', `guess ${i}`, `10.${from}.${i}.1`)))
  await many(0, 30)
  expect(comparisons()).toHaveLength(20)
  for (const minute of [1, 2]) {
    for (let i = 1; i <= 5; i++) {
      app.advance(12_000)
      await many(minute * 10 + i, 4)
    }
    expect(comparisons()).toHaveLength(20 + minute * 10)
  }

  // Nobody is refused for longer than until there is the next one.
  const refused = await byForm('alice', password, '10.200.0.1')
  expect([refused.status, refused.headers['retry-after']]).toEqual([429, '6'])
  app.advance(6000)
  expect((await byForm('alice', password, '10.200.0.1')).status).toBe(303)
}, 60_000)

test('who goes on trying from the same networks leaves the owner theirs, also where they have not been before', async () => {
  stopClock()
  const comparisons = watchComparisons()
  const networks = [1, 2, 3, 4, 5, 6].flatMap((network) => Array.from({ length: 5 }, () => `10.9.${network}.1`))
  for (let i = 0; i < 10; i++) {
    await Promise.all(networks.map((from) => byForm('alice', 'wrong', from)))
    app.advance(1000)
  }
  expect(comparisons().length).toBeLessThan(15)
  expect((await byForm('alice', password, '10.0.0.1')).status).toBe(303)
}, 60_000)

test('guessed links count with wrong passwords from the same address, and one that is right works', async () => {
  stopClock()
  const [alice, nobody] = [await app.as('alice'), await app.as(null)]
  const from = '203.0.113.7'
  const guess = [
    (i: number) => nobody.get(`/invite?token=guess-${i}`),
    (i: number) =>
      nobody
        .post('/invite')
        .type('form')
        .send({ token: `guess-${i}`, username: 'mallory', password }),
    (i: number) => nobody.get(`/reset?token=guess-${i}`),
    (i: number) =>
      nobody
        .post('/reset')
        .type('form')
        .send({ token: `guess-${i}`, password, repeat: password }),
  ]
  const statuses: number[] = []
  for (let i = 0; i < 24; i++) statuses.push((await (guess[i % 4]?.(i) ?? nobody.get('/')).set('X-Forwarded-For', from)).status)
  expect(statuses).toEqual([...Array<number>(21).fill(404), 429, 429, 429])
  expect((await byForm('nobody', 'wrong', from)).status).toBe(429)
  const refused = await nobody.get('/invite?token=guess').set('X-Forwarded-For', from)
  expect([refused.headers['retry-after'], refused.text.includes('Try again in 2 s.')]).toEqual(['2', true])

  const made = await alice.post('/api/invites').send({ role: 'viewer' })
  const { pathname, search, searchParams } = new URL((made.body as { link: string }).link)
  for (const address of [from, '203.0.113.8'])
    expect((await nobody.get(pathname + search).set('X-Forwarded-For', address)).status).toBe(200)
  const accepted = await nobody
    .post('/invite')
    .set('X-Forwarded-For', '203.0.113.8')
    .type('form')
    .send({ token: searchParams.get('token'), username: 'newcomer', password: 'a password of one’s own' })
  expect([accepted.status, accepted.headers['location']]).toEqual([303, '/'])

  // A link that was one is nobody's guess, and neither is none at all.
  for (let i = 0; i < 25; i++)
    for (const path of [pathname + search, '/invite', '/reset'])
      expect([404, 410]).toContain((await nobody.get(path).set('X-Forwarded-For', '203.0.113.9')).status)
  expect((await byForm('alice', password, '203.0.113.9')).status).toBe(303)
})

test('a person is not locked out from where they have signed in before', async () => {
  expect((await byForm('alice', password, '10.0.0.1')).status).toBe(303)
  expect((await byBasic('alice', password, '10.0.0.2')).status).toBe(200)
  stopClock()
  await lockOut(() => byForm('alice', 'wrong', '10.9.9.9'))
  await Promise.all(Array.from({ length: 30 }, (_, i) => byForm('alice', 'wrong', `10.8.${i}.1`)))
  expect((await byForm('alice', password, '10.9.9.8')).status).toBe(429)
  for (const address of ['10.0.0.1', '10.0.0.2']) expect((await byForm('alice', password, address)).status).toBe(303)
  // And signing in there does not give the stranger new tries.
  expect((await byForm('alice', 'wrong', '10.9.9.9')).status).toBe(429)
  expect((await byForm('alice', 'wrong', '10.9.9.8')).status).toBe(429)
})

test('one network that tries many names is slowed, an own account in it notwithstanding; others go on', async () => {
  const from = (host: number) => `2001:db8::${host.toString(16)}`
  expect((await byForm('carol', password, from(100))).status).toBe(303)
  for (let i = 0; i < 20; i++) expect((await byForm(`nobody-${i}`, 'wrong', from(i))).status).toBe(401)
  await lockOut((i) => byForm(`somebody-${i}`, 'wrong', from(i)))
  expect((await byForm('nobody-21', 'wrong', '2001:db8:0:0:ffff::1')).status).toBe(429)
  expect((await byForm('carol', password, from(100))).status).toBe(303)
  expect((await byForm('nobody-21', 'wrong', from(1))).status).toBe(429)
  expect((await byForm('alice', password, '2001:db8:0:1::1')).status).toBe(303)
}, 60_000)

test('an answer does not tell whether there is such an account, nor does the work behind it', async () => {
  await app.ctx.db.updateTable('users').set({ disabled_at: 1 }).where('username', '=', 'carol').execute()
  const comparisons = watchComparisons()
  const answers = []
  for (const username of ['alice', 'nobody', 'carol']) answers.push(await byForm(username, 'wrong', '10.0.0.1'))
  expect(answers.map(({ status }) => status)).toEqual([401, 401, 401])
  const texts = answers.map(({ text }) => text.replace(/value="(alice|nobody|carol)"/, ''))
  expect(new Set(texts).size).toBe(1)
  expect(comparisons().map(getRounds)).toEqual([12, 12, 12])
  const basic = [await byBasic('alice', 'wrong', '10.0.0.2'), await byBasic('nobody', 'wrong', '10.0.0.2')]
  expect(new Set(basic.map(({ status, body }) => `${status} ${(body as { detail: string }).detail}`)).size).toBe(1)
  expect(basic[0]?.headers['www-authenticate']).toMatch(/^Basic /)
})

test('HTTP Basic is compared once for many requests, and again after some seconds', async () => {
  const comparisons = watchComparisons()
  const many = async () =>
    new Set((await Promise.all(Array.from({ length: 15 }, () => byBasic('bob', password, '10.0.0.1')))).map(({ status }) => status))
  expect(await many()).toEqual(new Set([200]))
  expect(await many()).toEqual(new Set([200]))
  expect(comparisons()).toHaveLength(1)
  app.advance(11_000)
  expect(await many()).toEqual(new Set([200]))
  expect(comparisons()).toHaveLength(2)
  expect((await byBasic('bob', `${password}x`, '10.0.0.1')).status).toBe(401)
  expect((await (await app.as(null)).get('/profile').set('Authorization', basicOf('bob', 'wrong'))).status).toBe(401)
  expect(comparisons()).toHaveLength(4)
})

const refusedTries = async () => {
  const rows = await app.ctx.db
    .selectFrom('audit')
    .selectAll()
    .where('action', '=', 'session.refused')
    .orderBy('at')
    .orderBy('id')
    .execute()
  return {
    rows,
    data: rows.map(({ data }) => JSON.parse(data ?? '{}') as { tried?: string; tried_digest?: string }),
    lines: app.log.filter(({ msg }) => msg === 'sign-in refused') as { tried?: string; tried_digest?: string }[],
  }
}

test('refused tries are audited and logged, as one line each, whatever the name', async () => {
  const mine = ['\u2028alice\n', 'ＡLICE', '\n\r alice\u00a0']
  const others = [
    'a\n2026-01-01 INFO admin signed in',
    '\u001b[2J\u009b2J\u2028x',
    '<script>alert(1)</script>"\'',
    'nul\u0000',
    "' or 1=1 --",
  ]
  for (const name of [...mine, ...others]) {
    const answer = await byForm(name, 'canary-password', '203.0.113.9')
    expect(answer.status).toBe(401)
    expect(answer.text).not.toContain('<script>alert')
  }
  expect((await byBasic('basic', 'canary-password', '203.0.113.9')).status).toBe(401)
  const { rows, data, lines } = await refusedTries()
  for (const kept of [data, lines]) {
    expect(kept.map(({ tried }) => tried)).toEqual([...mine, ...[...others, 'basic'].map(() => undefined)])
    for (const { tried_digest } of kept.slice(mine.length)) expect(tried_digest).toMatch(/^[0-9a-f]{8}$/)
  }
  const subjects = [...mine.map(() => 'user-alice'), ...[...others, 'basic'].map(() => 'unknown')]
  expect(rows.map(({ subject }) => subject)).toEqual(subjects)
  for (const row of rows) expect(row).toMatchObject({ actor_id: 'nobody', address: '203.0.113.9' })
  expect(JSON.stringify([rows, app.log])).not.toContain('canary')
})

test('what somebody typed for a name is kept where it is one: else only that it was the same again', async () => {
  for (const name of ['My secret passphrase', 'my secret passphrase ', 'another one']) await byForm(name, 'wrong', '203.0.113.9')
  await byForm('My secret passphrase', 'wrong', '203.0.113.10')
  const { rows, data, lines } = await refusedTries()
  const digests = data.map(({ tried_digest }) => tried_digest)
  expect(digests).toEqual([digests[0], digests[0], digests[2], digests[0]])
  expect(digests[0]).not.toBe(digests[2])
  expect(lines.map(({ tried_digest }) => tried_digest)).toEqual(digests)
  expect(JSON.stringify([rows, app.log])).not.toMatch(/passphrase|another one/i)
})

test('the thread that compares passwords goes after a while: what is asked at that moment is answered by the next one', async () => {
  const terminate = jest.spyOn(Worker.prototype, 'terminate')
  const timers = jest.spyOn(global, 'setTimeout')
  const hash = await hashPassword(password)
  const goodbye = timers.mock.calls.find(([, ms]) => ms === 30_000)?.[0] as (() => void) | undefined
  timers.mockRestore()
  goodbye?.()
  expect(terminate).toHaveBeenCalledTimes(1)
  expect(await Promise.all([matchesPassword(password, hash), matchesPassword('wrong', hash)])).toEqual([true, false])
})
