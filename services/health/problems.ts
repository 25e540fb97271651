import { z } from 'zod'
import { home, type Context } from '../../monitoring/context'
import { bytes, duration, percent } from '../../monitoring/markup'
import { troubles } from '../checks'
import * as events from '../events'
import { observe, series, type MetricName } from '../metrics'
import * as processes from '../processes'
import { limits, sampleOf, silentAfter } from './sample'

const minute = 60_000
/** Percentage points. */
const hysteresis = 2

/** Something that needs a person, or soon will. */
export interface Problem {
  /** The same for the same trouble, so that it is announced once. */
  key: string
  state: 'warn' | 'err'
  /** What happened. */
  title: string
  /** What it means, and what to do. */
  detail: string
  since: number | null
  href: string | null
  label: string | null
}

/** All that is wrong now, the worst first. */
export async function problems(ctx: Context, list?: processes.ProcessList): Promise<Problem[]> {
  const found: Omit<Problem, 'since'>[] = []
  const { open } = reviewOf(ctx)
  // What is announced is over a little below its limit: figures that hover around it are not told every few seconds.
  const over = (key: string, value: number, limit: number) => value >= limit - (open.has(key) ? hysteresis : 0)
  const sample = sampleOf(ctx)
  const silent = ctx.now() - (sample?.at ?? ctx.platform.startedAt)
  if (ctx.org === home && ctx.platform.probes.system && silent > silentAfter) {
    const detail = sample ? `The last sample is ${duration(silent)} old.` : `There is no sample ${duration(silent)} after the start.`
    found.push(problem('system-silent', 'warn', 'This machine is not being measured', `${detail} The log says why.`))
  }
  if (sample) {
    for (const disk of sample.disks)
      if (over(`disk ${disk.mount}`, disk.percent, limits.disk.warn))
        found.push(
          problem(
            `disk ${disk.mount}`,
            disk.percent >= limits.disk.err ? 'err' : 'warn',
            `Disk ${disk.mount} is ${percent(disk.percent)} full`,
            `${bytes(disk.free)} of ${bytes(disk.total)} are left. When it is full, nothing can be stored: make room.`,
          ),
        )
    if (over('memory', sample.memory.percent, limits.memory.warn))
      found.push(
        problem(
          'memory',
          sample.memory.percent >= limits.memory.err ? 'err' : 'warn',
          `Memory is ${percent(sample.memory.percent)} used`,
          `${bytes(sample.memory.available)} are available. When none is left, the system ends processes.`,
        ),
      )
    const busy = await recentAverage(ctx, 'cpu.percent', 5)
    if (busy !== null && over('cpu', busy, limits.cpu.warn))
      found.push(
        problem(
          'cpu',
          'warn',
          'The CPU is busy',
          `${percent(busy)} on average over 5 min, load ${sample.cpu.load[0].toFixed(1)}. Answers may be slow.`,
        ),
      )
  }
  found.push(...processProblems(list ?? (await processes.list(ctx))))
  const checks = (await troubles(ctx)).map(({ id, name, state, since, cause, incident }): Problem => {
    const href = incident === null ? `/checks/${id}` : `/incidents/${incident}`
    const of = problem(`${ofCheck}${id}`, state === 'down' ? 'err' : 'warn', `${name} is ${state}`, sentenceOf(cause), href, 'Look')
    return { ...of, since }
  })
  const rank = { err: 0, warn: 1 }
  return [...found.map((one) => ({ ...one, since: open.get(one.key)?.since ?? null })), ...checks].sort(
    (a, b) => rank[a.state] - rank[b.state],
  )
}

/** Checks tell of themselves when they go down and come up. */
const ofCheck = 'check '

const sentenceOf = (cause: string): string => (/[.!?]$/.test(cause) || cause === '' ? cause : `${cause}.`)

const problem = (
  key: string,
  state: Problem['state'],
  title: string,
  detail: string,
  href: string | null = null,
  label: string | null = null,
): Omit<Problem, 'since'> => ({
  key,
  state,
  title,
  detail,
  href,
  label,
})

function processProblems({ items, state, hint }: processes.ProcessList): Omit<Problem, 'since'>[] {
  if (state === 'no-daemon' && items.length > 0)
    return [
      problem(
        'pm2',
        'err',
        'PM2 is not running',
        `${items.length === 1 ? 'The process it kept is' : `The ${items.length} processes it kept are`} gone. ${hint ?? ''}`,
        '#processes',
        'Show',
      ),
    ]
  if (state === 'unreachable')
    return [problem('pm2', 'warn', 'PM2 does not answer', `What is shown of processes is old. ${hint ?? ''}`, '#processes', 'Show')]
  return items.flatMap((one) => {
    const href = `/processes/${encodeURIComponent(one.id)}`
    if (one.status === 'errored')
      return [
        problem(
          `process ${one.id}`,
          'err',
          `${one.name} is down`,
          `PM2 gave it up after ${one.restarts} restarts. Look at its log, then restart it.`,
          href,
          'Look',
        ),
      ]
    if (one.crashes_10m >= 3)
      return [
        problem(
          `process ${one.id}`,
          'warn',
          `${one.name} keeps crashing`,
          `It crashed ${one.crashes_10m} times in 10 min and was started again each time.`,
          href,
          'Look',
        ),
      ]
    return one.status === 'waiting restart'
      ? [problem(`process ${one.id}`, 'warn', `${one.name} is down`, 'It crashed; PM2 waits before it starts it again.', href, 'Look')]
      : []
  })
}

