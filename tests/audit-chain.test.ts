import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { openStore } from '../monitoring/db/open'
import { doctor } from '../monitoring/doctor'
import { openLog } from '../monitoring/log'
import * as audit from '../services/audit'
import { emptyDatabase, startApp, type StartOptions, type TestApp } from './helpers/app'
import { until } from './helpers/until'

const day = 86_400_000
const secrets = { first: 'one-secret-for-tests-0123456789abcdef', second: 'another-secret-for-tests-0123456789abcdef' }

let app: TestApp
let open = false
afterEach(async () => {
  if (open) await app.close()
})

async function start(options: StartOptions = {}): Promise<void> {
  app = await startApp({ unclaimed: true, ...options })
  open = true
}

const write = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await audit.recordRefusal(app.ctx, { action: 'thing.do', subject: `s${i}`, data: { i } })
}
/** The chore of the running product may be at it too. */
const seal = async (): Promise<void> => {
  await audit.seal(app.ctx)
  await until(async () => (await audit.status(app.ctx)).waiting === 0)
}
const verify = (secret = app.platform.config.serverSecret) => audit.verify(app.platform.store, secret)
const rows = () => app.ctx.db.selectFrom('audit').selectAll().orderBy('no').execute()
const facts = async (name: string) => (await app.ctx.db.selectFrom('facts').selectAll().where('name', '=', name).execute())[0]

/** What somebody does who has the database, and not the secret. */
async function tamper(...statements: string[]): Promise<void> {
  const { db } = app.ctx
  const triggers =
    TEST_DIALECT === 'sqlite'
      ? ['audit_is_not_replaced', 'audit_is_not_rewritten', 'audit_is_not_deleted'].map((name) => `drop trigger ${name}`)
      : ['drop trigger audit_is_append_only on audit', 'drop trigger audit_is_not_truncated on audit']
  for (const statement of [...triggers, ...statements]) await sql.raw(statement).execute(db)
}

const examine = async (environment: Record<string, string> = {}) => {
  const { dataDir, databaseUrl } = app.platform.config
  const lines: string[] = []
  const url = databaseUrl === null ? {} : { DATABASE_URL: databaseUrl }
  const code = await doctor(
    (line) => lines.push(line),
    { DATA_DIR: dataDir, PM2_HOME: app.pm2Home, PORT: '1', ...url, ...environment },
    '/nonexistent/.env',
  )
  return { code, text: lines.join('\n') }
}

test('every entry gets its place and its hash within seconds, and the whole is as it was written', async () => {
  await start()
  await write(30)
  await until(async () => (await audit.status(app.ctx)).waiting === 0)
  const all = await rows()
  expect(all.map(({ no }) => no)).toEqual(Array.from({ length: 30 }, (_, index) => index + 1))
  expect(new Set(all.map(({ hash }) => hash)).size).toBe(30)
  for (const { hash } of all) expect(hash).toMatch(/^[0-9a-f]{64}$/)
  const hash = all.at(-1)?.hash
  expect(await verify()).toEqual({ ok: true, count: 30, no: 30, hash, unverified: null, strangers: { count: 0, first: [] } })
  expect(await audit.status(app.ctx)).toEqual({ sealed: 30, at: all.at(-1)?.at, waiting: 0, oldest: null })
  expect((await examine()).text).toContain(
    `ok    Audit trail: 30 sealed entries are as they were written, up to no. 30 with the hash ${hash ?? ''}`,
  )
  const said = () => app.log.filter((line) => JSON.stringify(line).includes('the audit trail is sealed up to here'))
  await until(() => said().length > 0)
  await seal()
  expect(said()).toHaveLength(1)
  app.advance(3_600_000)
  await seal()
  expect(JSON.stringify(said()[1])).toContain(hash)
})

test('several who seal at once, while others write, leave neither gaps nor forks', async () => {
  await start()
  await Promise.all([write(40), write(40), ...Array.from({ length: 6 }, () => audit.seal(app.ctx))])
  await Promise.all(Array.from({ length: 6 }, () => audit.seal(app.ctx)))
  await seal()
  expect((await rows()).map(({ no }) => no)).toEqual(Array.from({ length: 80 }, (_, index) => index + 1))
  expect(await verify()).toMatchObject({ ok: true, count: 80 })
})

