import { replace, type Routes } from '../../monitoring/dashboard/endpoint'
import * as processes from '../../services/processes'
import { asJson } from './api'

export function declareLive(routes: Routes): void {
  routes.live('processes', {
    permission: 'processes.read',
    async paint(ctx, subjects, render) {
      const list = await processes.list(ctx)
      if (subjects.includes('list'))
        return replace('processes', render('processes/_table', { processes: list, may: processes.rights(ctx) }))
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

  /** What is shown depends on what was asked for: each page fetches its own. */
  routes.live('processes.pages', {
    permission: 'processes.read',
    paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>'),
  })

  /** Processor and memory of every row, as PM2 gives them every two seconds. */
  routes.live('processes.now', {
    transient: true,
    permission: 'processes.read',
    async paint(ctx, _subjects, render) {
      const list = await processes.list(ctx)
      if (list.state !== 'ok' || list.at === null) return ''
      const figures = list.items.flatMap((one) =>
        (['cpu', 'memory'] as const).map((name) =>
          replace(`process_${one.id}_${name}`, render('processes/_figure', { process: one, name })),
        ),
      )
      return (
        figures.join('') + replace('age_processes', render('shared/_age', { id: 'processes', at: list.at, beat: list.beat, source: 'PM2' }))
      )
    },
    data: async (ctx) => (await processes.list(ctx)).items.map(asJson),
  })
}
