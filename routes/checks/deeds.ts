import { z } from 'zod'
import type { Context } from '../../monitoring/context'
import { redirect, view, type Answer, type Flash, type Routes } from '../../monitoring/dashboard/endpoint'
import { errorsOf, several, text } from '../../monitoring/dashboard/shapes'
import { Invalid } from '../../monitoring/errors'
import { plural } from '../../monitoring/markup'
import { may } from '../../monitoring/permissions'
import { Forbidden } from '../../monitoring/errors'
import * as checks from '../../services/checks'

const pathOf = (id: string) => `/checks/${encodeURIComponent(id)}`

/** What goes with checks that are deleted. */
const lost = (count: number): string[] => [
  `${count === 1 ? 'It is' : 'They are'} not checked any more, and the history of ${count === 1 ? 'its' : 'their'} uptime and response times goes.`,
  'Incidents stay, with their notes. One that is open ends now.',
  'The status page and maintenance windows lose what they name of it.',
]

const told = ({ name, state, word, message }: checks.Check): Flash =>
  state === 'down' ? { kind: 'err', text: `${name}: ${message ?? word}` } : { kind: 'ok', text: `${name}: ${message ?? word}` }

/** Back to the list as it was narrowed down, and nowhere else. */
const backTo = (given: string): string => (/^\/checks(\?[^\\]*)?$/.test(given) ? given : '/checks')

const Bulk = z.object({
  ids: several(text(100))
    .refine((ids) => ids.length > 0, 'Select at least one check.')
    .refine((ids) => ids.length <= 500, 'Select 500 checks at the most.'),
  do: z.enum(['pause', 'resume', 'delete', 'tag']),
  tag: text(100).trim().default(''),
  back: text(2000).default('/checks'),
})

async function inBulk(ctx: Context, { ids, do: deed, tag }: z.output<typeof Bulk>): Promise<Flash> {
  const words = {
    pause: ['was paused', 'were paused'],
    resume: ['is checked again', 'are checked again'],
    tag: ['was tagged', 'were tagged'],
    delete: ['was deleted', 'were deleted'],
  } as const
  if (deed === 'tag' && tag === '') throw new Invalid([{ field: 'tag', message: 'Say which tag.' }])
  const { changed } = await checks.bulk(ctx, ids, deed === 'tag' ? { tag } : deed)
  const [one, many] = words[deed]
  return { kind: 'ok', text: changed === 0 ? 'They were so already.' : `${plural(changed, `check ${one}`, `checks ${many}`)}.` }
}

/** Answers the form itself: the ids of hundreds are too long for an address. */
async function askToDelete(ctx: Context, { ids, back }: z.output<typeof Bulk>): Promise<Answer> {
  const found = await checks.listNow(ctx, ids)
  if (found.length === 0) return redirect(backTo(back), { kind: 'warn', text: 'They are not there any more.' })
  const title = `Delete ${plural(found.length, 'check', 'checks')}?`
  const names = found.slice(0, 8).map(({ name }) => name)
  return view(
    'shared/confirm',
    {
      ...{ title, action: '/checks/delete', fields: { ids: found.map(({ id }) => id).join() }, back: backTo(back) },
      consequences: [
        `${names.join(', ')}${found.length > names.length ? ` and ${found.length - names.length} more` : ''}.`,
        ...lost(found.length),
      ],
      ...{ button: `Delete ${plural(found.length, 'check', 'checks')}`, keep: 'Keep them', danger: true, password: false, errors: {} },
    },
    { title },
  )
}

