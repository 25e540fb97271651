import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import type { BrowserContextOptions } from 'playwright-core'
import { password, startApp, type TestApp } from '../helpers/app'
import { openBrowser, openPage, signIn, violations, type Browser, type Page, type WatchedPage } from '../helpers/browser'
import { pm2Keeps, running } from '../helpers/machine'
import { addPerson, sessionOf } from '../helpers/people'
import { until } from '../helpers/until'

const run = promisify(execFile)
const phone =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.2 Mobile/15E148 Safari/604.1'
/** What is done elsewhere shows in an open page within this time. */
const soon = { timeout: 5000 }

let app: TestApp
let browser: Browser
beforeAll(async () => {
  app = await startApp({ probes: { system: false, pm2: false } })
  // What the cast has beside Alice's organisation is not part of these stories.
  await app.ctx.db.deleteFrom('memberships').where('org_id', '=', 'other').execute()
  await app.ctx.db.deleteFrom('organisations').where('id', '=', 'other').execute()
  await pm2Keeps(app, running(0, 'button-handler'), running(1, 'reporter', { status: 'stopped', pid: null, cpu: null, memory: null }))
  browser = await openBrowser()
})
afterEach(async () => {
  for (const context of browser.contexts()) await context.close()
})
afterAll(async () => {
  await browser.close()
  await app.close()
})

/** A page of somebody who has signed in before. */
async function openAs(username: string, path = '/', options: BrowserContextOptions = {}): Promise<WatchedPage> {
  const watched = await openPage(browser, options)
  const { cookie } = await sessionOf(app, username)
  const [name = '', value = ''] = (cookie ?? '').split('=')
  await watched.page.context().addCookies([{ name, value, url: app.url }])
  await watched.page.goto(app.url + path)
  return watched
}

const signedOut = (page: Page) => page.waitForURL((url) => url.pathname === '/sign-in', soon)
const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true })
const link = (page: Page, name: string | RegExp) => page.getByRole('link', { name, exact: true })
const said = (page: Page, text: string) => page.locator('#toasts').getByText(text).waitFor()
const restart = (page: Page) => page.getByRole('link', { name: 'Restart button-handler' })

/** Answers the question that stands in the dialog. */
async function confirm(page: Page, question: string, answer: string): Promise<void> {
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('heading', { name: question }).waitFor()
  await dialog.getByRole('button', { name: answer, exact: true }).click()
}

async function invite(page: Page, name: string, role: string): Promise<string> {
  await page.goto(`${app.url}/users`)
  await link(page, 'Invite a person').click()
  await page.getByRole('textbox', { name: 'Name' }).fill(name)
  await page.getByRole('radio', { name: role }).check()
  await button(page, 'Make the link').click()
  return page.getByLabel('One-time link').inputValue()
}

async function comeIn(page: Page, address: string, username: string): Promise<void> {
  await page.goto(address)
  await page.getByLabel('User name').fill(username)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await button(page, 'Come in').click()
  await page.waitForURL(`${app.url}/`)
}

const nav = (page: Page) => page.getByRole('navigation', { name: 'Pages', exact: true }).getByRole('link').allInnerTexts()

