import { stringify } from 'csv-stringify/sync'
import { z } from 'zod'
import type { Context } from '../../monitoring/context'
import { cursorOf, placeOf } from '../../monitoring/cursor'
import { Download } from '../../monitoring/dashboard/download'
import { redirect, view, type Answer, type Call, type Routes } from '../../monitoring/dashboard/endpoint'
import { iso, isoOf, text } from '../../monitoring/dashboard/shapes'
import { duration, plural } from '../../monitoring/markup'
import { may } from '../../monitoring/permissions'
import * as checks from '../../services/checks'
import * as incidents from '../../services/incidents'
import * as maintenance from '../../services/maintenance'
import { checkSentence, lastChecked, linesOf, listSentence, pastOf } from './paint'
import { iconOf, kindWords } from './words'

/** Of one page of the list. */
export const mostRows = 200

const Query = z.object({
  q: text(100).catch('').default(''),
  state: z.enum(['', 'up', 'down', 'warn', 'paused']).catch('').default(''),
  tag: text(100).catch('').default(''),
  kind: z
    .enum(['', ...checks.kinds])
    .catch('')
    .default(''),
  sort: z.enum(checks.checkSorts).catch('state').default('state'),
  order: z.enum(['asc', 'desc']).catch('asc').default('asc'),
  cursor: text(200).optional().catch(undefined),
})
const Place = z.tuple([z.int().nonnegative()])

export type ListFilter = Omit<z.output<typeof Query>, 'cursor'>

export const rightsOf = ({ actor }: Context) => ({
  run: may(actor, 'checks.run'),
  change: may(actor, 'checks.change'),
  targets: may(actor, 'checks.targets'),
  maintain: may(actor, 'maintenance.change'),
})

async function listPage({ ctx, query }: Call<typeof Query>): Promise<Answer> {
  const { cursor, ...filter } = query
  const { q, state, tag, kind, sort, order } = filter
  const [offset] = cursor === undefined ? [0] : placeOf(Place, cursor)
  const [{ items, matched, counts, tags }, known, builtins] = await Promise.all([
    checks.list(
      ctx,
      { q: q || undefined, state: state || undefined, tag: tag || undefined, kind: kind || undefined, sort, order, configured: true },
      { offset, limit: mostRows },
    ),
    checks.listNow(ctx),
    checks.builtins(ctx),
  ])
  const rights = rightsOf(ctx)
  const addressOf = (from: number): string => {
    const asked = Object.entries({ ...filter, cursor: from > 0 ? cursorOf([from]) : '' }).filter(([, value]) => value)
    return `/checks?${new URLSearchParams(asked).toString()}`
  }
  // They were deleted, or have other names now.
  if (items.length === 0 && offset > 0) return redirect(addressOf(0))
  return view(
    'checks/index',
    {
      items,
      counts,
      total: known.filter((one) => one.state !== 'unset').length,
      shown: { from: offset + 1, to: offset + items.length, of: matched },
      pages: {
        before: offset > 0 ? addressOf(Math.max(0, offset - mostRows)) : null,
        next: matched > offset + mostRows ? addressOf(offset + mostRows) : null,
      },
      filter,
      here: addressOf(offset),
      tags,
      kinds: checks.kinds.map((id) => ({ id, label: kindWords[id].label })),
      icons: Object.fromEntries(items.map((one) => [one.id, iconOf(one)])),
      verdict: listSentence(known, counts, lastChecked(known)),
      unset: builtins.filter(({ check_id }) => known.some(({ id, state }) => id === check_id && state === 'unset')),
      may: rights,
    },
    { title: 'Checks', live: ['checks', 'checks.now'] },
  )
}

const said: Readonly<Record<checks.Period, string>> = {
  '24h': 'last 24 h',
  '7d': 'last 7 days',
  '30d': 'last 30 days',
  '90d': 'last 90 days',
}

