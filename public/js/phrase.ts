// How moments and spans are said, everywhere in the console. Pure: no document, no clock of its own.

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const formats = new Map<string, Intl.DateTimeFormat>()

function format(locale: string, zone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${locale} ${zone} ${JSON.stringify(options)}`
  let found = formats.get(key)
  if (!found) {
    try {
      found = new Intl.DateTimeFormat(locale, { ...options, timeZone: zone })
    } catch {
      // A zone this browser does not know yet must not take the page down.
      found = new Intl.DateTimeFormat(locale, { ...options, timeZone: 'UTC' })
    }
    formats.set(key, found)
  }
  return found
}

function parts(at: number, zone: string): Record<string, string> {
  const made = format('en-US', zone, {
    weekday: 'short',
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  })
  return Object.fromEntries(made.formatToParts(at).map((part) => [part.type, part.value]))
}

function two(big: number, bigUnit: string, small: number, smallUnit: string): string {
  return small > 0 ? `${big} ${bigUnit} ${small} ${smallUnit}` : `${big} ${bigUnit}`
}

/** A measured span: "640 ms", "1.2 s", "2 min 6 s", "2 h 19 min", "12 d 4 h". */
export function duration(ms: number): string {
  const span = Math.max(0, ms)
  if (span > 0 && span < SECOND) return `${Math.round(span)} ms`
  if (span < 9950) return `${(span / SECOND).toFixed(1).replace(/\.0$/, '')} s`
  if (span < MINUTE) return `${Math.floor(span / SECOND)} s`
  if (span < HOUR) return two(Math.floor(span / MINUTE), 'min', Math.floor((span % MINUTE) / SECOND), 's')
  if (span < DAY) return two(Math.floor(span / HOUR), 'h', Math.floor((span % HOUR) / MINUTE), 'min')
  return two(Math.floor(span / DAY), 'd', Math.floor((span % DAY) / HOUR), 'h')
}

/** How old something is, in whole units: "4 s", "26 min", "2 h 19 min", "12 d 4 h". */
export function age(ms: number): string {
  const span = Math.max(0, ms)
  if (span < MINUTE) return `${Math.floor(span / SECOND)} s`
  if (span < HOUR) return `${Math.floor(span / MINUTE)} min`
  return duration(span)
}

/** "now", "4 s ago", "in 2 h 19 min"; from a week on the date. */
export function relative(at: number, now: number, zone: string): string {
  const past = now - at
  if (Math.abs(past) >= 7 * DAY) return dayOf(at, now, zone)
  if (Math.abs(past) < SECOND) return 'now'
  return past > 0 ? `${age(past)} ago` : `in ${age(-past)}`
}

/** "12 Sep", with the year when it is another one. */
function dayOf(at: number, now: number, zone: string): string {
  const is = parts(at, zone)
  return is['year'] === parts(now, zone)['year'] ? `${is['day']} ${is['month']}` : `${is['day']} ${is['month']} ${is['year']}`
}

/** "12 Sep" */
export function dayOfMonth(at: number, zone: string): string {
  const is = parts(at, zone)
  return `${is['day']} ${is['month']}`
}

/** "20:41" */
export function clock(at: number, zone: string): string {
  const is = parts(at, zone)
  return `${is['hour']}:${is['minute']}`
}

/** "Fri 12 Sep 2025, 20:41:07 IST" */
export function fullDate(at: number, zone: string): string {
  const is = parts(at, zone)
  return `${is['weekday']} ${is['day']} ${is['month']} ${is['year']}, ${is['hour']}:${is['minute']}:${is['second']} ${zoneName(at, zone)}`
}

/** "IST", "CEST", else "GMT+5:45". Each English locale knows the short names of its own part of the world only. */
export function zoneName(at: number, zone: string): string {
  let name = ''
  for (const locale of ['en-IN', 'en-GB', 'en-US', 'en-AU']) {
    name =
      format(locale, zone, { timeZoneName: 'short' })
        .formatToParts(at)
        .find((part) => part.type === 'timeZoneName')?.value ?? ''
    if (!/[+\-\u2212]\d/.test(name)) return name
  }
  return name
}

/** How far the zone is ahead of UTC at that moment, in milliseconds. */
export function zoneOffset(at: number, zone: string): number {
  const name = format('en-US', zone, { timeZoneName: 'longOffset' })
    .formatToParts(at)
    .find((part) => part.type === 'timeZoneName')?.value
  const found = /([+\-\u2212])(\d\d):(\d\d)/.exec(name ?? '')
  if (!found) return 0
  return (found[1] === '+' ? 1 : -1) * (Number(found[2]) * HOUR + Number(found[3]) * MINUTE)
}
