import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { claimLink } from '../monitoring/app'
import { ConfigError } from '../monitoring/config'
import { open as openClaim } from '../services/claim'
import { cookieOf, startApp, type TestApp } from './helpers/app'

const password = 'a long enough password'
const env = { ADMIN_USERNAME: 'root', ADMIN_PASSWORD: 'the first password' }

let app: TestApp
let token: string
const start = async (options: Parameters<typeof startApp>[0] = {}) => {
  app = await startApp({ unclaimed: true, ...options })
  token = (await openClaim(app.ctx)) ?? ''
}
afterEach(() => app.close())

const claim = async (form: Record<string, string>) =>
  (await app.as(null))
    .post('/claim')
    .type('form')
    .send({ token, username: 'alice', password, ...form })
const users = () => app.ctx.db.selectFrom('users').select(['id', 'username']).execute()

test('the link of the log claims the console, once', async () => {
  await start()
  const nobody = await app.as(null)
  const link = new URL((await claimLink(app.ctx, app.url)) ?? '')
  expect(link.origin).toBe(app.url)
  expect(link.searchParams.get('token')).toBe(token)
  expect((await nobody.get('/')).headers['location']).toMatch(/^\/sign-in/)
  expect((await nobody.get('/sign-in')).headers['location']).toBe('/claim')
  const form = await nobody.get(link.pathname + link.search)
  expect(form.status).toBe(200)
  expect(form.text).toContain(`name="token" value="${token}"`)

  const answer = await claim({ username: ' Álice ' })
  expect([answer.status, answer.headers['location']]).toEqual([303, '/'])
  const page = await nobody.get('/settings').set('Cookie', cookieOf(answer))
  expect(page.status).toBe(200)
  const [user] = await users()
  expect(user?.username).toBe('Álice')
  expect(await app.ctx.db.selectFrom('audit').selectAll().where('action', '=', 'console.claim').execute()).toMatchObject([
    { actor_kind: 'user', actor_id: user?.id, actor_name: 'Álice', address: '127.0.0.1', subject: user?.id },
  ])

  expect(existsSync(join(app.dataDir, 'claim-token'))).toBe(false)
  expect(await claimLink(app.ctx, app.url)).toBeNull()
  const dead = await nobody.get(link.pathname + link.search)
  expect(dead.status).toBe(410)
  expect(dead.text).not.toContain('<form')
  expect((await claim({ username: 'mallory' })).status).toBe(409)
  expect(await users()).toHaveLength(1)
})

test('a wrong token claims nothing', async () => {
  await start()
  for (const wrong of ['', 'wrong', `${token}x`, token.toLowerCase(), 'x'.repeat(token.length)]) {
    const page = await (await app.as(null)).get(`/claim?token=${wrong}`)
    expect(page.status).toBe(403)
    expect(page.text).not.toContain('<form')
    expect((await claim({ token: wrong })).status).toBe(403)
  }
  expect(await users()).toEqual([])
})

test('of two claims at once one wins', async () => {
  await start()
  const answers = await Promise.all([claim({ username: 'alice' }), claim({ username: 'mallory' })])
  expect(answers.map(({ status }) => status).sort()).toEqual([303, 409])
  expect(await users()).toEqual([expect.objectContaining({ username: answers[0].status === 303 ? 'alice' : 'mallory' })])
  expect(existsSync(join(app.dataDir, 'claim-token'))).toBe(false)
})

test.each([
  ['a short password', { password: 'too short' }, 'password', 'at least 10'],
  ['an endless password', { password: 'x'.repeat(1025) }, 'password', '1,024'],
  ['no name', { username: '  ' }, 'username', 'Choose a name'],
  ['a long name', { username: 'é'.repeat(65) }, 'username', '64 characters'],
  ['a name of two lines', { username: 'alice\nroot' }, 'username', 'control characters'],
])('%s comes back with what was typed', async (_what, typed, field, message) => {
  await start()
  const answer = await claim({ username: '"><i>bob', ...typed })
  expect(answer.status).toBe(422)
  expect(answer.text).toContain(`id="${field}-error"`)
  expect(answer.text).toContain(message)
  expect(answer.text).toContain(`name="token" value="${token}"`)
  const { username = '&#34;&gt;&lt;i&gt;bob' } = typed as { username?: string }
  expect(answer.text).toContain(`value="${username}"`)
  expect(answer.text).not.toContain('<i>bob')
  expect(answer.text).not.toContain(password)
  expect(await users()).toEqual([])
})

describe('with ADMIN_USERNAME and ADMIN_PASSWORD', () => {
  test('there is nothing to claim, and the account signs in', async () => {
    await start({ env })
    expect(token).toBe('')
    expect((await (await app.as(null)).get('/claim?token=')).status).toBe(410)
    const answer = await (await app.as(null)).post('/sign-in').type('form').send({ username: 'ROOT', password: env.ADMIN_PASSWORD })
    expect(answer.status).toBe(303)
  })

  test.each([
    ['is tried first', 'password1234'],
    ['is the own name', 'margaret123'],
    ['is what this is', 'operations1'],
  ])('a password that %s is refused, and not repeated', async (_what, ADMIN_PASSWORD) => {
    const refused = startApp({ unclaimed: true, env: { ADMIN_USERNAME: 'margaret', ADMIN_PASSWORD } })
    const error = await refused.then(
      (app) => app.close(),
      (error: unknown) => error,
    )
    expect(error).toBeInstanceOf(ConfigError)
    expect((error as ConfigError).problems).toEqual([expect.stringMatching(/^ADMIN_PASSWORD is refused. This is among the first/)])
    expect(String(error)).not.toContain(ADMIN_PASSWORD)
    await start({ env })
  })

  test('a later start changes neither account nor password, and removes a link that was left', async () => {
    await start({ env })
    const { dataDir } = app
    const databaseUrl = app.platform.config.databaseUrl
    const first = await users()
    writeFileSync(join(dataDir, 'claim-token'), 'left behind')
    const again = await startApp({
      unclaimed: true,
      dataDir,
      ...(databaseUrl === null ? {} : { databaseUrl }),
      // Which is not looked at any more.
      env: { ADMIN_USERNAME: 'other', ADMIN_PASSWORD: 'password1234' },
    })
    expect(await claimLink(again.ctx, again.url)).toBeNull()
    expect(existsSync(join(dataDir, 'claim-token'))).toBe(false)
    expect(await again.ctx.db.selectFrom('users').select(['id', 'username']).execute()).toEqual(first)
    await again.close()
  })
})
