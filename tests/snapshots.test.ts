import * as snapshots from '../services/snapshots'
import { startApp, type Agent, type TestApp } from './helpers/app'
import { measured, pm2Keeps, running } from './helpers/machine'
import { bodyOf, expectProblem } from './helpers/routes'

let app: TestApp
let bob: Agent
let carol: Agent

interface Row {
  id: string
  at: string
  incident_id: string | null
  taken_by: string | null
  size_bytes: number
}

const day = 86_400_000

beforeEach(async () => {
  app = await startApp()
  ;[bob, carol] = await Promise.all([app.as('bob'), app.as('carol')])
  measured(app)
  await pm2Keeps(app, running(1, 'web'), running(2, 'broken', { status: 'errored', pid: null }))
})
afterEach(() => app.close())

const list = async (query = '') =>
  bodyOf<{ items: Row[]; next: string | null }>(await bob.get(`/api/snapshots${query}`), 'GET /api/snapshots')
const audit = () =>
  app.ctx.db.selectFrom('audit').select(['actor_name', 'action', 'subject']).where('action', 'like', 'snapshots.%').execute()

test('whoever asks gets the machine as it is, kept, audited and shown to open pages', async () => {
  const page = await app.live('bob', '/live?topics=snapshots')
  const row = bodyOf<Row>(await bob.post('/api/snapshots'), 'POST /api/snapshots')
  expect(row).toMatchObject({ incident_id: null, taken_by: 'bob' })
  expect(await audit()).toEqual([{ actor_name: 'bob', action: 'snapshots.take', subject: row.id }])
  await page.frame((frame) => frame.includes('refresh'))
  const whole = bodyOf<{ data: { system: { processes: { pid: number }[] }; pm2: { items: { name: string }[] } } }>(
    await bob.get(`/api/snapshots/${row.id}`),
    'GET /api/snapshots/:id',
  )
  expect(whole.data.system.processes.some(({ pid }) => pid === process.pid)).toBe(true)
  expect(whole.data.pm2.items.map(({ name }) => name)).toEqual(['web', 'broken'])
  const text = (await bob.get(`/snapshots/${row.id}`)).text
  for (const words of ['asked for it', 'broken', 'Errored', 'Open ports', 'Mounts']) expect(text).toContain(words)
})

test('one is taken by itself when an incident begins; incidents that begin together share a look at the machine', async () => {
  const first = await snapshots.take(app.ctx, { incident: 'incident-1' })
  const second = await snapshots.take(app.ctx, { incident: 'incident-2' })
  const { items } = await list()
  expect(items.map(({ incident_id, taken_by }) => [incident_id, taken_by])).toEqual([
    ['incident-2', null],
    ['incident-1', null],
  ])
  expect(items[0]?.size_bytes).toBeLessThan(100)
  const [one, two] = await Promise.all([first, second].map((made) => snapshots.find(app.ctx, made?.id ?? '')))
  expect(two?.data).toEqual(one?.data)
  expect((await bob.get('/snapshots?kind=incident')).text).toContain('an incident began')
  expect((await bob.get('/snapshots?kind=person')).text).toContain('No snapshot matches')
})

test('taking one never throws and never belongs to an organisation without a machine', async () => {
  expect(await snapshots.take({ ...app.ctx, org: 'other' }, { incident: 'x' })).toBeNull()
  app.expectLog(/a snapshot could not be kept/)
  await app.ctx.db.schema.alterTable('snapshots').renameTo('elsewhere').execute()
  expect(await snapshots.take(app.ctx, { incident: 'x' })).toBeNull()
  await app.ctx.db.schema.alterTable('elsewhere').renameTo('snapshots').execute()
})

