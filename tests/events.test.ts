import { startApp, type Agent, type TestApp } from './helpers/app'
import { bodyOf, fieldsOf } from './helpers/routes'

let app: TestApp
let bob: Agent
let carol: Agent
beforeAll(async () => {
  app = await startApp({ env: { INGEST_RATE_LIMIT: '100000' } })
  ;[bob, carol] = await Promise.all([app.as('bob'), app.as('carol')])
})
afterAll(() => app.close())

interface Event {
  id: string
  seq: number
  at: string
  received_at: string
  type: string
  subject: string | null
  severity: string
  host: string | null
  data: unknown
}
interface Page {
  items: Event[]
  next: string | null
}

const report = async (events: readonly object[], who: Agent = bob): Promise<void> => {
  expect(bodyOf(await who.post('/api/events').send({ events }), 'POST /api/events')).toEqual({ accepted: events.length })
}
const page = async (search: string, who: Agent = carol): Promise<Page> =>
  bodyOf<Page>(await who.get(`/api/events?${search}`), 'GET /api/events')
const subjects = async (search: string): Promise<(string | null)[]> => (await page(search)).items.map(({ subject }) => subject)

describe('reporting', () => {
  test('stores what was said, and fills in what was not', async () => {
    const data = { tries: 3, list: [1, null, 'ä'], nested: { deep: true } }
    await report([
      {
        type: 'a',
        source: 'whole',
        subject: 's',
        severity: 'critical',
        host: 'vm-2',
        at: '2026-03-08T19:35:00.250+05:30',
        id: 'mine',
        data,
      },
      { type: 'b', source: 'whole', subject: null, data: null },
    ])
    const { items } = await page('source=whole')
    const [later, earlier] = items
    expect(earlier).toMatchObject({
      id: 'mine',
      type: 'a',
      subject: 's',
      severity: 'critical',
      host: 'vm-2',
      at: '2026-03-08T14:05:00.250Z',
      data,
    })
    expect(later).toMatchObject({ type: 'b', subject: null, severity: 'info', host: null, data: null })
    expect(later?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/)
    expect(later?.at).toBe(later?.received_at)
    expect(Math.abs(Date.parse(later?.at ?? '') - Date.now())).toBeLessThan(60_000)
  })

  test('takes a thousand at once, in their order', async () => {
    await report(Array.from({ length: 1000 }, (_, index) => ({ type: 'many', source: 'thousand', subject: String(index) })))
    const numbers: number[] = []
    let next: string | null = ''
    while (next !== null) {
      const got: Page = await page(`source=thousand&limit=500${next && `&cursor=${next}`}`)
      numbers.push(...got.items.map(({ subject }) => Number(subject)))
      next = got.next
    }
    expect(numbers).toEqual(Array.from({ length: 1000 }, (_, index) => 999 - index))
  })

  test('takes a repeat of an id for the same event: later, in one batch, and from two clients at once', async () => {
    const one = { type: 'a', source: 'again', id: 'again-1' }
    await report([one])
    await report([{ ...one, type: 'changed' }])
    await report([
      { ...one, id: 'again-2' },
      { ...one, id: 'again-2', type: 'changed' },
    ])
    await Promise.all(Array.from({ length: 20 }, () => report([{ ...one, id: 'again-3' }])))
    const { items } = await page('source=again')
    expect(items.map(({ id, type }) => [id, type])).toEqual([
      ['again-3', 'a'],
      ['again-2', 'a'],
      ['again-1', 'a'],
    ])
  })

  test('by a hundred clients at once loses nothing, and tells each when it is stored', async () => {
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        await report([{ type: 'a', source: 'crowd', subject: String(index) }])
        expect(await subjects(`source=crowd&subject=${index}`)).toEqual([String(index)])
      }),
    )
    expect(new Set(await subjects('source=crowd&limit=500')).size).toBe(100)
  })
})

