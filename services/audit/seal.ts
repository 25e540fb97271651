import { z } from 'zod'
import type { Context } from '../../monitoring/context'
import { contentOf, hmac, keyOf, macOf, nameOf } from './mac'
import {
  countSome,
  countUnsealed,
  countUnsealedHere,
  countUnwritten,
  findFact,
  insertAudit,
  listSealed,
  listUnsealed,
  newestNo,
  newestSealedHere,
  replaceFact,
  sealRows,
  setFact,
  type ChainRow,
  type Link,
  type Sealed,
  type Source,
} from './queries'

/**
 * What the chain shows and what it does not. Whoever writes the database, and has not SERVER_SECRET, can change, remove, exchange or add
 * no sealed entry without `verify` saying so, and what they add unsealed is sealed and told of as not written by the console. What remains:
 * - an entry that is removed in the two seconds before it is sealed leaves nothing behind;
 * - the newest entries can be removed together with the head, when an older head that was kept is put in its place, or the whole trail with
 *   all its marks. So the head goes to the log once an hour, and the doctor says it: a number that is lower later, or another hash at the
 *   same number, shows it;
 * - an entry that retention removed can be put back as it was, because its mac is right still;
 * - the head can be made to look as if it were of another secret. The next start then begins anew behind it, which is an entry of its own,
 *   and the doctor says for as long as those are kept that what stands before is not verified.
 */

const batch = 500
/** What waited when the secret changed is sealed at once: it has its macs from the old one. */
const mostAtOnce = 20 * batch

/** A place in the chain, with a mac over what it says. */
const Mark = z.object({ no: z.int(), hash: z.string(), key: z.string() })
type Mark = z.output<typeof Mark>

/** The newest place. `by` names the secret; the first `old` entries are from before the console put a mac on what it writes. */
const Head = Mark.extend({ by: z.string(), old: z.int() })
type Head = z.output<typeof Head>

const beginning = { no: 0, hash: '', old: 0 }

const hashOf = (key: Buffer, before: string, no: number, row: ChainRow): string =>
  hmac(key, `${before}\n${JSON.stringify([no, ...contentOf(row), row.mac])}`)

type Place = Pick<Mark, 'no' | 'hash'>

const markAt = (key: Buffer, what: 'anchor' | 'secret', { no, hash }: Place): Mark => ({
  ...{ no, hash },
  key: hmac(key, `${what} ${no} ${hash}`),
})

const headAt = (key: Buffer, { no, hash, old }: Place & { old: number }): Head => ({
  ...{ no, hash, old, by: nameOf(key) },
  key: hmac(key, `head ${no} ${hash} ${old}`),
})

/** What retention leaves behind in place of what it removed; without the secret nobody can move it. */
export const anchorAt = (serverSecret: string, place: Place): string => JSON.stringify(markAt(keyOf(serverSecret), 'anchor', place))

