import { createServer, type Server } from 'node:http'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { routes as audit } from '../routes/audit'
import { routes as checkRoutes } from '../routes/checks'
import { routes as consoleRoutes } from '../routes/console'
import { routes as events } from '../routes/events'
import { routes as health } from '../routes/health'
import { routes as incidentRoutes } from '../routes/incidents'
import { routes as invites } from '../routes/invites'
import { routes as maintenanceRoutes } from '../routes/maintenance'
import { routes as me } from '../routes/me'
import { routes as organisationRoutes } from '../routes/organisations'
import { routes as keyRoutes } from '../routes/keys'
import { routes as overview } from '../routes/overview'
import { routes as palette } from '../routes/palette'
import { routes as processes } from '../routes/processes'
import { routes as profile } from '../routes/profile'
import { routes as resets } from '../routes/resets'
import { routes as roles } from '../routes/roles'
import { routes as session } from '../routes/session'
import { routes as sessionRoutes } from '../routes/sessions'
import { routes as settings } from '../routes/settings'
import { routes as snapshotRoutes } from '../routes/snapshots'
import { routes as systemRoutes } from '../routes/system'
import { routes as statusRoutes } from '../routes/status'
import { routes as users } from '../routes/users'
import * as healthService from '../services/health'
import * as auditService from '../services/audit'
import * as consoleService from '../services/console'
import * as keys from '../services/keys'
import * as maintenance from '../services/maintenance'
import * as metrics from '../services/metrics'
import { prune as pruneEvents } from '../services/events'
import * as organisations from '../services/organisations'
import * as processService from '../services/processes'
import * as sessions from '../services/sessions'
import * as snapshots from '../services/snapshots'
import * as accounts from '../services/accounts'
import * as checkService from '../services/checks'
import * as claim from '../services/claim'
import { startChores } from './chores'
import type { Config, Secrets } from './config'
import { contextOf, home, systemActor, systemClock, visitor, type Context, type Platform } from './context'
import { deleteOldChanges } from './db/changes'
import { migrate } from './db/migrate'
import { openStore, type Store } from './db/open'
import { tidy } from './db/tidy'
import { docsOf } from './dashboard/docs'
import type { Routes, Topic } from './dashboard/endpoint'
import { handlerOf, type Dashboard } from './dashboard/http'
import { openLimits } from './dashboard/limits'
import { openHub, sinceOf, type Hub } from './dashboard/live'
import { nav } from './dashboard/nav'
import { openRenderer } from './dashboard/render'
import { securityOf } from './dashboard/security'
import { openSessions, type Sessions } from './dashboard/session'
import { stopServing } from './dashboard/stop'
import { asError } from './errors'
import type { Log } from './log'
import { inProject } from './paths'
import { may } from './permissions'
import { pm2Probe } from './probes/pm2'
import { systemProbe } from './probes/system'
import { openRing } from './ring'

/** Every feature that has pages, endpoints or live parts. A new one is a line here. */
export const declared: readonly Routes[] = [
  session,
  overview,
  health,
  processes,
  systemRoutes,
  snapshotRoutes,
  checkRoutes,
  incidentRoutes,
  maintenanceRoutes,
  statusRoutes,
  events,
  profile,
  settings,
  palette,
  keyRoutes,
  me,
  // Before users: /users/invite is no person.
  invites,
  users,
  resets,
  sessionRoutes,
  organisationRoutes,
  roles,
  audit,
  consoleRoutes,
]

export interface App {
  readonly server: Server
  readonly platform: Platform
  readonly hub: Hub
  /** The door: who sends a request. */
  readonly sessions: Sessions
  /** Acts as the system, in the organisation that owns the machine. */
  readonly ctx: Context
  /** Where it listens: `http://127.0.0.1:8080`. */
  listen(port?: number, host?: string): Promise<string>
  /** Stops accepting, finishes what runs, writes what is in memory, closes. */
  close(): Promise<void>
}

export interface AppOptions {
  readonly log: Log
  readonly now?: () => number
  /** What to measure; all by default. */
  readonly probes?: { readonly system?: boolean; readonly pm2?: boolean; readonly proc?: string; readonly checks?: boolean }
}

/** For the doctor, which runs no application. */
export { status as auditStatus, verify as verifyAudit } from '../services/audit'

const second = 1000

export const version = (JSON.parse(readFileSync(inProject('package.json'), 'utf8')) as { version: string }).version