test('more than one piece is sealed and verified piece by piece', async () => {
  await start()
  app.expectLog(/that the console has not written/)
  await sql`insert into audit (id, org_id, at, actor_kind, actor_id, actor_name, action, subject)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 2300)
    select 'many-' || i, 'home', 1000 + i, 'user', 'many', 'many', 'many.do', 'number ' || i from n`.execute(app.ctx.db)
  await seal()
  expect(await verify()).toMatchObject({ ok: true, count: 2300 })
})

test('what was written by hand is sealed, and told of as not the console’s', async () => {
  await start()
  app.expectLog(/that the console has not written/)
  await write(3)
  await seal()
  const columns = 'id, org_id, at, actor_kind, actor_id, actor_name, action, subject'
  await sql
    .raw(
      `insert into audit (${columns}, mac) select 'copied', org_id, at, actor_kind, actor_id, actor_name, action, subject, mac from audit where subject = 's1'`,
    )
    .execute(app.ctx.db)
  await sql.raw(`insert into audit (${columns}) values ('forged', 'home', 1000, 'user', 'user-bob', 'bob', 'x', 'x')`).execute(app.ctx.db)
  await write(12)
  await seal()
  const found = await rows()
  const forged = found.filter(({ id }) => ['copied', 'forged'].includes(id)).map(({ no }) => no)
  expect(forged).toHaveLength(2)
  expect(await verify()).toMatchObject({ ok: true, count: 17, strangers: { count: 2, first: forged } })
  const { code, text } = await examine()
  expect([code, text.match(/FAIL {2}Audit trail.*/g)]).toEqual([
    1,
    [`FAIL  Audit trail: 2 entries were not written by the console: no. ${forged.join(', ')}`],
  ])
  const logged = app.log.filter(({ msg }) => msg === 'the audit trail has entries that the console has not written')
  expect(logged.flatMap(({ first }) => first)).toEqual(forged)
})

test('entries from before there were macs are sealed as they are, and no others without one', async () => {
  const { url, drop } = await emptyDatabase()
  const dataDir = mkdtempSync(join(tmpdir(), 'oc-chain-'))
  const place = { dataDir, ...(url === null ? {} : { databaseUrl: url }) }
  await start(place)
  await app.stop()
  const store = await openStore({ dataDir, databaseUrl: url, log: openLog('silent') })
  await sql`delete from facts where name = 'audit.head'`.execute(store.db)
  for (const id of ['old-1', 'old-2'])
    await sql`insert into audit (id, org_id, at, actor_kind, actor_id, actor_name, action, subject)
      values (${id}, 'home', 1000, 'user', 'x', 'x', 'x', 'x')`.execute(store.db)
  await store.close()
  await start(place)
  app.expectLog(/that the console has not written/)
  await write(2)
  await seal()
  expect(await verify()).toMatchObject({ ok: true, count: 4, strangers: { count: 0 } })
  await sql`insert into audit (id, org_id, at, actor_kind, actor_id, actor_name, action, subject)
    values ('new', 'home', 1000, 'user', 'x', 'x', 'x', 'x')`.execute(app.ctx.db)
  await seal()
  expect(await verify()).toMatchObject({ ok: true, count: 5, strangers: { count: 1, first: [5] } })
  await app.close()
  open = false
  await drop()
  rmSync(dataDir, { recursive: true, force: true })
})

