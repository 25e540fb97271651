import { startApp, type TestApp } from './helpers/app'

const canary = 'S3CR3T-canary-q8Zr3vX1mN5kT7pW2s'
let app: TestApp
beforeAll(async () => {
  app = await startApp({ env: { SESSION_SECRET: canary } })
})
afterAll(() => app.close())

test('an admin sees the configuration as it took effect, and where each value came from', async () => {
  const page = await (await app.as('alice')).get('/settings')
  expect(page.status).toBe(200)
  for (const { name } of app.platform.config.settings) expect(page.text).toContain(name)
  expect(page.text).toContain(app.dataDir)
  expect(page.text).toContain('Asia/Kolkata')
  for (const label of ['Version', 'Node.js', 'Database']) expect(page.text).toContain(label)
  expect(page.text).toContain(TEST_DIALECT === 'sqlite' ? 'write-ahead log' : 'PostgreSQL')
})

test.each(['bob', 'carol'] as const)('%s may not see it', async (person) => {
  const page = await (await app.as(person)).get('/settings')
  expect(page.status).toBe(403)
  expect(page.headers['content-type']).toBe('text/html; charset=utf-8')
  expect(page.text).toContain('settings.read')
  expect(page.text).not.toContain('DATA_DIR')
})

test('no page, answer or log line has a secret in it', async () => {
  const alice = await app.as('alice')
  await app.basic('alice').get('/api/health')
  await (await app.as(null)).post('/sign-in').type('form').send({ username: 'alice', password: 'wrong-canary-1' })
  await alice.post('/profile/password').type('form').send({ current: 'wrong-canary-2', password: 'new-canary-3', repeat: 'new-canary-3' })
  const pages = await Promise.all(
    [
      ...[
        '/',
        '/settings',
        '/profile',
        '/palette',
        '/nowhere',
        '/health',
        '/checks',
        '/checks/new?kind=http',
        '/incidents',
        '/maintenance',
      ],
      ...['/processes', '/system', '/snapshots', '/console', '/status-page', '/status', '/audit', '/metrics', '/openapi.json'],
      ...['/api/health', '/api/events', '/api/processes', '/api/system', '/api/console', '/api/checks', '/api/metrics', '/api/audit'],
    ].map((path) => alice.get(path)),
  )
  const everything = [...pages.map(({ text, headers }) => text + JSON.stringify(headers)), JSON.stringify(app.log)].join('\n')
  const users = await app.ctx.db.selectFrom('users').select('password_hash').execute()
  for (const { password_hash } of users) expect(everything).not.toContain(password_hash)
  expect(everything).not.toMatch(/canary/)
  expect(everything).not.toContain('correct horse')
  expect(JSON.stringify(await app.ctx.db.selectFrom('audit').selectAll().execute())).not.toMatch(/canary|correct horse/)
})

test('an address without a page has a page that says so', async () => {
  const page = await (await app.as('carol')).get('/nowhere')
  expect(page.status).toBe(404)
  expect(page.text).toContain('Not found')
  const api = await (await app.as('carol')).get('/api/nowhere')
  expect(api.status).toBe(404)
  expect(api.headers['content-type']).toBe('application/problem+json; charset=utf-8')
})