describe('people', () => {
  test('an invited person comes in as a viewer, gets another role and is shut out again, and sees each at once', async () => {
    const { page, complaints } = await openAs('alice')
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
    const address = await invite(page, 'Nina', 'viewer')
    await page.getByText('Shown once; it cannot be shown again').waitFor()
    expect(await violations(page)).toEqual([])
    await page.getByRole('button', { name: 'Copy the link' }).click()
    await page.getByText('Copied.').waitFor()
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(address)
    await link(page, 'Back to the people').click()
    await page.getByRole('listitem').filter({ hasText: 'Nina' }).getByText('viewer').waitFor()
    expect(await page.content()).not.toContain(new URL(address).search)

    const { page: hers, complaints: herComplaints } = await openPage(browser)
    await comeIn(hers, address, 'nina.rossi')
    await hers.getByRole('heading', { name: 'Overview' }).waitFor()
    expect(await nav(hers)).toEqual(['Overview', 'Health', 'Checks', 'Incidents', 'Processes', 'API keys', 'Profile', 'API'])
    await hers.locator('.oc-live', { hasText: 'Live' }).waitFor()
    expect(await restart(hers).count()).toBe(0)

    await page
      .getByRole('row', { name: /nina\.rossi/ })
      .getByRole('link')
      .click()
    await page.getByRole('radio', { name: 'operator' }).check()
    await button(page, 'Change the role').click()
    await said(page, 'nina.rossi is operator now.')
    await restart(hers).waitFor(soon)

    await page.getByRole('link', { name: /Disable the account/ }).click()
    await confirm(page, 'Disable nina.rossi?', 'Disable the account')
    await signedOut(hers)
    await page.locator('.oc-who').getByText('Disabled').waitFor()
    await hers.getByLabel('User name').fill('nina.rossi')
    await hers.getByLabel('Password', { exact: true }).fill(password)
    await button(hers, 'Sign in').click()
    await hers.getByRole('alert').waitFor()

    await hers.goto(address)
    await hers.getByRole('heading', { name: 'This invite was used' }).waitFor()
    expect([...complaints(), ...herComplaints()]).toEqual([])
  }, 60_000)

  test('an invitation is withdrawn, and lets in nobody', async () => {
    const { page } = await openAs('alice')
    const address = await invite(page, 'Omar', 'operator')
    await link(page, 'Back to the people').click()
    await page.getByRole('link', { name: 'Withdraw the invite for Omar' }).click()
    await confirm(page, 'Withdraw the invitation for Omar?', 'Withdraw it')
    await said(page, 'The invitation was withdrawn.')
    const { page: his } = await openPage(browser)
    await his.goto(address)
    await his.getByRole('heading', { name: 'This invite was withdrawn' }).waitFor()
  })

  test('a link for a new password ends the old sessions, and works once', async () => {
    await addPerson(app, 'rosa')
    const { page: old } = await openAs('rosa')
    await old.locator('.oc-live', { hasText: 'Live' }).waitFor()
    const { page } = await openAs('alice', '/users/user-rosa')
    await page.getByRole('link', { name: /Reset the password/ }).click()
    await confirm(page, 'A new password for rosa?', 'Make the link')
    const address = await page.getByLabel('One-time link').inputValue()

    const { page: hers } = await openPage(browser)
    await hers.goto(address)
    await hers.getByLabel('New password', { exact: true }).fill('a wholly different phrase')
    await hers.getByLabel('New password again').fill('a wholly different praise')
    await button(hers, 'Set the password').click()
    await hers.getByText('This is not the same password').first().waitFor()
    await hers.getByLabel('New password', { exact: true }).fill('a wholly different phrase')
    await hers.getByLabel('New password again').fill('a wholly different phrase')
    await button(hers, 'Set the password').click()
    await hers.waitForURL(`${app.url}/`)
    await signedOut(old)
    await hers.context().clearCookies()
    await hers.goto(address)
    await hers.getByRole('heading', { name: 'This link was used' }).waitFor()
  })
})