describe('what somebody did to the database shows:', () => {
  const changed = 'it is not what was sealed'
  test.each([
    ['a changed name', 5, changed, [`update audit set actor_name = 'mallory' where no = 5`]],
    ['a changed time', 1, changed, [`update audit set at = at - 1 where no = 1`]],
    ['changed details of the newest', 20, changed, [`update audit set data = '{}' where no = 20`]],
    ['another organisation', 7, changed, [`update audit set org_id = 'other' where no = 7`]],
    ['a changed hash', 19, changed, [`update audit set hash = 'x' where no = 19`]],
    [
      'two that were exchanged',
      3,
      changed,
      [`update audit set no = 99 where no = 3`, `update audit set no = 3 where no = 4`, `update audit set no = 4 where no = 99`],
    ],
    ['one that is missing in between', 9, 'it is missing', [`delete from audit where no = 9`]],
    ['the first ones missing', 1, 'it is missing', [`delete from audit where no < 4`]],
    ['the newest ones missing', 18, 'it and all sealed after it are missing', [`delete from audit where no > 17`]],
    ['all of them missing', 1, 'it and all sealed after it are missing', [`delete from audit`]],
    ['one in place of another', 9, changed, [`update audit set subject = 's0', data = '{"i":0}' where no = 9`]],
    [
      'one put behind the newest',
      21,
      'the console has not sealed it',
      [
        `insert into audit (id, org_id, at, actor_kind, actor_id, actor_name, action, subject, no, hash) values ('x', 'home', 1, 'user', 'x', 'x', 'x', 'x', 21, 'x')`,
      ],
    ],
    [
      'the mark of the newest missing',
      20,
      'the mark of the newest sealed entry is missing',
      [`delete from facts where name = 'audit.head'`],
    ],
    [
      'the newest ones missing, and the mark set back',
      17,
      'the mark of the newest sealed entry is not the console’s',
      [`delete from audit where no > 17`, `update facts set value = replace(value, '"no":20', '"no":17') where name = 'audit.head'`],
    ],
    ['a mac of one that was sealed', 4, changed, [`update audit set mac = null where no = 4`]],
    [
      'the first ones missing, as if their time were over',
      3,
      'the mark of what retention removed is not the console’s',
      [
        `insert into facts (name, value, at) select 'audit.anchor', '{"no":3,"hash":"' || hash || '","key":""}', 0 from audit where no = 3`,
        `delete from audit where no < 4`,
      ],
    ],
  ] as const)('%s', async (_what, no, why, statements) => {
    await start()
    await write(20)
    await seal()
    expect(await verify()).toMatchObject({ ok: true, count: 20 })
    await tamper(...statements)
    expect(await verify()).toEqual({ ok: false, no, why })
    const { code, text } = await examine()
    expect(code).toBe(1)
    expect(text).toContain(`FAIL  Audit trail: is broken at entry no. ${no}: ${why}`)
  })

  test('another SERVER_SECRET, before the console has seen it', async () => {
    await start({ env: { SERVER_SECRET: secrets.first } })
    await write(40)
    await seal()
    const why = 'it was sealed with another SERVER_SECRET'
    expect(await verify(secrets.second)).toEqual({ ok: false, no: 1, why })
    expect((await examine({ SERVER_SECRET: secrets.second })).text).toContain(`FAIL  Audit trail: is broken at entry no. 1: ${why}`)
  })
})

describe('with another SERVER_SECRET', () => {
  test('the chain goes on, is verified from there, and says so', async () => {
    const { url, drop } = await emptyDatabase()
    const dataDir = mkdtempSync(join(tmpdir(), 'oc-chain-'))
    const place = { dataDir, ...(url === null ? {} : { databaseUrl: url }) }
    await start({ ...place, env: { SERVER_SECRET: secrets.first } })
    await write(40)
    await seal()
    // Written with the old secret, and not sealed with it any more.
    await write(3)
    await app.stop()
    await start({ ...place, env: { SERVER_SECRET: secrets.second } })
    app.expectLog(/SERVER_SECRET has changed/)
    await until(async () => (await rows()).some(({ action, hash }) => action === 'audit.secret' && hash !== null))
    await write(5)
    await seal()
    expect(await verify()).toMatchObject({ ok: true, count: 6, no: 49, unverified: 43, strangers: { count: 0 } })
    const { code, text } = await examine({ SERVER_SECRET: secrets.second })
    expect(code).toBe(0)
    expect(text).toContain('ok    Audit trail: 6 sealed entries are as they were written')
    expect(text).toContain('note  Audit trail: entries up to no. 43 were sealed with another SERVER_SECRET and are not verified')
    const [told] = (await audit.list(app.ctx, { filter: { action: 'audit.secret' }, limit: 2 })).items.map(audit.present)
    expect(told?.words).toBe('began to seal the audit trail with another SERVER_SECRET')

    await tamper(`update audit set actor_name = 'mallory' where no = 46`)
    expect(await verify()).toEqual({ ok: false, no: 46, why: 'it is not what was sealed' })
    await sql.raw(`update facts set value = replace(value, '"no":43', '"no":46') where name = 'audit.secret'`).execute(app.ctx.db)
    expect(await verify()).toEqual({ ok: false, no: 46, why: 'the mark of where SERVER_SECRET changed is not the console’s' })
    await app.close()
    open = false
    await drop()
    rmSync(dataDir, { recursive: true, force: true })
  })

  test('a console that still has the old one leaves the trail to the newer one', async () => {
    await start({ env: { SERVER_SECRET: secrets.first } })
    await write(2)
    await seal()
    app.expectLog(/SERVER_SECRET has changed|this one leaves it/)
    const { platform } = app
    const kept = new Map<string, unknown>()
    const keep = <T>(key: string, make: () => T): T => {
      if (!kept.has(key)) kept.set(key, make())
      return kept.get(key) as T
    }
    const newer = { ...app.ctx, platform: { ...platform, keep, config: { ...platform.config, serverSecret: secrets.second } } }
    await audit.seal(newer)
    await audit.recordRefusal(newer, { action: 'thing.do', subject: 'later' })
    await audit.seal(app.ctx)
    await audit.seal(newer)
    await audit.seal(app.ctx)
    expect(await audit.verify(app.platform.store, secrets.second)).toMatchObject({ ok: true, count: 2, unverified: 2 })
    expect(app.log.filter((line) => JSON.stringify(line).includes('this one leaves it'))).toHaveLength(1)
  })
})

