import * as metrics from '../services/metrics'
import * as health from '../services/health'
import { startApp, type Person, type TestApp } from './helpers/app'
import { disk, measured, pm2Keeps, pm2Says, running } from './helpers/machine'
import { addPerson, sessionOf } from './helpers/people'

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

const pageOf = async (person: Person, path = '/'): Promise<string> => {
  // Past the moment for which one rendered page serves everybody.
  await new Promise((resolve) => setTimeout(resolve, 300))
  const answer = await (await app.as(person)).get(path)
  expect(answer.status).toBe(200)
  return answer.text
}
const linksIn = (html: string) => [...html.matchAll(/<a\s[^>]*href="([^"]+)"/g)].map(([, href = '']) => href)
const textOf = (html: string) => html.replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ')

describe('the overview', () => {
  test('stands before anything was measured', async () => {
    const text = textOf(await pageOf('carol'))
    expect(text).toContain('Taking the first measurements')
    expect(text).toContain('Nothing needs you')
    expect(text).not.toMatch(/undefined|null|NaN|\[object/)
  })

  test('shows the machine, its processes, what needs somebody and what happened', async () => {
    measured(app, { disks: [disk(92)] })
    await pm2Keeps(app, running(0, 'web'), running(1, 'mail <b>', { status: 'errored', pid: null, cpu: null, memory: null, restarts: 16 }))
    await health.review(app.ctx)
    const html = await pageOf('bob')
    const text = textOf(html)
    for (const words of ['Urgent: mail &lt;b&gt; is down', 'Disk / is 92% full', '12% used', '1 of 2 online', '2 cores', 'web', 'Errored'])
      expect(text).toContain(words)
    expect(text).not.toMatch(/undefined|NaN|\[object/)
    expect(html).not.toContain('mail <b>')
    expect(html.match(/(?<=id="process_[^"]*:)\d+(?=")/g)).toEqual(['0', '1'])
  })

  test('has an id once, and an element for everything that is sent to it live', async () => {
    const html = await pageOf('bob')
    const ids = [...html.matchAll(/\sid="([^"]+)"/g)].map(([, id = '']) => id)
    expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([])
    await metrics.flush(app.ctx)
    // What belongs to other pages is sent to these.
    const topics = /<live-source topics="([^"]*)"/.exec(html)?.[1] ?? ''
    const { text } = await (await app.as('bob')).get(`/live/poll?topics=${topics}&since=0`)
    const targets = [...text.matchAll(/<turbo-stream [^>]*target="([^"]+)"/g)].map(([, target = '']) => target)
    expect(new Set(targets).size).toBeGreaterThan(10)
    expect(targets.filter((target) => !ids.includes(target))).toEqual([])
  })

  test('lets an operator act and a viewer look', async () => {
    expect(await pageOf('bob')).toContain('/restart"')
    expect(await pageOf('carol')).not.toMatch(/href="\/processes\/[^"]+\/(restart|reload|stop|start)"/)
  })

  test('says what to do when no PM2 runs', async () => {
    await pm2Says(app, { state: 'no-daemon', at: app.ctx.now(), hint: 'PM2_HOME=/srv/pm2 pm2 resurrect' })
    const text = textOf(await pageOf('carol'))
    expect(text).toContain('PM2_HOME=/srv/pm2 pm2 resurrect')
    expect(text).toContain('PM2 is not running')
    await pm2Says(app, { state: 'unreachable', at: app.ctx.now(), reason: 'PM2 did not answer within 5 s' })
    expect(textOf(await pageOf('carol'))).toContain('PM2 did not answer within 5 s')
  })
})

describe('an organisation without a machine', () => {
  test('has one calm place in place of figures and processes; its events stay', async () => {
    const html = await pageOf('dave')
    expect(html).toContain('No machine reports to this organisation yet')
    expect(html).not.toMatch(/pm2|class="oc-tile|class="oc-chart|id="processes"/i)
    expect(html).toContain('id="latest_events"')
    expect(linksIn(html)).toContain('/keys')
    expect(/<live-source topics="([^"]*)"/.exec(html)?.[1]).toBe('health,events')
    expect(await pageOf('alice')).not.toContain('No machine reports')
  })

  test('has no link to settings that it could not open', async () => {
    expect((await (await app.as('dave')).get('/settings')).status).toBe(403)
    for (const path of ['/', '/palette']) {
      expect(linksIn(await pageOf('dave', path))).not.toContain('/settings')
      expect(linksIn(await pageOf('alice', path))).toContain('/settings')
    }
  })
})

describe('whoever may not see how everything is', () => {
  const withRole = async (name: string, actions: readonly string[]) => {
    const made = await (await app.as('alice')).post('/api/roles').send({ name, actions })
    expect(made.status).toBe(201)
    await addPerson(app, name, { role: (made.body as { id: string }).id })
    return await sessionOf(app, name)
  }

  test('is led on to the first page that they may see, with its own links alone', async () => {
    const auditor = await withRole('auditor', ['audit.read'])
    const porter = await withRole('porter', ['processes.read'])
    for (const [agent, to] of [
      [auditor, '/audit'],
      [porter, '/processes'],
    ] as const)
      for (let i = 0; i < 2; i++) {
        const answer = await agent.get('/')
        expect([answer.status, answer.headers['location']]).toEqual([303, to])
      }
    const palette = await auditor.get('/palette')
    expect([palette.status, linksIn(palette.text.replace(/^[\s\S]*class="oc-commands"/, ''))]).toEqual([
      200,
      expect.arrayContaining(['/audit', '/profile']),
    ])
  })

  test('has no mark of it on any page, and follows nothing of it', async () => {
    const auditor = await sessionOf(app, 'auditor')
    for (const path of ['/audit', '/profile']) {
      const { status, text } = await auditor.get(path)
      expect(status).toBe(200)
      expect(text).not.toMatch(/id="health"|topics="[^"]*health/)
    }
    const seen = await (await app.as('carol')).get('/profile')
    expect(seen.text).toMatch(/id="health"/)
    expect(seen.text).toMatch(/topics="[^"]*health/)
  })

  test('is offered no process that they may not see', async () => {
    await pm2Keeps(app, running(0, 'web'))
    const starter = await withRole('starter', ['processes.restart'])
    expect((await starter.get('/palette')).text).not.toContain('Restart web')
    const both = await withRole('both', ['processes.restart', 'processes.read'])
    expect((await both.get('/palette')).text).toContain('Restart web')
  })
})

