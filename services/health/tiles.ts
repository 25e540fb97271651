import { home, type Context } from '../../monitoring/context'
import { bytes, percent } from '../../monitoring/markup'
import type { SystemSample } from '../../monitoring/probes/system'
import * as checks from '../checks'
import { series, type MetricName, type Point } from '../metrics'
import * as processes from '../processes'
import { forecastOf } from './forecast'
import { fullest, limits, sampleOf, type State } from './sample'

const minute = 60_000
const halfHour = 30 * minute
const sampleBeat = 1000

export type Mark = 'ok' | 'warn' | 'err' | 'none'

/** How one part of the machine is: a word, the fact behind it, its age, and the last 24 hours. */
export interface Tile {
  id: string
  name: string
  icon: string
  state: State
  word: string
  fact: string
  /** When it was measured; null: not yet. */
  at: number | null
  /** Milliseconds between measurements. */
  beat: number
  /** Who measures it. */
  source: string
  /** 48 half hours, oldest first. */
  history: Mark[]
}

export type TileNow = Omit<Tile, 'history'>

/** The tiles as they are this second, without their past: cheap enough to be sent every second. */
export async function tilesNow(ctx: Context, list?: processes.ProcessList): Promise<TileNow[]> {
  const sample = sampleOf(ctx)
  const common = { at: sample?.at ?? null, beat: sampleBeat, source: 'the system probe' }
  const cpu = sample?.cpu.percent ?? null
  const disk = sample && fullest(sample)
  const [unknown, why] =
    ctx.org === home ? (['Measuring', 'first sample in a second'] as const) : (['Not measured', 'no machine of this organisation'] as const)
  const rx = sample?.network.reduce((sum, one) => sum + one.rx, 0) ?? null
  const tx = sample?.network.reduce((sum, one) => sum + one.tx, 0) ?? null
  return [
    {
      id: 'cpu',
      name: 'CPU',
      icon: 'cpu',
      ...common,
      state: stateOf(cpu, limits.cpu),
      word: cpu === null ? unknown : `${percent(cpu)} used`,
      fact: sample ? `${cores(sample)} · load ${sample.cpu.load[0].toFixed(1)}` : why,
    },
    {
      id: 'memory',
      name: 'Memory',
      icon: 'memory',
      ...common,
      state: stateOf(sample?.memory.percent ?? null, limits.memory),
      word: sample ? `${percent(sample.memory.percent)} used` : unknown,
      fact: sample ? memoryFact(sample) : why,
    },
    {
      id: 'disk',
      name: disk && disk.mount !== '/' ? `Disk ${disk.mount}` : 'Disk',
      icon: 'device-hdd',
      ...common,
      state: stateOf(disk?.percent ?? null, limits.disk),
      word: disk ? `${percent(disk.percent)} used` : unknown,
      fact: disk ? `${bytes(disk.free)} free of ${bytes(disk.total)}` : why,
    },
    {
      id: 'network',
      name: 'Network',
      icon: 'hdd-network',
      ...common,
      state: rx === null ? 'run' : 'ok',
      word: rx === null ? unknown : `${bytes(rx)}/s in`,
      fact: tx === null ? why : `${bytes(tx)}/s out`,
    },
    pm2Tile(list ?? (await processes.list(ctx))),
    checksTile(await checks.tally(ctx), ctx.now()),
  ]
}

const cores = (sample: SystemSample): string => `${sample.cpu.cores.length} ${sample.cpu.cores.length === 1 ? 'core' : 'cores'}`

const memoryFact = ({ memory, swap }: SystemSample): string =>
  `${bytes(memory.used)} of ${bytes(memory.total)}${swap.percent !== null && swap.percent >= 1 ? ` · swap ${percent(swap.percent)}` : ''}`

const stateOf = (value: number | null, limit: { warn: number; err: number }): State =>
  value === null ? 'run' : value >= limit.err ? 'err' : value >= limit.warn ? 'warn' : 'ok'

function checksTile({ total, up, late, down, paused }: Awaited<ReturnType<typeof checks.tally>>, at: number): TileNow {
  const base = { id: 'checks', name: 'Checks', icon: 'broadcast', at, beat: 5000, source: 'the console' }
  if (total === 0) return { ...base, state: 'idle', word: 'None yet', fact: 'nothing outside is looked at' }
  const others = [down && `${down} down`, late && `${late} late`, paused && `${paused} paused`].filter(Boolean)
  return {
    ...base,
    state: down > 0 ? 'err' : late > 0 ? 'warn' : up > 0 ? 'ok' : 'idle',
    word: `${up} of ${total} up`,
    fact: others.length > 0 ? others.join(' · ') : 'none down',
  }
}

