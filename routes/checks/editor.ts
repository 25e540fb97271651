import { z } from 'zod'
import type { Context } from '../../monitoring/context'
import { redirect, view, type Answer, type Routes } from '../../monitoring/dashboard/endpoint'
import { text } from '../../monitoring/dashboard/shapes'
import type { Invalid } from '../../monitoring/errors'
import { may } from '../../monitoring/permissions'
import type { Outcome } from '../../monitoring/probes/checks/probe'
import * as checks from '../../services/checks'
import * as health from '../../services/health'
import * as processes from '../../services/processes'
import { fieldNames, fieldsOf, formErrors, inputOf, valuesOf, type Typed } from './fields'
import type { Offers } from './kind-fields'
import { rightsOf } from './pages'
import { kindWords } from './words'

/** Of this machine, where somebody is allowed to see it. */
async function offersFor(ctx: Context, kind: checks.Kind): Promise<Offers> {
  const offers = { processes: [], mounts: [], commands: [] }
  if (kind === 'process' && may(ctx.actor, 'processes.read'))
    return { ...offers, processes: [...new Set((await processes.list(ctx)).items.map(({ name }) => name))] }
  if (kind === 'disk') return { ...offers, mounts: (await health.report(ctx)).disks.map(({ mount }) => mount) }
  if (kind === 'command') return { ...offers, commands: await checks.commands(ctx) }
  return offers
}

interface Shown {
  kind: checks.Kind
  check: checks.Check | null
  typed?: Typed | undefined
  error?: Invalid | undefined
  outcome?: Outcome | undefined
}

async function editor(ctx: Context, { kind, check, typed, error, outcome }: Shown): Promise<Answer> {
  const fields = fieldsOf(kind, await offersFor(ctx, kind))
  const { hints, ...words } = kindWords[kind]
  const back = check ? `/checks/${encodeURIComponent(check.id)}` : '/checks'
  return view(
    'checks/edit',
    {
      id: check?.id ?? null,
      kind: { id: kind, ...words },
      fields,
      values: typed ?? valuesOf(fields, check),
      errors: formErrors(error?.fields ?? []),
      outcome: outcome ?? null,
      // In the frame the errors of the form around it are not seen.
      framed: error !== undefined,
      hints,
      ...{ action: check ? back : '/checks', back },
      may: rightsOf(ctx),
    },
    { title: check ? `Edit ${check.name}` : 'New check' },
  )
}

const kindOf = (given: string | undefined): checks.Kind | null => checks.kinds.find((kind) => kind === given) ?? null

const choose = (path: string): Answer =>
  view('checks/choose', { kinds: checks.kinds.map((id) => ({ id, ...kindWords[id] })), path }, { title: 'What is checked' })

const Form = z.object(Object.fromEntries(['kind', 'id', ...fieldNames].map((name) => [name, text(20_000).optional()])))

const typedOf = (form: z.output<typeof Form>): Typed =>
  Object.fromEntries(Object.entries(form).flatMap(([name, given]) => (given === undefined ? [] : [[name, given]])))

/** The kind of a check stays, except where a built-in one is configured for the first time. */
const kindFor = (check: checks.Check | null, asked: string | undefined): checks.Kind =>
  check && check.state !== 'unset' ? check.kind : (kindOf(asked) ?? check?.kind ?? 'http')

async function input(ctx: Context, check: checks.Check | null, typed: Typed) {
  const kind = kindFor(check, typed['kind'])
  return { kind, given: inputOf(kind, fieldsOf(kind, await offersFor(ctx, kind)), typed) }
}

const found = (ctx: Context, id: string | undefined) => (id ? checks.find(ctx, id) : Promise.resolve(null))

export function declareEditor(routes: Routes): void {
  const permission = 'checks.change'
  const asked = z.object({ kind: text(40).optional().catch(undefined) })

  routes.page('/checks/new', { permission, query: asked }, ({ ctx, query }) => {
    const kind = kindOf(query.kind)
    return kind === null ? choose('/checks/new') : editor(ctx, { kind, check: null })
  })

  routes.page('/checks/:id/edit', { permission, query: asked }, async ({ ctx, params, query }) => {
    const check = await checks.find(ctx, params['id'] ?? '')
    if (check.state === 'unset' && kindOf(query.kind) === null) return choose(`/checks/${encodeURIComponent(check.id)}/edit`)
    return editor(ctx, { kind: kindFor(check, query.kind), check })
  })

  routes.action(
    '/checks/test',
    {
      permission,
      body: Form,
      async again({ ctx, typed, error }) {
        const check = await found(ctx, typed['id'])
        return editor(ctx, { kind: kindFor(check, typed['kind']), check, typed, error })
      },
    },
    async ({ ctx, body }) => {
      const typed = typedOf(body)
      const check = await found(ctx, typed['id'])
      const { kind, given } = await input(ctx, check, typed)
      return editor(ctx, { kind, check, typed, outcome: await checks.test(ctx, { ...given, name: given.name || kind }, check?.id) })
    },
  )

  routes.action(
    '/checks',
    {
      permission,
      body: Form,
      again: ({ ctx, typed, error }) => editor(ctx, { kind: kindFor(null, typed['kind']), check: null, typed, error }),
    },
    async ({ ctx, body }) => {
      const { given } = await input(ctx, null, typedOf(body))
      const { id, name } = await checks.create(ctx, given)
      return redirect(`/checks/${encodeURIComponent(id)}`, { kind: 'ok', text: `${name} is checked from now on.` })
    },
  )

  routes.action(
    '/checks/:id',
    {
      permission,
      body: Form,
      async again({ ctx, params, typed, error }) {
        const check = await checks.find(ctx, params['id'] ?? '')
        return editor(ctx, { kind: kindFor(check, typed['kind']), check, typed, error })
      },
    },
    async ({ ctx, params, body }) => {
      const check = await checks.find(ctx, params['id'] ?? '')
      const { given } = await input(ctx, check, typedOf(body))
      const { id, name } = await checks.update(ctx, check.id, given)
      return redirect(`/checks/${encodeURIComponent(id)}`, { kind: 'ok', text: `${name} was saved.` })
    },
  )
}
