import type { Context } from '../../monitoring/context'
import { bytes } from '../../monitoring/markup'
import { series } from '../metrics'
import { sampleOf } from './sample'

const day = 86_400_000
/** What a forecast is made from, and from how many days on there is one. */
const basis = 30
const fewest = 5
/** Further ahead nobody believes a straight line. */
const farthest = 730

export interface Forecast {
  mount: string
  /** null: it does not fill up. */
  daysLeft: number | null
  perDay: number
  /** Of how many days. */
  days: number
  text: string
}

/** The median of all slopes between two days: a clean-up or a big file does not bend it. */
function slopeOf(points: readonly { at: number; value: number }[]): number {
  const slopes = points.flatMap((a, index) => points.slice(index + 1).map((b) => ((b.value - a.value) / (b.at - a.at)) * day))
  slopes.sort((a, b) => a - b)
  const middle = slopes.length / 2
  return slopes.length % 2 === 1 ? (slopes[Math.floor(middle)] ?? 0) : ((slopes[middle - 1] ?? 0) + (slopes[middle] ?? 0)) / 2
}

/** When a disk will be full if it goes on as in the last 30 days; null while too little is known. */
export async function forecastOf(ctx: Context, mount: string): Promise<Forecast | null> {
  const disk = sampleOf(ctx)?.disks.find((one) => one.mount === mount)
  const now = ctx.now()
  const [found] = await series(ctx, { name: 'disk.used', subject: mount, from: now - basis * day, to: now, step: day })
  if (!disk || !found || found.points.length < fewest) return null
  const perDay = slopeOf(found.points.map(({ at, last }) => ({ at: Math.min(at + day, now), value: last })))
  const days = found.points.length
  const left = perDay > 0 ? Math.floor(disk.free / perDay) : Infinity
  const daysLeft = left <= farthest ? left : null
  const basedOn = `by the growth of ${days} days, ${bytes(Math.abs(perDay))} a day`
  const text =
    daysLeft === null
      ? `${mount} does not fill up (${perDay > 0 ? basedOn : `it did not grow in ${days} days`})`
      : daysLeft === 0
        ? `${mount} full within a day (${basedOn})`
        : `${mount} full in ${daysLeft} ${daysLeft === 1 ? 'day' : 'days'} (${basedOn})`
  return { mount, daysLeft, perDay, days, text }
}