async function recentAverage(ctx: Context, name: MetricName, minutes: number): Promise<number | null> {
  const now = ctx.now()
  const [found] = await series(ctx, { name, from: now - minutes * minute, to: now, step: minute })
  const points = found?.points ?? []
  // Three of five minutes must have been measured: a start under load is no trouble.
  return points.length < 3 ? null : points.reduce((sum, point) => sum + point.average, 0) / points.length
}

interface Flip {
  since: number
  state: Problem['state']
  title: string
}

/** What was announced and is not over, by key. */
const reviewOf = (ctx: Context) =>
  ctx.platform.keep(`review of ${ctx.org}`, () => ({ open: new Map<string, Flip>(), loaded: false, shown: '[]', last: Promise.resolve() }))

const Announced = z.object({ title: z.string(), since: z.iso.datetime() })

/** What was open when the console ended is not announced again when it comes back. */
async function loadOpen(ctx: Context): Promise<Map<string, Flip>> {
  const open = new Map<string, Flip>()
  const flips = await Promise.all(
    ['health.problem', 'health.recovered'].map((type) =>
      events.list(ctx, { filter: { type, source: 'console' }, limit: 500, cursor: undefined }),
    ),
  )
  const seen = new Set<string | null>()
  for (const { type, subject, severity, data } of flips.flatMap(({ items }) => items).sort((a, b) => b.seq - a.seq)) {
    if (seen.has(subject)) continue
    seen.add(subject)
    const told = Announced.safeParse(data)
    if (type === 'health.problem' && subject !== null && told.success)
      open.set(subject, { since: Date.parse(told.data.since), state: severity === 'error' ? 'err' : 'warn', title: told.data.title })
  }
  return open
}

/** Compares with the last time: what is new, worse, better or over becomes an event, and open pages are told. A chore, every few seconds. */
export function review(ctx: Context): Promise<void> {
  const memory = reviewOf(ctx)
  // Two at once would both announce the same.
  memory.last = memory.last.catch(() => undefined).then(() => reviewNow(ctx))
  return memory.last
}

async function reviewNow(ctx: Context): Promise<void> {
  const { system, pm2 } = ctx.platform.probes
  // Until everything was looked at once, what is missing is not over.
  if ((system && !system.latest && ctx.now() - ctx.platform.startedAt < silentAfter) || (pm2 && !pm2.latest)) return
  const memory = reviewOf(ctx)
  if (!memory.loaded) {
    memory.open = await loadOpen(ctx)
    memory.loaded = true
  }
  const { open } = memory
  const now = ctx.now()
  const all = await problems(ctx)
  const current = new Map(all.map((one) => [one.key, one]))
  const down = all.filter(({ key, state }) => key.startsWith(ofCheck) && state === 'err').length
  observe(ctx, ctx.platform.config.hostName, now, [{ name: 'checks.down', value: down }])
  const blind = pm2 !== undefined && pm2.latest?.state !== 'ok'
  const flipped = all.filter(({ key, state }) => !key.startsWith(ofCheck) && open.get(key)?.state !== state)
  // While PM2 cannot be asked, nothing is known of its processes.
  const over = [...open].filter(([key]) => !current.has(key) && !(blind && key.startsWith('process ')))
  const shown = JSON.stringify(all.map(({ key, state, title, detail }) => [key, state, title, detail]))
  if (flipped.length === 0 && over.length === 0 && shown === memory.shown) return
  await ctx.transaction(async (ctx) => {
    const host = ctx.platform.config.hostName
    for (const { key, title, detail, state } of flipped) {
      const since = new Date(open.get(key)?.since ?? now).toISOString()
      const severity = state === 'err' ? 'error' : 'warning'
      await events.record(ctx, { type: 'health.problem', source: 'console', subject: key, host, severity, data: { title, detail, since } })
    }
    for (const [key, { title, since }] of over)
      await events.record(ctx, {
        type: 'health.recovered',
        source: 'console',
        subject: key,
        host,
        severity: 'notice',
        data: { title, lasted_ms: now - since },
      })
    ctx.changed('health', 'verdict')
  })
  for (const { key, state, title } of flipped) open.set(key, { since: open.get(key)?.since ?? now, state, title })
  for (const [key] of over) open.delete(key)
  memory.shown = shown
}
