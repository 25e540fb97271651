import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startApp, type TestApp } from '../helpers/app'
import { openBrowser, openNetwork, openPage, signIn, violations, type Browser } from '../helpers/browser'
import { pm2 } from '../helpers/pm2'
import { until } from '../helpers/until'

// A real process that ends with an error when a file appears.
const program = `
const fs = require('node:fs')
setInterval(() => { if (fs.existsSync(process.argv[2])) { fs.rmSync(process.argv[2]); process.exit(7) } }, 50)
`

describe('the overview follows the machine', () => {
  let app: TestApp
  let browser: Browser
  beforeAll(async () => {
    app = await startApp({ probes: {} })
    browser = await openBrowser()
  })
  afterAll(async () => {
    await pm2(app.pm2Home, 'kill').catch(() => undefined)
    await browser.close()
    app.expectLog(/PM2/)
    await app.close()
  }, 30_000)

  test('a process is started, crashes, is restarted by hand and stopped, and the page shows it without a reload', async () => {
    const { page, complaints } = await openPage(browser)
    await signIn(page, app.url, 'bob')
    await page.evaluate(() => {
      document.body.dataset['same'] = 'yes'
    })
    await page.getByRole('heading', { name: 'No PM2 daemon runs here' }).waitFor()

    const folder = join(app.dataDir, 'app')
    const crash = join(folder, 'crash')
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'app.js'), program)
    await pm2(app.pm2Home, 'start', join(folder, 'app.js'), '--name', 'button-handler', '--', crash)
    const row = page.locator('tr', { hasText: 'button-handler' })
    await row.getByText('Online').waitFor()
    await page.locator('#tile_pm2').getByText('1 of 1 online').waitFor()

    writeFileSync(crash, '')
    await page.locator('#latest_events').getByText('button-handler crashed with exit code 7').waitFor()
    await row.getByText('1 crash in 10 min').waitFor()
    expect(await page.evaluate(() => document.body.dataset['same'])).toBe('yes')

    await row.getByRole('link', { name: 'Restart button-handler' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByText(/What it is doing is cut off/).waitFor()
    expect(await violations(page)).toEqual([])
    await dialog.getByRole('button', { name: 'Restart button-handler' }).click()
    await page.getByText('button-handler was restarted.').waitFor()
    await page.locator('#latest_events').getByText('bob restarted button-handler').waitFor()

    await row.getByLabel('Actions for button-handler').click()
    await row.getByRole('link', { name: 'Stop' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Stop button-handler' }).click()
    await row.getByText('Stopped').waitFor()

    await pm2(app.pm2Home, 'kill')
    await page
      .locator('#verdict')
      .getByText(/PM2 is not running/)
      .waitFor({ timeout: 15_000 })
    expect(complaints()).toEqual([])
  }, 60_000)

  test('a viewer sees the same, and nothing to press', async () => {
    const { page } = await openPage(browser)
    await signIn(page, app.url, 'carol')
    await page.locator('#processes').waitFor()
    expect(await page.getByRole('link', { name: /^(Restart|Start|Stop)/ }).count()).toBe(0)
  })

  test('figures move each second, and say how old they are', async () => {
    const { page } = await openPage(browser)
    await signIn(page, app.url, 'carol')
    const at = () => page.locator('#age_tile_cpu').getAttribute('data-age-at-value')
    const first = await at()
    await until(async () => (await at()) !== first)
    await page
      .locator('#tile_cpu')
      .getByText(/updated (now|\d+ s ago)/)
      .waitFor()
  })
})

describe('a connection that breaks', () => {
  let app: TestApp
  let browser: Browser
  beforeAll(async () => {
    app = await startApp({ probes: { pm2: false } })
    browser = await openBrowser()
  })
  afterAll(async () => {
    await browser.close()
    await app.close()
  })

  const report = async (subject: string) => {
    const bob = await app.as('bob')
    await bob
      .post('/api/events')
      .send({ events: [{ type: 'deploy', source: 'ci', subject }] })
      .expect(201)
  }

  test('a socket that is cut comes back by itself with what was missed', async () => {
    const network = await openNetwork(app.url)
    const { page } = await openPage(browser)
    await signIn(page, network.url, 'bob')
    await page.locator('.oc-live', { hasText: 'Live' }).waitFor()
    await until(() => network.upgrades > 0)
    const before = network.upgrades
    network.refuseSockets(true)
    network.cut()
    await page.locator('.oc-live', { hasText: /Reconnecting|Polling/ }).waitFor()
    await report('missed-by-the-page')
    network.refuseSockets(false)
    await page.locator('#latest_events').getByText('missed-by-the-page').waitFor({ timeout: 20_000 })
    await until(() => network.upgrades > before, 40_000)
    await network.close()
  }, 60_000)

  test('where no socket gets through, the page polls and says why', async () => {
    const network = await openNetwork(app.url)
    network.refuseSockets(true)
    const { page } = await openPage(browser)
    await signIn(page, network.url, 'bob')
    await page.locator('.oc-live', { hasText: /Polling/ }).waitFor({ timeout: 20_000 })
    await report('told-by-polling')
    await page.locator('#latest_events').getByText('told-by-polling').waitFor({ timeout: 20_000 })
    await network.close()
  }, 60_000)
})
