import { startApp, type TestApp } from './helpers/app'
import { actions, bodyOf, endpoints, fieldsOf, filled, expectProblem } from './helpers/routes'

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

interface Operation {
  operationId: string
  summary: string
  'x-permission': string
  parameters?: { name: string; in: string; required: boolean; schema: object }[]
  requestBody?: { content: Record<string, { schema: object }> }
  responses: Record<string, { description: string; content: Record<string, { schema: object }> }>
}
interface Document {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object> }
}

const readDocument = async (): Promise<Document> => {
  const answer = await (await app.as(null)).get('/openapi.json')
  expect(answer.status).toBe(200)
  return answer.body as Document
}

const bodyFor = ({ path }: { path: string }) => (path === '/api/events' ? { events: [{ type: 'a', source: 'b' }] } : undefined)
const writing = endpoints.filter(({ method }) => method !== 'GET')

describe('the document of the API', () => {
  test('has every endpoint, with its permission, and nothing else', async () => {
    const { paths } = await readDocument()
    const documented = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => `${method.toUpperCase()} ${path} ${operation['x-permission']}`),
    )
    const declared = endpoints.map(({ method, path, permission }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')} ${permission}`)
    expect(documented.sort()).toEqual([...declared, 'GET /openapi.json public'].sort())
  })

  test('is OpenAPI 3.1 in shape: unique operations, parameters of the path, and no reference that leads nowhere', async () => {
    const document = await readDocument()
    expect(document.openapi).toMatch(/^3\.1\./)
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.values(methods).map((operation) => ({ path, operation })),
    )
    const ids = operations.map(({ operation }) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { path, operation } of operations) {
      expect(operation.summary).not.toBe('')
      const inPath = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')
      expect(inPath.map(({ name, required }) => `{${name}}${String(required)}`)).toEqual(
        (path.match(/\{\w+\}/g) ?? []).map((name) => `${name}true`),
      )
      expect(Object.keys(operation.responses).some((status) => /^20[0-9]$/.test(status))).toBe(true)
    }
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, reference = '']) => reference)
    expect(references.length).toBeGreaterThan(operations.length)
    for (const reference of new Set(references)) {
      const found = reference
        .slice(2)
        .split('/')
        .reduce<unknown>((part, key) => (part as Record<string, unknown> | undefined)?.[key], document)
      expect([reference, typeof found]).toEqual([reference, 'object'])
    }
  })

  test('is shown by Swagger UI and by ReDoc, from this machine', async () => {
    const nobody = await app.as(null)
    for (const path of ['/docs', '/redoc']) {
      const page = await nobody.get(path)
      expect(page.status).toBe(200)
      const files = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, file = '']) => file)
      expect(files.length).toBeGreaterThan(0)
      for (const file of files) expect(file).toMatch(/^\//)
    }
  })
})

describe('who may do what is in tests/access.test.ts; and', () => {
  test('what is open to everybody, or to everybody who is signed in, is what this list says', () => {
    const open = [...writing, ...actions]
      .filter(({ permission }) => ['self', 'anyone', 'public'].includes(permission))
      .map(({ path }) => path)
    expect([...new Set(open)].sort()).toEqual([
      '/api/keys/:id',
      '/api/keys/:id/rotate',
      '/api/me',
      '/api/me/password',
      '/api/organisations/:id/leave',
      '/api/push/:token',
      '/api/push/:token/fail',
      '/api/push/:token/start',
      '/api/sessions',
      '/api/sessions/:id',
      '/claim',
      '/invite',
      '/invite/join',
      '/organisations/:id/leave',
      '/organisations/:id/switch',
      '/profile',
      '/profile/devices',
      '/profile/password',
      '/profile/sessions/:id/end',
      '/profile/sessions/end',
      '/profile/theme',
      '/reset',
      '/sign-in',
      '/sign-out',
    ])
  })

  test('who is not signed in is told how, and led there from a page', async () => {
    const nobody = await app.as(null)
    const anonymous = await nobody.get('/api/health')
    expectProblem(anonymous, 401)
    expect(anonymous.headers['www-authenticate']).toMatch(/^Basic realm=/)
    const page = await nobody.get('/settings')
    expect([page.status, page.headers['location']]).toEqual([303, '/sign-in?next=%2Fsettings'])
    const form = await nobody.post('/users/nothing/disable').type('form').send({})
    expect([form.status, form.headers['location']]).toEqual([303, '/sign-in'])
  })

  test('a request that another site makes a browser send is refused', async () => {
    const { cookie } = await app.as('bob')
    const nobody = await app.as(null)
    const foreign = { Cookie: cookie ?? '', Origin: 'http://evil.example' }
    const answers = await Promise.all(
      writing.map(({ method, path }) => nobody[method.toLowerCase() as 'post'](filled(path)).set(foreign).send(bodyFor({ path }))),
    )
    expect(answers.map(({ status }) => status)).toEqual(writing.map(() => 403))
  })
})

describe('problems', () => {
  test('an unknown address, an unknown method and a wrong parameter are said as problems', async () => {
    const alice = await app.as('alice')
    expectProblem(await alice.get('/api/nothing'), 404)
    const wrong = await alice.delete('/api/events')
    expectProblem(wrong, 405)
    expect(wrong.headers['allow']?.split(', ').sort()).toEqual(['GET', 'POST'])
    expect((await alice.put('/api/processes/x/restart')).headers['allow']).toBe('POST')
    expect(fieldsOf(await alice.get('/api/events?limit=0'), 400)).toEqual(['limit'])
    expect(fieldsOf(await alice.get('/api/events?colour=red'), 400)).toEqual(['colour'])
    expect(fieldsOf(await alice.get('/api/health?colour=red'), 400)).toEqual(['colour'])
  })

  test('HEAD answers as GET does, without a body', async () => {
    const { cookie } = await app.as('alice')
    const answer = await fetch(`${app.url}/api/health`, { method: 'HEAD', headers: { Cookie: cookie ?? '' } })
    expect([answer.status, answer.headers.get('content-type'), await answer.text()]).toEqual([200, 'application/json; charset=utf-8', ''])
  })

  test('every answer is typed, not sniffed and not kept', async () => {
    const alice = await app.as('alice')
    for (const path of ['/api/health', '/api/nothing', '/api/events?limit=x', '/', '/nothing']) {
      const { headers } = await alice.get(path)
      expect(headers['content-type']).toMatch(/; charset=utf-8$/)
      expect([headers['x-content-type-options'], headers['cache-control'], headers['x-powered-by']]).toEqual([
        'nosniff',
        'no-store',
        undefined,
      ])
    }
  })
})

test('what an operator may do is done', async () => {
  const answer = await (await app.as('bob')).post('/api/events').send(bodyFor({ path: '/api/events' }))
  expect(bodyOf(answer, 'POST /api/events')).toEqual({ accepted: 1 })
})