function readAs<T>(schema: z.ZodType<T>, text: string | undefined): T | undefined {
  if (text === undefined) return undefined
  try {
    return schema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

export const markIn = (text: string | undefined): Mark | undefined => readAs(Mark, text)
const headIn = (text: string | undefined): Head | undefined => readAs(Head, text)

const isMine = (key: Buffer, head: Head): boolean => head.by === nameOf(key)
const isRight = (key: Buffer, head: Head): boolean => head.key === headAt(key, head).key
const isWritten = (key: Buffer, row: ChainRow): boolean => row.mac === macOf(key, row)

// ---- Sealing

const hour = 3_600_000
/** How many of the entries that the console has not written are named. */
const mostNamed = 10

const memoryOf = (ctx: Context) => ctx.platform.keep('audit.seal', () => ({ ours: false, yielded: false, said: 0 }))

/** A chore: gives what waits its place in the chain. Writers never wait for it; of two processes that do it at once, one wins. */
export async function seal(ctx: Context): Promise<void> {
  while ((await sealSome(ctx)) === batch) await new Promise((resolve) => setImmediate(resolve))
  await say(ctx)
}

/** Tells the log how far the chain reaches, once an hour: logs that leave the machine keep it where the database’s owner cannot change it. */
async function say(ctx: Context): Promise<void> {
  const memory = memoryOf(ctx)
  if (Math.abs(ctx.now() - memory.said) < hour) return
  const head = headIn((await findFact(ctx, 'audit.head'))?.value)
  if (!head || head.no === 0) return
  memory.said = ctx.now()
  ctx.log.info({ no: head.no, hash: head.hash }, 'the audit trail is sealed up to here')
}

const lostMark = 'The mark of the newest sealed audit entry is missing or not the console’s, so nothing is sealed: the doctor says more'

async function sealSome(ctx: Context): Promise<number> {
  const key = keyOf(ctx.platform.config.serverSecret)
  const memory = memoryOf(ctx)
  // The head first: whoever seals between these two reads moves it, and the compare-and-set below then fails.
  const text = (await findFact(ctx, 'audit.head'))?.value
  if (text === undefined) return await beginAt(ctx, key)
  const head = headIn(text)
  if (!head || (isMine(key, head) && !isRight(key, head))) throw new Error(lostMark)
  if (!isMine(key, head)) {
    if (!memory.ours) return await beginAnew(ctx, key, head, text)
    if (!memory.yielded)
      ctx.log.error({ no: head.no }, 'another console seals the audit trail, with another SERVER_SECRET: this one leaves it')
    memory.yielded = true
    return 0
  }
  memory.ours = true
  const rows = await listUnsealed(ctx, batch)
  if (rows.length === 0) return 0
  const { links, place } = linked(key, head, rows)
  const done = await ctx.transaction((ctx) => append(ctx, text, headAt(key, { ...place, old: head.old }), links, rows.at(-1)?.at ?? 0))
  if (!done) return 0
  const strange = rows.flatMap((row, index) => {
    const no = links[index]?.no ?? 0
    return isWritten(key, row) || isOld(head, row, no) ? [] : [no]
  })
  if (strange.length > 0)
    ctx.log.warn(
      { count: strange.length, first: strange.slice(0, mostNamed) },
      'the audit trail has entries that the console has not written',
    )
  return rows.length
}

const isOld = ({ old }: Head, { mac }: ChainRow, no: number): boolean => mac === null && no <= old

function linked(key: Buffer, { no, hash }: Place, rows: readonly ChainRow[]): { links: Link[]; place: Place } {
  const links = rows.map((row): Link => {
    no++
    hash = hashOf(key, hash, no, row)
    return { id: row.id, no, hash }
  })
  return { links, place: { no, hash } }
}

async function append(ctx: Context, before: string | undefined, head: Head, links: readonly Link[], at: number): Promise<boolean> {
  if (!(await replaceFact(ctx, 'audit.head', before, { value: JSON.stringify(head), at }))) return false
  if ((await sealRows(ctx, links)) !== links.length)
    throw new Error('Entries that wait to be sealed have gone or were sealed past the head')
  return true
}

/** Before the first entry: from now on those without a mac are not the console's. */
async function beginAt(ctx: Context, key: Buffer): Promise<number> {
  if ((await newestNo(ctx)) > 0) throw new Error(lostMark)
  const head = headAt(key, { ...beginning, old: await countUnwritten(ctx) })
  await ctx.transaction((ctx) => append(ctx, undefined, head, [], 0))
  // The next round seals.
  return batch
}

/** The first time with another secret: what was sealed before, and what waited for it, is verified no more. */
async function beginAnew(ctx: Context, key: Buffer, head: Head, text: string): Promise<number> {
  const rows = await listUnsealed(ctx, mostAtOnce)
  const { links, place } = linked(key, head, rows)
  const done = await ctx.transaction(async (ctx) => {
    if (!(await append(ctx, text, headAt(key, { ...place, old: 0 }), links, ctx.now()))) return false
    await setFact(ctx, 'audit.secret', { value: JSON.stringify(markAt(key, 'secret', place)), at: ctx.now() })
    await insertAudit(ctx, { action: 'audit.secret', subject: 'audit', data: { not_verified_up_to: place.no } })
    ctx.changed('audit', 'audit')
    return true
  })
  if (done) ctx.log.warn({ no: place.no }, 'SERVER_SECRET has changed: the audit trail is verified from here on')
  // The next round seals the entry that tells of it.
  return batch
}

const mostWaiting = 1000

/** How far the chain of the installation reaches, and how many entries wait for it, counted up to 1,000. */
export async function status(source: Source): Promise<{ sealed: number; at: number | null; waiting: number; oldest: number | null }> {
  const [head, anchor, { count, oldest }] = await Promise.all([
    findFact(source, 'audit.head'),
    findFact(source, 'audit.anchor'),
    countUnsealed(source, mostWaiting),
  ])
  const { no } = headIn(head?.value) ?? beginning
  return {
    sealed: no - (markIn(anchor?.value) ?? beginning).no,
    at: no === 0 ? null : (head?.at ?? null),
    waiting: count,
    oldest,
  }
}

const mostCounted = 10_000

export interface Seal {
  /** Entries of the organisation that are sealed. */
  readonly sealed: number
  /** There are more than were counted. */
  readonly more: boolean
  /** When the newest of them was written. */
  readonly at: number | null
  readonly waiting: number
}

/** What one organisation may know of it: how many of its own entries are sealed and wait, counted up to 10,000 and 1,000. */
export async function statusHere(ctx: Context): Promise<Seal> {
  const [all, waiting, at] = await Promise.all([countSome(ctx, mostCounted), countUnsealedHere(ctx, mostWaiting), newestSealedHere(ctx)])
  return { sealed: at === null ? 0 : Math.max(0, all - waiting), more: all === mostCounted, at, waiting }
}

// ---- Verifying

/** Entries that were sealed, though the console has not written them; the first of their numbers. */
interface Strangers {
  count: number
  first: number[]
}

export type Verdict =
  | { ok: true; count: number; no: number; hash: string; unverified: number | null; strangers: Strangers }
  | { ok: false; no: number; why: string }

const broken = (no: number, why: string): Verdict => ({ ok: false, no, why })

/** Walks the whole chain, a piece at a time, and says which entry is the first that is not what was sealed. */
export async function verify(source: Source, serverSecret: string): Promise<Verdict> {
  for (;;) {
    const anchor = (await findFact(source, 'audit.anchor'))?.value
    const verdict = await walk(source, keyOf(serverSecret), anchor)
    // Retention may have moved the anchor meanwhile.
    if (verdict.ok || (await findFact(source, 'audit.anchor'))?.value === anchor) return verdict
  }
}

/** A mark that was set by whoever has the secret. */
function rightMark(key: Buffer, what: 'anchor' | 'secret', text: string): Mark | undefined {
  const mark = markIn(text)
  if (!mark) return undefined
  return mark.key === markAt(key, what, mark).key ? mark : undefined
}

/** Where verifying begins: at the beginning, behind what retention removed, or where the secret changed. */
function startOf(key: Buffer, anchorText: string | undefined, secretText: string | undefined): (Place & { changed: boolean }) | Verdict {
  const removed = markIn(anchorText)?.no ?? 0
  if (secretText !== undefined) {
    const secret = rightMark(key, 'secret', secretText)
    if (!secret) return broken(markIn(secretText)?.no ?? 0, 'the mark of where SERVER_SECRET changed is not the console’s')
    if (secret.no > removed) return { ...secret, changed: true }
  }
  if (anchorText === undefined) return { ...beginning, changed: false }
  const anchor = rightMark(key, 'anchor', anchorText)
  return anchor ? { ...anchor, changed: false } : broken(removed, 'the mark of what retention removed is not the console’s')
}

async function walk(source: Source, key: Buffer, anchorText: string | undefined): Promise<Verdict> {
  const headText = (await findFact(source, 'audit.head'))?.value
  const newest = await newestNo(source)
  const head = headText === undefined && newest === 0 ? headAt(key, beginning) : headIn(headText)
  if (!head) return broken(newest, 'the mark of the newest sealed entry is missing')
  if (!isMine(key, head)) return broken((markIn(anchorText)?.no ?? 0) + 1, 'it was sealed with another SERVER_SECRET')
  if (!isRight(key, head)) return broken(head.no, 'the mark of the newest sealed entry is not the console’s')
  const start = startOf(key, anchorText, (await findFact(source, 'audit.secret'))?.value)
  if ('ok' in start) return start
  const strangers: Strangers = { count: 0, first: [] }
  let { no, hash } = start
  while (no < head.no) {
    const rows = await listSealed(source, no, batch)
    if (rows.length === 0) return broken(no + 1, 'it and all sealed after it are missing')
    for (const row of rows) {
      if (no === head.no) break
      if (row.no !== no + 1) return broken(no + 1, 'it is missing')
      if (hashOf(key, hash, row.no, row) !== row.hash) return broken(row.no, 'it is not what was sealed')
      no = row.no
      hash = row.hash
      if (no === head.no && hash !== head.hash) return broken(no, 'it is not what was sealed')
      if (!isWritten(key, row) && !isOld(head, row, no)) note(strangers, row)
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  const now = headIn((await findFact(source, 'audit.head'))?.value) ?? beginning
  if (newest > now.no) return broken(now.no + 1, 'the console has not sealed it')
  return { ok: true, count: head.no - start.no, no: head.no, hash: head.hash, unverified: start.changed ? start.no : null, strangers }
}

function note(strangers: Strangers, { no }: Sealed): void {
  strangers.count++
  if (strangers.first.length < mostNamed) strangers.first.push(no)
}