function pm2Tile({ items, state, hint, at, beat }: processes.ProcessList): TileNow {
  const base = { id: 'pm2', name: 'PM2 processes', icon: 'boxes', at, beat, source: 'PM2' }
  if (state === 'waiting') return { ...base, state: 'run', word: 'Looking', fact: 'asking PM2' }
  if (state === 'unreachable') return { ...base, state: 'warn', word: 'No answer', fact: hint ?? 'PM2 does not answer' }
  if (state === 'no-daemon')
    return items.length > 0
      ? { ...base, state: 'err', word: 'Not running', fact: `${items.length} ${items.length === 1 ? 'process' : 'processes'} gone` }
      : { ...base, state: 'idle', word: 'Not running', fact: 'no daemon on this machine' }
  if (items.length === 0)
    return { ...base, state: 'idle', word: 'No processes', fact: at === null ? 'none of this organisation' : 'PM2 runs and keeps none' }
  const online = items.filter((one) => one.status === 'online').length
  const [bad] = items.filter((one) => one.state === 'err' || one.state === 'warn' || one.crashes_10m >= 3)
  const stopped = items.filter((one) => one.status === 'stopped' && !one.job).length
  return {
    ...base,
    state: items.some((one) => one.state === 'err') ? 'err' : bad ? 'warn' : 'ok',
    word: `${online} of ${items.length} online`,
    fact: bad
      ? `${bad.name}: ${bad.crashes_10m >= 3 ? 'keeps crashing' : bad.word.toLowerCase()}`
      : stopped > 0
        ? `${stopped} stopped by hand`
        : 'none crashing',
  }
}

/** What each tile's 24 hours are read from, and from which average on a half hour counts as bad. */
const histories: Readonly<Record<string, { name: MetricName; of: (point: Point) => number; warn: number; err: number }>> = {
  cpu: { name: 'cpu.percent', of: (point) => point.average, ...limits.cpu },
  memory: { name: 'memory.percent', of: (point) => point.average, ...limits.memory },
  disk: { name: 'disk.percent', of: (point) => point.max, ...limits.disk },
  network: { name: 'network.rx', of: () => 0, warn: 1, err: 1 },
  checks: { name: 'checks.down', of: (point) => (point.max === 0 ? 0 : point.average >= 0.5 ? 2 : 1), warn: 1, err: 2 },
  pm2: { name: 'processes.down', of: (point) => (point.max === 0 ? 0 : point.average >= 0.5 ? 2 : 1), warn: 1, err: 2 },
}

export async function tiles(ctx: Context, now?: readonly TileNow[]): Promise<Tile[]> {
  const marks = await Promise.all(Object.entries(histories).map(async ([id, history]) => [id, await history24h(ctx, history)] as const))
  const byId = new Map(marks)
  return (now ?? (await tilesNow(ctx))).map((tile) => ({ ...tile, history: byId.get(tile.id) ?? [] }))
}

async function history24h(ctx: Context, { name, of, warn, err }: (typeof histories)[string] & object): Promise<Mark[]> {
  const to = ctx.now() - (ctx.now() % halfHour) + halfHour
  const from = to - 48 * halfHour
  const found = await series(ctx, { name, from, to, step: halfHour })
  const worst = new Map<number, number>()
  for (const point of found.flatMap(({ points }) => points)) worst.set(point.at, Math.max(worst.get(point.at) ?? -Infinity, of(point)))
  return Array.from({ length: 48 }, (_, index): Mark => {
    const value = worst.get(from + index * halfHour)
    return value === undefined ? 'none' : value >= err ? 'err' : value >= warn ? 'warn' : 'ok'
  })
}

/** A line of the last hour, with its limit. */
export interface Chart {
  id: 'cpu' | 'memory' | 'disk'
  title: string
  period: string
  now: string
  fact: string
  unit: string
  limit: number
  points: [number, number | null][]
  at: number
}

export async function charts(ctx: Context, tiles?: readonly TileNow[]): Promise<Chart[]> {
  const now = tiles ?? (await tilesNow(ctx))
  return await Promise.all(
    (['cpu', 'memory', 'disk'] as const).map(async (id): Promise<Chart> => {
      const tile = now.find((one) => one.id === id)
      return {
        id,
        title: tile?.name ?? id,
        period: 'last 60 min',
        now: tile?.word.replace(' used', '') ?? '',
        fact: (id === 'disk' ? await fullIn(ctx) : null) ?? tile?.fact ?? '',
        unit: '%',
        limit: limits[id].warn,
        points: await lastHour(ctx, `${id}.percent`),
        at: ctx.now(),
      }
    }),
  )
}

/** When the fullest disk will be full, where that is near enough to matter. */
async function fullIn(ctx: Context): Promise<string | null> {
  const sample = sampleOf(ctx)
  const disk = sample && fullest(sample)
  const daysLeft = disk ? ((await forecastOf(ctx, disk.mount))?.daysLeft ?? null) : null
  return !disk || daysLeft === null || daysLeft > 180
    ? null
    : `${bytes(disk.free)} free · ${daysLeft} ${daysLeft === 1 ? 'day' : 'days'} left`
}

async function lastHour(ctx: Context, name: MetricName): Promise<[number, number | null][]> {
  const to = ctx.now() - (ctx.now() % minute) + minute
  const from = to - 60 * minute
  const found = await series(ctx, { name, from, to, step: minute })
  const value = new Map<number, number>()
  for (const point of found.flatMap(({ points }) => points)) value.set(point.at, Math.max(value.get(point.at) ?? 0, point.average))
  return Array.from({ length: 60 }, (_, index) => {
    const at = from + index * minute
    const found = value.get(at)
    return [at, found === undefined ? null : Math.round(found * 10) / 10]
  })
}