describe('listing', () => {
  const at = (minute: number) => `2026-02-01T10:${String(minute).padStart(2, '0')}:00.000Z`
  beforeAll(() =>
    report([
      { type: 'deploy', source: 'ci', subject: 'web', severity: 'info', at: at(1) },
      { type: 'deploy', source: 'ci', subject: 'api', severity: 'error', at: at(2) },
      { type: 'backup', source: 'cron', subject: 'web', severity: 'error', at: at(3) },
      { type: 'backup', source: 'ci', subject: 'db', severity: 'info', at: at(4) },
    ]),
  )

  const window = `from=${at(0)}&to=${at(30)}`
  test.each([
    ['type=deploy', ['api', 'web']],
    ['source=ci', ['db', 'api', 'web']],
    ['subject=web', ['web', 'web']],
    ['severity=error', ['web', 'api']],
    ['type=deploy&severity=error', ['api']],
    ['source=ci&subject=web&type=deploy&severity=info', ['web']],
    ['source=cron&type=deploy', []],
    ['type=Deploy', []],
    ['type=deplo', []],
    ['subject=%25', []],
  ])('by %s', async (filter, expected) => {
    expect(await subjects(`${filter}&${window}`)).toEqual(expected)
  })

  test('from a moment on until just before another, in any zone', async () => {
    expect(await subjects(`from=${at(2)}&to=${at(4)}`)).toEqual(['web', 'api'])
    expect(await subjects(`from=${encodeURIComponent('2026-02-01T15:32:00+05:30')}&to=${at(3)}`)).toEqual(['api'])
    expect(await subjects(`from=${at(4)}&to=${at(4)}`)).toEqual([])
  })

  test('page by page through equal times has everything once, also while more comes in', async () => {
    await report(
      Array.from({ length: 25 }, (_, index) => ({
        type: 'same',
        source: 'pages',
        subject: String(index),
        at: at(10 + Math.floor(index / 10)),
      })),
    )
    const seen: (string | null)[] = []
    let next: string | null = ''
    while (next !== null) {
      const got: Page = await page(`source=pages&limit=4${next && `&cursor=${encodeURIComponent(next)}`}`)
      seen.push(...got.items.map(({ subject }) => subject))
      next = got.next
      if (seen.length === 8) await report([{ type: 'same', source: 'pages', subject: 'new', at: at(20) }])
    }
    expect(seen).toEqual(Array.from({ length: 25 }, (_, index) => String(24 - index)))
    expect((await page('source=pages&limit=26')).next).toBeNull()
  })

  test('refuses a cursor that it has not given', async () => {
    const of = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
    for (const cursor of ['', 'x', of({}), of([1]), of(['1', '2']), of([1.5, 2]), of([1, -2]), of([1, 2, 3]), of([1e300, 1])])
      expect(fieldsOf(await carol.get(`/api/events?cursor=${cursor}`), 400)).toEqual(['cursor'])
  })
})

describe('following', () => {
  test('a program gets each event once, with what was stored', async () => {
    const listener = await app.live('carol', '/ws/events?topics=events')
    await listener.frame((frame) => frame.includes('"hello":true'))
    await report([{ type: 'a', source: 'socket', id: 'followed', data: { n: 1 } }])
    const frame = await listener.frame((text) => text.includes('followed'))
    const { changes } = JSON.parse(frame) as { changes: { topic: string; items: Event[] }[] }
    const stored = (await page('source=socket')).items
    expect(changes).toEqual([{ topic: 'events', items: stored }])
    await report([
      { type: 'a', source: 'socket', id: 'followed' },
      { type: 'a', source: 'socket', id: 'after' },
    ])
    await listener.frame((text) => text.includes('"after"'))
    expect(listener.frames.filter((text) => text.includes('"followed"'))).toHaveLength(1)
  })

  test('an open page gets the newest ten, told in words', async () => {
    const listener = await app.live('carol', '/live?topics=events')
    await report([{ type: 'backup.finished', source: 'cron', subject: 'db', data: { message: 'in 4 <s>' } }])
    const frame = await listener.frame((text) => text.includes('backup.finished'))
    expect(frame).toContain('target="latest_events"')
    expect(frame).toContain('cron · backup.finished · db · in 4 &lt;s&gt;')
    expect(frame.match(/id="event_\d+"/g)).toHaveLength(10)
  })
})
