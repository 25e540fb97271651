import type { Context } from '../../monitoring/context'
import { asError, Conflict, Invalid, NotFound } from '../../monitoring/errors'
import { recordAct } from '../audit'
import * as incidents from '../incidents'
import { nameKeyOf, unsetRow } from './builtins'
import { mostChecks, type BuiltinName, type Check, type CheckInput } from './check'
import { checked, tagOf, type Before, type Checked } from './input'
import { inBackground, memoryOf } from './memory'
import { toldBy } from './present'
import {
  countChecks,
  deleteCheck,
  findCheck,
  findChecks,
  insertCheck,
  isNameTaken,
  updateCheck,
  type CheckRow,
  type NewCheck,
} from './queries'
import { find } from './read'
import { CannotUnseal, hashOf, newToken, seal, unseal, type Secrets } from './seal'
import { forTrail, hide, reveal } from './secrets'
import { forgetPast } from './uptime'

const missing = 'There is no such check here.'

/** For whoever knows what it was and what it is: secrets are dots in both. */
const shown = ({ name, kind, spec, tags, interval_s, timeout_ms, retries, retry_s }: Omit<NewCheck, 'id'>) => ({
  ...{ name, kind, tags, interval_s, timeout_ms, retries, retry_s },
  // One line of its own for each thing that it is told.
  ...Object.fromEntries(Object.entries(JSON.parse(spec) as object).map(([key, value]) => [`spec.${key}`, forTrail(value)])),
})

const acted = (
  ctx: Context,
  action: string,
  { id, name }: Pick<CheckRow, 'id' | 'name'>,
  more: { before?: Record<string, unknown>; after?: Record<string, unknown> } = {},
) => recordAct(ctx, { action: `checks.${action}`, topic: 'checks', subject: id, name, ...more })

/** What was given, as it is stored: its secrets apart and encrypted. */
function asStored(ctx: Context, id: string, { name, check, ...rest }: Checked, token: string | null) {
  const { hidden, secrets } = hide(check)
  const all: Secrets = token === null ? secrets : { ...secrets, token }
  return {
    ...rest,
    ...{ name, name_key: nameKeyOf(name), kind: check.kind, spec: JSON.stringify(hidden.spec) },
    secrets: seal(ctx, id, all),
    token_hash: token === null ? null : hashOf(token),
  }
}

async function insistOnName(ctx: Context, name: string, besides: string | null): Promise<void> {
  if (await isNameTaken(ctx, nameKeyOf(name), besides)) throw new Invalid([{ field: 'name', message: 'Another check has this name.' }])
}

export async function create(ctx: Context, input: CheckInput): Promise<Check> {
  const given = await checked(ctx, input, null)
  const id = ctx.newId()
  await ctx.transaction(async (ctx) => {
    await insistOnName(ctx, given.name, null)
    await insert(ctx, id, given, 'create')
  })
  memoryOf(ctx).wake()
  return find(ctx, id)
}

async function insert(ctx: Context, id: string, given: Checked, action: 'create' | 'clone'): Promise<void> {
  if ((await countChecks(ctx)) >= mostChecks) throw new Conflict(`An organisation has ${mostChecks} checks at the most. Delete one first.`)
  const now = ctx.now()
  const row: NewCheck = {
    ...{ id, builtin: null, ...asStored(ctx, id, given, given.check.kind === 'heartbeat' ? newToken() : null) },
    ...{ state: 'new', state_at: now, failures: 0, message: null, duration: null, certificate_at: null },
    ...{ checked_at: null, paused_at: null, created_at: now, changed_at: now },
  }
  if (!(await insertCheck(ctx, row))) throw new Invalid([{ field: 'name', message: 'Another check has this name.' }])
  await acted(ctx, action, row, { after: shown(row) })
}

