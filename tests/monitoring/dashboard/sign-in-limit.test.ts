import type { Response } from 'supertest'
import { actions } from '../../helpers/routes'
import { password, startApp, type TestApp } from '../../helpers/app'

let app: TestApp
beforeAll(async () => {
  app = await startApp({ env: { SIGN_IN_RATE_LIMIT: '5', TRUST_PROXY: 'loopback' } })
})
afterAll(() => app.close())

const strangers = actions.filter(({ permission }) => permission === 'public')
const from = (address: string) => async (path: string, form: object) =>
  (await app.as(null)).post(path).set('X-Forwarded-For', address).type('form').send(form)

test('every form that a stranger can send is counted by address', () => {
  expect(strangers.map(({ path }) => path)).toEqual(expect.arrayContaining(['/sign-in', '/claim']))
  expect(strangers.filter(({ limit }) => limit !== 'sign-in').map(({ path }) => path)).toEqual([])
})

test('five in sixty seconds are answered, right or wrong, and the sixth is told when to come back', async () => {
  const send = from('203.0.113.1')
  const answers: Response[] = []
  for (let i = 0; i < 5; i++) answers.push(await send(i % 2 === 0 ? '/sign-in' : '/claim', { username: 'carol', password, token: 'x' }))
  const late = await send('/sign-in', { username: 'carol', password })
  expect(answers.map(({ status }) => status)).not.toContain(429)
  expect(answers[0]?.headers['ratelimit-policy']).toMatch(/^"sign-in"; ?q=5; ?w=60/)
  expect([late.status, late.type]).toEqual([429, 'text/html'])
  expect(Number(late.headers['retry-after'])).toBeGreaterThan(50)
  expect(late.text).toMatch(/Try again in \d+ s/)
  expect((await from('203.0.113.2')('/sign-in', { username: 'carol', password })).status).toBe(303)
  expect((await (await app.as(null)).get('/sign-in').set('X-Forwarded-For', '203.0.113.1')).status).toBe(200)
})

test('the addresses of one IPv6 network count together', async () => {
  const statuses = []
  for (let i = 0; i < 6; i++) statuses.push((await from(`2001:db8::${i}:1`)('/claim', { token: 'x', username: 'x', password })).status)
  expect(statuses.indexOf(429)).toBe(5)
})
