import { get, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { sql } from 'kysely'
import { contextOf, home, type Context } from '../monitoring/context'
import { rightsOf } from '../monitoring/permissions'
import * as audit from '../services/audit'
import { password, startApp, type Agent, type TestApp } from './helpers/app'
import { hostile } from './helpers/hostile'
import { bodyOf, expectProblem, fieldsOf } from './helpers/routes'
import { until } from './helpers/until'

let app: TestApp
let alice: Agent
beforeAll(async () => {
  app = await startApp()
  // Many are put in by hand here, to have them quickly.
  app.expectLog(/that the console has not written/)
  alice = await app.as('alice')
})
afterAll(() => app.close())

interface Entry {
  id: string
  at: string
  actor_id: string
  actor_name: string
  key_name: string | null
  address: string | null
  action: string
  subject: string
  subject_name: string | null
  data: Record<string, unknown> | null
  no: number | null
}
interface Page {
  items: Entry[]
  next: string | null
  searched_to: string | null
}

const by = (name: string, org = home): Context =>
  contextOf(app.platform, { kind: 'user', id: `user-${name}`, name, rights: rightsOf.admin, key: null, address: '192.0.2.7' }, org)
const act = (ctx: Context, one: audit.Act) => ctx.transaction((ctx) => audit.recordAct(ctx, { topic: 'users', ...one }))
const page = async (search: string, who = alice): Promise<Page> => bodyOf(await who.get(`/api/audit?${search}`), 'GET /api/audit')
const subjects = async (search: string, who = alice) => (await page(search, who)).items.map(({ subject }) => subject)

describe('the trail', () => {
  let middle: string
  beforeAll(async () => {
    app.advance(60_000)
    await act(by('ann'), { action: 'things.make', subject: 't1', name: 'First_thing', after: { colour: 'red', size: 1 } })
    app.advance(60_000)
    middle = new Date(app.platform.now()).toISOString()
    await act(by('ann'), {
      action: 'things.paint',
      subject: 't1',
      name: 'First_thing',
      before: { colour: 'red' },
      after: { colour: 'blue' },
    })
    app.advance(60_000)
    await act(by('ben'), { action: 'things.paint', subject: 't2', name: 'ÄRGER 100%', data: { note: 'say "when"' } })
    app.advance(60_000)
    await audit.recordRefusal(by('ben'), { action: 'things.paint.refused', subject: 't3', data: { reason: 'FirstXthing' } })
    await act(by('ann', 'other'), { action: 'things.make', subject: 'foreign', name: 'First_thing' })
  })

  test.each([
    ['person=user-ann&action=things.', ['t1', 't1']],
    ['action=things.paint', ['t2', 't1']],
    ['action=things.', ['t3', 't2', 't1', 't1']],
    ['action=things', []],
    ['action=things.&refused=1', ['t3']],
    ['action=things.paint&refused=1', []],
    ['action=nothing.', []],
    ['subject=t1', ['t1', 't1']],
    ['subject=First_thing', ['t1', 't1']],
    ['subject=First_thing&action=things.make&person=user-ann', ['t1']],
    ['subject=first_thing', []],
    ['q=first_thing', ['t1', 't1']],
    ['q=%C3%A4rger%20100%25', ['t2']],
    ['q=%25&action=things.', ['t2']],
    ['q=say%20%22WHEN%22', ['t2']],
    ['q=192.0.2.7&action=things.&person=user-ben', ['t3', 't2']],
  ])('by %s', async (search, expected) => {
    expect(await subjects(search)).toEqual(expected)
  })

  test('from a moment on until just before another', async () => {
    expect(await subjects(`action=things.&from=${middle}`)).toEqual(['t3', 't2', 't1'])
    expect(await subjects(`action=things.&to=${middle}`)).toEqual(['t1'])
  })

  test('page by page has everything once, with several actions and with a search', async () => {
    for (const search of ['action=things.', 'q=thing', 'subject=t1']) {
      const all = await subjects(search)
      const seen: string[] = []
      for (let next: string | null = ''; next !== null;) {
        const got: Page = await page(`${search}&limit=1${next && `&cursor=${next}`}`)
        seen.push(...got.items.map(({ subject }) => subject))
        next = got.next
      }
      expect([search, seen]).toEqual([search, all])
    }
    expect(fieldsOf(await alice.get('/api/audit?cursor=x'), 400)).toEqual(['cursor'])
    expect(fieldsOf(await alice.get('/api/audit?refused=2&from=yesterday&other=1'), 400)).toEqual(['from', 'refused', 'other'])
  })

  test('is told in words, with what changed and nothing else', async () => {
    const { items } = await audit.list(app.ctx, { filter: { subject: 't1' }, limit: 10 })
    const [painted, made] = items.map(audit.present)
    expect(made?.changes).toEqual([
      { field: 'colour', before: null, after: 'red' },
      { field: 'size', before: null, after: '1' },
    ])
    expect(painted).toMatchObject({
      words: 'did “things.paint” to',
      subject_name: 'First_thing',
      changes: [{ field: 'colour', before: 'red', after: 'blue' }],
      details: [],
      refused: false,
      actor: { name: 'ann', kind: 'user', key: null },
    })
    await (await app.as(null)).post('/sign-in').type('form').send({ username: 'carol', password }).expect(303)
    const [signedIn] = (await audit.list(app.ctx, { filter: { action: 'session.start' }, limit: 1 })).items.map(audit.present)
    expect([signedIn?.words, signedIn?.subject, signedIn?.subject_name]).toEqual(['signed in', '', null])
  })

  test('says who had invited whoever came in, and as what', async () => {
    const accept = (after: Record<string, unknown>) =>
      act(by('vera'), { action: 'invites.accept', subject: 'user-vera', name: 'vera', after })
    await accept({ role: 'viewer', invited_by: 'boss' })
    await accept({ role: 'night shift', invited_by: null })
    const { items } = await audit.list(app.ctx, { filter: { action: 'invites.accept' }, limit: 2 })
    const told = items.map(audit.present).map(({ words, subject, subject_name }) => [words, subject, subject_name])
    expect(told.sort()).toEqual([
      ['accepted an invitation as night shift', '', null],
      ['accepted boss’s invitation as viewer', '', null],
    ])
  })

  test('is seen by those who may, and only that of their own organisation', async () => {
    for (const person of ['bob', 'carol'] as const)
      for (const path of ['/api/audit', '/api/audit/export', '/api/audit/export?format=csv'])
        expectProblem(await (await app.as(person)).get(path), 403)
    expect((await (await app.as('carol')).get('/audit')).status).toBe(403)
    const dave = await app.as('dave')
    expect(await subjects('action=things.', dave)).toEqual(['foreign'])
    const theirs = await dave.get('/api/audit/export?format=csv')
    expect(theirs.text).toContain('foreign')
    expect(theirs.text).not.toMatch(/t1|alice|bob/)
    expect((await dave.get('/audit?action=things.')).text).not.toContain('t1')
  })

  test('a search reads so many at the most, says how far, and goes on', async () => {
    const org = 'other'
    await sql`insert into audit (id, org_id, at, actor_kind, actor_id, actor_name, action, subject)
      with recursive n(i) as (select 1 union all select i + 1 from n where i < 12000)
      select 'many-' || i, ${org}, 1000 + i, 'user', 'many', 'many', 'many.do', 'number ' || i from n`.execute(app.ctx.db)
    const dave = await app.as('dave')
    const first = await page('q=number%2077&person=many&limit=500', dave)
    expect(first.searched_to).not.toBeNull()
    const second = await page(`q=number%2077&person=many&limit=500&cursor=${first.next ?? ''}`, dave)
    expect([second.next, second.searched_to]).toEqual([null, null])
    const found = [...first.items, ...second.items].map(({ subject }) => subject)
    expect(new Set(found).size).toBe(found.length)
    expect(found).toHaveLength(111)
  })
})

describe('the page', () => {
  test('counts what is sealed and waits in the organisation that looks, up to a number', async () => {
    const ctx = contextOf(
      app.platform,
      { kind: 'user', id: 'user-erin', name: 'erin', rights: rightsOf.admin, key: null, address: null },
      'new',
    )
    expect(await audit.statusHere(ctx)).toEqual({ sealed: 0, more: false, at: null, waiting: 0 })
    await act(ctx, { action: 'things.make', subject: 't9' })
    await until(async () => (await audit.statusHere(ctx)).sealed === 1)
    expect(await audit.statusHere(ctx)).toEqual({ sealed: 1, more: false, at: expect.any(Number) as number, waiting: 0 })
    await until(async () => (await audit.status(app.ctx)).waiting === 0)
    expect(await audit.statusHere({ ...ctx, org: 'other' })).toMatchObject({ sealed: 10_000, more: true })
    expect((await (await app.as('dave')).get('/audit')).text).toMatch(/At least 10,000\s+entries are/)
  })

  test('shows what was filtered, in the zone of who looks, and never fails on what was typed', async () => {
    const shown = await alice.get('/audit?action=things.&person=user-ann')
    expect(shown.status).toBe(200)
    expect(shown.text).toContain('First_thing')
    expect(shown.text).not.toContain('ÄRGER')
    const local = new Date(app.platform.now() + 5.5 * 3_600_000).toISOString()
    expect((await alice.get(`/audit?from=${local.slice(0, 10)}&action=things.`)).text).toContain('First_thing')
    expect((await alice.get(`/audit?to=${local.slice(0, 16)}&action=things.`)).text).toContain('First_thing')
    expect((await alice.get(`/audit?from=2999-01-01T00:00&action=things.`)).text).not.toContain('First_thing')
    for (const wrong of ['from=2026-02-31', 'from=tomorrow', 'to=2026-13-01T99:99', 'from=9999-99-99&to=&to=', 'q=a&q=b', 'other=1'])
      expect([wrong, (await alice.get(`/audit?${wrong}`)).status]).toEqual([wrong, 200])
    for (const text of hostile.filter(({ length }) => length < 1000))
      for (const field of ['person', 'action', 'subject', 'from', 'q']) {
        const answer = await alice.get(`/audit?${field}=${encodeURIComponent(text.toWellFormed())}`)
        expect(answer.status).toBe(200)
        expect(answer.text).not.toContain('<script>alert')
      }
  })
})

describe('an export', () => {
  const cells = (text: string) =>
    [...text.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))/g)].map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '')

  test('is the list, whatever is in it, and leaves an entry', async () => {
    for (const text of hostile.filter(({ length }) => length < 1000))
      await audit.recordRefusal(by('ann'), { action: 'odd.do', subject: text, name: text, data: { text } })
    app.advance(1)
    const json = await alice.get('/api/audit/export?action=odd.')
    expect([json.status, json.headers['content-type']]).toEqual([200, 'application/json; charset=utf-8'])
    expect(json.headers['content-disposition']).toMatch(/^attachment; filename="audit-\d{4}-\d\d-\d\d\.json"$/)
    const sealedLater = (entries: Entry[]) => entries.map(({ no: _, ...entry }) => ({ ...entry, hash: null }))
    expect(sealedLater(JSON.parse(json.text) as Entry[])).toEqual(sealedLater((await page('action=odd.&limit=500')).items))
    expect(JSON.parse((await alice.get('/api/audit/export?action=nothing')).text)).toEqual([])
    const [left] = (await page('action=audit.export')).items
    expect(left).toMatchObject({ actor_name: 'alice', data: { format: 'json', action: 'nothing' } })
    expect(fieldsOf(await alice.get('/api/audit/export?format=xml'), 400)).toEqual(['format'])
  })

  test('has no cell that a spreadsheet calculates', async () => {
    const formulas = ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '=HYPERLINK("http://evil.example","x")']
    for (const text of formulas) await act(by('=cmd'), { action: 'formula.do', subject: text, name: text, data: { text } })
    app.advance(1)
    const csv = await alice.get('/api/audit/export?format=csv&action=formula.do')
    expect([csv.status, csv.headers['content-type']]).toEqual([200, 'text/csv; charset=utf-8'])
    const [header, ...lines] = csv.text.trim().split('\n')
    expect(header).toContain('actor_name')
    expect(lines).toHaveLength(formulas.length)
    const found = lines.flatMap(cells)
    expect(found).toContain(`'${formulas[5] ?? ''}`)
    expect(found).toContain(`'=cmd`)
    expect(found.filter((cell) => /^[=+\-@\t\r]/.test(cell))).toEqual([])
  })

  test('of 50,000 entries is written as fast as it is read, and stops when nobody reads', async () => {
    const rows = 50_000
    await sql`insert into audit (id, org_id, at, actor_kind, actor_id, actor_name, action, subject, data)
      with recursive n(i) as (select 1 union all select i + 1 from n where i < ${sql.lit(rows)})
      select 'big-' || i, ${home}, 1000 + i, 'user', 'big', 'big', 'big.do', 'number ' || i, ${JSON.stringify({ text: 'x'.repeat(400) })} from n`.execute(
      app.ctx.db,
    )
    const sockets: Socket[] = []
    app.server.on('connection', (socket: Socket) => sockets.push(socket))
    const open = () =>
      new Promise<IncomingMessage>((resolve, reject) => {
        const headers = { Cookie: alice.cookie ?? '' }
        get(`${app.url}/api/audit/export?format=csv&person=big`, { headers, agent: false }, resolve).on('error', reject)
      })

    const slow = await open()
    const socket = sockets.at(-1)
    let written = -1
    await until(() => {
      const stands = socket?.bytesWritten === written
      written = socket?.bytesWritten ?? 0
      return (
        stands && written > 0 && new Promise<boolean>((resolve) => setTimeout(() => resolve(sockets.at(-1)?.bytesWritten === written), 300))
      )
    })
    expect(written).toBeLessThan(20_000_000)
    slow.destroy()
    await until(() => sockets.at(-1)?.destroyed)

    let lines = 0
    for await (const part of await open()) lines += (part as Buffer).toString().split('\n').length - 1
    expect(lines).toBe(rows + 1)
  }, 90_000)
})

