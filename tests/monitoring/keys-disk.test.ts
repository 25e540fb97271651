import { sql } from 'kysely'
import { password, startApp } from '../helpers/app'

test('a disk that is full refuses no key: only its use is not written down', async () => {
  const app = await startApp()
  const made = await (await app.as('bob')).post('/api/keys').send({ name: 'reader', role: 'viewer', password })
  const { id, key } = made.body as { id: string; key: string }
  const { db } = app.ctx
  const [{ page_count } = { page_count: 0 }] = (await sql<{ page_count: number }>`pragma page_count`.execute(db)).rows
  // No page can be added any more, and the free ones are used up first.
  await sql`pragma max_page_count = ${sql.lit(page_count)}`.execute(db)
  const fill = () =>
    db
      .insertInto('facts')
      .values({ name: `fill-${Math.random()}`, value: 'x'.repeat(3000), at: 0 })
      .execute()
  for (let full = false; !full;)
    full = await fill().then(
      () => false,
      () => true,
    )
  const answer = async () => (await app.as(null)).get('/api/health').set('Authorization', `Bearer ${key}`)
  expect((await answer()).status).toBe(200)
  app.advance(61_000)
  expect((await answer()).status).toBe(200)
  await sql`pragma max_page_count = 1073741823`.execute(db)
  expect((await answer()).status).toBe(200)
  expect((await (await app.as('bob')).get(`/api/keys/${id}`)).status).toBe(200)
  await app.close()
})