describe('retention', () => {
  test('drops the oldest after their time, tells of it once, and what is left verifies', async () => {
    await start({ env: { AUDIT_RETENTION_DAYS: '30' } })
    await write(1200)
    await seal()
    app.advance(20 * day)
    await write(5)
    await seal()
    await audit.prune(app.ctx)
    expect(await rows()).toHaveLength(1205)
    app.advance(11 * day)
    await Promise.all([audit.prune(app.ctx), audit.prune(app.ctx)])
    await seal()
    const left = await rows()
    expect(left.map(({ no, action }) => [no, action])).toEqual([
      ...[1201, 1202, 1203, 1204, 1205].map((no) => [no, 'thing.do']),
      [1206, 'audit.prune'],
    ])
    expect(JSON.parse(left.at(-1)?.data ?? '')).toMatchObject({ count: 1200 })
    expect(await verify()).toMatchObject({ ok: true, count: 6, no: 1206 })
    expect(await audit.status(app.ctx)).toMatchObject({ sealed: 6 })
    expect((await examine()).text).toContain('6 sealed entries are as they were written')

    app.advance(3_600_000)
    await audit.prune(app.ctx)
    app.advance(25 * 3_600_000)
    await audit.prune(app.ctx)
    expect(await rows()).toHaveLength(6)

    await tamper('delete from audit where no = 1201')
    expect(await verify()).toEqual({ ok: false, no: 1201, why: 'it is missing' })
  })

  test('keeps what is not sealed, and tells later what it could not tell because the console ended', async () => {
    await start({ env: { AUDIT_RETENTION_DAYS: '30' } })
    await write(3)
    await seal()
    app.advance(40 * day)
    await sql`insert into facts (name, value, at) values ('audit.kept-from', '7', 0)`.execute(app.ctx.db)
    await audit.prune(app.ctx)
    const [left, ...others] = await rows()
    expect(others).toEqual([])
    expect(JSON.parse(left?.data ?? '')).toMatchObject({ count: 10 })
    expect((await facts('audit.kept-from'))?.value).toBe('0')
  })
})

describe('the doctor', () => {
  test('says when entries wait for long, and when others can get at PM2', async () => {
    const { url, drop } = await emptyDatabase()
    const dataDir = mkdtempSync(join(tmpdir(), 'oc-chain-'))
    await start({ dataDir, ...(url === null ? {} : { databaseUrl: url }) })
    await app.stop()
    open = false
    const log = openLog('silent')
    const store = await openStore({ dataDir, databaseUrl: url, log })
    await sql`insert into audit (id, org_id, at, actor_kind, actor_id, actor_name, action, subject)
      values ('old', 'home', 1000, 'user', 'x', 'x', 'x', 'x')`.execute(store.db)
    const pm2Home = join(dataDir, 'pm2')
    mkdirSync(pm2Home, { mode: 0o755 })
    const { code, text } = await examine({ PM2_HOME: pm2Home })
    expect(code).toBe(0)
    expect(text).toContain('note  Audit trail: 1 entry waits to be sealed')
    expect(text).toContain(`note  PM2_HOME: other accounts can get at ${pm2Home}`)
    expect(await audit.status(store)).toEqual({ sealed: 0, at: null, waiting: 1, oldest: 1000 })
    await store.close()
    await drop()
    rmSync(dataDir, { recursive: true })
  })
})
