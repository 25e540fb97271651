'use strict'

/* global URLSearchParams */

// The console's own door in this process, asked again and again who sends a request.

const { IncomingMessage } = require('node:http')
const { Socket } = require('node:net')
const { openApp } = require('../../dist/monitoring/app.js')
const { prepareDataDir, readConfig } = require('../../dist/monitoring/config.js')
const { openLog } = require('../../dist/monitoring/log.js')

let app
const headers = {}

const calls = {
  async open() {
    app = await openApp(prepareDataDir(readConfig()), { log: openLog('warn'), probes: { system: false, pm2: false } })
    const url = await app.listen(0, '127.0.0.1')
    const { ADMIN_USERNAME: username, ADMIN_PASSWORD: password } = process.env
    const signedIn = await fetch(`${url}/sign-in`, {
      method: 'POST',
      redirect: 'manual',
      headers: { Origin: url },
      body: new URLSearchParams({ username, password }),
    })
    headers.session = { cookie: signedIn.headers.getSetCookie()[0].split(';')[0] }
    const made = await fetch(`${url}/api/keys`, {
      method: 'POST',
      headers: { ...headers.session, Origin: url, 'Content-Type': 'application/json' },
      body: JSON.stringify({ name: 'bench', role: 'viewer' }),
    })
    headers.key = { authorization: `Bearer ${(await made.json()).key}` }
  },
  async identify({ way, times }) {
    const requests = Array.from({ length: times }, () => {
      const request = new IncomingMessage(new Socket())
      request.headers = headers[way]
      return request
    })
    const before = process.cpuUsage()
    for (const request of requests) if (!(await app.sessions.identify(request))) throw new Error(`Nobody, by ${way}`)
    const { user, system } = process.cpuUsage(before)
    return { cpu: (user + system) / times }
  },
}

process.on('message', async ({ id, call, options }) => {
  try {
    process.send({ id, result: await calls[call](options) })
  } catch (error) {
    process.send({ id, error: error.stack })
  }
})
process.on('disconnect', () => process.exit(0))
