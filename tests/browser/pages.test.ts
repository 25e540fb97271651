import { AxeBuilder } from '@axe-core/playwright'
import { hashOf } from '../../services/accounts'
import { startApp, type TestApp } from '../helpers/app'
import { openBrowser, openPage, overhang, signIn, violations, type Browser, type Page } from '../helpers/browser'
import { addPerson } from '../helpers/people'

const widths = [320, 375, 390, 768, 1024, 1200, 1440, 1920]
const long = 'a-rather-long-name-that-somebody-has-chosen-for-themself-anyhow'

/** For whoever is signed in, and for whoever comes with a link from outside. */
let pages: string[]
let entrances: string[]

let app: TestApp
let browser: Browser
beforeAll(async () => {
  app = await startApp({ probes: { pm2: false } })
  browser = await openBrowser()
  const [alice, bob] = await Promise.all([app.as('alice'), app.as('bob')])
  const events = Array.from({ length: 12 }, (_, index) => ({
    type: 'deploy',
    source: 'ci',
    subject: index === 11 ? `<img src=x onerror="document.title='owned'">${'long'.repeat(60)}` : `build-${index}`,
    severity: index % 3 === 0 ? 'error' : 'info',
  }))
  await bob.post('/api/events').send({ events }).expect(201)

  await addPerson(app, long)
  const role = await alice.post('/api/roles').send({ name: 'Night shift', actions: ['health.read', 'processes.restart'] })
  const { id: roleId } = role.body as { id: string }
  await alice.patch(`/api/users/user-${long}`).send({ role: roleId }).expect(200)
  await alice.post('/api/users/user-carol/disable').expect(200)
  await alice.post('/api/users/user-carol/enable').expect(200)
  await bob.get('/api/users').expect(403)
  const key = await alice
    .post('/api/keys')
    .send({ name: long, role: roleId, addresses: ['10.0.0.0/8'], scopes: ['processes.restart'] })
    .expect(201)
  const { id: keyId } = key.body as { id: string }
  const other = await alice.post('/api/keys').send({ name: 'gone', role: 'viewer' })
  await alice.delete(`/api/keys/${(other.body as { id: string }).id}`).expect(200)

  const tokenOf = (link: string) => new URL(link).search
  const invite = async () =>
    tokenOf(((await alice.post('/api/invites').send({ role: 'viewer', name: long })).body as { link: string }).link)
  const [open, used, expired] = [await invite(), await invite(), await invite()]
  const hashed = (token: string) => hashOf(new URLSearchParams(token).get('token') ?? '')
  const { db } = app.ctx
  await db.updateTable('invites').set({ used_at: app.ctx.now(), used_by: 'user-bob' }).where('token_hash', '=', hashed(used)).execute()
  await db.updateTable('invites').set({ expires_at: app.ctx.now() }).where('token_hash', '=', hashed(expired)).execute()
  const reset = async (id: string) => tokenOf(((await alice.post(`/api/users/${id}/reset`)).body as { link: string }).link)
  const [overReset, openReset] = [await reset('user-carol'), await reset('user-carol')]

  pages = [
    ...['/', '/settings', '/profile', '/nowhere', '/users', '/users/invite', `/users/user-${long}`],
    ...['/users/user-bob/disable', '/roles', '/roles/new', `/roles/${roleId}`, '/keys', '/keys/new', `/keys/${keyId}/rotate`],
    ...['/audit', '/organisations', '/console', '/console/tidy', `/invite${open}`],
  ]
  entrances = ['/sign-in', `/invite${open}`, `/invite${used}`, `/invite${expired}`, '/invite', `/reset${openReset}`, `/reset${overReset}`]
})
afterAll(async () => {
  await browser.close()
  await app.close()
})

/** Looks at each page, those from outside at the end, with what can be opened on it open. */
async function walk(page: Page, look: (path: string) => Promise<void>): Promise<void> {
  for (const path of [...pages, ...entrances]) {
    if (path === entrances[0]) await page.context().clearCookies()
    await page.goto(app.url + path)
    await page.evaluate(() => {
      for (const details of [...document.querySelectorAll<HTMLDetailsElement>('main details')].slice(0, 8)) details.open = true
    })
    await look(path)
  }
}

