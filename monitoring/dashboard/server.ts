import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { claimLink, openApp, version, type App } from '../app'
import { ConfigError, pm2Logs, pm2Place, prepareDataDir, readConfig, type Config } from '../config'
import { systemClock } from '../context'
import { holdDataDir } from '../db/hold'
import { forgetFirstStart, hasInstallation, inspectDatabase, noteFirstStart } from '../db/inspect'
import { asError } from '../errors'
import { onTrouble, openLog, type Log } from '../log'
import { rescueTokenFile } from '../rescue/access'
import { keepReserve } from '../rescue/space'
import { troubleOf, type Trouble } from '../rescue/trouble'
import { openRing } from '../ring'
import { openRescue, type Rescue } from './rescue'

/** The console's own process: reads the configuration, opens, listens, and leaves in good order. */
async function main(): Promise<void> {
  const config = readConfig()
  const log = openLog(config.logLevel)
  const leave = leaveOnSignals(log)
  const start = starterOf(config, log)
  let app: App
  try {
    app = await startBesides(start, config)
  } catch (error) {
    const trouble = troubleOf(error, config)
    // A folder that cannot be made on the first start is a setting to mend, not an installation to rescue.
    if (!trouble || (trouble.kind === 'denied' && !existsSync(config.dataDir))) throw error
    app = await rescued({ config, log, trouble, start, leave }, asError(error))
  }
  leave.with(() => app.close())
  const address = await app.listen()
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
  await keepReserve(config.dataDir).catch((error: unknown) => {
    log.warn({ err: asError(error) }, 'no space could be set aside for the day on which the disk is full')
  })
}

const say = (text: string) => process.stdout.write(`${text}\n`)

type Start = (options: { patience: number }) => Promise<App>

/** Opens the console; nothing listens yet. What is there is looked at before anything is made, so that it may be tried again and again. */
function starterOf(config: Config, log: Log): Start {
  let installed: boolean | undefined
  let isHeld = false
  return async ({ patience }) => {
    installed ??= hasInstallation(config.dataDir)
    if (!installed) {
      mkdirSync(config.dataDir, { recursive: true, mode: 0o700 })
      // Not in a folder that everybody shares, which is refused next.
      if ((statSync(config.dataDir).mode & 0o1000) === 0) noteFirstStart(config.dataDir)
    }
    const prepared = prepareDataDir(config)
    if (config.databaseUrl === null) {
      // PostgreSQL may serve many consoles; a file is for one. (What nothing refers to is collected, and its lock with it.)
      if (!isHeld) process.once('exit', holdDataDir(config.dataDir, process.pid, pm2Place()))
      isHeld = true
      inspectDatabase(config.dataDir, { installed: hasInstallation(config.dataDir) && installed, patience })
    }
    const app = await openApp(prepared, { log })
    forgetFirstStart(config.dataDir)
    rmSync(rescueTokenFile(config.dataDir), { force: true })
    installed = true
    return app
  }
}

const besidesMs = 6000

/**
 * During a reload the old console goes on writing, and any one step of the start may find the database locked for that moment.
 * Rescue mode would tell PM2 that all is ready, and the old console would leave for nothing.
 */
async function startBesides(start: Start, config: Config): Promise<App> {
  const until = performance.now() + besidesMs
  for (;;) {
    try {
      return await start({ patience: 5000 })
    } catch (error) {
      if (troubleOf(error, config)?.kind !== 'locked' || performance.now() > until) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}

interface Rescued {
  readonly config: Config
  readonly log: Log
  readonly trouble: Trouble
  readonly start: Start
  readonly leave: Leave
}

/** Stands in for the console on its port until it can start, however often that takes. */
async function rescued({ config, log, trouble, start, leave }: Rescued, error: Error): Promise<App> {
  let app: App | undefined
  const ring = openRing(config.dataDir)
  const deaf = onTrouble(log, ({ at, level, text, cause }) => {
    ring.add({ at, severity: level, source: 'console', text: cause === null ? text : `${text}: ${cause}` })
  })
  log.fatal({ err: error, trouble: trouble.kind }, 'the console cannot start: rescue mode')
  const rescue: Rescue = openRescue({
    ...{ config, log, trouble, version },
    now: systemClock,
    logs: pm2Logs(),
    announce: (link) => say(`Rescue mode: ${trouble.title}. Whoever mends it goes here, once:\n  ${link}`),
    async retry() {
      try {
        // Not long: whoever asks for a page meanwhile waits for it.
        app = await start({ patience: 0 })
        return null
      } catch (error) {
        const found = troubleOf(error, config)
        if (found) return found
        log.error({ err: asError(error) }, 'the console cannot start')
        return { ...trouble, cause: asError(error).message }
      }
    },
  })
  leave.with(() => rescue.close())
  const address = await rescue.listen()
  process.send?.('ready')
  log.warn({ address: config.publicUrl?.origin ?? address }, 'listening in rescue mode')
  await rescue.over
  deaf()
  ring.close()
  await rescue.close()
  if (!app) throw new Error('Rescue mode ended without a console')
  log.info('the console starts after all')
  return app
}

/** PM2 kills after ten. */
const patienceMs = 9000

interface Leave {
  /** What has to be closed now. */
  with(close: () => Promise<void>): void
}

function leaveOnSignals(log: Log): Leave {
  let leaving = false
  let close = (): Promise<void> => Promise.resolve()
  const leave = (why: string, code: number) => {
    if (leaving) return
    leaving = true
    log.info({ why }, 'leaving')
    setTimeout(() => {
      log.fatal('could not close in good order in time')
      process.exit(1)
    }, patienceMs).unref()
    close().then(
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
  return {
    with(next) {
      close = next
    },
  }
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
  return error.message
}
