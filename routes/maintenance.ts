import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { redirect, Routes, view, type Answer } from '../monitoring/dashboard/endpoint'
import { errorsOf, name, several, text, type Errors, timezone as zone } from '../monitoring/dashboard/shapes'
import { Invalid } from '../monitoring/errors'
import { plural } from '../monitoring/markup'
import { may } from '../monitoring/permissions'
import { offsetAt, spanOf } from '../monitoring/zones'
import * as checks from '../services/checks'
import * as maintenance from '../services/maintenance'
import { declareApi } from './maintenance/api'

interface Values {
  name: string
  starts_at: string
  ends_at: string
  repeats: string
  timezone: string
  covers: string
  checks: readonly string[]
  tags: readonly string[]
}

declare module '../views/views' {
  interface Views {
    'maintenance/index': {
      parts: readonly { id: string; title: string; windows: readonly (maintenance.Window & { zoned: string; covered: string })[] }[]
      next: string | null
      may: { change: boolean }
    }
    'maintenance/edit': {
      /** null: a new one. */
      id: string | null
      values: Values
      errors: Errors
      checks: readonly { id: string; name: string }[]
      tags: readonly string[]
      zones: readonly string[]
    }
  }
}

export const routes = new Routes('maintenance')

declareApi(routes)

const hour = 3_600_000

const parts = [
  { id: 'now', title: 'Now' },
  { id: 'planned', title: 'Planned' },
  { id: 'over', title: 'Over' },
  { id: 'cancelled', title: 'Cancelled' },
] as const

function coveredOf(covers: maintenance.Covers, names: ReadonlyMap<string, string>): string {
  if ('all' in covers) return 'Every check'
  const named = covers.checks.flatMap((id) => names.get(id) ?? [])
  const shown = named.slice(0, 4).join(', ')
  return [
    ...(named.length > 0 ? [named.length > 4 ? `${shown} and ${plural(named.length - 4, 'other', 'others')}` : shown] : []),
    ...covers.tags.map((tag) => `all with “${tag}”`),
  ].join(', ')
}

