import { createHmac } from 'node:crypto'
import { z } from 'zod'
import type { Context } from '../../monitoring/context'
import {
  countUnsealed,
  findFact,
  listSealed,
  listUnsealed,
  newestNo,
  replaceFact,
  sealRows,
  type AuditTable,
  type Link,
  type Sealed,
  type Source,
} from './queries'

const batch = 500

/** A place in the chain, and which secret was in use there. */
const Mark = z.object({ no: z.int(), hash: z.string(), key: z.string() })
type Mark = z.output<typeof Mark>

const beginning: Mark = { no: 0, hash: '', key: '' }

const keyOf = (serverSecret: string): Buffer => createHmac('sha256', serverSecret).update('audit').digest()

const hmac = (key: Buffer, text: string): string => createHmac('sha256', key).update(text).digest('hex')

/** Tells one secret from another, and nothing about either. */
const nameOf = (key: Buffer): string => hmac(key, 'name').slice(0, 16)

const hashOf = (key: Buffer, before: string, no: number, row: AuditTable): string =>
  hmac(
    key,
    `${before}\n${JSON.stringify([
      no,
      row.id,
      row.org_id,
      row.at,
      row.actor_kind,
      row.actor_id,
      row.actor_name,
      row.key_id,
      row.key_name,
      row.address,
      row.action,
      row.subject,
      row.subject_name,
      row.data,
    ])}`,
  )

/** What retention leaves behind in place of what it removed; without the secret nobody can move it. */
export const anchorAt = (serverSecret: string, { no, hash }: Sealed): string => {
  const key = keyOf(serverSecret)
  return JSON.stringify({ no, hash, key: hmac(key, `anchor ${no} ${hash}`) })
}

export function markIn(text: string | undefined): Mark | undefined {
  if (text === undefined) return undefined
  try {
    return Mark.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

/** A chore: gives what waits its place in the chain. Writers never wait for it; of two processes that do it at once, one wins. */
export async function seal(ctx: Context): Promise<void> {
  while ((await sealSome(ctx)) === batch) await new Promise((resolve) => setImmediate(resolve))
}

async function sealSome(ctx: Context): Promise<number> {
  const key = keyOf(ctx.platform.config.serverSecret)
  // The head first: whoever seals between these two reads moves it, and the compare-and-set below then fails.
  const head = await findFact(ctx, 'audit.head')
  const rows = await listUnsealed(ctx, batch)
  const newest = rows.at(-1)
  if (!newest) return 0
  let { no, hash } = markIn(head?.value) ?? beginning
  const links = rows.map((row): Link => {
    no++
    hash = hashOf(key, hash, no, row)
    return { id: row.id, no, hash }
  })
  return await ctx.transaction(async (ctx) => {
    const fact = { value: JSON.stringify({ no, hash, key: nameOf(key) } satisfies Mark), at: newest.at }
    if (!(await replaceFact(ctx, 'audit.head', head?.value, fact))) return 0
    if ((await sealRows(ctx, links)) !== links.length)
      throw new Error('Entries that wait to be sealed have gone or were sealed past the head')
    return links.length
  })
}

const mostWaiting = 1000

/** How far the chain reaches, and how many entries wait for it, counted up to 1,000. */
export async function status(source: Source): Promise<{ sealed: number; at: number | null; waiting: number; oldest: number | null }> {
  const [head, anchor, { count, oldest }] = await Promise.all([
    findFact(source, 'audit.head'),
    findFact(source, 'audit.anchor'),
    countUnsealed(source, mostWaiting),
  ])
  const { no } = markIn(head?.value) ?? beginning
  return { sealed: no - (markIn(anchor?.value) ?? beginning).no, at: head?.at ?? null, waiting: count, oldest }
}

export type Verdict = { ok: true; count: number; no: number; hash: string } | { ok: false; no: number; why: string }

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

async function walk(source: Source, key: Buffer, anchorText: string | undefined): Promise<Verdict> {
  const headText = (await findFact(source, 'audit.head'))?.value
  const newest = await newestNo(source)
  const head = headText === undefined && newest === 0 ? beginning : markIn(headText)
  if (!head) return broken(newest, 'the mark of the newest sealed entry is missing')
  const foreign = head.no > 0 && head.key !== nameOf(key)
  const anchor = anchorText === undefined ? beginning : markIn(anchorText)
  if (!anchor || (anchor !== beginning && anchor.key !== hmac(key, `anchor ${anchor.no} ${anchor.hash}`)))
    return broken(anchor?.no ?? 0, foreign ? anotherSecret : 'the mark of what retention removed is not the console’s')
  let { no, hash } = anchor
  while (no < head.no) {
    const rows = await listSealed(source, no, batch)
    if (rows.length === 0) return broken(no + 1, 'it and all sealed after it are missing')
    for (const [index, row] of rows.entries()) {
      if (no === head.no) break
      if (row.no !== no + 1) return broken(no + 1, 'it is missing')
      if (hashOf(key, hash, row.no, row) !== row.hash)
        return broken(row.no, foreign || areForeign(key, head, rows.slice(index, index + 10)) ? anotherSecret : 'it is not what was sealed')
      no = row.no
      hash = row.hash
      if (no === head.no && hash !== head.hash) return broken(no, 'it is not what was sealed')
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  const now = markIn((await findFact(source, 'audit.head'))?.value) ?? beginning
  if (newest > now.no) return broken(now.no + 1, 'the console has not sealed it')
  return { ok: true, count: head.no - anchor.no, no: head.no, hash: head.hash }
}

const anotherSecret = 'it was sealed with another SERVER_SECRET'

/** After an entry that was changed come sound ones; among those of another secret there are none, and the head is not one of them. */
const areForeign = (key: Buffer, head: Mark, rows: readonly Sealed[]): boolean =>
  (rows.at(-1)?.no ?? 0) < head.no && rows.slice(1).every((row, index) => hashOf(key, rows[index]?.hash ?? '', row.no, row) !== row.hash)
