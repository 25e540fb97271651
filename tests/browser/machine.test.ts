import { appendFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as snapshots from '../../services/snapshots'
import { startApp, type TestApp } from '../helpers/app'
import { openBrowser, openPage, overhang, signIn, violations, type Browser, type Page } from '../helpers/browser'
import { startApps, stopApps } from '../helpers/pm2'
import { until } from '../helpers/until'

// Real processes of a real PM2, and this very machine.
let app: TestApp
let browser: Browser
let webId: string
let log: string
const shots = process.env['MACHINE_SHOTS']

beforeAll(async () => {
  app = await startApp({ probes: { pm2: true } })
  const script = join(app.pm2Home, 'app.js')
  writeFileSync(
    script,
    `const { existsSync, unlinkSync } = require('node:fs')
    const command = ${JSON.stringify(join(app.pm2Home, 'crash-'))} + process.env.name
    console.log('listening on port 3000 as ' + process.env.name)
    console.error('Warning: the cache is cold')
    setInterval(() => { if (existsSync(command)) { unlinkSync(command); console.error('Error: told to crash'); process.exit(7) } }, 20)
    if (process.env.exec_mode === 'cluster_mode') require('node:http').createServer().listen(0)`,
  )
  writeFileSync(join(app.pm2Home, 'job.js'), `console.log('done')`)
  const env = { WHATSAPP_TOKEN: 'a-secret-of-an-app', DATABASE_URL: 'postgres://ops:hunter2@db/ops', CITY: 'Pune', PORT: '3000' }
  await startApps(app.pm2Home, [
    { name: 'webhook-button-handler', script, env },
    { name: 'claude-session', script },
    { name: 'web', script, exec_mode: 'cluster', instances: 2 },
    { name: 'nightly', script: join(app.pm2Home, 'job.js'), autorestart: false, cron_restart: '30 20 * * *' },
  ])
  const list = await until(async () => {
    const items = ((await (await app.as('alice')).get('/api/processes')).body as { items: { id: string; name: string; status: string }[] })
      .items
    return items.length === 5 && items.some(({ name, status }) => name === 'nightly' && status === 'stopped') ? items : undefined
  }, 30_000)
  webId = list.find(({ name }) => name === 'webhook-button-handler')?.id ?? ''
  log = join(app.pm2Home, 'logs', 'webhook-button-handler-out.log')
  browser = await openBrowser()
}, 60_000)

afterAll(async () => {
  await browser.close()
  await stopApps(app.platform, app.pm2Home)
  await app.close()
}, 30_000)

const at = (path = ''): string => `/processes/${encodeURIComponent(webId)}${path}`

async function shot(page: Page, name: string): Promise<void> {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`) })
}

test('the pages are without a violation, a sideways scroll or a complaint, light and dark, wide and on a phone', async () => {
  const { id: snapshot } = (await snapshots.take(app.ctx, { incident: null })) ?? { id: '' }
  const found: Record<string, unknown> = {}
  const paths = {
    ...{ processes: '/processes', process: at(), group: '/processes/group/web', logs: at('/logs'), environment: at('/environment') },
    ...{
      system: '/system',
      snapshots: '/snapshots',
      snapshot: `/snapshots/${snapshot}`,
      job: '/processes/nightly',
      restart: at('/restart'),
    },
  }
  for (const [width, height] of [
    [1440, 900],
    [390, 844],
  ] as const) {
    const { page, complaints } = await openPage(browser, { colorScheme: 'light', viewport: { width, height } })
    await signIn(page, app.url, 'alice')
    for (const [name, path] of Object.entries(paths)) {
      await page.goto(app.url + path)
      const wrong: unknown[] = [...(await violations(page)), ...complaints()]
      for (const narrow of width === 390 ? [320, 390] : [768, 1024, 1200, 1440]) {
        await page.setViewportSize({ width: narrow, height })
        const over = await overhang(page)
        if (over > 0) wrong.push(`${narrow}: ${over} px too wide`)
      }
      await shot(page, `${name}-${width}-light`)
      await page.emulateMedia({ colorScheme: 'dark' })
      await page.waitForFunction(() => document.documentElement.dataset['bsTheme'] === 'dark')
      wrong.push(...(await violations(page)))
      await shot(page, `${name}-${width}-dark`)
      await page.emulateMedia({ colorScheme: 'light' })
      if (wrong.length > 0) found[`${name} ${width}`] = wrong
    }
    await page.context().close()
  }
  expect(found).toEqual({})
}, 180_000)

test('a crash is on an open page within seconds, told apart from a restart by a person', async () => {
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'bob', at())
  writeFileSync(join(app.pm2Home, 'crash-webhook-button-handler'), '')
  await page.locator('#turns').getByText('webhook-button-handler crashed with exit code 7').waitFor()
  await page.locator('#turns').getByText('crashed 1 × in 10 min').waitFor()
  await page.getByRole('link', { name: 'Restart', exact: true }).click()
  await page.getByRole('button', { name: 'Restart webhook-button-handler' }).click()
  await page.locator('#turns').getByText('bob restarted webhook-button-handler').waitFor()
  expect(new URL(page.url()).pathname).toBe(at())
  await shot(page, 'process-crashed')
  await page.context().close()
})

test('an open log follows what is written, through a rotation and an emptied file', async () => {
  const { page, complaints } = await openPage(browser)
  await signIn(page, app.url, 'bob', at('/logs'))
  const list = page.getByRole('log')
  await list.getByText('listening on port 3000').first().waitFor()
  appendFileSync(log, 'first\n<img src=x onerror=alert(1)> \u001b[31mred\u001b[0m \u0007\n')
  await list.getByText('<img src=x onerror=alert(1)> red \\u{7}').waitFor()
  appendFileSync(log, 'last of the old file\n')
  renameSync(log, `${log}.1`)
  appendFileSync(`${log}.1`, 'written after the rename\n')
  writeFileSync(log, 'first of the new file\n')
  await list.getByText('first of the new file').waitFor()
  writeFileSync(log, 'emptied\n')
  await list.getByText('emptied: it begins anew').waitFor()
  const lines = await list.locator('.line:not([hidden])').allInnerTexts()
  expect(lines.slice(-6)).toEqual([
    'last of the old file',
    'written after the rename',
    'the log was rotated: a new file begins here',
    'first of the new file',
    'the log was emptied: it begins anew here',
    'emptied',
  ])
  expect(complaints()).toEqual([])
  await page.context().close()
})

test('who looks at the machine sees it move, and keeps a search', async () => {
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'bob', '/system?q=god')
  await page.locator('#running').getByText('PM2').first().waitFor()
  const before = await page.locator('#age_system').getAttribute('data-age-at-value')
  await page.waitForFunction((then) => document.querySelector('#age_system')?.getAttribute('data-age-at-value') !== then, before)
  expect(await page.getByLabel('Find a process').inputValue()).toBe('god')
  await page.getByRole('button', { name: 'Take a snapshot' }).click()
  await page.getByText('bob asked for it').waitFor()
  await page.context().close()
})
