import { createHmac } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { inProject } from '../monitoring/paths'
import { assemble, parse, signer } from '../services/keys/format'
import { listen, password, startApp, type TestApp } from './helpers/app'
import { expectProblem } from './helpers/routes'

let app: TestApp
beforeAll(async () => {
  app = await startApp({ env: { TRUST_PROXY: 'loopback', API_RATE_LIMIT: '100000' } })
  await addPerson('admin')
  await addPerson('admin_1')
})
afterAll(() => app.close())

/** An account like Alice's, with her password. */
async function addPerson(username: string): Promise<void> {
  const { db } = app.ctx
  const alice = await db.selectFrom('users').selectAll().where('username', '=', 'alice').executeTakeFirstOrThrow()
  const id = `user-${username}`
  await db
    .insertInto('users')
    .values({ ...alice, id, username, username_key: username, handle: username, instance_admin_at: null })
    .execute()
  await db.insertInto('memberships').values({ org_id: 'home', user_id: id, role: 'admin', created_at: 1 }).execute()
}

const basicOf = (username: string) => `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`

async function make(username: string): Promise<{ id: string; key: string }> {
  const nobody = await app.as(null)
  const answer = await nobody.post('/api/keys').set('Authorization', basicOf(username)).send({ name: 'forged', role: 'admin' })
  expect(answer.status).toBe(201)
  return answer.body as { id: string; key: string }
}

let tries = 0
/** Each from a network of its own, so that none is slowed for the ones before. */
const elsewhere = (): string => `10.${(++tries >> 16) & 255}.${(tries >> 8) & 255}.${tries & 255}`
const send = (key: string, from = elsewhere()): Promise<Response> =>
  fetch(`${app.url}/api/health`, { headers: { Authorization: `Bearer ${key}`, 'X-Forwarded-For': from } })
const statusOf = async (key: string, from?: string): Promise<number> => {
  const answer = await send(key, from)
  await answer.arrayBuffer()
  return answer.status
}

test('a user name may hold what separates the parts of a key', async () => {
  const [plain, parted] = [await make('admin'), await make('admin_1')]
  expect(parted.key).toMatch(/^jug_admin_1_\d{13}_/)
  expect([await statusOf(plain.key), await statusOf(parted.key)]).toEqual([200, 200])
  // Stamps that could be read as part of a name, and the other way round.
  await app.ctx.db.updateTable('keys').set({ stamp: 2 }).where('id', '=', parted.id).execute()
  await app.ctx.db.updateTable('keys').set({ stamp: 1 }).where('id', '=', plain.id).execute()
  const sign = signer(app.platform.config.serverSecret)
  const [of1, of2] = [sign({ id: plain.id, handle: 'admin', stamp: 1 }), sign({ id: parted.id, handle: 'admin_1', stamp: 2 })]
  expect([await statusOf(`jug_admin_1_${of1}`), await statusOf(`jug_admin_1_2_${of2}`)]).toEqual([200, 200])
  for (const key of [`jug_admin_1_2_${of1}`, `jug_admin_1_${of2}`, `jug_admin_2_${of2}`, `jug_admin_1_1_${of1}`, `jug_admin_1_1_${of2}`])
    expect([key, await statusOf(key)]).toEqual([key, 401])
})

test('only the exact key is one: everything else is refused in the same words', async () => {
  const [one, other] = [await make('alice'), await make('bob_').catch(() => make('admin'))]
  const parts = parse(one.key)
  const others = parse(other.key)
  if (!parts || !others) throw new Error('These keys cannot be read')
  const { handle, stamp, signature } = parts
  const mutants = [
    'jug',
    'jug___',
    one.key.toUpperCase(),
    assemble(parts, signature.toUpperCase()),
    assemble(parts, signature.slice(0, -1)),
    assemble(parts, signature.slice(0, 32)),
    assemble(parts, `${signature}0`),
    assemble(parts, ''),
    assemble(parts, others.signature),
    assemble(others, signature),
    assemble({ handle, stamp: others.stamp }, signature),
    assemble({ handle: others.handle, stamp }, signature),
    assemble({ handle: 'nobody', stamp }, signature),
    assemble({ handle, stamp: 0 }, signature),
    assemble({ handle, stamp: 1 }, signature),
    assemble({ handle, stamp: 4_102_444_800_000 }, signature),
    assemble({ handle, stamp: -stamp }, signature),
    assemble({ handle: 'ALICE', stamp }, signature),
    `jug_${handle}_0${stamp}_${signature}`,
    `jug_${handle}_${stamp}.0_${signature}`,
    `jug_${handle}_${stamp}e0_${signature}`,
    `jug_${handle}_${'9'.repeat(40)}_${signature}`,
    `${one.key}_extra`,
    `extra_${one.key}`,
    `jug_${one.key}`,
    `${one.key}=`,
    `${one.key},${one.key}`,
    `"${one.key}"`,
    one.key.replaceAll('_', '-'),
    encodeURIComponent(one.key).replaceAll('_', '%5F'),
    createHmac('sha256', '').update(`${handle}${stamp}`).digest('hex'),
    `jug_${'x'.repeat(8000)}_${stamp}_${signature}`,
  ]
  const details = new Set<string>()
  for (const key of mutants) {
    const answer = await send(key)
    expect([key, answer.status]).toEqual([key, 401])
    details.add(((await answer.json()) as { detail: string }).detail)
  }
  expect(details.size).toBe(1)
  expect(await statusOf(one.key)).toBe(200)
})

