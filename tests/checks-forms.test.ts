import * as checks from '../services/checks'
import { startApp, type Agent, type TestApp } from './helpers/app'
import { sessionOf } from './helpers/people'
import { allowLoopback, makeCheck, startTarget, type CheckBody, type Target } from './helpers/targets'

let app: TestApp
let alice: Agent
let bob: Agent
let target: Target
beforeAll(async () => {
  app = await startApp()
  await allowLoopback(app)
  ;[alice, bob] = [await sessionOf(app, 'alice'), await sessionOf(app, 'bob')]
  target = await startTarget()
})
afterAll(async () => {
  await target.close()
  await app.close()
})

const page = async (path: string, agent = alice): Promise<string> => {
  const { status, text } = await agent.get(path)
  expect([path, status]).toEqual([path, 200])
  return text
}
const send = (path: string, form: Record<string, unknown> = {}, agent = alice) => agent.post(path).type('form').send(form)
const went = async (path: string, to: string, form: Record<string, unknown> = {}, agent = alice): Promise<void> => {
  const { status, headers } = await send(path, form, agent)
  expect([path, status, headers['location']]).toEqual([path, 303, to])
}
const look = async (id: string): Promise<void> => {
  expect((await alice.post(`/api/checks/${id}/run`)).status).toBe(200)
}
const shop = (name: string, more: Record<string, unknown> = {}): Promise<CheckBody> =>
  makeCheck(app, { name, kind: 'http', spec: { url: target.url }, retries: 0, ...more })

test('the list says in one sentence how things are, whatever they are', async () => {
  expect(await page('/checks')).toContain('Nothing is checked yet')
  const one = await shop('One')
  expect(await page(`/checks/${one.id}`)).toContain('One: Waiting for the first look')
  await look(one.id)
  expect(await page('/checks')).toContain('The one check is up')
  await went(`/checks/${one.id}/pause`, `/checks/${one.id}`)
  expect(await page('/checks')).toContain('Every check is paused')
  expect(await page(`/checks/${one.id}`)).toContain('One is paused')
  await went(`/checks/${one.id}/resume`, `/checks/${one.id}`)
  const two = await shop('Two', { retries: 2 })
  await look(one.id)
  await look(two.id)
  expect(await page('/checks')).toContain('All 2 checks are up')

  target.status(500)
  await look(two.id)
  expect(await page('/checks')).toContain('Two: Failing')
  expect(await page(`/checks/${two.id}`)).toContain('Two: Failing')
  await look(one.id)
  expect(await page('/checks')).toContain('One is down')
  expect(await page(`/checks/${one.id}`)).toContain('See the incident')
  await look(two.id)
  await look(two.id)
  expect(await page('/checks')).toContain('2 checks are down: One and Two')
  expect(await page('/incidents')).toContain('2 incidents are open')
  expect(await page('/incidents?state=ended')).toContain('Incidents')

  target.answer = (_request, response) => response.end('fine')
  await went(`/checks/${one.id}/run`, `/checks/${one.id}`)
  await went(`/checks/${two.id}/run`, `/checks/${two.id}`, {}, bob)
  for (const range of ['24h', '7d', '30d', '90d']) expect(await page(`/checks/${one.id}?range=${range}`)).toContain('One is up')
})

test('one is cloned, tagged with others and deleted after a question; what is not there is said', async () => {
  const made = await shop('Three')
  const { headers } = await send(`/checks/${made.id}/clone`)
  expect(headers['location']).toMatch(/^\/checks\/[\w-]+\/edit$/)
  const back = '/checks?tag=night'
  await went('/checks/bulk', back, { ids: made.id, do: 'tag', tag: 'night', back })
  await went('/checks/bulk', '/checks', { ids: made.id, do: 'tag', tag: '', back: 'https://evil.example/' })
  await went('/checks/bulk', '/checks', { ids: made.id, do: 'pause' }, bob)
  await went('/checks/bulk', '/checks', { ids: made.id, do: 'pause' })
  await went('/checks/bulk', '/checks', { ids: made.id, do: 'resume' })
  await went('/checks/bulk', '/checks', { do: 'pause' })
  expect((await send('/checks/bulk', { ids: made.id, do: 'delete' }, bob)).status).toBe(403)
  expect((await send('/checks/bulk', { ids: made.id, do: 'tag', tag: 'x' }, bob)).status).toBe(403)
  expect((await send('/checks/bulk', { ids: made.id, do: 'delete' })).text).toContain('Delete 1 check?')
  expect(await page(`/checks/${made.id}/delete`)).toContain('Delete Three?')
  await went(`/checks/${made.id}/delete`, '/checks')
  await went('/checks/bulk', '/checks', { ids: made.id, do: 'delete' })
  expect((await alice.get(`/checks/${made.id}`)).status).toBe(404)
  const [webhook] = (await checks.list(app.ctx, {})).items.filter(({ builtin }) => builtin === 'webhook')
  expect(await page(`/checks/${webhook?.id ?? ''}`)).toContain('is not configured')
  expect(await page(`/checks/${webhook?.id ?? ''}/delete`)).toContain('Stop watching')
})

