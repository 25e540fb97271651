'use strict'

/* global PerformanceObserver, WebSocket, location -- of the page */

// What a person's browser gets and how soon: Chromium with an empty cache, product and reference in turn.

const { findChromium, launchOptions } = require('../helpers/chromium')
const { host } = require('./ground')

/** Chromium, or the reason why there is none. */
async function openChromium() {
  const found = findChromium()
  if (found.reason) return { reason: found.reason }
  process.env.CHROMIUM_PATH = found.path
  const { chromium } = require('playwright-core')
  const options = launchOptions()
  return {
    browser: await chromium.launch({
      ...options,
      ...(found.libraries ? { env: { ...process.env, LD_LIBRARY_PATH: found.libraries } } : {}),
    }),
  }
}

const isFont = ({ type }) => type === 'Font'
const isChart = ({ url }) => /\/chart[\w-]*\.js$/.test(url)

/** One visit with an empty cache: what came over the wire, and when the largest thing was painted. */
async function visit(browser, { port }, cookie) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  try {
    const [name, value] = [cookie.slice(0, cookie.indexOf('=')), cookie.slice(cookie.indexOf('=') + 1)]
    await context.addCookies([{ name, value, url: `http://${host}:${port}` }])
    const page = await context.newPage()
    const devtools = await context.newCDPSession(page)
    await devtools.send('Network.enable')
    const requests = new Map()
    const failed = []
    devtools.on('Network.responseReceived', ({ requestId, type, response }) => {
      if (response.status >= 400) failed.push(`${response.status} ${response.url}`)
      requests.set(requestId, { ...requests.get(requestId), url: new URL(response.url).pathname, type })
    })
    devtools.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
      requests.set(requestId, { ...requests.get(requestId), bytes: encodedDataLength })
    })
    await page.goto(`http://${host}:${port}/`, { waitUntil: 'load' })
    await page.waitForLoadState('networkidle')
    const times = await page.evaluate(async () => {
      const [entry] = performance.getEntriesByType('navigation')
      const paint = await new Promise((resolve) => {
        new PerformanceObserver((list) => resolve(list.getEntries().at(-1).startTime)).observe({
          type: 'largest-contentful-paint',
          buffered: true,
        })
        setTimeout(() => resolve(null), 3000)
      })
      return { lcp: paint, load: entry.loadEventEnd, domContentLoaded: entry.domContentLoadedEventEnd, ttfb: entry.responseStart }
    })
    const all = [...requests.values()].filter(({ url, bytes }) => url !== undefined && bytes !== undefined)
    const sum = (list) => list.reduce((total, { bytes }) => total + bytes, 0) / 1000
    const counted = all.filter((one) => !isFont(one) && !isChart(one))
    return {
      ...times,
      failed,
      requests: all.length,
      kB: sum(counted),
      scriptKB: sum(counted.filter(({ type }) => type === 'Script')),
      allKB: sum(all),
      list: all,
    }
  } finally {
    await context.close()
  }
}

/** Milliseconds from sending an event to the socket message that shows it, both in one page of a browser. */
async function socketDelays(browser, { port }, cookie, count) {
  const context = await browser.newContext()
  try {
    const [name, value] = [cookie.slice(0, cookie.indexOf('=')), cookie.slice(cookie.indexOf('=') + 1)]
    await context.addCookies([{ name, value, url: `http://${host}:${port}` }])
    const page = await context.newPage()
    await page.goto(`http://${host}:${port}/profile`)
    return await page.evaluate(async (count) => {
      const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/live?topics=events`)
      await new Promise((resolve, reject) => {
        socket.onopen = resolve
        socket.onerror = reject
      })
      const delays = []
      for (let index = 0; index < count; index++) {
        const mark = `browser-mark-${index}-${Math.random()}`
        const arrived = new Promise((resolve) => {
          socket.onmessage = ({ data }) => {
            if (data.includes(mark)) resolve(performance.now())
          }
          setTimeout(() => resolve(null), 5000)
        })
        const from = performance.now()
        const { status } = await fetch('/api/events', {
          method: 'POST',
          headers: { 'Content-Type': 'application/json' },
          body: JSON.stringify({ events: [{ type: 'bench.mark', source: 'bench', subject: mark }] }),
        })
        const at = await arrived
        delays.push(status === 201 && at !== null ? at - from : null)
        await new Promise((resolve) => setTimeout(resolve, 300))
      }
      socket.close()
      return delays
    }, count)
  } finally {
    await context.close()
  }
}

module.exports = { openChromium, socketDelays, visit }