function platformOf(config: Config & Secrets, { store, log, now }: { store: Store; log: Log; now: () => number }): Platform {
  const kept = new Map<string, unknown>()
  return {
    ...{ config, log, store, now, version, startedAt: now(), probes: {} },
    publish: () => undefined,
    keep<T>(key: string, make: () => T): T {
      if (!kept.has(key)) kept.set(key, make())
      return kept.get(key) as T
    },
  }
}

/** The database alone, for a command beside a console that may be running: it measures nothing and listens nowhere. */
export async function withSystem<T>(config: Config & Secrets, log: Log, work: (ctx: Context) => Promise<T>): Promise<T> {
  const store = await openStore({ dataDir: config.dataDir, databaseUrl: config.databaseUrl, log })
  try {
    return await work(contextOf(platformOf(config, { store, log, now: systemClock }), systemActor, home))
  } finally {
    await store.close()
  }
}

/** Opens the database, brings it up to date, and puts everything together. Nothing listens yet. */
export async function openApp(config: Config & Secrets, options: AppOptions): Promise<App> {
  const store = await openStore({ dataDir: config.dataDir, databaseUrl: config.databaseUrl, log: options.log })
  try {
    return await assemble(config, store, options)
  } catch (error) {
    // Whatever it is, it can be tried again, or another database put in this one's place.
    await store.close()
    throw error
  }
}

async function assemble(config: Config & Secrets, store: Store, options: AppOptions): Promise<App> {
  const { log, now = systemClock } = options
  const platform = platformOf(config, { store, log, now })
  const ctx = contextOf(platform, systemActor, home)
  const { applied, copy } = await migrate(store, now)
  if (applied.length > 0) log.info({ applied, copy }, 'the database was brought up to date')
  await accounts.ensureHome(ctx)
  if (config.admin) await claim.ensureAdmin(ctx, config.admin)
  await healthService.rememberHost(ctx)
  await checkService.ensureBuiltins(ctx)

  const security = securityOf(config)
  const asVisitor = (address: string) => contextOf(platform, visitor(address), home)
  const door = openSessions(
    {
      resume: (sid, touch) => sessions.resume(ctx, sid, touch),
      authenticateKey: (address, key) => keys.authenticate(asVisitor(address), key),
      authenticateBasic: (address, username, password) => accounts.authenticateBasic(asVisitor(address), username, password),
      read: (sid) => sessions.read(ctx, sid),
      begin: (sid, session) => sessions.begin(asVisitor(session.address), sid, session),
      end: (sid) => sessions.end(ctx, sid),
      forget: () => {
        sessions.forgetAll(ctx)
        keys.forgetAll(ctx)
        renderer.forget()
      },
    },
    security,
    config.sessionSecret,
  )
  const renderer = openRenderer(platform, nav, {
    health: (org) => healthService.summary(contextOf(platform, systemActor, org)),
    organisationsOf: (user) => organisations.listOf(ctx, user),
    organisations: () => accounts.countOrganisations(ctx),
    mayFollow: (rights, topic) => may({ rights }, topics.get(topic)?.permission ?? 'health.read'),
  })
  const features = [...declared, docsOf(declared, renderer.assets, version)]
  const topics = new Map<string, Topic>(features.flatMap((feature) => [...feature.topics]))
  const hub = openHub({ platform, security, sessions: door, topics, render: renderer.templates.render })
  platform.publish = (topic, org, subject) => {
    hub.publish(topic, org, subject)
  }
  await hub.start()

  let leaving = false
  const dashboard: Dashboard = {
    platform,
    security,
    sessions: door,
    limits: openLimits(config),
    renderer,
    routes: features,
    seq: hub.seq,
    refused: auditService.noteRefusal,
    scrape: consoleService.scrape,
    async poll(request, response, identity) {
      const parameters = new URL(request.originalUrl, 'http://localhost').searchParams
      const names = (parameters.get('topics') ?? '').split(',').filter(Boolean)
      response.type('text/plain').send(await hub.poll(identity, names, sinceOf(parameters.get('since'))))
    },
    async ready() {
      if (leaving) return false
      try {
        await store.db.selectFrom('migrations').select('name').limit(1).execute()
        return true
      } catch {
        return false
      }
    },
  }
  const server = createServer(
    { keepAliveTimeout: 65 * second, headersTimeout: 20 * second, requestTimeout: 30 * second },
    handlerOf(dashboard),
  )
  hub.attach(server)

  const chores = startChores(log, now)
  const ring = openRing(config.dataDir)
  const deaf = consoleService.keepTroublesAside(ctx, ring)
  const watching = consoleService.watch(ctx, { sockets: () => hub.sockets, chores: () => chores.list(), told: hub.seq })
  chores.every(2 * second, 'keep the last events aside', () => consoleService.keepAside(ctx, ring))
  chores.every(5 * second, 'watch the console itself', () => consoleService.observe(ctx))
  chores.every(10 * second, 'write metrics', () => metrics.flush(ctx))
  chores.every(5 * second, 'review health', () => healthService.review(ctx))
  chores.every(2 * second, 'seal the audit trail', () => auditService.seal(ctx))
  chores.every(3600 * second, 'drop old audit entries', () => auditService.prune(ctx))
  chores.every(600 * second, 'drop old sessions', () => sessions.dropExpired(ctx))
  chores.every(3600 * second, 'drop old snapshots', () => snapshots.prune(ctx))
  chores.every(5 * second, 'notice maintenance that begins or ends', () => maintenance.noticeTurns(ctx))
  chores.every(3600 * second, 'drop old maintenance', () => maintenance.prune(ctx))
  // Whoever looks at the machine's processes asks again; while nobody does, nothing is looked at.
  chores.every(5 * second, 'look at the machine', () => {
    platform.publish('system.now', home, 'now')
    return Promise.resolve()
  })
  chores.every(600 * second, 'drop old events', () => pruneEvents(ctx))
  chores.every(600 * second, 'drop old metrics', () => metrics.prune(ctx))
  chores.every(600 * second, 'drop old changes', () => deleteOldChanges(ctx))
  // SQLite chooses indexes by figures that somebody has to take; PostgreSQL does so by itself.
  store.sqlite?.pragma('optimize = 0x10002')
  chores.every(600 * second, 'tidy the database', () => tidy(store))
  const probes = startProbes(ctx, options.probes ?? {})

  return {
    server,
    platform,
    hub,
    sessions: door,
    ctx,
    listen: (port = config.port, host = config.host) =>
      new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen(port, host, () => {
          server.off('error', reject)
          const { address, port: given, family } = server.address() as AddressInfo
          const shown = address === '0.0.0.0' || address === '::' ? '127.0.0.1' : address
          resolve(`http://${family === 'IPv6' && shown.includes(':') ? `[${shown}]` : shown}:${given}`)
        })
      }),
    async close() {
      leaving = true
      hub.close()
      await Promise.all([stopServing(server), probes.stop(), chores.stop()])
      watching.stop()
      await consoleService.keepAside(ctx, ring).catch(() => undefined)
      await snapshots.settle(ctx)
      await metrics.flush(ctx).catch((error: unknown) => {
        log.error({ err: asError(error) }, 'the last metrics could not be written')
      })
      deaf()
      ring.close()
      await store.close()
    },
  }
}