test('networks that checks may reach are set, refused where they are none, and taken back', async () => {
  const wrong = await send('/checks/targets', { networks: 'not-a-network' })
  expect([wrong.status, wrong.text.includes('not-a-network')]).toEqual([422, true])
  await went('/checks/targets', '/checks/targets', { networks: '127.0.0.0/8\n10.0.0.0/8' })
  expect(await page('/checks/targets')).toContain('10.0.0.0/8')
  await went('/checks/targets', '/checks/targets', { networks: '' })
  await went('/checks/targets', '/checks/targets', { networks: '127.0.0.0/8' })
})

test('maintenance is planned, changed and ended; what is wrong stands at its field', async () => {
  const { id } = await shop('Four', { tags: ['shop'] })
  expect(await page(`/maintenance/new?check=${id}`)).toContain('Four')
  const at = (ms: number) => new Date(app.ctx.now() + ms).toISOString().slice(0, 16)
  const form = { name: 'Upgrade', starts_at: at(-60_000), ends_at: at(3_600_000), repeats: 'never', timezone: 'UTC', covers: 'some' }
  for (const wrong of [
    { ends_at: at(-7_200_000) },
    { starts_at: 'soon' },
    { name: '' },
    { covers: 'some', checks: [] },
    { repeats: 'yearly' },
  ])
    expect([wrong, (await send('/maintenance', { ...form, checks: id, ...wrong })).status]).toEqual([wrong, 422])
  await went('/maintenance', '/maintenance', { ...form, checks: id })
  await went('/maintenance', '/maintenance', {
    ...form,
    name: 'Each night',
    covers: 'all',
    repeats: 'daily',
    starts_at: at(7_200_000),
    ends_at: at(10_800_000),
  })
  expect(await page('/maintenance')).toContain('Upgrade')
  expect(await page(`/checks/${id}`)).toContain('Four is in maintenance')
  const { items } = (await alice.get('/api/maintenance')).body as { items: { id: string; name: string }[] }
  const window = items.find(({ name }) => name === 'Upgrade')?.id ?? ''
  expect(await page(`/maintenance/${window}`)).toContain('Upgrade')
  expect((await send(`/maintenance/${window}`, { ...form, name: '', checks: id })).status).toBe(422)
  await went(`/maintenance/${window}`, '/maintenance', { ...form, name: 'Upgrade 2', covers: 'all' })
  expect(await page(`/maintenance/${window}/cancel`)).toContain('Upgrade 2')
  await went(`/maintenance/${window}/cancel`, '/maintenance')
  expect((await alice.get('/maintenance/nothing')).status).toBe(404)
})

test('an incident is taken on by the first who says so, and noted on', async () => {
  const { id } = await shop('Five')
  await look(id)
  target.status(503)
  await look(id)
  const { items } = (await alice.get(`/api/incidents?state=open&check=${id}`)).body as { items: { id: string }[] }
  const at = `/incidents/${items[0]?.id ?? ''}`
  expect(await page(at)).toContain('Five is down')
  await went(`${at}/acknowledge`, at, {}, bob)
  await went(`${at}/acknowledge`, at)
  expect(await page('/incidents')).toContain('bob')
  expect((await send(`${at}/notes`, { text: ' ' })).status).toBe(422)
  await went(`${at}/notes`, at, { text: 'On the way', publish: 'on' })
  await went(`${at}/notes`, at, { text: 'Between us' }, bob)
  target.answer = (_request, response) => response.end('fine')
  await look(id)
  expect(await page(at)).toContain('On the way')
  expect(await page(`/incidents?check=${id}&state=ended&q=five`)).toContain('Five')
  expect(await page('/incidents?q=nothing-like-it')).toContain('No incident')
})