/** What is stored of a check, with its secrets where they open; without them, they have to be entered again. */
export function beforeOf(ctx: Context, row: CheckRow): Before {
  if (row.state === 'unset') return { row, hidden: null, secrets: {} }
  let secrets: Secrets = {}
  try {
    secrets = unseal(ctx, row.id, row.secrets)
  } catch (error) {
    if (!(error instanceof CannotUnseal)) throw error
  }
  return { row, hidden: toldBy(row), secrets }
}

/** Strictly after what was: by it, whoever is probing at this moment knows that the check is another one now. */
const later = (ctx: Context, { changed_at }: CheckRow): number => Math.max(ctx.now(), changed_at + 1)

/** Fields that are left out stay; dots stand for the secret that is kept. */
export async function update(ctx: Context, id: string, input: CheckInput): Promise<Check> {
  const row = await findRow(ctx, id)
  const before = beforeOf(ctx, row)
  const given = await checked(ctx, input, before)
  const token = given.check.kind === 'heartbeat' ? (before.secrets['token'] ?? newToken()) : null
  const stored = asStored(ctx, id, given, token)
  // What it looked at before it was reset is not what it looks at from now on.
  if (row.state === 'unset') await forgetPast(ctx, id)
  await ctx.transaction(async (ctx) => {
    const now = await findCheck(ctx, id)
    if (now?.changed_at !== row.changed_at) throw new Conflict('Somebody else changed it meanwhile. Look at it again.')
    await insistOnName(ctx, given.name, id)
    const state = row.state === 'unset' ? ({ state: 'new', state_at: ctx.now() } as const) : {}
    await updateCheck(ctx, id, { ...stored, ...state, failures: 0, changed_at: later(ctx, row) })
    await acted(ctx, 'change', stored.name === row.name ? row : { id, name: stored.name }, {
      before: shown(row),
      after: shown({ ...row, ...stored }),
    })
  })
  memoryOf(ctx).wake()
  return find(ctx, id)
}

async function findRow(ctx: Context, id: string): Promise<CheckRow> {
  const row = await findCheck(ctx, id)
  if (!row) throw new NotFound(missing)
  return row
}

/** The same once more, by another name; a heartbeat with an address of its own. */
export async function clone(ctx: Context, id: string): Promise<Check> {
  const row = await findRow(ctx, id)
  const { hidden, secrets } = beforeOf(ctx, row)
  if (!hidden) throw new Conflict('It is not configured: there is nothing to copy.')
  const made = ctx.newId()
  await ctx.transaction(async (ctx) => {
    const { tags, interval_s, timeout_ms, retries, retry_s } = row
    const name = await freeName(ctx, row.name)
    await insert(ctx, made, { ...{ name, tags, interval_s, timeout_ms, retries, retry_s }, check: reveal(hidden, secrets) }, 'clone')
  })
  memoryOf(ctx).wake()
  return find(ctx, made)
}

async function freeName(ctx: Context, name: string): Promise<string> {
  for (let n = 1; ; n++) {
    const ending = n === 1 ? ' (copy)' : ` (copy ${n})`
    const tried = `${name.slice(0, 80).toWellFormed().trim()}${ending}`
    if (!(await isNameTaken(ctx, nameKeyOf(tried), null))) return tried
  }
}

// ---- One or many

export type Deed = 'pause' | 'resume' | 'delete' | { tag: string } | { untag: string }

const isPaused = ({ state }: CheckRow): boolean => state === 'paused'

/** Does it to those that are there and not so already. */
export async function bulk(ctx: Context, ids: readonly string[], deed: Deed): Promise<{ changed: number }> {
  const tag = typeof deed === 'string' ? '' : tagOf('tag' in deed ? deed.tag : deed.untag)
  let changed = 0
  const gone: string[] = []
  await ctx.transaction(async (ctx) => {
    gone.length = 0
    changed = 0
    for (const row of await findChecks(ctx, [...new Set(ids)])) {
      const done =
        deed === 'pause'
          ? await pauseOne(ctx, row)
          : deed === 'resume'
            ? await resumeOne(ctx, row)
            : deed === 'delete'
              ? await removeOne(ctx, row)
              : await tagOne(ctx, row, 'tag' in deed ? [...new Set([...row.tags, tag])].sort() : row.tags.filter((one) => one !== tag))
      if (done) changed++
      if (done && deed === 'delete') gone.push(row.id)
    }
  })
  memoryOf(ctx).wake()
  if (gone.length > 0) inBackground(ctx, forgetAll(ctx, gone))
  return { changed }
}