function startProbes(
  ctx: Context,
  { system = true, pm2 = true, proc, checks = system }: NonNullable<AppOptions['probes']>,
): { stop(): Promise<void> } {
  const { platform, log } = ctx
  const { config, probes, now } = platform
  const told = (what: string) => (error: unknown) => {
    log.error({ err: asError(error) }, what)
  }
  if (system) {
    probes.system = systemProbe({
      dataDir: config.dataDir,
      host: config.hostName,
      now,
      ...(proc === undefined ? {} : { proc }),
      onSample(sample) {
        healthService.takeSample(ctx, sample)
        platform.publish('health.now', home, 'now')
      },
      onError: told('the machine could not be measured'),
    })
    probes.system.start()
  }
  // In the order in which PM2 said it.
  let last: Promise<unknown> = Promise.resolve()
  if (pm2) {
    const inOrder = (work: () => Promise<void>) => {
      last = last.then(work).catch(told('what PM2 said could not be stored'))
    }
    probes.pm2 = pm2Probe({
      home: config.pm2Home,
      now,
      onState(state) {
        inOrder(() => processService.takeState(ctx, state))
        platform.publish('processes.now', home, 'now')
      },
      onEvent(event) {
        inOrder(() => processService.takeEvent(ctx, event))
      },
      onError: told('PM2 could not be watched'),
    })
    probes.pm2.start()
  }
  const engine = checks ? checkService.start(ctx) : undefined
  return {
    async stop() {
      await engine?.stop()
      probes.system?.stop()
      await probes.pm2?.stop()
      await last
    },
  }
}

/** Tells the log how an unclaimed console is claimed. */
export async function claimLink(ctx: Context, address: string): Promise<string | null> {
  const token = await claim.open(ctx)
  return token === null ? null : `${(ctx.platform.config.publicUrl?.origin ?? address).replace(/\/$/, '')}/claim?token=${token}`
}