test('a page says the same compressed and not compressed, to everybody who asks at once', async () => {
  const agents = await Promise.all((['alice', 'bob', 'carol'] as const).map((person) => app.as(person)))
  for (const agent of agents) {
    const [plain, gzipped] = await Promise.all([
      agent.get('/').set('Accept-Encoding', 'identity'),
      agent.get('/').set('Accept-Encoding', 'gzip'),
    ])
    expect([plain.headers['content-encoding'], gzipped.headers['content-encoding']]).toEqual([undefined, 'gzip'])
    const still = (html: string) => html.replace(/data-now="\d+"/, '')
    expect(still(gzipped.text)).toBe(still(plain.text))
    expect(gzipped.text.endsWith('</html>\n')).toBe(true)
  }
})

describe('the palette', () => {
  const linksFor = async (person: Person) =>
    [...(await pageOf(person, '/palette')).matchAll(/class="oc-commands"[\s\S]*?<\/turbo-frame>/g)].flatMap(([list]) => linksIn(list))

  test('lists only what exists and what the role may do', async () => {
    await pm2Keeps(app, running(0, 'web'), running(1, 'mail', { status: 'stopped', pid: null }))
    const id = encodeURIComponent(`${app.platform.config.hostName}:`)
    const pages = ['/', '/health', '/checks', '/incidents', '/processes', '/keys', '/profile', '/docs']
    expect((await linksFor('carol')).sort()).toEqual([...pages].sort())
    expect((await linksFor('bob')).sort()).toEqual(
      [...pages, '/system', '/console', `/processes/${id}0/restart`, `/processes/${id}1/start`].sort(),
    )
    const alice = await linksFor('alice')
    expect(alice).toContain('/settings')
    for (const href of alice) expect([href, (await (await app.as('alice')).get(href)).status]).toEqual([href, 200])
  })

  test('and the sidebar lead to the same pages', async () => {
    for (const person of ['alice', 'carol'] as const) {
      // Where there are several organisations, the menu leads to them as well.
      const sidebar = new Set([...(await pageOf(person)).matchAll(/<nav[\s\S]*?<\/nav>/g)].flatMap(([nav]) => linksIn(nav)))
      const palette = (await linksFor(person)).filter((href) => !href.startsWith('/processes/'))
      sidebar.delete('/organisations')
      expect([...sidebar].sort()).toEqual(palette.sort())
    }
  })
})
