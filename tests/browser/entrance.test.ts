import { claimLink } from '../../monitoring/app'
import { password, startApp, type TestApp } from '../helpers/app'
import { openBrowser, openPage, signIn, violations, type Browser } from '../helpers/browser'

let browser: Browser
beforeAll(async () => {
  browser = await openBrowser()
})
afterAll(() => browser.close())

describe('claiming', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp({ unclaimed: true, probes: { pm2: false } })
  })
  afterAll(() => app.close())

  test('the link from the log makes the first admin, once, and shows the machine', async () => {
    const link = (await claimLink(app.ctx, app.url)) ?? ''
    const { page, complaints } = await openPage(browser)
    await page.goto(app.url)
    expect(new URL(page.url()).pathname).toBe('/claim')
    await page.goto(link)
    expect(await violations(page)).toEqual([])
    await page.getByLabel('User name').fill('asha')
    await page.getByLabel('Password', { exact: true }).fill('too short')
    await page.evaluate(() => document.querySelector('form')?.setAttribute('novalidate', ''))
    await page.getByRole('button', { name: 'Claim and sign in' }).click()
    await page.getByText('Use at least 10 characters').first().waitFor()
    expect(await page.getByLabel('User name').inputValue()).toBe('asha')
    await page.getByLabel('Password', { exact: true }).fill(password)
    await page.getByRole('button', { name: 'Claim and sign in' }).click()
    await page.waitForURL(`${app.url}/`)
    await page
      .locator('#tile_cpu')
      .getByText(/% used/)
      .waitFor()
    await page.goto(link)
    await page.getByRole('heading', { name: 'This console is taken' }).waitFor()
    expect(complaints()).toEqual([])
  })
})

describe('signing in', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await startApp()
  })
  afterAll(() => app.close())

  test('a wrong password is said, the name stays, and the right one leads on', async () => {
    const { page, complaints } = await openPage(browser)
    await page.goto(`${app.url}/settings`)
    await page.getByLabel('User name').fill('alice')
    await page.getByLabel('Password', { exact: true }).fill('not this one')
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.getByText('This name and password do not match').waitFor()
    expect(await page.getByLabel('User name').inputValue()).toBe('alice')
    expect(await violations(page)).toEqual([])
    await page.getByLabel('Password', { exact: true }).fill(password)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.waitForURL(`${app.url}/settings`)
    expect(complaints()).toEqual([])
  })

  test('signing out ends it, also for the back button', async () => {
    const { page } = await openPage(browser)
    await signIn(page, app.url, 'carol')
    await page.getByLabel('Your account, carol').click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL(`${app.url}/sign-in`)
    await page.goto(`${app.url}/`)
    expect(new URL(page.url()).pathname).toBe('/sign-in')
  })

  test('everything works without script', async () => {
    const { page } = await openPage(browser, { javaScriptEnabled: false })
    await signIn(page, app.url, 'alice')
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    await page.getByRole('link', { name: 'Profile' }).first().click()
    await page.getByLabel('Current password').fill(password)
    await page.getByLabel('New password', { exact: true }).fill('something else entirely')
    await page.getByLabel(/again/i).fill('something different')
    await page.getByRole('button', { name: /change/i }).click()
    await page.getByText('This is not the same password').first().waitFor()
  })
})