describe('API keys', () => {
  const status = async (line: string) => (await run('sh', ['-c', `${line} -s -o /dev/null -w '%{http_code}'`])).stdout

  test('a key is made with the password, works in curl as it is shown, and is refused once it is revoked', async () => {
    const { page, complaints } = await openAs('bob', '/keys')
    await page.getByRole('heading', { name: 'You have no keys' }).waitFor()
    await link(page, 'Make a key').click()
    await page.getByRole('textbox', { name: 'Name' }).fill('deploy on build-3')
    await page.getByRole('radio', { name: 'operator' }).check()
    await page.getByText('Narrow it down').click()
    await page.getByRole('checkbox', { name: /See the state of the machine/ }).check()
    await page.getByLabel('It ends').selectOption('in 30 days')
    await page.getByLabel('Allowed addresses').fill('127.0.0.1')
    await page.getByLabel('Requests a minute').fill('50')
    await page.getByLabel('Your password').fill('not this one at all')
    await button(page, 'Make the key').click()

    await page.getByRole('alert').waitFor()
    await page.locator('#password-error').waitFor()
    expect(await violations(page)).toEqual([])
    expect(await page.getByRole('textbox', { name: 'Name' }).inputValue()).toBe('deploy on build-3')
    expect(await page.getByRole('radio', { name: 'operator' }).isChecked()).toBe(true)
    expect(await page.getByRole('checkbox', { name: /See the state of the machine/ }).isChecked()).toBe(true)
    expect(await page.getByLabel('It ends').inputValue()).toBe('30')
    expect(await page.getByLabel('Allowed addresses').inputValue()).toBe('127.0.0.1')
    expect(await page.getByLabel('Requests a minute').inputValue()).toBe('50')
    expect(await page.getByLabel('Your password').inputValue()).toBe('')

    await page.getByLabel('Your password').fill(password)
    await button(page, 'Make the key').click()
    const key = await page.getByLabel('Key', { exact: true }).inputValue()
    expect(key).toMatch(/^jug_bob_\d{13}_[\w-]+$/)
    expect(await violations(page)).toEqual([])
    const curl = await page.getByLabel('Try it').inputValue()
    expect(await status(curl)).toBe('200')
    expect(await status(curl.replace('/api/me', '/api/processes'))).toBe('403')

    const signature = key.slice(key.lastIndexOf('_') + 1)
    await link(page, 'To your keys').click()
    const row = page.getByRole('row', { name: /deploy on build-3/ })
    await row.getByText('127.0.0.1').first().waitFor()
    expect(await page.content()).not.toContain(signature)
    await page.reload()
    expect(await page.content()).not.toContain(signature)
    // The page with the key was the answer to a form, which the browser does not send again by itself.
    await page.goBack().catch(() => undefined)
    expect(await page.content()).not.toContain(signature)

    await page.goto(`${app.url}/keys`)
    await page.getByRole('link', { name: 'Revoke deploy on build-3' }).click()
    await confirm(page, 'Revoke deploy on build-3?', 'Revoke deploy on build-3')
    await said(page, 'deploy on build-3 was revoked.')
    await row.getByText('Revoked').waitFor()
    expect(await status(curl)).toBe('401')
    expect(complaints()).toEqual([])
  }, 60_000)

  test('a key is rotated: the old one goes on for the overlap, beside the new one', async () => {
    await (await sessionOf(app, 'carol')).post('/api/keys').send({ name: 'status board', role: 'viewer' }).expect(201)
    const { page } = await openAs('carol', '/keys')
    await page.getByRole('link', { name: 'Rotate status board' }).click()
    await page.getByLabel('The old key works for another').selectOption('hour')
    await page.getByLabel('Your password').fill(password)
    await button(page, 'Rotate the key').click()
    await page.getByText('The old key still works').waitFor()
    expect(await status(await page.getByLabel('Try it').inputValue())).toBe('200')
    await link(page, 'To your keys').click()
    await page
      .getByRole('row', { name: /status board/ })
      .nth(1)
      .waitFor()
  })
})

describe('sessions', () => {
  test('a new device is noticed; ending a session elsewhere leads it to the sign-in page by itself', async () => {
    const { page, complaints } = await openPage(browser)
    await signIn(page, app.url, 'bob', '/profile')
    await page.getByRole('heading', { name: 'Where you are signed in' }).waitFor()
    expect(await page.getByText('new device signed in').count()).toBe(0)

    const elsewhere = await openPage(browser, { userAgent: phone, viewport: { width: 390, height: 844 } })
    await signIn(elsewhere.page, app.url, 'bob')
    await elsewhere.page.locator('live-source').waitFor({ state: 'attached' })
    await page.reload()
    const notice = page.getByRole('status').filter({ hasText: 'A new device signed in to your account' })
    await notice.getByText('Safari on iOS').waitFor()
    await button(page, 'It was me').click()
    await said(page, 'You are told about the next new device.')
    await notice.waitFor({ state: 'detached' })

    await page.getByRole('button', { name: /^End the session of Safari on iOS/ }).click()
    await said(page, 'The session was ended.')
    await signedOut(elsewhere.page)

    await signIn(elsewhere.page, app.url, 'bob', '/keys')
    await page.reload()
    await button(page, 'End all others').click()
    await page
      .locator('#toasts')
      .getByText(/other sessions? (was|were) ended/)
      .waitFor()
    await signedOut(elsewhere.page)
    await page.getByText('Nowhere else.').waitFor()

    const { page: admin } = await openAs('alice', '/users/user-bob')
    await admin.getByRole('link', { name: /Sign out everywhere/ }).click()
    await admin
      .getByRole('dialog')
      .getByRole('button', { name: /^Sign out|^End/ })
      .click()
    await signedOut(page)
    // A socket that was being opened at that moment is refused.
    expect([...complaints(), ...elsewhere.complaints()].filter((text) => !text.includes('HTTP Authentication failed'))).toEqual([])
  }, 60_000)
})

