import { startApp } from './helpers/app'
import { expectProblem } from './helpers/routes'

const minute = 60_000

test('the settings of the machine are not for the admin of another organisation', async () => {
  const app = await startApp()
  expect((await (await app.as('dave')).get('/settings')).status).toBe(403)
  expect((await (await app.as('alice')).get('/settings')).status).toBe(200)
  await app.close()
})

test('a page that is left open does not keep a session from ending', async () => {
  const app = await startApp()
  const carol = await app.as('carol')
  app.advance(5 * 60 * minute)
  expect((await carol.get('/live/poll?topics=health')).status).toBe(200)
  app.advance(4 * 60 * minute)
  expect((await carol.get('/')).status).toBe(303)
  await app.close()
})

test('an event from more than a day ahead is a wrong unit, and refused', async () => {
  const app = await startApp()
  const at = new Date(app.ctx.now() + 2 * 24 * 60 * minute).toISOString()
  const answer = await (await app.as('bob')).post('/api/events').send({
    events: [
      { type: 'a', source: 'b' },
      { type: 'a', source: 'b', at },
    ],
  })
  expect(expectProblem(answer, 422).errors?.map(({ field }) => field)).toEqual(['events.1.at'])
  expect(await app.ctx.db.selectFrom('events').selectAll().execute()).toEqual([])
  await app.close()
})

test('a client that offers another HTTP is told what is wrong', async () => {
  const app = await startApp()
  const answer = await app.basic('bob').get('/api/health').set({ Connection: 'Upgrade', Upgrade: 'h2c' })
  expect(answer.status).toBe(400)
  expect(answer.text).toContain('without its Upgrade header')
  await app.close()
})
