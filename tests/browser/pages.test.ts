import { openBrowser, openPage, overhang, signIn, violations, type Browser } from '../helpers/browser'
import { startApp, type TestApp } from '../helpers/app'

const widths = [320, 375, 390, 768, 1024, 1200, 1440, 1920]
const pages = ['/', '/settings', '/profile', '/nowhere']

let app: TestApp
let browser: Browser
beforeAll(async () => {
  app = await startApp({ probes: { pm2: false } })
  browser = await openBrowser()
  const bob = await app.as('bob')
  const events = Array.from({ length: 12 }, (_, index) => ({
    type: 'deploy',
    source: 'ci',
    subject: index === 11 ? `<img src=x onerror="document.title='owned'">${'long'.repeat(60)}` : `build-${index}`,
    severity: index % 3 === 0 ? 'error' : 'info',
  }))
  await bob.post('/api/events').send({ events }).expect(201)
})
afterAll(async () => {
  await browser.close()
  await app.close()
})

const looks = (['light', 'dark'] as const).flatMap((colorScheme) =>
  pages.flatMap((path) => [
    { colorScheme, path, width: 1440, height: 900 },
    { colorScheme, path, width: 390, height: 844 },
  ]),
)

test.each(looks)(
  '$path has no violation of WCAG 2.2 AA, $colorScheme, $width pixels wide',
  async ({ colorScheme, path, width, height }) => {
    const { page, complaints } = await openPage(browser, { colorScheme, viewport: { width, height } })
    await signIn(page, app.url, 'alice', path)
    expect(await violations(page)).toEqual([])
    expect(complaints()).toEqual([])
    await page.context().close()
  },
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

test.each(pages)('%s has no sideways scroll from 320 to 1920 pixels', async (path) => {
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'alice')
  await page.goto(app.url + path)
  const wide: string[] = []
  for (const width of widths) {
    await page.setViewportSize({ width, height: 900 })
    const over = await overhang(page)
    if (over > 0) wide.push(`${width}: ${over} px too wide`)
  }
  expect(wide).toEqual([])
})

test('what others report is shown as text', async () => {
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'alice')
  await page.locator('#latest_events').getByText('onerror').waitFor()
  expect(await page.title()).toBe('Overview · Operations Center')
})

test('every icon that a page uses is in the sprite', async () => {
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'alice')
  for (const path of pages) {
    await page.goto(app.url + path)
    const missing = await page.evaluate(async () => {
      const used = [...document.querySelectorAll('use')].map((use) => use.getAttribute('href') ?? '')
      const [file = ''] = (used[0] ?? '').split('#')
      const sprite = await (await fetch(file)).text()
      return [...new Set(used)].filter((href) => !sprite.includes(`id="${href.split('#')[1] ?? ''}"`))
    })
    expect(missing).toEqual([])
  }
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
