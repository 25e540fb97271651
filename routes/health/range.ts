import { spanOf } from '../../monitoring/zones'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

export const ranges = { '1h': hour, '24h': day, '7d': 7 * day, '30d': 30 * day } as const
export type RangeName = keyof typeof ranges

/** How long a point of a series can be. */
export const steps = { '1m': minute, '5m': 5 * minute, '15m': 15 * minute, '1h': hour, '4h': 4 * hour, '1d': day } as const

export interface Asked {
  range: string
  from: string
  to: string
  compare: string
}

/** Which part of the past a page shows. */
export interface Range {
  from: number
  to: number
  /** null: from and to were given. */
  name: RangeName | null
  compare: boolean
  /** What was wrong with the moments that were given. */
  error: string | null
}

const shortest = 5 * minute
const longest = 5 * 366 * day

/** A moment as a field for date and time gives it, in the reader's zone, or as a link does, in ISO 8601. */
function momentOf(text: string, zone: string): number | null {
  const local = spanOf(text, zone)
  if (local) return local.start
  const at = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(at) ? null : at
}

export function rangeOf(asked: Asked, zone: string, now: number): Range {
  const compare = asked.compare !== ''
  const name = Object.hasOwn(ranges, asked.range) ? (asked.range as RangeName) : '24h'
  const standing = (error: string | null): Range => ({ from: now - ranges[name], to: now, name, compare, error })
  if (!asked.from && !asked.to) return standing(null)
  const [from, until] = [momentOf(asked.from, zone), asked.to ? momentOf(asked.to, zone) : now]
  if (from === null || until === null) return standing('Give both moments as a date and a time.')
  const to = Math.min(until, now)
  if (from >= until) return standing('The end must be after the beginning.')
  if (from >= now) return standing('The beginning is in the future.')
  if (to - from > longest) return standing('Choose five years at the most.')
  return { from: Math.min(from, to - shortest), to, name: null, compare, error: null }
}

const iso = (at: number): string => new Date(at).toISOString().replace(/\.000Z$/, 'Z')

/** The address's end that leads to a range; `compare` as it is now unless said otherwise. */
export function searchOf({ name, from, to, compare }: Pick<Range, 'name' | 'from' | 'to' | 'compare'>): string {
  const given: Record<string, string> = name === null ? { from: iso(from), to: iso(to) } : { range: name }
  return new URLSearchParams({ ...given, ...(compare ? { compare: '1' } : {}) }).toString()
}

/** The ranges around: the one before, the one after (unless it is still to come), one of twice the length. */
export function around({ from, to, compare }: Range, now: number) {
  const length = to - from
  const at = (from: number, to: number) => searchOf({ name: null, from, to, compare })
  const wideTo = Math.min(now, to + length / 2)
  return {
    earlier: at(from - length, from),
    later: to + minute < now ? at(Math.min(from + length, now - length), Math.min(to + length, now)) : null,
    wider: length * 2 <= longest ? at(wideTo - 2 * length, wideTo) : null,
  }
}
