import { z } from 'zod'
import { home, type Context } from '../monitoring/context'
import { redirect, Routes, view, type Answer } from '../monitoring/dashboard/endpoint'
import { errorsOf, name, several, text, type Errors } from '../monitoring/dashboard/shapes'
import { NotFound } from '../monitoring/errors'
import { plural } from '../monitoring/markup'
import * as checks from '../services/checks'
import * as status from '../services/status'
import { declareApi } from './status/api'

interface Choice {
  id: string
  name: string
  shown: boolean
  /** As people read it. */
  as: string
  no: string
}

declare module '../views/views' {
  interface Views {
    'status/edit': {
      page: status.Page
      values: { title: string; intro: string }
      checks: readonly Choice[]
      errors: Errors
      path: string
      address: string
    }
    'status/show': { page: status.PublicView; zone: string; path: string }
  }
}

export const routes = new Routes('status')

declareApi(routes)

const pathOf = (org: string): string => (org === home ? '/status' : `/status/${encodeURIComponent(org)}`)

interface Typed {
  title: string
  intro: string
  shown: readonly string[]
  fields: Readonly<Record<string, string>>
}

async function edit(ctx: Context, origin: string, typed?: Typed, errors: Errors = {}): Promise<Answer> {
  const [page, { items }] = await Promise.all([status.find(ctx), checks.list(ctx, { sort: 'name', order: 'asc' })])
  const placed = new Map(page.checks.map(({ id, name }, index) => [id, { name, no: index + 1 }]))
  const choices = items
    .filter(({ id, state }) => state !== 'unset' || placed.has(id))
    .map(({ id, name }) => {
      const at = placed.get(id)
      const as = typed ? (typed.fields[`name_${id}`] ?? '') : at && at.name !== name ? at.name : ''
      const no = typed ? (typed.fields[`no_${id}`] ?? '') : at ? String(at.no) : ''
      return { id, name, shown: typed ? typed.shown.includes(id) : at !== undefined, as, no, place: at?.no ?? Number.MAX_SAFE_INTEGER }
    })
    .sort((a, b) => a.place - b.place)
  const path = pathOf(ctx.org)
  return view(
    'status/edit',
    { page, values: typed ?? page, checks: choices, errors, path, address: `${origin}${path}` },
    { title: 'Status page' },
  )
}

routes.page('/status-page', { permission: 'status.publish' }, ({ ctx, origin }) => edit(ctx, origin))

const Form = z
  .object({ title: name(100).default(''), intro: text(2000).default(''), checks: several(text(100)) })
  // `name_` and `no_` with the id of a check.
  .catchall(name(100))

routes.action(
  '/status-page',
  {
    permission: 'status.publish',
    body: Form,
    again: ({ ctx, typed, chosen, error, origin }) =>
      edit(
        ctx,
        origin,
        { title: typed['title'] ?? '', intro: typed['intro'] ?? '', shown: chosen['checks'] ?? [], fields: typed },
        errorsOf(error),
      ),
  },
  async ({ ctx, body }) => {
    const { items } = await checks.list(ctx, {})
    const names = new Map(items.map(({ id, name }) => [id, name]))
    const given = (field: string): string => body[field] ?? ''
    // Those without a number come last, in the order in which the form has them.
    const place = (id: string): number => Number.parseInt(given(`no_${id}`), 10) || Number.MAX_SAFE_INTEGER
    const shown = body.checks
      .filter((id) => names.has(id))
      .sort((a, b) => place(a) - place(b))
      .map((id) => ({ id, name: given(`name_${id}`) || (names.get(id) ?? '') }))
    await status.save(ctx, { title: body.title, intro: body.intro, checks: shown })
    return redirect('/status-page', { kind: 'ok', text: 'The page was saved.' })
  },
)

routes.page('/status-page/publish', { permission: 'status.publish' }, async ({ ctx, origin }) => {
  const { checks } = await status.find(ctx)
  const title = 'Publish the status page?'
  return view(
    'shared/confirm',
    {
      ...{ title, action: '/status-page/publish', back: '/status-page', danger: false, password: false, errors: {} },
      consequences: [
        `Everybody who has the address ${origin}${pathOf(ctx.org)} sees it, without a sign-in.`,
        `It shows ${plural(checks.length, 'check', 'checks')} by the names you gave, 90 days of each, and the notes that were published.`,
        'It never shows addresses, error texts or names of people. It can be taken down at any time.',
      ],
      ...{ button: 'Publish it', keep: 'Keep it to ourselves' },
    },
    { title },
  )
})

routes.action('/status-page/publish', { permission: 'status.publish' }, async ({ ctx }) => {
  await status.publish(ctx)
  return redirect('/status-page', { kind: 'ok', text: 'The status page is public.' })
})

routes.page('/status-page/unpublish', { permission: 'status.publish' }, () => {
  const title = 'Take the status page down?'
  return view(
    'shared/confirm',
    {
      ...{ title, action: '/status-page/unpublish', back: '/status-page', danger: true, password: false, errors: {} },
      consequences: ['Whoever opens its address is told that there is nothing.', 'What stands on it is kept, and can be published again.'],
      ...{ button: 'Take it down', keep: 'Leave it public' },
    },
    { title },
  )
})

routes.action('/status-page/unpublish', { permission: 'status.publish' }, async ({ ctx }) => {
  await status.unpublish(ctx)
  return redirect('/status-page', { kind: 'ok', text: 'The status page is off.' })
})

async function publicPage(ctx: Context, org: string): Promise<Answer> {
  const page = await status.publicView(ctx, org)
  // The same answer where there is none and where it is not public: organisations cannot be guessed.
  if (!page) throw new NotFound('There is no status page here.')
  return view('status/show', { page, zone: ctx.platform.config.timezone, path: pathOf(org) }, { title: page.title })
}

routes.page('/status', { permission: 'public' }, ({ ctx }) => publicPage(ctx, home))
routes.page('/status/:org', { permission: 'public' }, ({ ctx, params }) => publicPage(ctx, params['org'] ?? ''))