/** What another theme can break. */
async function faintColours(page: Page): Promise<string[]> {
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.waitForFunction(() => document.documentElement.dataset['bsTheme'] === 'dark')
  const { violations: found } = await new AxeBuilder({ page })
    .options({ resultTypes: ['violations'] })
    .withRules(['color-contrast', 'link-in-text-block'])
    .setLegacyMode()
    .analyze()
  await page.emulateMedia({ colorScheme: 'light' })
  return found.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id} in the dark theme: ${html.slice(0, 160)}`))
}

test.each([
  { width: 1440, height: 900 },
  { width: 390, height: 844 },
])(
  'no page has a violation of WCAG 2.2 AA, light or dark, $width pixels wide',
  async (viewport) => {
    const { page, complaints } = await openPage(browser, { colorScheme: 'light', viewport })
    await signIn(page, app.url, 'alice')
    const found: Record<string, string[]> = {}
    await walk(page, async (path) => {
      const wrong = [...(await violations(page)), ...(await faintColours(page)), ...complaints()]
      if (wrong.length > 0) found[path] = wrong
    })
    expect(found).toEqual({})
    await page.context().close()
  },
  180_000,
)

test.each([1440, 390])('what a role may not see is refused on a page without a violation, %d pixels wide', async (width) => {
  const { page, complaints } = await openPage(browser, { viewport: { width, height: 844 } })
  await signIn(page, app.url, 'carol', '/settings')
  await page.getByText(/Your role does not allow/).waitFor()
  expect(await violations(page)).toEqual([])
  expect(await overhang(page)).toBeLessThanOrEqual(0)
  expect(complaints()).toEqual([])
  await page.context().close()
})

test('no page has a sideways scroll from 320 to 1920 pixels, and every icon is in the sprite', async () => {
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'alice')
  const found: Record<string, string[]> = {}
  await walk(page, async (path) => {
    const wrong = await missingIcons(page)
    for (const width of widths) {
      await page.setViewportSize({ width, height: 900 })
      const over = await overhang(page)
      if (over > 0) wrong.push(`${width}: ${over} px too wide`)
    }
    if (wrong.length > 0) found[path] = wrong
  })
  expect(found).toEqual({})
  await page.context().close()
}, 90_000)

const missingIcons = (page: Page): Promise<string[]> =>
  page.evaluate(async () => {
    const used = [...document.querySelectorAll('use')].map((use) => use.getAttribute('href') ?? '')
    const [file = ''] = (used[0] ?? '').split('#')
    const sprite = await (await fetch(file)).text()
    return [...new Set(used)].filter((href) => !sprite.includes(`id="${href.split('#')[1] ?? ''}"`))
  })

test('what others report is shown as text', async () => {
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'alice')
  await page.locator('#latest_events').getByText('onerror').waitFor()
  expect(await page.title()).toBe('Overview · Operations Center')
})

test('the theme is switched by the button and remembered', async () => {
  const { page } = await openPage(browser, { colorScheme: 'light' })
  await signIn(page, app.url, 'carol')
  const theme = () => page.evaluate(() => document.documentElement.dataset['bsTheme'])
  expect(await theme()).toBe('light')
  const saved = page.waitForResponse((response) => response.url().endsWith('/profile/theme'))
  await page.locator('.oc-topbar [data-controller=theme]').click()
  await page.waitForFunction(() => document.documentElement.dataset['bsTheme'] === 'dark')
  await saved
  await page.goto(`${app.url}/profile`)
  expect(await theme()).toBe('dark')
})

test('Ctrl K finds a page by its name, and Enter opens it', async () => {
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'alice')
  await page.keyboard.press('Control+K')
  await page.getByRole('dialog', { name: 'Search or jump to' }).waitFor()
  await page.locator('#palette a', { hasText: 'Settings' }).waitFor()
  await page.keyboard.type('sett')
  await page.keyboard.press('Enter')
  await page.waitForURL(`${app.url}/settings`)
})

test('a phone has a bar at the bottom and a menu with all pages', async () => {
  const { page } = await openPage(browser, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true })
  await signIn(page, app.url, 'alice')
  await page.getByRole('navigation', { name: 'On-call pages' }).waitFor()
  await page.getByRole('button', { name: 'Menu', exact: true }).click()
  await page.getByRole('dialog', { name: 'Menu' }).getByRole('link', { name: 'Settings' }).click()
  await page.waitForURL(`${app.url}/settings`)
})

test.each(['/docs', '/redoc'])('%s shows the API from this machine alone', async (path) => {
  const { page, complaints } = await openPage(browser)
  const elsewhere: string[] = []
  page.on('request', (request) => {
    if (!request.url().startsWith(app.url) && !/^(data|blob):/.test(request.url())) elsewhere.push(request.url())
  })
  await page.goto(app.url + path)
  await page.getByText('Report events').locator('visible=true').first().waitFor({ timeout: 20_000 })
  expect(complaints()).toEqual([])
  expect(elsewhere).toEqual([])
})
