import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startApp, type TestApp } from '../helpers/app'
import { openBrowser, openPage, overhang, signIn, violations, type Browser, type Page } from '../helpers/browser'

/** A site, of which one part can be broken and mended. */
let site: Server
let status = 200
let address: string

let app: TestApp
let browser: Browser
beforeAll(async () => {
  site = createServer((request, response) => {
    response.writeHead(request.url === '/hook' ? status : 200, { 'content-type': 'application/json' }).end('{"status":"fine"}')
  })
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve))
  address = `http://127.0.0.1:${(site.address() as AddressInfo).port}/health`
  app = await startApp({ probes: { system: false, pm2: false, checks: true } })
  await (
    await app.as('alice')
  )
    .put('/api/checks/targets')
    .send({ allowed: ['127.0.0.0/8'] })
    .expect(200)
  browser = await openBrowser()
})
afterEach(async () => {
  status = 200
  for (const context of browser.contexts()) await context.close()
})
afterAll(async () => {
  await browser.close()
  await app.close()
  site.closeAllConnections()
  site.close()
})

const make = async (name: string, more: object = {}): Promise<string> => {
  const made = await (
    await app.as('alice')
  )
    .post('/api/checks')
    .send({ name, kind: 'http', spec: { url: address }, interval_s: 5, timeout_ms: 2000, retries: 0, ...more })
  expect(made.status).toBe(201)
  return (made.body as { id: string }).id
}

const heading = (page: Page) => page.locator('.oc-verdict h2')
const said = (page: Page, text: string | RegExp) => page.locator('#toasts').getByText(text).waitFor()

async function confirm(page: Page, answer: string): Promise<void> {
  await page.getByRole('dialog').getByRole('button', { name: answer, exact: true }).click()
}

test('a check is chosen, tried before it is saved, made, and seen up', async () => {
  const { page, complaints } = await openPage(browser)
  await signIn(page, app.url, 'alice', '/checks')
  await page.getByRole('heading', { name: 'Nothing is checked yet' }).first().waitFor()
  await page.getByRole('link', { name: 'New check' }).click()
  await page.getByRole('link', { name: /Site or API/ }).click()
  await page.getByLabel('Name').fill('Shop')
  await page.getByRole('button', { name: 'Test it now' }).click()
  await page.getByText('It cannot be tried like this').waitFor()
  await page.getByLabel('Address').fill(address)
  await page.getByLabel('Text in the answer').fill('fine')
  await page.getByLabel('Every', { exact: true }).fill('5 s')
  await page.getByLabel('Gives up after').fill('2 s')
  await page.getByLabel('Each after').fill('2 s')
  await page.getByRole('button', { name: 'Test it now' }).click()
  await page.getByText('It works').waitFor()
  expect(await violations(page)).toEqual([])
  // What was typed stays through both.
  expect(await page.getByLabel('Every', { exact: true }).inputValue()).toBe('5 s')
  await page.getByRole('button', { name: 'Make the check' }).click()
  await said(page, 'Shop is checked from now on.')
  await page.locator('#check_verdict', { hasText: 'Shop is up' }).waitFor()
  expect(complaints()).toEqual([])
})

test('a form with mistakes comes back with what was typed and what is wrong, also without script', async () => {
  const { page } = await openPage(browser, { javaScriptEnabled: false })
  await signIn(page, app.url, 'alice', '/checks/new?kind=tcp')
  await page.getByLabel('Name').fill('Mail')
  await page.getByLabel('Host').fill('not a host')
  await page.getByLabel('Port').fill('99999')
  await page.getByRole('button', { name: 'Make the check' }).click()
  await page.getByRole('alert').getByText('2 fields need a change').waitFor()
  expect(await page.getByLabel('Host').inputValue()).toBe('not a host')
  expect(await page.getByLabel('Port').getAttribute('aria-invalid')).toBe('true')
  await page.getByLabel('Host').fill('127.0.0.1')
  await page.getByLabel('Port').fill(new URL(address).port)
  await page.getByRole('button', { name: 'Test it now' }).click()
  await page.getByText('It works').waitFor()
  expect(await page.getByLabel('Name').inputValue()).toBe('Mail')
})

test('the page of a check that stays up says when it was looked at last, by itself', async () => {
  const id = await make('Steady')
  const { page, complaints } = await openPage(browser)
  await signIn(page, app.url, 'carol', `/checks/${id}`)
  const seen = page.locator(`#check_${id}_seen time`)
  await heading(page).getByText('Steady is up').waitFor()
  const first = (await seen.getAttribute('datetime')) ?? ''
  await page.locator(`#check_${id}_seen time:not([datetime="${first}"])`).waitFor({ timeout: 12_000 })
  expect(((await seen.getAttribute('datetime')) ?? '') > first).toBe(true)
  expect(await page.locator('[data-live-panel].is-stale').count()).toBe(0)
  expect(complaints()).toEqual([])
}, 30_000)

