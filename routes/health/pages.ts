import { z } from 'zod'
import { type Routes, view } from '../../monitoring/dashboard/endpoint'
import type { Identity } from '../../monitoring/dashboard/session'
import { text } from '../../monitoring/dashboard/shapes'
import type { Context } from '../../monitoring/context'
import { NotFound } from '../../monitoring/errors'
import { offsetAt, spanOf } from '../../monitoring/zones'
import { may } from '../../monitoring/permissions'
import * as health from '../../services/health'
import { around, rangeOf, ranges, searchOf, steps, type Range, type RangeName } from './range'
import { columnsOf, rowsOf, shown, stepSaid, type Shown } from './shown'

/** What is common to the page of all charts and the page of one. */
interface Frame {
  path: string
  zone: string
  /** What the charts show: "Last 24 hours". */
  period: string
  range: { name: RangeName | null; search: string; error: string | null; from: string; to: string; compare: boolean }
  links: {
    ranges: { label: string; search: string; current: boolean }[]
    compare: string
    earlier: string
    later: string | null
    wider: string | null
  }
  marks: readonly health.Mark[] | null
}

declare module '../../views/views' {
  interface Views {
    'health/index': Frame & { groups: { name: string; charts: (Shown & { csv: string })[] }[] }
    'health/show': Frame & {
      chart: Shown & { csv: string }
      columns: string[]
      rows: ReturnType<typeof rowsOf>
      step: string
    }
    'health/_tools': Frame
    'health/_chart': { chart: Shown & { csv: string }; search: string; whole: boolean }
    'health/_marks': { marks: readonly health.Mark[] | null; period: string }
  }
}

const asked = text(40).trim().catch('')
const Query = z.object({
  range: asked.default(''),
  from: asked.default(''),
  to: asked.default(''),
  compare: asked.default(''),
})

const labels: Readonly<Record<RangeName, string>> = { '1h': '1 h', '24h': '24 h', '7d': '7 d', '30d': '30 d' }
const periods: Readonly<Record<RangeName, string>> = {
  '1h': 'last hour',
  '24h': 'last 24 hours',
  '7d': 'last 7 days',
  '30d': 'last 30 days',
}

/** As the field for a date and a time takes it. */
const localOf = (at: number, zone: string): string => new Date(at + offsetAt(at, zone)).toISOString().slice(0, 16)

function periodOf({ name, from, to }: Range, zone: string): string {
  if (name !== null) return periods[name]
  const format = new Intl.DateTimeFormat('en-GB', {
    ...{ timeZone: zone, day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  })
  return format.formatRange(from, to)
}

/** What was typed stands there again when it was wrong. */
const fieldsOf = ({ error, from, to }: Range, typed: { from: string; to: string }, zone: string) =>
  error === null
    ? { from: localOf(from, zone), to: localOf(to, zone) }
    : { from: spanOf(typed.from, zone) ? typed.from : '', to: spanOf(typed.to, zone) ? typed.to : '' }

async function frameOf(
  ctx: Context,
  query: z.output<typeof Query>,
  identity: Identity | null,
  path: string,
): Promise<Frame & { asked: Range }> {
  const zone = identity?.principal.timezone ?? ctx.platform.config.timezone
  const now = ctx.now()
  const range = rangeOf(query, zone, now)
  const { from, to, name, compare, error } = range
  const search = (more: Partial<Range>) => searchOf({ ...range, ...more })
  return {
    ...{ path, zone, asked: range, period: periodOf(range, zone) },
    range: { name, search: search({}), error, compare, ...fieldsOf(range, query, zone) },
    links: {
      ranges: Object.keys(ranges).map((one) => ({
        label: labels[one as RangeName],
        search: search({ name: one as RangeName }),
        current: one === name,
      })),
      compare: search({ compare: !compare }),
      ...around(range, now),
    },
    marks: may(ctx.actor, 'events.read') ? await health.marks(ctx, { from, to, close: (to - from) / 100 }) : null,
  }
}

const csvOf = ({ names, grid }: health.History): string =>
  `/api/metrics?${new URLSearchParams({
    format: 'csv',
    name: names.join(','),
    from: new Date(grid.from).toISOString(),
    to: new Date(grid.to).toISOString(),
    step: Object.entries(steps).find(([, step]) => step === grid.step)?.[0] ?? '1d',
  }).toString()}`

/** Charts that end now follow what comes; a point takes minutes on the longer ones. */
const liveOf = ({ name }: Range): string[] => ['health', ...(name === '1h' || name === '24h' ? ['history'] : [])]

export function declarePages(routes: Routes): void {
  routes.page('/health', { permission: 'metrics.read', query: Query }, async ({ ctx, query, identity }) => {
    const { asked, ...frame } = await frameOf(ctx, query, identity, '/health')
    const all = (await health.histories(ctx, asked)).map((one) => ({ ...shown(one), csv: csvOf(one) }))
    const groups = health.groups.map((name) => ({ name, charts: all.filter(({ group }) => group === name) }))
    return view(
      'health/index',
      { ...frame, groups: groups.filter(({ charts }) => charts.length > 0) },
      { title: 'Health', live: liveOf(asked) },
    )
  })

  routes.page('/health/:panel', { permission: 'metrics.read', query: Query }, async ({ ctx, params, query, identity }) => {
    const panel = health.panels.find(({ id }) => id === params['panel'])
    if (!panel) throw new NotFound('There is no such chart.')
    const { asked, ...frame } = await frameOf(ctx, query, identity, `/health/${panel.id}`)
    const one = await health.history(ctx, panel, asked)
    return view(
      'health/show',
      { ...frame, chart: { ...shown(one), csv: csvOf(one) }, columns: columnsOf(one), rows: rowsOf(one), step: stepSaid(one.grid.step) },
      { title: panel.title, live: liveOf(asked) },
    )
  })

  /** Who looks decides the range and the zone: each browser fetches its own page again. */
  routes.live('history', {
    permission: 'metrics.read',
    paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>'),
  })
}
