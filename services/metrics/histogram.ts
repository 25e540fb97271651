/** How often durations of about each length occurred: bucket n holds (1.1^(n-1), 1.1^n]. Two of them added up are the histogram of both. */
export type Histogram = Map<number, number>

const growth = 1.1
const logOfGrowth = Math.log(growth)
/** What is shorter than 70 ns in a series of milliseconds is none. */
const none = -100
const longest = 400

const bucketOf = (value: number): number =>
  value <= 0 ? none : Math.min(longest, Math.max(none, Math.ceil(Math.log(value) / logOfGrowth - 1e-9)))

/** The value from which both ends of the bucket are equally far: at most 4.8 % off. */
const valueOf = (bucket: number): number => (bucket === none ? 0 : (2 * growth ** bucket) / (growth + 1))

export const histogramOf = (value: number): Histogram => new Map([[bucketOf(value), 1]])

export function addHistogram(to: Histogram, more: Histogram): void {
  for (const [bucket, count] of more) to.set(bucket, (to.get(bucket) ?? 0) + count)
}

/** As it is stored: `{"12":3,"14":1}`. */
export const writeHistogram = (histogram: Histogram): string => JSON.stringify(Object.fromEntries(histogram))

export function readHistogram(stored: string): Histogram {
  const histogram: Histogram = new Map()
  for (const [bucket, count] of Object.entries(JSON.parse(stored) as Record<string, unknown>))
    if (typeof count === 'number' && Number.isFinite(count)) histogram.set(Number(bucket), count)
  return histogram
}

/** What carries durations: a point, a span, a total. */
export interface Durations {
  readonly histogram: Histogram | null
  readonly min: number
  readonly max: number
}

/** For each of `percents`, the duration that so many percent do not exceed (nearest rank, ± 5 %); null where nothing was measured. */
export function percentilesOf(of: Iterable<Durations>, percents: readonly number[]): (number | null)[] {
  const all: Histogram = new Map()
  let [min, max] = [Infinity, -Infinity]
  for (const one of of) {
    if (!one.histogram) continue
    addHistogram(all, one.histogram)
    min = Math.min(min, one.min)
    max = Math.max(max, one.max)
  }
  const buckets = [...all].sort(([a], [b]) => a - b)
  const total = buckets.reduce((sum, [, count]) => sum + count, 0)
  return percents.map((percent) => {
    if (total === 0) return null
    const rank = Math.max(1, Math.ceil((percent / 100) * total - 1e-9))
    let seen = 0
    for (const [bucket, count] of buckets) if ((seen += count) >= rank) return Math.min(max, Math.max(min, valueOf(bucket)))
    return max
  })
}
