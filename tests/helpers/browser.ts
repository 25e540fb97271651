import { createServer, type Server, type Socket, connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { AxeBuilder } from '@axe-core/playwright'
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { launchOptions } from './chromium'
import { password, type Person } from './app'

export type { Browser, Page }

export const openBrowser = (): Promise<Browser> => chromium.launch(launchOptions())

/** A page whose console has to stay silent: errors of scripts and of the content policy fail the test that asks. */
export interface WatchedPage {
  readonly page: Page
  /** What the console said beside what was expected. */
  readonly complaints: () => string[]
}

const isNoise = (text: string): boolean => /Failed to load resource: the server responded with a status of (4\d\d|503)/.test(text)

export async function openPage(browser: Browser, options: BrowserContextOptions = {}): Promise<WatchedPage> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: 'reduce', ...options })
  context.setDefaultTimeout(10_000)
  const page = await context.newPage()
  const said: string[] = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !isNoise(message.text())) said.push(message.text())
  })
  page.on('pageerror', (error) => said.push(error.message))
  return { page, complaints: () => said.splice(0) }
}

export async function signIn(page: Page, url: string, person: Person, path = '/'): Promise<void> {
  await page.goto(`${url}/sign-in?next=${encodeURIComponent(path)}`)
  await page.getByLabel('User name').fill(person)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.waitForURL(url + path)
}

/** What axe finds, a line each. In one piece (there are no frames of others), which takes a sixth of the time. */
export async function violations(page: Page): Promise<string[]> {
  const { violations: found } = await new AxeBuilder({ page })
    .options({ resultTypes: ['violations'] })
    .setLegacyMode()
    .withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'])
    .analyze()
  return found.map(({ id, help, nodes }) => `${id}: ${help} — ${nodes.map(({ html }) => html.slice(0, 160)).join(' | ')}`)
}

/** How many pixels the page is wider than its window. */
export const overhang = (page: Page): Promise<number> =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

/** A network in front of the console that can break: sockets are cut, and new ones refused. */
export interface Network {
  readonly url: string
  /** Cuts every open WebSocket. */
  cut(): void
  /** Lets no further WebSocket through, as a proxy without upgrades does. */
  refuseSockets(refuse: boolean): void
  readonly upgrades: number
  close(): Promise<void>
}

export async function openNetwork(target: string): Promise<Network> {
  const { hostname, port } = new URL(target)
  const sockets = new Set<Socket>()
  const live = new Set<Socket>()
  let refusing = false
  let upgrades = 0
  const server: Server = createServer((client) => {
    const upstream = connect(Number(port), hostname)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('close', () => {
        sockets.delete(socket)
        live.delete(socket)
        client.destroy()
        upstream.destroy()
      })
      socket.on('error', () => socket.destroy())
    }
    client.on('data', (data) => {
      if (/\r\nupgrade: websocket/i.test(data.toString('latin1'))) {
        if (refusing) {
          client.end('HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
          return
        }
        upgrades++
        live.add(client)
      }
      upstream.write(data)
    })
    upstream.pipe(client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut() {
      for (const socket of live) socket.destroy()
    },
    refuseSockets(refuse) {
      refusing = refuse
    },
    get upgrades() {
      return upgrades
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => {
          resolve()
        })
      }),
  }
}