/** What is left of them is thousands of rows, which nobody waits for. What a stop of the console leaves goes with its age. */
async function forgetAll(ctx: Context, ids: readonly string[]): Promise<void> {
  try {
    for (const id of ids) {
      // A look that was on its way, and what was being written at that moment, come first.
      await memoryOf(ctx).running.get(id)
      await forgetPast(ctx, id)
    }
  } catch (error) {
    ctx.log.info({ err: asError(error) }, 'the past of checks that were deleted could not be deleted whole')
  }
}

async function pauseOne(ctx: Context, row: CheckRow): Promise<boolean> {
  if (isPaused(row) || row.state === 'unset') return false
  const now = ctx.now()
  await updateCheck(ctx, row.id, { state: 'paused', state_at: now, paused_at: now, failures: 0, changed_at: later(ctx, row) })
  await endOf(ctx, row, 'paused')
  await acted(ctx, 'pause', row)
  return true
}

async function resumeOne(ctx: Context, row: CheckRow): Promise<boolean> {
  if (!isPaused(row)) return false
  // A heartbeat that has pinged before is expected again, one period from now.
  const state = row.kind === 'heartbeat' && row.checked_at !== null ? 'up' : 'new'
  await updateCheck(ctx, row.id, { state, state_at: ctx.now(), paused_at: null, failures: 0, changed_at: later(ctx, row) })
  await acted(ctx, 'resume', row)
  return true
}

async function removeOne(ctx: Context, row: CheckRow): Promise<boolean> {
  if (row.builtin === null) await deleteCheck(ctx, row.id)
  else if (row.state === 'unset') return false
  else {
    const { id: _id, created_at: _created, ...unset } = unsetRow(ctx, row.id, row.builtin as BuiltinName)
    const name = (await isNameTaken(ctx, unset.name_key, row.id)) ? { name: row.name, name_key: row.name_key } : {}
    await updateCheck(ctx, row.id, { ...unset, ...name, changed_at: later(ctx, row) })
  }
  await endOf(ctx, row, 'deleted')
  await acted(ctx, row.builtin === null ? 'delete' : 'unset', row, { before: shown(row) })
  return true
}

async function endOf(ctx: Context, row: CheckRow, by: incidents.Ending): Promise<void> {
  if (await incidents.end(ctx, row.id, by, ctx.now())) ctx.changed('health', 'verdict')
  const { steady, failing } = memoryOf(ctx)
  steady.delete(row.id)
  failing.delete(row.id)
}

async function tagOne(ctx: Context, row: CheckRow, tags: string[]): Promise<boolean> {
  if (tags.join() === row.tags.join()) return false
  if (tags.length > 20) throw new Conflict(`${row.name} has 20 tags already.`)
  await updateCheck(ctx, row.id, { tags })
  await acted(ctx, 'change', row, { before: { tags: row.tags }, after: { tags } })
  return true
}

export const pause = (ctx: Context, ids: readonly string[]): Promise<{ changed: number }> => bulk(ctx, ids, 'pause')
export const resume = (ctx: Context, ids: readonly string[]): Promise<{ changed: number }> => bulk(ctx, ids, 'resume')

/** A built-in one is not configured any more afterwards. */
export async function remove(ctx: Context, id: string): Promise<void> {
  await findRow(ctx, id)
  await bulk(ctx, [id], 'delete')
}
