const formats = new Map<string, Intl.DateTimeFormat>()

/** How far the zone's clock is ahead of UTC at this moment. */
export function offsetAt(at: number, zone: string): number {
  let format = formats.get(zone)
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
    if (formats.size > 500) formats.clear()
    formats.set(zone, format)
  }
  const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]))
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts
  return Date.UTC(year, month - 1, day, hour, minute, second) - (at - (((at % 1000) + 1000) % 1000))
}

const local = /^((?:19[7-9]|2\d\d)\d-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?)?$/

/** The day, the minute or the second that a clock in a zone shows as this text: `2026-03-08`, `2026-03-08T14:05`. null: there is none. */
export function spanOf(text: string, zone: string): { start: number; end: number } | null {
  const [, date, time, seconds] = local.exec(text.trim()) ?? []
  if (date === undefined) return null
  const shown = Date.parse(`${date}T${time ?? '00:00'}${seconds ?? ':00'}Z`)
  // The 31st of February is read as a day in March.
  if (Number.isNaN(shown) || !new Date(shown).toISOString().startsWith(date)) return null
  const momentOf = (shown: number) => shown - offsetAt(shown - offsetAt(shown, zone), zone)
  const length = seconds !== undefined ? 1000 : time !== undefined ? 60_000 : 86_400_000
  return { start: momentOf(shown), end: momentOf(shown + length) }
}