test('what goes down turns red in open pages within its interval and a second, and up again likewise', async () => {
  const id = await make('Webhook', { spec: { url: new URL('/hook', address).toString() } })
  const { page, complaints } = await openPage(browser)
  await signIn(page, app.url, 'bob', '/checks')
  const row = page.locator(`#check_${id}`)
  await row.getByText('Up', { exact: true }).waitFor()
  const other = await openPage(browser)
  await signIn(other.page, app.url, 'carol', `/checks/${id}`)

  status = 503
  const within = { timeout: 6000 }
  await Promise.all([
    row.getByText('Down', { exact: true }).waitFor(within),
    heading(page).getByText('Webhook is down').waitFor(within),
    heading(other.page).getByText('Webhook is down').waitFor(within),
  ])
  await page.getByRole('link', { name: 'See the incident' }).click()
  await page.getByRole('button', { name: 'I’m on it' }).click()
  await said(page, 'You are on it.')
  await page.getByLabel('Add a note').fill('The tunnel has a new address.')
  await page.getByRole('button', { name: 'Save the note' }).click()
  await page.getByText('The tunnel has a new address.').waitFor()
  expect(await page.getByText('Also on the public status page').count()).toBe(0)
  expect(await violations(page)).toEqual([])
  await other.page.getByText('bob is on it').waitFor()

  status = 200
  await Promise.all([
    heading(other.page).getByText('Webhook is up').waitFor(within),
    page.getByText('still down').waitFor({ state: 'detached', ...within }),
  ])
  await page.goto(`${app.url}/incidents?check=${id}`)
  expect(await page.locator('.oc-incidents > li').count()).toBe(1)
  expect([...complaints(), ...other.complaints()]).toEqual([])
}, 60_000)

test('several are selected and paused, tagged and deleted after a question', async () => {
  const [one, two] = [await make('Bulk one'), await make('Bulk two')]
  const { page, complaints } = await openPage(browser)
  await signIn(page, app.url, 'alice', '/checks?q=bulk')
  const select = async () => {
    for (const name of ['Bulk one', 'Bulk two']) await page.getByRole('checkbox', { name: `Select ${name}` }).check()
    await page.getByText('2 selected').waitFor()
  }
  await select()
  await page.getByRole('button', { name: 'Pause' }).click()
  for (const id of [one, two]) await page.locator(`#check_${id}`).getByText('Paused').waitFor()
  await select()
  await page.getByLabel('Tag for the selected checks').fill('night')
  await page.getByRole('button', { name: 'Tag', exact: true }).click()
  for (const id of [one, two]) await page.locator(`#check_${id}`).getByText('night').waitFor()
  await select()
  await page.getByRole('button', { name: 'Delete', exact: true }).click()
  await page.getByRole('heading', { name: 'Delete 2 checks?', level: 2 }).waitFor()
  expect(await violations(page)).toEqual([])
  await page.getByRole('button', { name: 'Delete 2 checks' }).click()
  await said(page, '2 checks were deleted.')
  expect(complaints()).toEqual([])
})

test('a check is paused, resumed, changed, cloned and deleted on its own page', async () => {
  const id = await make('Mailer')
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'alice', `/checks/${id}`)
  await page.getByRole('button', { name: 'Pause' }).click()
  await heading(page).getByText('Mailer is paused').waitFor()
  await page.getByRole('button', { name: 'Resume' }).click()
  await heading(page).getByText('Mailer is up').waitFor()
  await page.getByRole('button', { name: 'Check now' }).click()
  await said(page, /^Mailer: /)
  await page.getByRole('link', { name: 'Edit' }).click()
  expect(await page.getByLabel('Address').inputValue()).toBe(address)
  await page.getByLabel('Name').fill('Mail server')
  await page.getByRole('button', { name: 'Save the check' }).click()
  await said(page, 'Mail server was saved.')
  await page.getByRole('button', { name: 'Clone' }).click()
  await page.getByRole('button', { name: 'Save the check' }).waitFor()
  await page.goto(`${app.url}/checks/${id}`)
  await page.getByRole('link', { name: 'Delete' }).click()
  await confirm(page, 'Delete the check')
  await said(page, 'Mail server was deleted.')
})