test('thousands of keys that were changed a little: none is taken, none breaks anything', async () => {
  const { key } = await make('alice')
  const at = fc.nat({ max: key.length - 1 })
  const changed = fc.oneof(
    fc
      .tuple(at, fc.constantFrom(...'0123456789abcdefABCDEF_-.ujg'.split('')))
      .map(([i, letter]) => key.slice(0, i) + letter + key.slice(i + 1)),
    fc.tuple(at, at).map(([i, j]) => {
      const letters = key.split('')
      ;[letters[i], letters[j]] = [letters[j] ?? '', letters[i] ?? '']
      return letters.join('')
    }),
    fc.tuple(at, fc.integer({ min: 1, max: 70 })).map(([i, n]) => key.slice(0, i) + key.slice(i + n)),
    fc
      .tuple(at, fc.string({ unit: fc.constantFrom('0', '_', 'a', 'F', '~', '%'), minLength: 1, maxLength: 5 }))
      .map(([i, more]) => key.slice(0, i) + more + key.slice(i)),
  )
  const statuses = new Map<number, number>()
  await fc.assert(
    fc.asyncProperty(
      changed.filter((mutant) => mutant !== key),
      async (mutant) => {
        const status = await statusOf(mutant)
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
        expect(status).toBe(401)
      },
    ),
    { numRuns: 2500, seed: 20261121 },
  )
  expect(await statusOf(key)).toBe(200)
}, 120_000)

test('wrong keys count with wrong passwords from the same address: 429, and a right key from there works still', async () => {
  const { key } = await make('alice')
  const from = '203.0.113.7'
  const statuses: number[] = []
  for (let i = 0; i < 50; i++) statuses.push(await statusOf(key.slice(0, -4) + String(1000 + i), from))
  expect(statuses.slice(0, 20)).toEqual(Array<number>(20).fill(401))
  expect(statuses.slice(25).every((status) => status === 429)).toBe(true)
  const refused = await send(`${key}0`, from)
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(await statusOf(key, from)).toBe(200)
  const nobody = await app.as(null)
  const form = await nobody.post('/sign-in').set('X-Forwarded-For', from).type('form').send({ username: 'carol', password: 'wrong' })
  const basic = await nobody.get('/api/health').set({ 'X-Forwarded-For': from, Authorization: basicOf('nobody') })
  const socket = listen(`${app.url.replace('http', 'ws')}/ws/events?topics=events`, {
    'X-Forwarded-For': from,
    Authorization: `Bearer ${key}0`,
  })
  await expect(socket).rejects.toThrow('refused with 429')
  expect([form.status, basic.status]).toEqual([429, 429])
  expect(await statusOf(`${key}0`, '203.0.113.8')).toBe(401)
})

test('other headers name no other client: the wrong tries are those of the connection', async () => {
  const plain = await startApp()
  const nobody = await plain.as(null)
  const answers = []
  for (let i = 0; i < 30; i++) {
    const address = `203.0.113.${i}`
    answers.push(
      await nobody.get('/api/health').set({
        ...{ 'X-Forwarded-For': address, 'X-Real-IP': address, Forwarded: `for=${address}`, 'CF-Connecting-IP': address },
        Authorization: `Bearer jug_alice_${1_700_000_000_000 + i}_${'0'.repeat(64)}`,
      }),
    )
  }
  expect(answers.at(-1)?.status).toBe(429)
  await plain.close()
})

