import type { Context } from '../../monitoring/context'
import type { Entry } from './memory'
import type { CheckRow } from './queries'

const second = 1000
/** What was due while nobody looked is spread over this long. */
const spreadMs = 60 * second

/** The same for the same check, and even among many. */
const share = (id: string): number => {
  let hash = 2166136261
  for (let index = 0; index < id.length; index++) hash = Math.imul(hash ^ id.charCodeAt(index), 16777619)
  return (hash >>> 0) / 2 ** 32
}

export function firstDue(ctx: Context, row: CheckRow): number {
  const now = ctx.now()
  // New, or changed: at once.
  if (row.checked_at === null || row.checked_at < row.changed_at) return now
  const due = row.checked_at + pauseAfter(row)
  // Nobody looked for a while, or the clock was wrong: not all of them at the same moment.
  return due <= now || due > now + pauseAfter(row) ? now + Math.floor(share(row.id) * Math.min(pauseAfter(row), spreadMs)) : due
}

export const pauseAfter = ({ failures, state, retry_s, interval_s }: CheckRow): number =>
  (failures > 0 && state !== 'down' ? retry_s : interval_s) * second

export function nextDue(ctx: Context, { row, due }: Entry): number {
  const now = ctx.now()
  const pause = pauseAfter(row)
  if (row.failures > 0 && row.state !== 'down') return now + pause
  // In step with itself, however long a look takes.
  const late = now - due
  return late < 0 || late >= pause ? now + pause : due + pause
}
