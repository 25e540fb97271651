import { z } from 'zod'
import type { Routes } from '../../monitoring/dashboard/endpoint'
import { iso, isoOf, name, text } from '../../monitoring/dashboard/shapes'
import { NotFound } from '../../monitoring/errors'
import { home } from '../../monitoring/context'
import * as status from '../../services/status'

const PageCheck = z.strictObject({ id: text(100), name: name(100).describe('As people see it; empty: the check’s own') })
const Page = z
  .object({
    title: z.string(),
    intro: z.string(),
    checks: z.array(PageCheck),
    published_at: iso.nullable().describe('null: nobody sees it'),
  })
  .meta({ id: 'StatusPage' })

const asJson = ({ published_at, ...page }: status.Page): z.input<typeof Page> => ({ ...page, published_at: isoOf(published_at) })

const State = z.enum(['ok', 'warn', 'err', 'run', 'idle'])
const View = z
  .object({
    title: z.string(),
    intro: z.string(),
    state: State,
    word: z.string(),
    updated_at: iso.nullable().describe('When the console last looked'),
    stale: z.boolean().describe('It has not looked for longer than it should: what is said here may be old'),
    checks: z.array(
      z.object({
        name: z.string(),
        word: z.string(),
        tone: State,
        uptime_90d: z.object({ percent: z.number().nullable(), probes: z.int() }),
        strip: z.array(z.enum(['ok', 'warn', 'err', 'none', 'idle'])).describe('90 days, the oldest first'),
      }),
    ),
    incidents: z.array(
      z.object({ title: z.string(), started_at: iso, ended_at: iso.nullable(), notes: z.array(z.object({ at: iso, text: z.string() })) }),
    ),
    maintenance: z.array(z.object({ name: z.string(), from: iso, to: iso })),
  })
  .meta({ id: 'PublicStatus' })

const asView = ({ updated_at, incidents, maintenance, ...view }: status.PublicView): z.input<typeof View> => ({
  ...view,
  updated_at: isoOf(updated_at),
  incidents: incidents.map(({ title, started_at, ended_at, notes }) => ({
    ...{ title, started_at: isoOf(started_at), ended_at: isoOf(ended_at) },
    notes: notes.map(({ at, text }) => ({ at: isoOf(at), text })),
  })),
  maintenance: maintenance.map(({ name, from, to }) => ({ name, from: isoOf(from), to: isoOf(to) })),
})

export function declareApi(routes: Routes): void {
  routes.endpoint(
    'GET /api/status-page',
    { summary: 'The status page as it is edited', permission: 'checks.read', response: Page },
    async ({ ctx }) => asJson(await status.find(ctx)),
  )
  routes.endpoint(
    'PUT /api/status-page',
    {
      summary: 'Change the status page',
      permission: 'status.publish',
      body: z.strictObject({ title: name(100), intro: text(2000).default(''), checks: z.array(PageCheck).max(status.mostPageChecks) }),
      response: Page,
    },
    async ({ ctx, body }) => asJson(await status.save(ctx, body)),
  )
  routes.endpoint(
    'POST /api/status-page/publish',
    { summary: 'Show the status page to everybody', permission: 'status.publish', response: Page, errors: [409] },
    async ({ ctx }) => asJson(await status.publish(ctx)),
  )
  routes.endpoint(
    'POST /api/status-page/unpublish',
    { summary: 'Take the status page back', permission: 'status.publish', response: Page },
    async ({ ctx }) => asJson(await status.unpublish(ctx)),
  )
  for (const path of ['GET /api/status', 'GET /api/status/:org'] as const)
    routes.endpoint(
      path,
      {
        summary: path.endsWith(':org') ? 'The public status of an organisation' : 'The public status of this installation',
        description: 'Without signing in, where it is published. Why something failed is in it only as far as somebody published a note.',
        permission: 'public',
        response: View,
        errors: [404],
      },
      async ({ ctx, params }) => {
        const view = await status.publicView(ctx, params['org'] ?? home)
        if (!view) throw new NotFound('No status page is published here.')
        return asView(view)
      },
    )
}