describe('the time that it takes to refuse a key', () => {
  /** Twice the chance that the one is quicker than the other by accident (Mann-Whitney, normal approximation). */
  function likelihood(one: readonly number[], other: readonly number[]): number {
    const sorted = [...one.map((ms) => ({ ms, own: true })), ...other.map((ms) => ({ ms, own: false }))].sort((a, b) => a.ms - b.ms)
    const ranks = sorted.reduce((sum, { own }, i) => (own ? sum + i + 1 : sum), 0)
    const [n, m] = [one.length, other.length]
    const z = (ranks - (n * (n + m + 1)) / 2) / Math.sqrt((n * m * (n + m + 1)) / 12)
    return 2 * (1 - normal(Math.abs(z)))
  }
  /** Abramowitz and Stegun 26.2.17 */
  function normal(z: number): number {
    const t = 1 / (1 + 0.2316419 * z)
    const tail = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    return 1 - (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * tail
  }

  test('says nothing about how much of the signature is right', async () => {
    const { key } = await make('alice')
    const start = key.slice(0, -64)
    const half = () => `${key.slice(0, -32)}${'0'.repeat(32)}`
    const none = () => `${start}${'0'.repeat(64)}`
    const timed = async (given: string) => {
      const began = performance.now()
      await statusOf(given)
      return performance.now() - began
    }
    let last = 0
    for (let attempt = 0; attempt < 3 && last <= 0.01; attempt++) {
      const [right, wrong]: [number[], number[]] = [[], []]
      for (let i = 0; i < 2000; i++) {
        // Whichever comes second finds everything warm.
        if (i % 2 === 0) right.push(await timed(half()))
        wrong.push(await timed(none()))
        if (i % 2 === 1) right.push(await timed(half()))
      }
      last = likelihood(right, wrong)
    }
    expect(last).toBeGreaterThan(0.01)
  }, 180_000)

  test('is the same for keys that there are and that there are not: secrets are compared in one way only', () => {
    const files = (folder: string): string[] =>
      readdirSync(inProject(folder), { withFileTypes: true, recursive: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
        .map((entry) => join(entry.parentPath, entry.name))
    // The doctor reads the seal of the audit trail by itself, and times tell nobody anything.
    const offline = inProject('services/audit/seal.ts')
    const sources = ['monitoring', 'services', 'routes'].flatMap(files).filter((file) => file !== offline)
    const compared = sources.flatMap((file) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) =>
          /\b(?:signature|digest\([^)]*\)|secret|token|hmac)\b\)?\s*[!=]==?|[!=]==?\s*\b(?:signature|secret|token|hmac)\b/i.test(line),
        )
        .filter((line) => !/(?:===|!==|==|!=) (?:undefined|null|'')/.test(line))
        .map((line) => `${file.slice(inProject().length)}: ${line.trim()}`),
    )
    expect(compared).toEqual([])
    expect(readFileSync(inProject('services/keys/format.ts'), 'utf8')).toContain('timingSafeEqual(')
  })
})

describe('a stolen database', () => {
  test('holds no key that works, and none can be made from it with another secret', async () => {
    const { key } = await make('alice')
    expect(await statusOf(key)).toBe(200)
    const tables = await app.platform.store.db.introspection.getTables()
    const rows: unknown[] = []
    for (const { name } of tables)
      rows.push(
        await app.ctx.db
          .selectFrom(name as 'keys')
          .selectAll()
          .execute(),
      )
    const text = JSON.stringify(rows)
    expect(text).not.toContain(key.slice(-64))
    for (const [candidate] of text.matchAll(/jug_[\w.-]+/g)) expect([candidate, await statusOf(candidate)]).toEqual([candidate, 401])

    const { databaseUrl } = app.platform.config
    const stolen = await startApp({
      ...{ dataDir: app.dataDir, unclaimed: true, env: { SERVER_SECRET: 'another secret, of 32 characters or more' } },
      ...(databaseUrl === null ? {} : { databaseUrl }),
    })
    for (const one of [app, stolen]) one.expectLog(/SERVER_SECRET has changed|with another SERVER_SECRET/)
    expectProblem(await (await stolen.as(null)).get('/api/health').set('Authorization', `Bearer ${key}`), 401)
    await stolen.close()
  })
})
