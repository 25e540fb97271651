import { claimLink, openApp, version, type App } from '../app'
import { ConfigError, pm2Place, prepareDataDir, readConfig } from '../config'
import { holdDataDir } from '../db/hold'
import { asError } from '../errors'
import { openLog } from '../log'

/** The console's own process: reads the configuration, opens, listens, and leaves in good order. */
async function main(): Promise<void> {
  const config = prepareDataDir(readConfig())
  const log = openLog(config.logLevel)
  // PostgreSQL may serve many consoles; a file is for one. (What nothing refers to is collected, and its lock with it.)
  if (config.databaseUrl === null) process.once('exit', holdDataDir(config.dataDir, process.pid, pm2Place()))
  const app = await openApp(config, { log })
  const address = await app.listen()
  leaveOnSignals(app)
  // PM2 ends the old process of a reload when it hears this, so it comes after listening.
  process.send?.('ready')
  const shown = config.publicUrl?.origin ?? address
  log.info({ version, address: shown }, 'listening')
  const link = await claimLink(app.ctx, address)
  say(`Operations Center ${version} · ${shown}`)
  if (link)
    say(
      `Nobody has claimed this console yet. Claim it once, here:\n  ${link}\n(from another machine: put its own address in place of ${new URL(address).host})`,
    )
}

const say = (text: string) => process.stdout.write(`${text}\n`)

/** PM2 kills after ten. */
const patienceMs = 9000

function leaveOnSignals(app: App): void {
  const { log } = app.platform
  let leaving = false
  const leave = (why: string, code: number) => {
    if (leaving) return
    leaving = true
    log.info({ why }, 'leaving')
    setTimeout(() => {
      log.fatal('could not close in good order in time')
      process.exit(1)
    }, patienceMs).unref()
    app.close().then(
      () => process.exit(code),
      (error: unknown) => {
        log.fatal({ err: asError(error) }, 'did not close in good order')
        process.exit(1)
      },
    )
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      leave(signal, 0)
    })
  // PM2 asks in this way where signals do not exist.
  process.on('message', (message) => {
    if (message === 'shutdown') leave('shutdown', 0)
  })
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'a mistake that nobody caught: leaving, to be started again')
    leave('uncaughtException', 1)
  })
}

main().catch((error: unknown) => {
  if (error instanceof ConfigError)
    process.stderr.write(`The configuration is wrong:\n${error.problems.map((problem) => `  ${problem}\n`).join('')}`)
  else process.stderr.write(`Operations Center could not start: ${explain(asError(error))}\n`)
  process.exit(1)
})

function explain(error: Error & { code?: string; port?: number }): string {
  if (error.code === 'EADDRINUSE') return `port ${error.port ?? ''} is taken by another program. Stop it, or set PORT to another one.`
  if (error.code === 'EACCES')
    return `${error.message}. This account may not do that: set PORT above 1023, or DATA_DIR to a folder of its own.`
  if (error.code === 'SQLITE_BUSY') return 'another program has locked the database for more than 5 s.'
  if (error.code === 'SQLITE_NOTADB' || error.code === 'SQLITE_CORRUPT')
    return `the database is damaged (${error.message}). Put a copy or a backup in its place; nothing was changed.`
  return error.message
}
