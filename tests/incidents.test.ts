import * as checks from '../services/checks'
import { startApp, type Agent, type TestApp } from './helpers/app'
import { auditOf, changesDuring, everything } from './helpers/people'
import { bodyOf, expectProblem, fieldsOf } from './helpers/routes'
import { allowLoopback, httpCheck, incidentsOf, startTarget, type CheckBody, type IncidentBody, type Target } from './helpers/targets'

let app: TestApp
let alice: Agent
let target: Target
beforeAll(async () => {
  app = await startApp()
  alice = await app.as('alice')
  await allowLoopback(app)
  target = await startTarget()
})
afterAll(async () => {
  await target.close()
  await app.close()
})

const look = async ({ id }: CheckBody, ok: boolean) => {
  target.status(ok ? 200 : 500)
  await checks.run(app.ctx, id)
}
/** A check with so many incidents, the last of them open. */
async function troubled(times = 1): Promise<{ check: CheckBody; open: IncidentBody }> {
  const check = await httpCheck(app, target)
  for (let n = 0; n < times; n++) {
    if (n > 0) await look(check, true)
    await look(check, false)
  }
  const open = (await incidentsOf(app, check.id)).find(({ ended_at }) => ended_at === null)
  if (!open) throw new Error('no incident is open')
  return { check, open }
}

const list = async (search: string, agent = alice) =>
  bodyOf<{ items: IncidentBody[]; next: string | null }>(await agent.get(`/api/incidents?${search}`), 'GET /api/incidents')

describe('an incident', () => {
  test('is acknowledged by whoever is first, once, with audit and change', async () => {
    const { open } = await troubled()
    const bob = await app.as('bob')
    const told = await changesDuring(app, async () => {
      const answers = await Promise.all([alice, bob, bob].map((agent) => agent.post(`/api/incidents/${open.id}/acknowledge`)))
      const [first, ...others] = answers.map((answer) => bodyOf<IncidentBody>(answer, 'POST /api/incidents/:id/acknowledge').acknowledged)
      expect(['alice', 'bob']).toContain(first?.by)
      expect(others).toEqual([first, first])
    })
    expect(told).toEqual([`home incidents ${open.id}`])
    expect(await auditOf(app, 'incidents.acknowledge', open.id)).toHaveLength(1)
    expectProblem(await (await app.as('carol')).post(`/api/incidents/${open.id}/acknowledge`), 403)
    expectProblem(await (await app.as('dave')).post(`/api/incidents/${open.id}/acknowledge`), 404)
  })

  test('that is over cannot be acknowledged, and still takes notes', async () => {
    const { check, open } = await troubled()
    await look(check, true)
    expectProblem(await alice.post(`/api/incidents/${open.id}/acknowledge`), 409)
    const noted = await alice.post(`/api/incidents/${open.id}/notes`).send({ text: ' It was the disk. ', publish: true })
    expect(bodyOf<IncidentBody>(noted, 'POST /api/incidents/:id/notes').notes).toMatchObject([
      { text: 'It was the disk.', author: { name: 'alice' }, published_at: expect.any(String) as unknown },
    ])
  })

  test.each([
    ['nothing', { text: '  ' }, 'text'],
    ['too much', { text: 'x'.repeat(4001) }, 'text'],
    ['what cannot be stored', { text: 'a\0' }, 'text'],
    ['somebody else’s name', { text: 'a', author: 'bob' }, 'author'],
  ])('takes no note of %s', async (_what, body, field) => {
    const { items } = await list('limit=1')
    const before = await everything(app)
    expect(fieldsOf(await alice.post(`/api/incidents/${items[0]?.id}/notes`).send(body), 422)).toEqual([field])
    expect(await everything(app)).toEqual(before)
  })

  test('is published only by those who may, whichever way they write', async () => {
    const { open } = await troubled()
    const bob = await app.as('bob')
    const path = `/incidents/${open.id}/notes`
    const before = await everything(app)
    expectProblem(await bob.post(`/api${path}`).send({ text: 'The boss did it.', publish: true }), 403)
    expect(await everything(app)).toEqual(before)
    expect((await incidentsOf(app, open.check_id))[0]?.notes).toEqual([])
    expect((await bob.post(path).type('form').send({ text: 'By the form.', publish: 'on' })).status).toBe(303)
    bodyOf(await bob.post(`/api${path}`).send({ text: 'x'.repeat(4000) }), 'POST /api/incidents/:id/notes')
    expect(
      (
        await bob
          .post(path)
          .type('form')
          .send({ text: 'x'.repeat(4001) })
      ).status,
    ).toBe(422)
    const { notes = [] } = (await incidentsOf(app, open.check_id))[0] ?? {}
    expect(notes.map(({ published_at }) => published_at)).toEqual([null, null])
  })

  test('leads to the machine as it was only those who may see the machine', async () => {
    const { open } = await troubled()
    await app.ctx.transaction(({ db }) =>
      db
        .insertInto('snapshots')
        .values({ id: '0', org_id: 'home', host: 'vm', at: 1, incident_id: open.id, taken_by: null, bytes: 2, data: '{}' })
        .execute(),
    )
    const seenBy = async (person: 'bob' | 'carol') => (await (await app.as(person)).get(`/incidents/${open.id}`)).text
    expect(await seenBy('bob')).toContain('href="/snapshots/0"')
    expect(await seenBy('carol')).not.toContain('/snapshots/')
  })

  test('says how often it has happened, and what the machine was asked about it', async () => {
    const { open } = await troubled(3)
    const found = bodyOf<IncidentBody & { count_30d: number }>(await alice.get(`/api/incidents/${open.id}`), 'GET /api/incidents/:id')
    expect(found).toMatchObject({ count_30d: 2, ended_at: null, cause: expect.stringContaining('500') as unknown })
    expectProblem(await (await app.as('dave')).get(`/api/incidents/${open.id}`), 404)
    expectProblem(await alice.get('/api/incidents/nothing'), 404)
  })
})

describe('the list of incidents', () => {
  test('has the open ones first, a page at a time without gaps, and finds by word, check, state and time', async () => {
    const { check } = await troubled(7)
    const all = await list(`limit=500&check=${check.id}`)
    expect(all.items.map(({ ended_at }) => ended_at === null)).toEqual([true, ...Array.from({ length: 6 }, () => false)])
    const paged: string[] = []
    for (let cursor: string | null = ''; cursor !== null;) {
      const page = await list(`limit=2&check=${check.id}${cursor ? `&cursor=${cursor}` : ''}`)
      paged.push(...page.items.map(({ id }) => id))
      cursor = page.next
    }
    expect(paged).toEqual(all.items.map(({ id }) => id))
    expect((await list(`state=open&check=${check.id}`)).items).toHaveLength(1)
    expect((await list(`state=ended&check=${check.id}`)).items).toHaveLength(6)
    expect((await list(`q=${encodeURIComponent(check.name.toUpperCase())}%20IS&check=${check.id}`)).items).toHaveLength(7)
    expect((await list(`q=%25&check=${check.id}`)).items).toEqual([])
    expect((await list(`to=${new Date(app.ctx.now() - 86_400_000).toISOString()}`)).items).toEqual([])
    expectProblem(await alice.get('/api/incidents?cursor=bad'), 400)
    expect((await list('', await app.as('dave'))).items).toEqual([])
  })
})
