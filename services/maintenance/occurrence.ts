import { offsetAt } from '../../monitoring/zones'
import type { Repetition } from './queries'

const day = 86_400_000

export interface Recurring {
  readonly starts_at: number
  readonly ends_at: number
  readonly repeats: Repetition
  readonly timezone: string
}

const local = (moment: number, timezone: string): number => moment + offsetAt(moment, timezone)

/** How long it lasts by the clock on the wall, whatever that does in between. */
export const lengthOf = ({ starts_at, ends_at, timezone }: Omit<Recurring, 'repeats'>): number =>
  local(ends_at, timezone) - local(starts_at, timezone)

/** The time that is now or comes next, from and to the same times of day in its zone, however the clocks there change. null: over. */
export function occurrenceAt({ starts_at, ends_at, repeats, timezone }: Recurring, at: number): { from: number; to: number } | null {
  if (at < ends_at) return { from: starts_at, to: ends_at }
  if (repeats === 'never') return null
  const step = repeats === 'daily' ? day : 7 * day
  const momentOf = (shown: number) => shown - offsetAt(shown - offsetAt(shown, timezone), timezone)
  const start = local(starts_at, timezone)
  const length = lengthOf({ starts_at, ends_at, timezone })
  // One before, because it may still be running, and because offsets differ by hours. The first one is over.
  for (let n = Math.max(1, Math.floor((local(at, timezone) - start - length) / step) - 1); ; n++) {
    const from = momentOf(start + n * step)
    const to = momentOf(start + n * step + length)
    // Where clocks go forward over all of it, or its end, it is as long as ever.
    const end = to > from ? to : from + ends_at - starts_at
    if (at < end) return { from, to: end }
  }
}