describe('what is written down', () => {
  test('never has a secret in it, at any depth, and no text without end', async () => {
    const canary = 'canary-7f3a9c'
    const secrets = {
      password: canary,
      new_password: canary,
      apiKey: canary,
      key: canary,
      tokens: [canary],
      tokenHash: canary,
      Authorization: canary,
      nested: [{ session_cookie: canary, deep: { client_secret: { value: canary } } }],
    }
    await act(by('ann'), {
      action: 'secret.do',
      subject: 'redacted',
      ...{ before: secrets, after: secrets, data: { ...secrets, keys: 3, key_id: 'k1', password_set: true, note: 'y'.repeat(5000) } },
    })
    const [row] = await app.ctx.db.selectFrom('audit').selectAll().where('action', '=', 'secret.do').execute()
    expect(JSON.stringify(row)).not.toContain(canary)
    const data = JSON.parse(row?.data ?? '') as Record<string, unknown>
    expect(data).toMatchObject({ password: '•••••', keys: 3, key_id: 'k1', password_set: true })
    expect(data['note']).toBe(`${'y'.repeat(2000)}… (5000 characters)`)
  })

  test('is neither changed nor removed nor replaced by anybody', async () => {
    const { db } = app.ctx
    const [row] = await db.selectFrom('audit').selectAll().where('action', '=', 'secret.do').execute()
    if (!row) throw new Error('It is not there')
    // The driver's errors are of the process, not of this test's own world, when another test has loaded it before.
    const only = { message: expect.stringMatching(/append-only/) as string }
    await expect(db.updateTable('audit').set({ actor_name: 'mallory' }).where('id', '=', row.id).execute()).rejects.toMatchObject(only)
    await expect(db.updateTable('audit').set({ hash: 'x' }).where('action', '=', 'odd.do').execute()).rejects.toMatchObject(only)
    await expect(db.deleteFrom('audit').where('id', '=', row.id).execute()).rejects.toMatchObject(only)
    await expect(
      db
        .insertInto('audit')
        .values({ ...row, id: 'forged', no: 1_000_000, hash: 'x' })
        .execute(),
    ).rejects.toMatchObject(only)
    const statement =
      TEST_DIALECT === 'sqlite' ? sql`insert or replace into audit select * from audit where id = ${row.id}` : sql`truncate audit`
    await expect(statement.execute(db)).rejects.toMatchObject(only)
  })
})