/** As its own zone shows it, since that is the one it was planned in. */
function zonedOf({ starts_at, ends_at, next, timezone }: maintenance.Window): string {
  const format = new Intl.DateTimeFormat('en-GB', {
    ...{ timeZone: timezone, day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  })
  return `${format.formatRange(next?.from ?? starts_at, next?.to ?? ends_at)} ${timezone}`
}

const known = async (ctx: Context) => (may(ctx.actor, 'checks.read') ? await checks.names(ctx) : [])

routes.page(
  '/maintenance',
  { permission: 'checks.read', query: z.object({ cursor: text(300).optional().catch(undefined) }) },
  async ({ ctx, query: { cursor } }) => {
    const [{ items, next }, all] = await Promise.all([maintenance.list(ctx, { limit: 100, cursor }), known(ctx)])
    const names = new Map(all.map(({ id, name }) => [id, name]))
    const windows = items.map((one) => ({ ...one, zoned: zonedOf(one), covered: coveredOf(one.covers, names) }))
    return view(
      'maintenance/index',
      {
        parts: parts
          .map((part) => ({ ...part, windows: windows.filter(({ state }) => state === part.id) }))
          .filter((part) => part.windows.length > 0),
        next: next === null ? null : `/maintenance?${new URLSearchParams({ cursor: next }).toString()}`,
        may: { change: may(ctx.actor, 'maintenance.change') },
      },
      { title: 'Maintenance', live: ['maintenance'] },
    )
  },
)

/** As the field for a date and a time takes it, on the clock of a zone. */
const fieldOf = (at: number, zone: string): string => new Date(at + offsetAt(at, zone)).toISOString().slice(0, 16)

async function edit(ctx: Context, id: string | null, values: Values, errors: Errors = {}): Promise<Answer> {
  // Also with what was typed wrong: somebody else’s is not there.
  if (id !== null) await maintenance.find(ctx, id)
  const all = await known(ctx)
  const zones = Intl.supportedValuesOf('timeZone')
  return view(
    'maintenance/edit',
    {
      ...{ id, values, errors },
      checks: all,
      tags: [...new Set(all.flatMap(({ tags }) => tags))].sort(),
      zones: [...new Set([values.timezone, 'UTC', ...zones])],
    },
    { title: id === null ? 'Plan maintenance' : 'Change maintenance' },
  )
}

function valuesOf({ name, starts_at, ends_at, repeats, timezone, covers }: maintenance.Window): Values {
  const some = 'all' in covers ? { checks: [], tags: [] } : covers
  return {
    name,
    starts_at: fieldOf(starts_at, timezone),
    ends_at: fieldOf(ends_at, timezone),
    repeats,
    timezone,
    covers: 'all' in covers ? 'all' : 'some',
    ...some,
  }
}

const permission = 'maintenance.change'

routes.page(
  '/maintenance/new',
  { permission, query: z.object({ check: text(100).optional().catch(undefined) }) },
  ({ ctx, query, identity }) => {
    const timezone = identity?.principal.timezone ?? ctx.platform.config.timezone
    // From the next full hour on.
    const at = ctx.now() - (ctx.now() % hour) + hour
    const covers = query.check === undefined ? { covers: 'all', checks: [] } : { covers: 'some', checks: [query.check] }
    return edit(ctx, null, {
      name: '',
      starts_at: fieldOf(at, timezone),
      ends_at: fieldOf(at + hour, timezone),
      repeats: 'never',
      timezone,
      tags: [],
      ...covers,
    })
  },
)

routes.page('/maintenance/:id', { permission }, async ({ ctx, params }) => {
  const window = await maintenance.find(ctx, params['id'] ?? '')
  return edit(ctx, window.id, valuesOf(window))
})

const Form = z.object({
  name: name(100).default(''),
  starts_at: text(40).default(''),
  ends_at: text(40).default(''),
  repeats: z.enum(maintenance.repetitions, 'Choose one of the three.').default('never'),
  timezone: zone,
  covers: z.enum(['all', 'some'], 'Choose one of the two.').default('all'),
  checks: several(text(100)).refine((ids) => ids.length <= 500, 'Tick 500 checks at the most.'),
  tags: several(text(40)).refine((tags) => tags.length <= 50, 'Tick 50 tags at the most.'),
})

function inputOf({ name, starts_at, ends_at, repeats, timezone, covers, checks, tags }: z.output<typeof Form>): maintenance.WindowInput {
  if (covers === 'some' && checks.length + tags.length === 0)
    throw new Invalid([{ field: 'covers', message: 'Tick at least one check or tag.' }])
  const momentOf = (field: 'starts_at' | 'ends_at', typed: string): number => {
    const span = spanOf(typed, timezone)
    if (!span) throw new Invalid([{ field, message: 'Say a day and a time.' }])
    return span.start
  }
  return {
    ...{ name, repeats, timezone, starts_at: momentOf('starts_at', starts_at), ends_at: momentOf('ends_at', ends_at) },
    covers: covers === 'all' ? { all: true } : { checks, tags },
  }
}

for (const [path, idOf] of [
  ['/maintenance', () => null],
  ['/maintenance/:id', (params: Readonly<Record<string, string>>) => params['id'] ?? ''],
] as const)
  routes.action(
    path,
    {
      permission,
      body: Form,
      again({ ctx, params, typed, chosen, error }) {
        const { name = '', starts_at = '', ends_at = '', repeats = 'never', timezone = '', covers = 'all' } = typed
        const values = { name, starts_at, ends_at, repeats, timezone, covers, checks: chosen['checks'] ?? [], tags: chosen['tags'] ?? [] }
        return edit(ctx, idOf(params), values, errorsOf(error))
      },
    },
    async ({ ctx, params, body }) => {
      const id = idOf(params)
      const { name } = id === null ? await maintenance.plan(ctx, inputOf(body)) : await maintenance.change(ctx, id, inputOf(body))
      return redirect('/maintenance', { kind: 'ok', text: `“${name}” was saved.` })
    },
  )

routes.page('/maintenance/:id/cancel', { permission }, async ({ ctx, params }) => {
  const { id, name, state, repeats } = await maintenance.find(ctx, params['id'] ?? '')
  const title = state === 'now' ? `End “${name}” now?` : `Cancel “${name}”?`
  return view(
    'shared/confirm',
    {
      ...{
        title,
        action: `/maintenance/${encodeURIComponent(id)}/cancel`,
        back: '/maintenance',
        danger: true,
        password: false,
        errors: {},
      },
      consequences: [
        state === 'now' ? 'What fails from now on opens incidents, and counts again.' : 'What fails then opens incidents, and counts.',
        ...(repeats === 'never' ? [] : ['Its later times are cancelled too.']),
      ],
      ...{ button: state === 'now' ? 'End the maintenance' : 'Cancel the maintenance', keep: 'Leave it' },
    },
    { title },
  )
})

routes.action('/maintenance/:id/cancel', { permission }, async ({ ctx, params }) => {
  const { name } = await maintenance.cancel(ctx, params['id'] ?? '')
  return redirect('/maintenance', { kind: 'ok', text: `“${name}” is cancelled.` })
})

routes.live('maintenance', { permission: 'checks.read', paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>') })
