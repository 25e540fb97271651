import { join } from 'node:path'
import { home, type Context } from '../../monitoring/context'
import { asError, Unavailable } from '../../monitoring/errors'
import { bytes, duration, percent } from '../../monitoring/markup'
import { listCommands, probeCommand, type Command } from '../../monitoring/probes/checks/command'
import { probeDns } from '../../monitoring/probes/checks/dns'
import { probeHttp } from '../../monitoring/probes/checks/http'
import { probePostgres } from '../../monitoring/probes/checks/postgres'
import type { Outcome, ProbeOptions } from '../../monitoring/probes/checks/probe'
import { probeRedis } from '../../monitoring/probes/checks/redis'
import { probeTcp } from '../../monitoring/probes/checks/tcp'
import type { Kind, SpecOf, Told } from './kinds'
import { masked } from './looks'
import { memoryOf } from './memory'
import { toldBy } from './present'
import { countChecks, readFact, type CheckRow } from './queries'
import { isJob } from '../processes'
import { CannotUnseal, unseal } from './seal'
import { reveal } from './secrets'

const targetsFact = (ctx: Context): string => `checks.targets of ${ctx.org}`

/** Networks that an admin of the installation allowed beside the public ones. */
export async function allowedTargets(ctx: Context): Promise<string[]> {
  const fact = await readFact(ctx, targetsFact(ctx))
  return fact ? (JSON.parse(fact.value) as string[]) : []
}

export { targetsFact }

const commandsFile = (ctx: Context): string =>
  ctx.platform.config.checkCommandsFile ?? join(ctx.platform.config.dataDir, 'check-commands.json')

/** Kinds that look at this very machine, which belongs to one organisation. */
export const ofTheMachine: readonly Kind[] = ['process', 'disk', 'database', 'command']

export const mayUse = (ctx: Pick<Context, 'org'>, kind: Kind): boolean => ctx.org === home || !ofTheMachine.includes(kind)

/** Looks once. What goes wrong is said, not thrown: it is what people asked for. */
export async function look(ctx: Context, check: Told, timeout: number): Promise<Outcome> {
  const began = performance.now()
  try {
    return await lookAt(ctx, check, {
      timeout,
      signal: memoryOf(ctx).stopping.signal,
      now: ctx.now,
      targets: { allowed: await allowedTargets(ctx) },
    })
  } catch (error) {
    ctx.log.error({ err: asError(error), kind: check.kind }, 'a check could not be carried out')
    return { ok: false, message: 'The console could not carry this check out; its log says why.', duration: performance.now() - began }
  }
}

async function lookAt(ctx: Context, { kind, spec }: Told, options: ProbeOptions): Promise<Outcome> {
  if (!mayUse(ctx, kind)) return { ok: false, message: 'This machine belongs to another organisation.', duration: null }
  switch (kind) {
    case 'http':
      return await probeHttp(spec, options)
    case 'tcp':
      return await probeTcp(spec, options)
    case 'dns':
      return await probeDns(spec, options)
    case 'postgres':
      return await probePostgres(spec, options)
    case 'redis':
      return await probeRedis(spec, options)
    case 'command':
      return await probeCommand(spec, commandsFile(ctx), options)
    case 'process':
      return lookAtProcess(ctx, spec)
    case 'disk':
      return lookAtDisk(ctx, spec)
    case 'database':
      return await lookAtDatabase(ctx, options)
    case 'heartbeat':
      return { ok: true, message: 'It waits for pings, and looks at nothing by itself.', duration: null }
  }
}

