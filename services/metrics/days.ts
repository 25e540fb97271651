import { offsetAt } from '../../monitoring/zones'

interface Day {
  readonly start: number
  /** The answer holds from here … */
  readonly from: number
  /** … until just before here. */
  readonly end: number
}

const hour = 3_600_000
/** Clocks of all zones differ by whole quarters of an hour, and change at one. */
const quarter = 900_000
const found = new Map<string, Day>()

/** The moment at which the day of `at` began in a zone; days of 23 and 25 hours included. */
export function dayStartOf(at: number, zone: string): number {
  const known = found.get(zone)
  if (known && known.from <= at && at < known.end) return known.start
  const local = at + offsetAt(at, zone)
  const midnight = local - (((local % (24 * hour)) + 24 * hour) % (24 * hour))
  // The offset at midnight may differ from the one now: look there.
  let start = midnight - offsetAt(midnight - offsetAt(at, zone), zone)
  // Where clocks go back over midnight, it strikes twice: the day begins with the first.
  if (start - hour + offsetAt(start - hour, zone) >= midnight) start -= hour
  // Believed for this quarter only: the next one may belong to the next day (midnight in India is half past the hour in UTC).
  found.set(zone, { start, from: at - (at % quarter), end: at - (at % quarter) + quarter })
  return start
}