describe('a refusal', () => {
  const refusals = async (search = '') => (await page(`action=access.refused&${search}`)).items

  test('leaves one entry per person, route and minute', async () => {
    app.advance(3_600_000)
    const from = new Date(app.platform.now()).toISOString()
    const carol = await app.as('carol')
    for (let i = 0; i < 3; i++) {
      expectProblem(await carol.get('/api/audit?limit=3'), 403)
      expectProblem(await carol.post('/api/events').send({ events: [] }), 403)
      expect((await carol.get('/processes/x/stop')).status).toBe(403)
    }
    const found = await until(async () => {
      const items = await refusals(`person=user-carol&from=${from}`)
      return items.length >= 3 && items
    })
    expect(found.map(({ subject, data }) => [subject, data]).sort()).toEqual([
      ['/api/audit', { method: 'GET', permission: 'audit.read' }],
      ['/api/events', { method: 'POST', permission: 'events.report' }],
      ['/processes/:id/stop', { method: 'GET', permission: 'processes.stop' }],
    ])
    app.advance(61_000)
    await carol.get('/api/audit')
    await until(async () => (await refusals(`person=user-carol&from=${from}`)).length === 4)
  })

  test('of more than thirty routes in a minute is told of once, and costs nobody else theirs', async () => {
    app.advance(3_600_000)
    const person = (id: string, address: string) =>
      contextOf(app.platform, { kind: 'user', id, name: id, rights: rightsOf.viewer, key: null, address }, home)
    for (let i = 0; i < 100; i++)
      audit.noteRefusal(person('user-loud', '192.0.2.1'), { path: `/r${i}`, method: 'GET', permission: null, reason: null })
    audit.noteRefusal(person('user-quiet', '192.0.2.2'), { path: '/r1', method: 'GET', permission: null, reason: null })
    await until(async () => (await page('person=user-quiet')).items.length === 1)
    const loud = await until(async () => {
      const { items } = await page('person=user-loud&limit=200')
      return items.length >= 31 && items
    })
    expect(loud).toHaveLength(31)
    const [more, ...others] = loud.filter(({ action }) => action !== 'access.refused')
    expect([more, others]).toEqual([expect.objectContaining({ action: 'access.more.refused', subject: 'user-loud' }), []])
    app.advance(61_000)
    audit.noteRefusal(person('user-loud', '192.0.2.1'), { path: '/r99', method: 'GET', permission: null, reason: null })
    await until(async () => (await page('person=user-loud&limit=200')).items.length === 32)
  })

  test('of what another site sent says so', async () => {
    const { cookie } = await app.as('bob')
    const nobody = await app.as(null)
    const answer = await nobody
      .post('/profile/theme')
      .set({ Cookie: cookie ?? '', Origin: 'http://evil.example' })
      .type('form')
      .send({ theme: 'dark' })
    expect(answer.status).toBe(403)
    const [found] = await until(async () => {
      const items = (await refusals('person=user-bob')).filter(({ subject }) => subject === '/profile/theme')
      return items.length > 0 && items
    })
    expect(found).toMatchObject({ subject: '/profile/theme', data: { method: 'POST', reason: 'another site' } })
  })
})
