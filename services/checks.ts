import type { Context } from '../monitoring/context'
import { Conflict, Forbidden, Invalid, NotFound, TooMany } from '../monitoring/errors'
import { may } from '../monitoring/permissions'
import type { Outcome } from '../monitoring/probes/checks/probe'
import { parseNetwork } from '../monitoring/probes/checks/targets'
import { recordAct, recordUse } from './audit'
import { ensureBuiltins as ensure, unsetBuiltins } from './checks/builtins'
import type { Builtin, Check, CheckInput, History, Percentiles, Period, Uptime } from './checks/check'
import { beforeOf } from './checks/edit'
import { checked } from './checks/input'
import { targetOf } from './checks/kinds'
import { memoryOf } from './checks/memory'
import { allowedTargets, commandsOf, look, lookAtRow, targetsFact } from './checks/probing'
import { findCheck, writeFact, type CheckRow } from './checks/queries'
import { find } from './checks/read'
import { findingOf, takeFinding } from './checks/results'
import { historyOf, percentilesFor, uptimesOf } from './checks/uptime'

export {
  builtinNames,
  checkSorts,
  checkStates,
  mostChecks,
  periods,
  type Builtin,
  type BuiltinName,
  type Check,
  type CheckCounts,
  type CheckFilter,
  type CheckInput,
  type CheckList,
  type CheckSort,
  type CheckState,
  type History,
  type ListedCheck,
  type Mark,
  type Percentiles,
  type Period,
  type Tone,
  type Uptime,
} from './checks/check'
export { bulk, clone, create, pause, remove, resume, update, type Deed } from './checks/edit'
export { runDue, start } from './checks/engine'
export { ping, pingKinds, type PingKind } from './checks/heartbeats'
export { kinds, methods, specs, targetOf, type Kind, type Spec, type SpecOf } from './checks/kinds'
export { mayUse, ofTheMachine } from './checks/probing'
export { counts, find, list, listFirst, listNow, names, tally, troubles } from './checks/read'
export { dots } from './checks/seal'
export { markOf } from './checks/uptime'

async function findRow(ctx: Context, id: string) {
  const row = await findCheck(ctx, id)
  if (!row) throw new NotFound('There is no such check here.')
  return row
}

/** What a check was found to be, in pieces of the period, and how long its answers took. */
export async function history(ctx: Context, id: string, { range }: { range: Period }): Promise<History> {
  await findRow(ctx, id)
  return await historyOf(ctx, id, range)
}

/** For each period, up probes of all probes. */
export async function uptimes(ctx: Context, id: string): Promise<Uptime[]> {
  await findRow(ctx, id)
  return await uptimesOf(ctx, id)
}

export async function percentiles(ctx: Context, id: string, range: Period): Promise<Percentiles> {
  await findRow(ctx, id)
  return await percentilesFor(ctx, id, range)
}

/** Looks at once, and answers what it found. Never twice at the same time: who comes second waits for the first. */
export async function run(ctx: Context, id: string): Promise<Check> {
  const row = await findRow(ctx, id)
  if (row.state === 'paused') throw new Conflict('It is paused. Resume it first.')
  if (row.state === 'unset') throw new Conflict('It is not configured yet.')
  if (row.kind === 'heartbeat') throw new Conflict('It waits for pings, and has nothing to look at.')
  const { running } = memoryOf(ctx)
  const already = running.get(id)
  if (already) await already
  else {
    const work = runNow(ctx, row)
    const settled = work.catch(() => undefined).finally(() => running.delete(id))
    running.set(id, settled)
    await work
    await settled
  }
  return await find(ctx, id)
}

async function runNow(ctx: Context, row: CheckRow): Promise<void> {
  await ctx.transaction((ctx) => recordUse(ctx, { action: 'checks.run', subject: row.id, name: row.name }))
  const outcome = await lookAtRow(ctx, row)
  if (!memoryOf(ctx).stopping.signal.aborted) await takeFinding(ctx, row, findingOf(ctx.now(), outcome))
}

const mostTests = 10

/** Looks once without storing anything. `id`: of the check that is being edited, for whose secrets the dots stand. */
export async function test(ctx: Context, input: CheckInput, id?: string): Promise<Outcome> {
  const before = id === undefined ? null : beforeOf(ctx, await findRow(ctx, id))
  const { check, timeout_ms } = await checked(ctx, input, before)
  const tests = ctx.platform.keep('checks.tests', () => ({ running: 0 }))
  if (tests.running >= mostTests) throw new TooMany(`${mostTests} tests are running. Try again in a moment.`, 5)
  tests.running++
  try {
    await ctx.transaction((ctx) =>
      recordUse(ctx, { action: 'checks.test', subject: id ?? 'new', name: input.name, data: { target: targetOf(check) } }),
    )
    return await look(ctx, check, timeout_ms)
  } finally {
    tests.running--
  }
}

const mostNetworks = 100

/** Networks that checks of this organisation may reach beside the public ones. */
export const targets = async (ctx: Context): Promise<{ allowed: string[] }> => ({ allowed: await allowedTargets(ctx) })

export async function setTargets(ctx: Context, networks: readonly string[]): Promise<{ allowed: string[] }> {
  if (!may(ctx.actor, 'checks.targets')) throw new Forbidden('Only an instance admin can allow private and loopback addresses.')
  const given = networks.map((text) => text.trim()).filter(Boolean)
  if (given.length > mostNetworks) throw new Invalid([{ field: 'allowed', message: `At the most ${mostNetworks} networks.` }])
  const allowed = [
    ...new Set(
      given.map((text, index) => {
        const network = parseNetwork(text)
        if (network === null)
          throw new Invalid([
            { field: `allowed.${index}`, message: `“${text.slice(0, 60)}” is not a network like 10.0.0.0/8 or an address like 127.0.0.1.` },
          ])
        return network
      }),
    ),
  ]
  await ctx.transaction(async (ctx) => {
    const before = await allowedTargets(ctx)
    if (before.join() === allowed.join()) return
    await writeFact(ctx, targetsFact(ctx), JSON.stringify(allowed))
    await recordAct(ctx, { action: 'checks.targets', topic: 'checks', subject: 'targets', before: { allowed: before }, after: { allowed } })
  })
  return { allowed }
}

/** How to have each dependency watched that is not yet. */
export const builtins = (ctx: Context): Promise<Builtin[]> => unsetBuiltins(ctx)

export const ensureBuiltins = (ctx: Context): Promise<void> => ensure(ctx)

/** What the allow-list file of the machine names. */
export const commands = (ctx: Context): Promise<{ name: string; description: string | null }[]> => commandsOf(ctx)
