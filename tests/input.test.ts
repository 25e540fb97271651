import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import * as events from '../services/events'
import { isOptional } from '../monitoring/dashboard/request'
import { startApp, type Agent, type TestApp } from './helpers/app'
import { hostile } from './helpers/hostile'
import { bodyOf, endpoints, fieldsOf, filled, pages, expectProblem } from './helpers/routes'

let app: TestApp
let alice: Agent
beforeAll(async () => {
  app = await startApp({ env: { INGEST_RATE_LIMIT: '100000' } })
  alice = await app.as('alice')
})
afterAll(() => app.close())

const send = (body: unknown) => alice.post('/api/events').send(body as object)
const raw = (body: string | Buffer, type = 'application/json') => alice.post('/api/events').set('Content-Type', type).send(body)
const event = { type: 'deploy', source: 'test' }
const stored = async () => bodyOf<{ items: unknown[] }>(await alice.get('/api/events?limit=500'), 'GET /api/events').items.length

describe('a body', () => {
  test.each<[string, unknown, string]>([
    ['nothing in it', {}, 'events'],
    ['a list in place of the object', [event], 'body'],
    ['no events', { events: [] }, 'events'],
    ['too many events', { events: Array.from({ length: 1001 }, () => event) }, 'events'],
    ['an object in place of the list', { events: { 0: event } }, 'events'],
    ['a list in place of a text', { events: [{ ...event, type: ['deploy'] }] }, 'events.0.type'],
    ['a number in place of a text', { events: [{ ...event, source: 7 }] }, 'events.0.source'],
    ['an empty type', { events: [{ ...event, type: '' }] }, 'events.0.type'],
    ['a severity that there is not', { events: [{ ...event, severity: 'fatal' }] }, 'events.0.severity'],
    ['a day that there is not', { events: [{ ...event, at: '2026-02-30T00:00:00Z' }] }, 'events.0.at'],
    ['a time without a zone', { events: [{ ...event, at: '2026-02-28T00:00:00' }] }, 'events.0.at'],
    ['a time past the last year', { events: [{ ...event, at: '9999-12-31T23:59:59-05:00' }] }, 'events.0.at'],
    ['milliseconds in place of a time', { events: [{ ...event, at: 1772900000000 }] }, 'events.0.at'],
    ['an unknown field', { events: [event], force: true }, 'force'],
    ['an unknown field of an event', { events: [{ ...event, org_id: 'other', role: 'admin' }] }, 'events.0.org_id'],
    ['one wrong event among good ones', { events: [event, { ...event, id: '' }] }, 'events.1.id'],
    ['too much data', { events: [{ ...event, data: 'x'.repeat(70000) }] }, 'events.0.data'],
  ])('with %s is refused, the field is named, and nothing is stored', async (_what, body, field) => {
    const before = await stored()
    expect(fieldsOf(await send(body), 422)).toContain(field)
    expect(await stored()).toBe(before)
  })

  test('that nests deeper than any stack is refused', async () => {
    for (const depth of [60, 5000, 400000]) {
      const deep = '['.repeat(depth) + ']'.repeat(depth)
      expect(fieldsOf(await raw(`{"events":[{"type":"a","source":"b","data":${deep}}]}`), 422)).toEqual(['events.0.data'])
    }
  })

  test('with __proto__ changes nothing but itself', async () => {
    const text = `{"events":[{"type":"a","source":"polluter","data":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}}]}`
    expect((await raw(text)).status).toBe(201)
    expect((await raw(`{"__proto__":{"events":[]},"events":[{"type":"a","source":"b","__proto__":{"role":"admin"}}]}`)).status).toBe(422)
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
    const { text: listed } = await alice.get('/api/events?source=polluter')
    expect(listed).toContain('"data":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}')
  })

  test('that is no JSON is refused', async () => {
    for (const body of ['{', '', 'null', '"a"', '[', '{"events":[{"type":"a",}]}', "{'events':[]}", '\u0000', 'NaN'])
      expectProblem(await raw(body), ['null', '"a"'].includes(body) ? 422 : 400)
  })

  test('of another type or encoding is refused', async () => {
    const body = JSON.stringify({ events: [event] })
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/xml', 'application/jsonp'])
      expectProblem(await raw(body, type), 415)
    expectProblem(
      await alice
        .post('/api/events')
        .set({ 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' })
        .send(gzipSync(body).toString('latin1')),
      415,
    )
    expectProblem(await alice.post('/sign-in').set('Accept', 'application/json').type('application/json').send({ username: 'alice' }), 415)
  })

  test('of a million bytes is taken, and one byte more is refused', async () => {
    const of = (bytes: number) => {
      const body = JSON.stringify({ events: [{ ...event, source: 'big' }] })
      return body + ' '.repeat(bytes - body.length)
    }
    expect((await raw(of(1_000_000))).status).toBe(201)
    expectProblem(await raw(of(1_000_001)), 413)
  })

  test('that claims no length is stopped at a million bytes as well', async () => {
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const sent = request(
        `${app.url}/api/events`,
        { method: 'POST', headers: { Cookie: alice.cookie ?? '', Origin: app.url, 'Content-Type': 'application/json' } },
        (answer) => {
          answer.resume()
          resolve(answer.statusCode)
        },
      )
      sent.on('error', reject)
      for (let part = 0; part < 17; part++) sent.write(' '.repeat(64_000))
    })
    expect(status).toBe(413)
  })
})