/** The same for a stored check, whose secrets may not open any more: a red row, not a crash. */
export async function lookAtRow(ctx: Context, row: CheckRow): Promise<Outcome> {
  try {
    const secrets = unseal(ctx, row.id, row.secrets)
    const { message, warning, ...outcome } = await look(ctx, reveal(toldBy(row), secrets), row.timeout_ms)
    // A target may repeat what it was told.
    const without = (text: string) => masked(text, Object.values(secrets))
    return { ...outcome, message: without(message), ...(warning ? { warning: without(warning) } : {}) }
  } catch (error) {
    if (error instanceof CannotUnseal) return { ok: false, message: error.message, duration: null }
    ctx.log.error({ err: asError(error), check: row.id }, 'a stored check cannot be read')
    return { ok: false, message: 'This check is stored in a way that this version cannot read. Save it again.', duration: null }
  }
}

const silentAfter = 30_000

function lookAtProcess(ctx: Context, { name }: SpecOf<'process'>): Outcome {
  const latest = ctx.platform.probes.pm2?.latest
  const failed = (message: string): Outcome => ({ ok: false, message, duration: null })
  if (!latest || latest.state === 'unreachable') return failed('PM2 does not answer')
  if (latest.state === 'no-daemon') return failed('PM2 is not running')
  const all = latest.processes.filter((one) => one.name === name)
  const online = all.filter(({ status }) => status === 'online')
  if (all.length === 0) return failed(`PM2 has no process “${name}”`)
  const other = all.find(({ status, details }) => status !== 'online' && !(status === 'stopped' && isJob(details ?? null)))
  if (other) return failed(`${all.length === 1 ? 'It' : `${online.length} of ${all.length} are online; one`} is ${other.status}`)
  // Null: nothing is known of a run before, or a signal ended it, which is how PM2 stops it.
  const code = all.find(({ status, details }) => status !== 'online' && (details?.exit_code ?? 0) !== 0)?.details?.exit_code
  if (code !== undefined) return failed(`${all.length === 1 ? 'Its' : 'A'} last run ended with exit code ${code}`)
  const details = { processes: all.length, pid: all[0]?.pid ?? null }
  const message = online.length === 0 ? 'Stopped between runs' : all.length === 1 ? 'Online' : `All ${all.length} are online`
  return { ok: true, message, duration: null, details }
}

function lookAtDisk(ctx: Context, { mount, percent: limit }: SpecOf<'disk'>): Outcome {
  const sample = ctx.platform.probes.system?.latest
  const failed = (message: string): Outcome => ({ ok: false, message, duration: null })
  if (!sample || Math.abs(ctx.now() - sample.at) > silentAfter) return failed('This machine is not being measured')
  const disk = sample.disks.find((one) => one.mount === mount)
  if (!disk) return failed(`Nothing is mounted at ${mount}. There are ${sample.disks.map((one) => one.mount).join(', ')}.`)
  const said = `${percent(disk.percent)} full, ${bytes(disk.free)} left`
  return {
    ok: disk.percent < limit,
    message: disk.percent < limit ? said : `${said}: more than ${limit} %`,
    duration: null,
    details: { percent: disk.percent, free_bytes: disk.free },
  }
}

/** The console's own: whether it answers, and how long that takes. */
async function lookAtDatabase(ctx: Context, { timeout }: ProbeOptions): Promise<Outcome> {
  const began = performance.now()
  let timer: NodeJS.Timeout | undefined
  try {
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => {
        resolve('late')
      }, timeout)
    })
    const found = await Promise.race([countChecks(ctx), late])
    const took = performance.now() - began
    if (found === 'late') return { ok: false, message: `No answer within ${duration(timeout)}`, duration: took }
    return { ok: true, message: 'It answers', duration: took, details: { kind: ctx.platform.store.dialect.name } }
  } catch (error) {
    return { ok: false, message: `It cannot be read: ${asError(error).message}`.slice(0, 300), duration: performance.now() - began }
  } finally {
    clearTimeout(timer)
  }
}

/** What the file of the machine names; commands are never typed in the page. */
export async function commandsOf(ctx: Context): Promise<Command[]> {
  if (!mayUse(ctx, 'command')) return []
  const { commands, problem } = await listCommands(commandsFile(ctx))
  if (problem !== null) throw new Unavailable('The list of commands', problem)
  return commands
}