test('they are kept for 30 days, and the newest 200', async () => {
  const made = await snapshots.take(app.ctx, { incident: null })
  await app.ctx.transaction(({ db }) =>
    db
      .updateTable('snapshots')
      .set({ at: app.ctx.now() - 30 * day - 1 })
      .execute(),
  )
  await snapshots.prune(app.ctx)
  expectProblem(await bob.get(`/api/snapshots/${made?.id ?? ''}`), 404)
  const at = app.ctx.now()
  await app.ctx.transaction(async ({ db }) => {
    for (let index = 0; index < 230; index++) {
      const row = { id: `snapshot-${String(index).padStart(3, '0')}`, org_id: 'home', host: 'vm', at: at + index, bytes: 2, data: '{}' }
      await db
        .insertInto('snapshots')
        .values({ ...row, incident_id: null, taken_by: 'bob' })
        .execute()
    }
  })
  await snapshots.prune(app.ctx)
  const first = await list('?limit=150')
  const second = await list(`?limit=150&cursor=${first.next ?? ''}`)
  const ids = [...first.items, ...second.items].map(({ id }) => id)
  expect([ids.length, ids[0], ids.at(-1), second.next]).toEqual([200, 'snapshot-229', 'snapshot-030', null])
})

test('deleting one asks first, is audited, and a second time finds nothing', async () => {
  const { id } = bodyOf<Row>(await bob.post('/api/snapshots'), 'POST /api/snapshots')
  expect((await bob.get(`/snapshots/${id}/delete`)).text).toContain('It cannot be brought back')
  const answer = await bob.post(`/snapshots/${id}/delete`).type('form').send({})
  expect([answer.status, answer.headers['location']]).toEqual([303, '/snapshots'])
  expectProblem(await bob.delete(`/api/snapshots/${id}`), 404)
  expect((await audit()).map(({ action }) => action)).toEqual(['snapshots.take', 'snapshots.delete'])
  expect((await bob.get('/snapshots')).text).toContain('No snapshot is kept yet')
})

test.each([
  ['a person deletes it', (id: string) => bob.delete(`/api/snapshots/${id}`)],
  [
    'it is too old',
    async (id: string) => {
      await app.ctx.transaction(({ db }) =>
        db
          .updateTable('snapshots')
          .set({ at: app.ctx.now() - 31 * day })
          .where('id', '=', id)
          .execute(),
      )
      await snapshots.prune(app.ctx)
    },
  ],
])('what several share stays with the others when %s', async (_how, gone) => {
  const ids: string[] = []
  for (const incident of ['1', '2', '3']) ids.push((await snapshots.take(app.ctx, { incident }))?.id ?? '')
  const [first = '', second = '', third = ''] = ids
  const { data } = await snapshots.find(app.ctx, first)
  await gone(first)
  for (const id of [second, third]) {
    expect((await snapshots.find(app.ctx, id)).data).toEqual(data)
    expect((await bob.get(`/snapshots/${id}/delete`)).status).toBe(200)
  }
  const sizes = new Map((await list()).items.map(({ id, size_bytes }) => [id, size_bytes]))
  expect(sizes.get(second)).toBeGreaterThan(100)
  expect(sizes.get(third)).toBeLessThan(100)
  // What begins now must not share what is gone.
  const later = await snapshots.take(app.ctx, { incident: '4' })
  expect((await bob.get(`/api/snapshots/${later?.id ?? ''}`)).status).toBe(200)
  for (const id of [second, third]) bodyOf(await bob.delete(`/api/snapshots/${id}`), 'DELETE /api/snapshots/:id')
})

test('a viewer may neither take nor see nor delete one; those of another organisation are not found', async () => {
  const { id } = bodyOf<Row>(await bob.post('/api/snapshots'), 'POST /api/snapshots')
  expectProblem(await carol.post('/api/snapshots'), 403)
  expectProblem(await carol.get('/api/snapshots'), 403)
  expectProblem(await carol.delete(`/api/snapshots/${id}`), 403)
  expect((await carol.post('/system/snapshot').type('form').send({})).status).toBe(403)
  const dave = await app.as('dave')
  expectProblem(await dave.get(`/api/snapshots/${id}`), 404)
  expectProblem(await dave.delete(`/api/snapshots/${id}`), 404)
  expectProblem(await dave.post('/api/snapshots'), 404)
})
