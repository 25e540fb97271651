'use strict'

// The built product without its probes, told by message to publish: what the live hub costs, apart from a disk's fsync.

const { join } = require('node:path')
const root = join(__dirname, '..', '..')
const { openApp } = require(join(root, 'dist/monitoring/app.js'))
const { prepareDataDir, readConfig } = require(join(root, 'dist/monitoring/config.js'))
const { openLog } = require(join(root, 'dist/monitoring/log.js'))

const microseconds = () => Number(process.hrtime.bigint() / 1000n)
let app

async function start() {
  app = await openApp(prepareDataDir(readConfig(process.env, '/nonexistent/.env')), {
    log: openLog('warn'),
    probes: { system: false, pm2: false },
  })
  return Number(new URL(await app.listen(0, '127.0.0.1')).port)
}

function publish() {
  const sent = microseconds()
  app.platform.publish('health.now', 'home', 'now')
  return sent
}

process.on('message', ({ id, call }) => {
  Promise.resolve(call === 'start' ? start() : publish()).then(
    (result) => process.send({ id, result }),
    (error) => process.send({ id, error: error.stack }),
  )
})
process.on('disconnect', () => process.exit(0))