export function declareDeeds(routes: Routes): void {
  const operate = { permission: 'checks.run' } as const
  const change = { permission: 'checks.change' } as const

  routes.action('/checks/:id/run', operate, async ({ ctx, params }) => {
    const check = await checks.run(ctx, params['id'] ?? '')
    return redirect(pathOf(check.id), told(check))
  })

  for (const deed of ['pause', 'resume'] as const)
    routes.action(`/checks/:id/${deed}`, operate, async ({ ctx, params }) => {
      const { id, name } = await checks.find(ctx, params['id'] ?? '')
      await checks[deed](ctx, [id])
      return redirect(pathOf(id), { kind: 'ok', text: deed === 'pause' ? `${name} is paused.` : `${name} is checked again.` })
    })

  routes.action('/checks/:id/clone', change, async ({ ctx, params }) => {
    const { id, name } = await checks.clone(ctx, params['id'] ?? '')
    return redirect(`${pathOf(id)}/edit`, { kind: 'ok', text: `This is “${name}”, paused until you resume it.` })
  })

  routes.page('/checks/:id/delete', change, async ({ ctx, params }) => {
    const { id, name, builtin } = await checks.find(ctx, params['id'] ?? '')
    const title = builtin === null ? `Delete ${name}?` : `Stop watching ${name}?`
    return view(
      'shared/confirm',
      {
        ...{ title, action: `${pathOf(id)}/delete`, back: pathOf(id), keep: 'Keep it', danger: true, password: false, errors: {} },
        consequences:
          builtin === null
            ? lost(1)
            : ['It is not configured any more, and is not checked.', 'It can be configured again at any time. Incidents stay.'],
        button: builtin === null ? 'Delete the check' : 'Remove the configuration',
      },
      { title },
    )
  })

  routes.action('/checks/:id/delete', change, async ({ ctx, params }) => {
    const { id, name } = await checks.find(ctx, params['id'] ?? '')
    await checks.remove(ctx, id)
    return redirect('/checks', { kind: 'ok', text: `${name} was deleted.` })
  })

  routes.action(
    '/checks/bulk',
    {
      ...operate,
      body: Bulk,
      again({ error, typed }) {
        // Nobody has typed these.
        if (error.fields.some(({ field }) => field === 'do' || field === 'back')) throw error
        return redirect(backTo(typed['back'] ?? ''), { kind: 'warn', text: Object.values(errorsOf(error))[0] ?? 'Nothing was done.' })
      },
    },
    async ({ ctx, body }) => {
      if (body.do !== 'delete') {
        if (body.do === 'tag' && !may(ctx.actor, 'checks.change')) throw new Forbidden()
        return redirect(backTo(body.back), await inBulk(ctx, body))
      }
      if (!may(ctx.actor, 'checks.change')) throw new Forbidden()
      return await askToDelete(ctx, body)
    },
  )

  // The question is an answer to a form; whoever asks for its address gets the list.
  routes.page('/checks/delete', change, () => redirect('/checks'))

  routes.action('/checks/delete', { ...change, body: z.object({ ids: text(20_000).min(1) }) }, async ({ ctx, body }) =>
    redirect('/checks', await inBulk(ctx, { ids: body.ids.split(','), do: 'delete', tag: '', back: '' })),
  )

  const targets = { permission: 'checks.targets' } as const
  routes.page('/checks/targets', targets, async ({ ctx }) =>
    view('checks/targets', { networks: (await checks.targets(ctx)).allowed.join('\n'), errors: {} }, { title: 'Allowed addresses' }),
  )

  routes.action(
    '/checks/targets',
    {
      ...targets,
      body: z.object({ networks: text(10_000) }),
      again: ({ typed, error }) =>
        view(
          'checks/targets',
          { networks: typed['networks'] ?? '', errors: errorsOf(error, { allowed: 'networks' }) },
          { title: 'Allowed addresses' },
        ),
    },
    async ({ ctx, body }) => {
      const { allowed } = await checks.setTargets(ctx, body.networks.split(/[\s,]+/).filter(Boolean))
      return redirect('/checks/targets', {
        kind: 'ok',
        text:
          allowed.length === 0
            ? 'Checks reach public addresses only.'
            : `Checks may reach ${plural(allowed.length, 'more network', 'more networks')}.`,
      })
    },
  )
}