describe('the audit trail', () => {
  test('what was done is found by person and action, opens, and is downloaded', async () => {
    await addPerson(app, 'frida')
    const frida = await openAs('frida', '/users')
    await frida.page.getByText(/Your role does not allow/).waitFor()
    const { page, complaints } = await openAs('alice', '/users/user-frida')
    await page.getByRole('radio', { name: 'operator' }).check()
    await button(page, 'Change the role').click()
    await said(page, 'frida is operator now.')

    await page.goto(`${app.url}/audit`)
    await page.getByLabel('Person').selectOption('alice')
    await page.getByLabel('Action', { exact: true }).selectOption('users.role')
    await page.getByLabel('Subject').fill('frida')
    await button(page, 'Show').click()
    const entries = page.locator('.oc-trail > li')
    await until(async () => (await entries.count()) === 1)
    const entry = entries.first()
    await entry.getByText('alice changed the role of frida').click()
    expect(await entry.getByRole('row').last().getByRole('cell').allInnerTexts()).toEqual(['viewer', 'operator'])
    await entry.getByText('users.role', { exact: true }).first().waitFor()

    const download = page.waitForEvent('download')
    await page.getByRole('link', { name: 'CSV' }).click()
    const file = await download
    expect(file.suggestedFilename()).toMatch(/^audit-\d{4}-\d\d-\d\d\.csv$/)
    const [head = '', ...rows] = readFileSync(await file.path(), 'utf8')
      .trim()
      .split('\n')
    expect(head).toMatch(/^id,at,actor_kind,/)
    expect(rows).toHaveLength(1)
    expect(rows[0]).toMatch(/alice.*users\.role.*frida/)

    await page.getByRole('link', { name: 'Show all', exact: true }).click()
    await page.getByLabel('Refused only').check()
    await page.getByLabel('Search the trail').fill('frida')
    await button(page, 'Show').click()
    await page.waitForURL(/refused=1/)
    await entries.filter({ hasText: 'frida was refused at /users' }).first().waitFor()
    await until(async () => (await entries.filter({ hasNotText: 'Refused' }).count()) === 0)
    expect(complaints()).toEqual([])
  })
})

describe('roles', () => {
  test('a composed role gives exactly its buttons', async () => {
    await addPerson(app, 'sven')
    const sven = await openAs('sven')
    const { page, complaints } = await openAs('alice', '/roles')
    await link(page, 'Compose a role').click()
    await page.getByRole('textbox', { name: 'Name' }).fill('Night shift')
    for (const does of ['See the state of the machine', 'See the processes', 'Restart a process'])
      await page.getByRole('checkbox', { name: new RegExp(`^${does}`) }).check()
    await button(page, 'Make the role').click()
    await said(page, 'The role Night shift was saved.')
    await page.getByRole('columnheader', { name: /Night shift/ }).waitFor()

    await page.goto(`${app.url}/users/user-sven`)
    await page.getByRole('radio', { name: 'Night shift' }).check()
    await button(page, 'Change the role').click()
    await said(page, 'sven is Night shift now.')
    await restart(sven.page).waitFor(soon)
    await sven.page.getByLabel('Actions for button-handler').click()
    const does = sven.page.locator('#processes').getByRole('link')
    // Beside those that lead to the pages of the processes.
    const deeds = (await does.allInnerTexts()).map((text) => text.trim()).filter(Boolean)
    expect(deeds.filter((text) => !['button-handler', 'reporter', 'Look at it'].includes(text))).toEqual(['Restart', 'Restart'])
    expect(await sven.page.getByRole('link', { name: /^(Start|Stop|Reload)/ }).count()).toBe(0)
    expect(await nav(sven.page)).toEqual(['Overview', 'Processes', 'Profile', 'API'])
    await sven.page.locator('.oc-live', { hasText: 'Live' }).waitFor()
    expect([...complaints(), ...sven.complaints()]).toEqual([])
  })
})