test('maintenance is planned for some checks, shown, and ended', async () => {
  const id = await make('Planned')
  const { page, complaints } = await openPage(browser)
  await signIn(page, app.url, 'bob', `/maintenance/new?check=${id}`)
  expect(await page.getByRole('checkbox', { name: 'Planned' }).isChecked()).toBe(true)
  await page.getByLabel('Name').fill('New disks')
  await page.getByLabel('It begins').fill('2026-01-01T00:00')
  await page.getByLabel('It ends').fill('2025-01-01T00:00')
  await page.getByRole('button', { name: 'Plan it' }).click()
  await page.getByRole('alert').waitFor()
  expect(await page.getByLabel('Name').inputValue()).toBe('New disks')
  await page.getByLabel('It begins').fill('2020-01-01T00:00')
  await page.getByLabel('It ends').fill('2099-01-01T00:00')
  expect(await violations(page)).toEqual([])
  await page
    .getByLabel('It begins')
    .fill(await page.evaluate(() => new Date(Date.now() - 3_600_000 + 5.5 * 3_600_000).toISOString().slice(0, 16)))
  await page
    .getByLabel('It ends')
    .fill(await page.evaluate(() => new Date(Date.now() + 3_600_000 + 5.5 * 3_600_000).toISOString().slice(0, 16)))
  await page.getByRole('button', { name: 'Plan it' }).click()
  await said(page, '“New disks” was saved.')
  await page.goto(`${app.url}/checks/${id}`)
  await heading(page).getByText('Planned is in maintenance').waitFor()
  await page.goto(`${app.url}/maintenance`)
  await page.getByRole('link', { name: 'End it New disks' }).click()
  await confirm(page, 'End the maintenance')
  await said(page, '“New disks” is cancelled.')
  expect(complaints()).toEqual([])
})

test('the status page is nothing until it is published, and shows outside what was chosen and no more', async () => {
  const id = await make('Internal name 7')
  const outside = await openPage(browser, { viewport: { width: 390, height: 844 } })
  expect((await outside.page.goto(`${app.url}/status`))?.status()).toBe(404)

  const { page } = await openPage(browser)
  await signIn(page, app.url, 'alice', '/status-page')
  await page.getByLabel('Title').fill('Jarvis status')
  await page.getByRole('checkbox', { name: 'Show Internal name 7' }).check()
  await page.getByLabel('How people read Internal name 7').fill('Payments')
  await page.getByRole('button', { name: 'Save the page' }).click()
  await said(page, 'The page was saved.')
  expect((await outside.page.goto(`${app.url}/status`))?.status()).toBe(404)
  await page.getByRole('link', { name: 'Publish' }).click()
  await confirm(page, 'Publish it')
  await said(page, 'The status page is public.')

  await outside.page.goto(`${app.url}/status`)
  await outside.page.getByText('Payments').waitFor()
  const text = await outside.page.locator('body').innerText()
  expect(text).toMatch(/Last checked|Nothing was checked/)
  expect(text).not.toMatch(/Internal name|127\.0\.0\.1|alice/)
  expect(await violations(outside.page)).toEqual([])
  expect(await overhang(outside.page)).toBeLessThanOrEqual(0)

  await page.getByRole('link', { name: 'Take it down' }).click()
  await confirm(page, 'Take it down')
  await said(page, 'The status page is off.')
  expect((await outside.page.goto(`${app.url}/status`))?.status()).toBe(404)
  expect(id).not.toBe('')
})

test('a viewer sees everything, and nothing to press', async () => {
  const id = await make('Looked at')
  const { page } = await openPage(browser, { viewport: { width: 390, height: 844 } })
  await signIn(page, app.url, 'carol', '/checks')
  await page.getByRole('link', { name: 'Looked at' }).waitFor()
  for (const path of ['/checks', `/checks/${id}`, '/incidents', '/maintenance']) {
    await page.goto(app.url + path)
    expect(
      await page
        .getByRole('main')
        .getByRole('button', { name: /Pause|Check now|Clone|I’m on it|Delete/ })
        .count(),
    ).toBe(0)
    expect(
      await page
        .getByRole('main')
        .getByRole('link', { name: /New check|Edit|Delete|Plan (one|maintenance)/ })
        .count(),
    ).toBe(0)
  }
})

test.each([1440, 390])(
  'no page of checks has a violation, an icon that is missing or a sideways scroll, %d pixels wide',
  async (width) => {
    const long = await make(`A check whose name ${'is long and '.repeat(4)}${width}`, {
      tags: ['one', 'two', 'three', 'a-very-long-tag-indeed'],
    })
    const { page, complaints } = await openPage(browser, {
      viewport: { width, height: 844 },
      colorScheme: width === 390 ? 'dark' : 'light',
    })
    await signIn(page, app.url, 'alice', '/checks')
    const kinds = ['http', 'dns', 'disk', 'heartbeat', 'command'].map((kind) => `/checks/new?kind=${kind}`)
    const found: Record<string, unknown> = {}
    const paths = ['/checks', '/checks?q=nothing-like-it', `/checks/${long}?range=90d`, `/checks/${long}/edit`, '/checks/new', ...kinds]
    for (const path of [...paths, '/checks/targets', '/incidents', '/maintenance', '/maintenance/new', '/status-page']) {
      await page.goto(app.url + path)
      await page.evaluate(() => {
        for (const details of document.querySelectorAll<HTMLDetailsElement>('main details')) details.open = true
      })
      const wrong = [...(await violations(page)), ...complaints(), ...((await overhang(page)) > 0 ? ['too wide'] : [])]
      if (wrong.length > 0) found[path] = wrong
    }
    expect(found).toEqual({})
  },
  120_000,
)