describe('hostile text', () => {
  test.each(['type', 'source', 'subject', 'host', 'id', 'severity', 'at'])(
    'in the field %s is stored exactly or refused by name',
    async (field) => {
      for (const text of hostile) {
        const id = field === 'id' ? text : `hostile ${randomBytes(8).toString('hex')}`
        const sent = { ...event, subject: 'hostile', id, [field]: text }
        const answer = await send({ events: [sent] })
        const { items } = bodyOf<{ items: Record<string, unknown>[] }>(await alice.get('/api/events?limit=500'), 'GET /api/events')
        const found = items.find((one) => one['id'] === id)
        expect(answer.status === 201 ? found?.[field] : fieldsOf(answer, 422)[0]).toBe(answer.status === 201 ? text : `events.0.${field}`)
        expect(found === undefined).toBe(answer.status !== 201)
      }
    },
  )

  test('in the data is stored exactly', async () => {
    const data = {
      list: hostile.filter((text) => text.length < 1000),
      ...Object.fromEntries(hostile.slice(0, 5).map((text) => [text, text])),
    }
    expect((await send({ events: [{ ...event, id: 'data', source: 'data', data }] })).status).toBe(201)
    const { items } = bodyOf<{ items: { data: unknown }[] }>(await alice.get('/api/events?source=data'), 'GET /api/events')
    expect(items[0]?.data).toEqual(data)
  })

  test('of a reporter who plays the console is refused, and would not break the pages that tell it', async () => {
    for (const source of ['console', 'pm2'])
      for (const type of ['constructor', '__proto__', 'toString', 'process.restart', 'health.problem', '<b>x</b>']) {
        const report = { type, source, subject: '<img src=x>', data: { by: '<b>', title: ['x'], exit_code: {} } }
        expect(fieldsOf(await send({ events: [report] }), 422)).toEqual(['events.0.source'])
        await events.report(app.ctx, [report])
      }
    const page = await alice.get('/')
    expect(page.status).toBe(200)
    expect(page.text).not.toMatch(/<img src=x>|<b>x<\/b>|undefined|\[object/)
  })

  test('in an address finds nothing and breaks nothing', async () => {
    const paths = [...endpoints, ...pages].filter(({ path }) => path.includes(':'))
    for (const text of [...hostile.filter((one) => one.isWellFormed() && one.length < 1000), 'x'.repeat(5000)]) {
      for (const { path, ...route } of paths) {
        const method = 'method' in route ? (route.method.toLowerCase() as 'get' | 'post' | 'put' | 'patch' | 'delete') : 'get'
        const answer = await alice[method](filled(path, encodeURIComponent(text))).set('Accept', 'application/json')
        // Without the body that some of them need, these look no further.
        expect([path, text, answer.status]).toEqual([
          path,
          text,
          'method' in route && route.body && !isOptional(route.body) && !text.includes('\0') ? 415 : 404,
        ])
      }
    }
    expectProblem(await alice.post('/api/processes/%E0%A4%A/restart'), 400)
    for (const path of [
      '/%E0%A4%A',
      '/%00',
      '/..%2f..%2fetc/passwd',
      '//evil.example',
      '/assets/%00',
      '/assets/..%2f..%2fpackage.json',
      '/assets/%2e%2e/package.json',
    ])
      expect([path, (await alice.get(path)).status < 500]).toEqual([path, true])
  })

  test('in a parameter is refused or finds nothing', async () => {
    const texts = [...hostile.filter((one) => one.isWellFormed() && one.length < 1000), 'x'.repeat(5000), '\u0000']
    const reads: Record<string, readonly string[]> = {
      '/api/events': ['type', 'source', 'subject', 'severity', 'from', 'to', 'limit', 'cursor'],
      '/api/metrics': ['name', 'subject', 'host', 'range', 'from', 'to', 'step'],
      '/api/processes': ['limit', 'cursor'],
    }
    for (const [path, names] of Object.entries(reads))
      for (const name of names) {
        for (const text of texts) {
          const answer = await alice.get(`${path}?${name}=${encodeURIComponent(text)}`)
          expect(answer.status === 200 ? [name] : fieldsOf(answer, 400)).toEqual([name])
        }
        // Twice the same name is a list, which nothing here takes; so is qs's way to write one.
        expect(fieldsOf(await alice.get(`${path}?${name}=1&${name}=2`), 400)).toEqual([name])
        expect(fieldsOf(await alice.get(`${path}?${name}[]=1`), 400)).toEqual([`${name}[]`])
      }
  })

  test('in a form is refused or taken as it is', async () => {
    const nobody = await app.as(null)
    const texts = ['a%00b', '%ED%A0%80', '%E0%A4%A', '%3Cscript%3Ealert(1)%3C%2Fscript%3E', 'x'.repeat(900_000)]
    const forms: readonly (readonly [Agent, string, readonly string[]])[] = [
      [nobody, '/sign-in', ['username', 'password', 'next']],
      [nobody, '/claim', ['token', 'username', 'password']],
      [alice, '/profile', ['theme', 'timezone']],
      [alice, '/profile/theme', ['theme']],
      [alice, '/profile/password', ['current', 'password', 'repeat']],
    ]
    for (const [who, path, names] of forms)
      for (const text of texts)
        for (const name of ['__proto__', ...names]) {
          const form = names.map((one) => `${one}=${one === name ? text : 'x'}`).join('&')
          const answer = await who
            .post(path)
            .set('Accept', 'text/html')
            .type('form')
            .send(name === '__proto__' ? `${form}&__proto__=${text}` : form)
          expect([path, name, text.slice(0, 50), answer.status < 500]).toEqual([path, name, text.slice(0, 50), true])
          expect(answer.text).not.toContain('<script>alert')
        }
  })

  test('meant for the template engine changes no page', async () => {
    const plain = await alice.get('/settings')
    for (const query of [
      'settings[view options][outputFunctionName]=x;process.exit(1);s',
      'cache=1&filename=/etc/passwd',
      'client=1&escapeFunction=x',
      'callback=<script>',
      'format=html',
      '__proto__[x]=1',
    ]) {
      const page = await alice.get(`/settings?${query}`)
      expect(page.status).toBe(200)
      expect(page.text).not.toContain('<script>')
      expect(page.text.length).toBeCloseTo(plain.text.length, -3)
    }
  })
})

test('a client that goes away in the middle of its request leaves nothing behind', async () => {
  const before = await stored()
  const socket = connect(Number(new URL(app.url).port), '127.0.0.1')
  socket.write(
    `POST /api/events HTTP/1.1\r\nHost: x\r\nCookie: ${alice.cookie ?? ''}\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"events":[`,
  )
  await new Promise((resolve) => socket.once('connect', resolve))
  socket.destroy()
  expect(await stored()).toBe(before)
})