/** How a span is called in tables, on the reader's clock. */
function phrasing(zone: string, step: number): (at: number) => string {
  const day = { timeZone: zone, day: 'numeric', month: 'short' } as const
  const format = new Intl.DateTimeFormat(
    'en-GB',
    step >= 86_400_000 ? day : { ...day, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  )
  return (at) => format.format(at)
}

function factsOf(check: checks.Check) {
  const { kind, target, interval_s, timeout_ms, retries, retry_s, message, certificate_at, next_at, created_at } = check
  const fact = (name: string, text: string, at: number | null = null, mono = false) => ({ name, text, at, mono })
  const beats = kind === 'heartbeat'
  return [
    fact('Kind', kindWords[kind].label),
    fact('What', target, null, true),
    ...(message === null ? [] : [fact('Last answer', message)]),
    ...(beats ? [] : [fact('How often', `every ${duration(interval_s * 1000)}, gives up after ${duration(timeout_ms)}`)]),
    ...(beats
      ? []
      : [
          fact(
            'Down',
            retries === 0
              ? 'at the first failure'
              : `after ${plural(retries, 'more try', 'more tries')}, each after ${duration(retry_s * 1000)}`,
          ),
        ]),
    ...(certificate_at === null ? [] : [fact('Certificate', 'ends', certificate_at)]),
    // What is looked at more than once a minute is over before the page says so.
    ...(next_at === null || beats || interval_s <= 60 ? [] : [fact('Next', '', next_at)]),
    fact('Made', '', created_at),
  ]
}

const Range = z.object({ range: z.enum(checks.periods).catch('24h').default('24h') })

async function showPage({ ctx, params, query: { range }, identity, origin }: Call<typeof Range>): Promise<Answer> {
  const id = params['id'] ?? ''
  const check = await checks.find(ctx, id)
  const zone = identity?.principal.timezone ?? ctx.platform.config.timezone
  const sees = may(ctx.actor, 'incidents.read')
  const [uptimes, history, all, past, planned] = await Promise.all([
    checks.uptimes(ctx, id),
    checks.history(ctx, id, { range }),
    checks.percentiles(ctx, id, range),
    sees ? incidents.list(ctx, { check: id, limit: 6 }) : { items: [] },
    maintenance.list(ctx, { limit: 100 }),
  ])
  const label = phrasing(zone, history.step)
  const covers = ({ covers }: maintenance.Window) =>
    'all' in covers || covers.checks.includes(id) || covers.tags.some((tag) => check.tags.includes(tag))
  return view(
    'checks/show',
    {
      check,
      verdict: checkSentence(check),
      uptimes,
      range,
      ranges: checks.periods,
      history: { ...pastOf(history, range), rows: history.strip.map((row) => ({ ...row, label: label(row.at) })).reverse() },
      durations: {
        ...linesOf(history),
        all,
        period: said[range],
        axis: [0, 0.25, 0.5, 0.75, 1].map((part) => label(history.from + part * (history.to - history.from))),
        label,
        csv: `/api/checks/${encodeURIComponent(id)}/history/export?range=${range}&format=csv`,
        // The page comes anew once a minute, with a point for each.
        updated: { at: check.checked_at, beat: Math.max(60, check.interval_s) * 1000 },
      },
      facts: factsOf(check),
      seen: check.state === 'up' && check.maintenance === null,
      push: check.push_url === undefined ? null : `${origin}${check.push_url}`,
      incidents: past.items,
      windows: planned.items.filter((one) => (one.state === 'now' || one.state === 'planned') && covers(one)),
      zone,
      may: rightsOf(ctx),
    },
    {
      title: check.name,
      live: ['checks', 'checks.now', ...(sees ? ['incidents'] : []), ...(may(ctx.actor, 'metrics.read') ? ['history'] : [])],
    },
  )
}

const Span = z.object({
  at: iso,
  up: z.int(),
  down: z.int(),
  maintenance: z.int(),
  p50_ms: z.number().nullable(),
  p95_ms: z.number().nullable(),
  p99_ms: z.number().nullable(),
  average_ms: z.number().nullable(),
})

async function* once(text: string): AsyncGenerator<string> {
  yield await Promise.resolve(text)
}

export function declarePages(routes: Routes): void {
  routes.page('/checks', { permission: 'checks.read', query: Query }, listPage)
  routes.page('/checks/:id', { permission: 'checks.read', query: Range }, showPage)

  routes.endpoint(
    'GET /api/checks/:id/history/export',
    {
      summary: 'Download how a check was',
      description: 'One row for each span of the period, with how many probes went well, and how long they took.',
      permission: 'checks.read',
      query: z.strictObject({ range: z.enum(checks.periods).default('24h'), format: z.enum(['json', 'csv']).default('json') }),
      response: z.array(Span),
      alsoAs: ['text/csv'],
      errors: [404],
    },
    async ({ ctx, params, query: { range, format } }) => {
      const id = params['id'] ?? ''
      const { name } = await checks.find(ctx, id)
      const { strip, durations } = await checks.history(ctx, id, { range })
      const took = new Map(durations.map((one) => [one.at, one]))
      const rows = strip.map(({ at, up, down, maintenance }) => {
        const { p50 = null, p95 = null, p99 = null, average = null } = took.get(at) ?? {}
        return { at: isoOf(at), up, down, maintenance, p50_ms: p50, p95_ms: p95, p99_ms: p99, average_ms: average }
      })
      if (format === 'json') return rows
      const file = `check-${name.replace(/[^A-Za-z0-9]+/g, '-')}-${range}.csv`
      return new Download(file, 'text/csv; charset=utf-8', once(stringify(rows, { header: true })))
    },
  )
}