describe('organisations', () => {
  test('one shows no trace; a second is switched to and back by the account menu, and on a phone by the drawer', async () => {
    const { page, complaints } = await openAs('alice')
    await page.getByLabel('Your account, alice').click()
    await link(page, 'Your profile').waitFor()
    expect(await page.getByText(/organisation/i).count()).toBe(0)
    await page.goto(`${app.url}/users/user-bob`)
    expect(await page.getByText(/^Organisation/).count()).toBe(0)

    await page.goto(`${app.url}/organisations`)
    await page.getByLabel('Name', { exact: true }).fill('Night desk')
    await button(page, 'Make it').click()
    await said(page, 'Night desk was made. You are its first admin.')
    await page.goto(`${app.url}/`)
    const home = (await page.locator('.oc-here').innerText()).trim()

    await page.getByLabel('Your account, alice').click()
    await page.locator('.oc-topbar').getByRole('button', { name: 'Night desk' }).click()
    await said(page, 'You work in Night desk now.')
    await page.locator('.oc-here').getByText('Night desk').waitFor()
    await page.goto(`${app.url}/users`)
    await page.getByRole('row', { name: /alice/ }).waitFor()
    expect(await page.getByRole('row', { name: /bob|carol/ }).count()).toBe(0)

    await page.setViewportSize({ width: 390, height: 844 })
    await button(page, 'Menu').click()
    const drawer = page.getByRole('dialog', { name: 'Menu' })
    await drawer.getByText('Night desk').waitFor()
    await drawer.getByRole('button', { name: home }).click()
    await said(page, `You work in ${home} now.`)
    await page.goto(`${app.url}/users`)
    await page.getByRole('row', { name: /bob/ }).waitFor()
    expect(complaints()).toEqual([])
  })
})

describe('without script', () => {
  const plain = { javaScriptEnabled: false }

  test('a person is invited, comes in and gets another role', async () => {
    const { page } = await openAs('alice', '/', plain)
    const address = await invite(page, 'Grete', 'viewer')
    const { page: hers } = await openPage(browser, plain)
    await comeIn(hers, address, 'grete')
    await page.goto(`${app.url}/users?q=grete`)
    await page.getByRole('row', { name: /grete/ }).getByRole('link').click()
    await page.getByRole('radio', { name: 'operator' }).check()
    await button(page, 'Change the role').click()
    await said(page, 'grete is operator now.')
    await hers.goto(app.url)
    await restart(hers).waitFor()
  })

  test('a key is made and revoked, and the audit trail is filtered', async () => {
    const { page } = await openAs('alice', '/keys/new', plain)
    await page.getByRole('textbox', { name: 'Name' }).fill('without script')
    await page.getByLabel('Your password').fill(password)
    await button(page, 'Make the key').click()
    await link(page, 'To your keys').click()
    await page.getByRole('link', { name: 'Revoke without script' }).click()
    await button(page, 'Revoke without script').click()
    await said(page, 'without script was revoked.')

    await page.goto(`${app.url}/audit`)
    await page.getByLabel('Action', { exact: true }).selectOption('keys.revoke')
    await page.getByLabel('Subject').fill('without script')
    await button(page, 'Show').click()
    const entries = page.locator('.oc-trail > li')
    await until(async () => (await entries.count()) === 1)
    await entries.first().getByText('alice revoked the key without script').click()
    await entries.first().getByText('Seal', { exact: true }).waitFor()
  })
})
