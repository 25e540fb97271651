import * as metrics from '../../services/metrics'
import * as events from '../../services/events'
import { startApp, type TestApp } from '../helpers/app'
import { openBrowser, openPage, overhang, signIn, violations, type Browser, type Page } from '../helpers/browser'
import { until } from '../helpers/until'

const minute = 60_000
const hour = 60 * minute

let app: TestApp
let browser: Browser
beforeAll(async () => {
  app = await startApp()
  browser = await openBrowser()
  const now = app.ctx.now()
  const host = app.platform.config.hostName
  for (let at = now - 30 * hour; at <= now; at += 5 * minute) {
    const wave = 50 + 40 * Math.sin(at / (3 * hour))
    metrics.observe(app.ctx, host, at, [
      { name: 'cpu.percent', value: wave },
      { name: 'memory.percent', value: 60 },
      { name: 'disk.percent', subject: '/', value: 40 },
      { name: 'disk.percent', subject: '/a/rather/long/mount/point/that/somebody/chose', value: 70 },
      { name: 'network.rx', subject: 'eth0', value: wave * 1e4 },
      { name: 'network.tx', subject: 'eth0', value: wave * 3e3 },
      ...Array.from({ length: 7 }, (_, n) => ({
        name: 'process.memory' as const,
        subject: `worker-with-a-long-name-${n}`,
        value: (n + 1) * 3e7,
      })),
    ])
  }
  await metrics.flush(app.ctx)
  await events.report(app.ctx, [{ type: 'deploy', source: 'ci', subject: '<b>build-31</b>', at: now - 4 * hour }])
})
afterAll(async () => {
  await browser.close()
  await app.close()
})

/** How many pixels of a chart are drawn upon. */
const ink = (page: Page, id: string): Promise<number> =>
  page.locator(`#history_${id} canvas`).evaluate((canvas: HTMLCanvasElement) => {
    const data = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? []
    let drawn = 0
    for (let index = 3; index < data.length; index += 4) if ((data[index] ?? 0) > 0) drawn++
    return drawn
  })

const drawn = async (page: Page, id = 'cpu'): Promise<void> => {
  await until(async () => (await ink(page, id)) > 500)
}

test('dragging over one chart zooms all of them, the address says so, and back leads back', async () => {
  const { page, complaints } = await openPage(browser)
  await signIn(page, app.url, 'carol', '/health')
  await drawn(page)
  const box = await page.locator('#history_cpu canvas').boundingBox()
  if (!box) throw new Error('the chart has no place')
  const y = box.y + box.height / 2
  await page.mouse.move(box.x + box.width * 0.4, y)
  await page.mouse.down()
  await page.mouse.move(box.x + box.width * 0.6, y, { steps: 5 })
  expect(await page.locator('#history_cpu .grip').count()).toBe(1)
  await page.mouse.up()
  await page.waitForURL(/\/health\?.*from=.*to=/)
  const { searchParams } = new URL(page.url())
  const length = Date.parse(searchParams.get('to') ?? '') - Date.parse(searchParams.get('from') ?? '')
  expect(length).toBeGreaterThan(3 * hour)
  expect(length).toBeLessThan(7 * hour)
  await drawn(page)
  await drawn(page, 'memory')
  await page.getByRole('link', { name: 'Zoom out' }).click()
  await page.waitForURL((url) => url.href.includes('from=') && url.search !== `?${searchParams.toString()}`)
  await page.goBack()
  await page.goBack()
  await page.waitForURL(`${app.url}/health`)
  expect(complaints()).toEqual([])
  await page.context().close()
})

test('a click, an escape and a short touch zoom nothing', async () => {
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'carol', '/health')
  await drawn(page)
  const box = await page.locator('#history_cpu canvas').boundingBox()
  if (!box) throw new Error('the chart has no place')
  await page.mouse.click(box.x + 80, box.y + 50)
  await page.mouse.move(box.x + 80, box.y + 50)
  await page.mouse.down()
  await page.mouse.move(box.x + 180, box.y + 50, { steps: 3 })
  await page.keyboard.press('Escape')
  await page.mouse.up()
  expect(await page.locator('.grip').count()).toBe(0)
  expect(page.url()).toBe(`${app.url}/health`)
  await page.context().close()
})

test.each(['light', 'dark'] as const)('in %s colours nothing is wider than its window, and axe finds nothing', async (colorScheme) => {
  const { page, complaints } = await openPage(browser, { colorScheme })
  await signIn(page, app.url, 'carol', '/health')
  for (const path of ['/health?compare=1', '/health/disks?range=7d', '/health?from=x&to=y']) {
    await page.goto(app.url + path)
    await page.locator('canvas').first().waitFor()
    for (const width of [320, 390, 768, 1024, 1440, 1920]) {
      await page.setViewportSize({ width, height: 900 })
      expect([path, width, await overhang(page)]).toEqual([path, width, 0])
      expect(width === 390 || width === 1440 ? await violations(page) : []).toEqual([])
    }
  }
  expect(complaints()).toEqual([])
  await page.context().close()
})

test('without script there are lines, tables, CSV, ranges and moments of one’s own', async () => {
  const { page } = await openPage(browser, { javaScriptEnabled: false })
  await signIn(page, app.url, 'carol', '/health')
  expect(await page.locator('#history_cpu .oc-spark path').count()).toBe(1)
  await page.getByRole('link', { name: '7 d', exact: true }).click()
  expect(page.url()).toBe(`${app.url}/health?range=7d`)
  await page.getByRole('link', { name: 'CPU as a table' }).click()
  expect(await page.locator('tbody tr').count()).toBeGreaterThan(100)
  await page.locator('.pick summary').click()
  await page.getByRole('button', { name: 'Show', exact: true }).click()
  expect(new URL(page.url()).searchParams.has('from')).toBe(true)
  await page.context().close()
})

test('a new minute comes by itself', async () => {
  const { page } = await openPage(browser)
  await signIn(page, app.url, 'carol', '/health?range=1h')
  await drawn(page)
  const before = await page.locator('#history_memory .value').textContent()
  for (let n = 0; n < 200; n++)
    metrics.observe(app.ctx, app.platform.config.hostName, app.ctx.now(), [{ name: 'memory.percent', value: 95 }])
  app.advance(minute)
  await metrics.flush(app.ctx)
  expect(await until(async () => (await page.locator('#history_memory .value').textContent()) !== before)).toBe(true)
  await drawn(page, 'memory')
  await page.context().close()
})
