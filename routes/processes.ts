import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { redirect, replace, Routes, view } from '../monitoring/dashboard/endpoint'
import { duration, plural } from '../monitoring/markup'
import * as processes from '../services/processes'
import { iso, limit, text } from '../monitoring/dashboard/shapes'

declare module '../views/views' {
  interface Views {
    'processes/_table': { processes: processes.ProcessList; may: processes.Rights }
    'processes/_figure': { process: processes.Process; name: 'cpu' | 'memory' }
    'processes/_process': { process: processes.Process; may: processes.Rights }
    'processes/confirm': {
      process: processes.Process
      action: processes.ProcessAction
      title: string
      consequences: readonly string[]
      button: string
      keep: string
      danger: boolean
    }
  }
}

export const routes = new Routes('processes')

const Process = z
  .object({
    id: z.string().describe('host:pm_id'),
    host: z.string(),
    name: z.string(),
    pm_id: z.int(),
    pid: z.int().nullable(),
    status: z.string().describe("PM2's own word: online, stopped, errored, launching, stopping, waiting restart"),
    mode: z.enum(['fork', 'cluster']),
    cpu_percent: z.number().nullable().describe('Of one core'),
    memory_bytes: z.number().nullable(),
    port: z.int().nullable(),
    restarts: z.int(),
    crashes_10m: z.int().describe('Ended by itself with an error in the last ten minutes'),
    started_at: iso.nullable(),
    seen_at: iso,
  })
  .meta({ id: 'Process' })

function asJson({
  id,
  host,
  name,
  pm_id,
  pid,
  status,
  mode,
  cpu,
  memory,
  port,
  restarts,
  crashes_10m,
  started_at,
  seen_at,
}: processes.Process): z.input<typeof Process> {
  return {
    ...{ id, host, name, pm_id, pid, status, mode, cpu_percent: cpu, memory_bytes: memory, port, restarts, crashes_10m },
    started_at: started_at === null ? null : new Date(started_at).toISOString(),
    seen_at: new Date(seen_at).toISOString(),
  }
}

routes.endpoint(
  'GET /api/processes',
  {
    summary: 'The processes that PM2 keeps',
    permission: 'processes.read',
    query: z.strictObject({ limit: limit.default(500), cursor: text(700).optional().describe('`next` of the page before') }),
    response: z.object({
      items: z.array(Process),
      next: z.string().nullable(),
      state: z.enum(['ok', 'no-daemon', 'unreachable', 'waiting']).describe('Whether PM2 answers; if not, the items are what it said last'),
      hint: z.string().nullable(),
      at: iso.nullable(),
    }),
  },
  async ({ ctx, query }) => {
    const { items, next, state, hint, at } = await processes.listPage(ctx, query)
    return { items: items.map(asJson), next, state, hint, at: at === null ? null : new Date(at).toISOString() }
  },
)

const doing = { restart: 'Restart', reload: 'Reload', stop: 'Stop', start: 'Start' } as const
const done = { restart: 'was restarted', reload: 'was reloaded', stop: 'was stopped', start: 'was started' } as const

for (const action of processes.processActions) {
  const permission = processes.permissionFor(action)

  routes.endpoint(
    `POST /api/processes/:id/${action}`,
    {
      summary: `${doing[action]} one process`,
      description: 'The process is named by its id, or by a name that only one has. Answers when PM2 has done it.',
      permission,
      response: Process,
      errors: [404, 409, 503],
    },
    async ({ ctx, params }) => asJson(await processes.act(ctx, params['id'] ?? '', action)),
  )

  routes.page(`/processes/:id/${action}`, { permission }, async ({ ctx, params }) => {
    const process = await processes.find(ctx, params['id'] ?? '')
    return view(
      'processes/confirm',
      {
        process,
        action,
        title: `${doing[action]} ${process.name}?`,
        consequences: consequencesOf(ctx, process, action),
        button: `${doing[action]} ${process.name}`,
        keep: action === 'start' ? 'Leave it stopped' : 'Leave it running',
        danger: action === 'stop',
      },
      { title: `${doing[action]} ${process.name}` },
    )
  })

  routes.action(`/processes/:id/${action}`, { permission }, async ({ ctx, params }) => {
    const { name } = await processes.act(ctx, params['id'] ?? '', action)
    return redirect('/', { kind: 'ok', text: `${name} ${done[action]}.` })
  })
}

/** What happens then, in numbers. */
function consequencesOf(ctx: Context, process: processes.Process, action: processes.ProcessAction): string[] {
  const up = process.started_at === null ? null : duration(Math.max(0, ctx.now() - process.started_at))
  const own = process.own ? ['This is the console itself: the page comes back by itself within seconds.'] : []
  switch (action) {
    case 'restart':
      return [
        ...own,
        up ? `It ends now, after ${up}, and starts again. What it is doing is cut off.` : 'It starts again.',
        process.mode === 'cluster' ? 'Reload would do it without a gap: it runs in cluster mode.' : 'It cannot be reached while it starts.',
        `So far: ${plural(process.restarts, 'restart', 'restarts')}, ${plural(process.crashes_10m, 'crash', 'crashes')} in the last 10 min.`,
      ]
    case 'reload':
      return [
        ...own,
        process.mode === 'cluster'
          ? 'A new one starts first, then the old one ends: nothing is cut off.'
          : 'It runs in fork mode, where a reload is a restart: it cannot be reached while it starts.',
      ]
    case 'stop':
      return [
        ...(process.own ? ['This is the console itself. It stays away until somebody starts it on the machine.'] : []),
        `It ends now${up ? `, after ${up}` : ''}, and PM2 does not start it again until somebody asks for it.`,
        'What it serves is not served meanwhile.',
      ]
    case 'start':
      return ['It starts now, and PM2 starts it again whenever it ends by itself.']
  }
}

routes.live('processes', {
  permission: 'processes.read',
  async paint(ctx, subjects, render) {
    const list = await processes.list(ctx)
    if (subjects.includes('list')) return replace('processes', render('processes/_table', { processes: list, may: processes.rights(ctx) }))
    const may = processes.rights(ctx)
    return list.items
      .filter(({ id }) => subjects.includes(id))
      .map((one) => replace(`process_${one.id}`, render('processes/_process', { process: one, may })))
      .join('')
  },
  data: async (ctx, subjects) => {
    const { items } = await processes.list(ctx)
    return items.filter(({ id }) => subjects.includes('list') || subjects.includes(id)).map(asJson)
  },
})

/** Processor and memory of every row, as PM2 gives them every two seconds. */
routes.live('processes.now', {
  transient: true,
  permission: 'processes.read',
  async paint(ctx, _subjects, render) {
    const list = await processes.list(ctx)
    if (list.state !== 'ok' || list.at === null) return ''
    const figures = list.items.flatMap((one) =>
      (['cpu', 'memory'] as const).map((name) => replace(`process_${one.id}_${name}`, render('processes/_figure', { process: one, name }))),
    )
    return (
      figures.join('') + replace('age_processes', render('shared/_age', { id: 'processes', at: list.at, beat: list.beat, source: 'PM2' }))
    )
  },
  data: async (ctx) => (await processes.list(ctx)).items.map(asJson),
})
