import { z } from 'zod'
import { redirect, Routes, view } from '../monitoring/dashboard/endpoint'
import { text } from '../monitoring/dashboard/shapes'
import { may } from '../monitoring/permissions'
import type { Pm2Environment } from '../monitoring/probes/pm2'
import * as processes from '../services/processes'
import { declareApi, Range } from './processes/api'
import { chartOf, type Chart } from './processes/chart'
import { declareLive } from './processes/live'
import { consequencesOf, done, doing, From, pageAfter } from './processes/deeds'
import { chosen, Filter } from './processes/filter'

export interface Inside {
  logs: boolean
  environment: boolean
}

declare module '../views/views' {
  interface Views {
    'processes/_table': { processes: processes.ProcessList; may: processes.Rights }
    'processes/_figure': { process: processes.Process; name: 'cpu' | 'memory' }
    'processes/_process': { process: processes.Process; may: processes.Rights; from?: 'list' }
    'processes/index': {
      list: Omit<processes.ProcessList, 'items'>
      groups: readonly processes.Group[]
      total: number
      counts: { online: number; bad: number; stopped: number }
      filter: z.output<typeof Filter>
      may: processes.Rights
    }
    'processes/show': {
      process: processes.Process
      verdict: processes.Verdict
      /** When PM2 starts it again, in words. */
      cron: string | null
      list: Omit<processes.ProcessList, 'items'>
      siblings: number
      counts: processes.Counts
      turns: readonly processes.Turn[]
      charts: readonly Chart[]
      range: processes.Range
      may: processes.Rights & Inside
    }
    'processes/group': {
      group: processes.Group
      list: Omit<processes.ProcessList, 'items'>
      counts: processes.Counts
      turns: readonly processes.Turn[]
      charts: readonly Chart[]
      range: processes.Range
      may: processes.Rights
    }
    'processes/logs': { process: processes.Process; stream: processes.Stream; part: processes.LogPart; may: processes.Rights & Inside }
    'processes/environment': { process: processes.Process; environment: Pm2Environment; q: string; may: processes.Rights & Inside }
    'processes/confirm': {
      process: processes.Process
      action: processes.ProcessAction
      title: string
      consequences: readonly string[]
      button: string
      keep: string
      danger: boolean
      from: z.output<typeof From>
      back: string
    }
  }
}

export const routes = new Routes('processes')

declareApi(routes)

type Calling = Parameters<typeof processes.list>[0]

const insideOf = (ctx: Calling): processes.Rights & Inside => ({
  ...processes.rights(ctx),
  logs: may(ctx.actor, 'processes.logs'),
  environment: may(ctx.actor, 'processes.environment'),
})

/** Figures come every two seconds; a change of state makes each page fetch itself. */
const followed = ['processes.pages', 'processes.now']
/** And the charts get a point a minute. */
const withCharts = [...followed, 'history']

routes.page('/processes', { permission: 'processes.read', query: Filter }, async ({ ctx, query }) => {
  const { items, ...list } = await processes.list(ctx)
  const counts = {
    online: items.filter(({ status }) => status === 'online').length,
    bad: items.filter((one) => chosen('bad', one)).length,
    stopped: items.filter((one) => chosen('stopped', one)).length,
  }
  return view(
    'processes/index',
    { list, groups: Filter.pick(items, query), total: items.length, counts, filter: query, may: processes.rights(ctx) },
    { title: 'Processes', live: followed },
  )
})

const Ranged = z.object({ range: Range.catch('1h').default('1h') })

routes.page('/processes/group/:name', { permission: 'processes.read', query: Ranged }, async ({ ctx, params, query: { range } }) => {
  const group = await processes.findGroup(ctx, params['name'] ?? '')
  const [first] = group.items
  if (!first) return redirect('/processes')
  if (group.items.length === 1) return redirect(`/processes/${encodeURIComponent(first.id)}`)
  const { items: _, ...list } = await processes.list(ctx)
  const [counts, turns, found] = await Promise.all([
    processes.countsOf(ctx, group),
    processes.turnsOf(ctx, group.name, null),
    processes.history(ctx, group.name, range),
  ])
  const now = { id: first.id, cpu: group.cpu, memory: group.memory }
  const charts = found.map((one) => chartOf(one, now, { range, at: ctx.now(), each: true }))
  return view(
    'processes/group',
    { group, list, counts, turns, charts, range, may: processes.rights(ctx) },
    { title: group.name, live: withCharts },
  )
})

routes.page('/processes/:id', { permission: 'processes.read', query: Ranged }, async ({ ctx, params, query: { range } }) => {
  const process = await processes.find(ctx, params['id'] ?? '')
  const { items, ...list } = await processes.list(ctx)
  const siblings = items.filter(({ name }) => name === process.name).length
  const [counts, turns, found] = await Promise.all([
    processes.countsOf(ctx, process),
    processes.turnsOf(ctx, process.name, siblings > 1 ? process.pm_id : null),
    processes.history(ctx, process.name, range),
  ])
  const charts = found.map((one) => chartOf(one, process, { range, at: ctx.now(), each: siblings > 1 }))
  const verdict = processes.verdictOf(process)
  const cron = process.details?.cron ? processes.cronInWords(process.details.cron) : null
  return view(
    'processes/show',
    { process, verdict, cron, list, siblings, counts, turns, charts, range, may: insideOf(ctx) },
    { title: process.name, live: withCharts },
  )
})

routes.page(
  '/processes/:id/logs',
  { permission: 'processes.logs', query: z.object({ stream: z.enum(processes.streams).catch('out').default('out') }) },
  async ({ ctx, params, query: { stream } }) => {
    const process = await processes.find(ctx, params['id'] ?? '')
    const part = await processes.readLog(ctx, process.id, { stream })
    return view('processes/logs', { process, stream, part, may: insideOf(ctx) }, { title: `Logs of ${process.name}`, live: [] })
  },
)

routes.page(
  '/processes/:id/environment',
  { permission: 'processes.environment', query: z.object({ q: text(100).catch('').default('') }) },
  async ({ ctx, params, query: { q } }) => {
    const process = await processes.find(ctx, params['id'] ?? '')
    const found = await processes.environment(ctx, process.id)
    const wanted = q.trim().toLowerCase()
    const variables = found.variables.filter(({ name, value }) => `${name} ${value}`.toLowerCase().includes(wanted))
    return view(
      'processes/environment',
      { process, environment: { ...found, variables }, q, may: insideOf(ctx) },
      { title: `Environment of ${process.name}`, live: [] },
    )
  },
)

for (const action of processes.processActions) {
  const permission = processes.permissionFor(action)

  routes.page(`/processes/:id/${action}`, { permission, query: z.object({ from: From }) }, async ({ ctx, params, query: { from } }) => {
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
        ...{ from, back: pageAfter(from, process.id) },
      },
      { title: `${doing[action]} ${process.name}` },
    )
  })

  routes.action(`/processes/:id/${action}`, { permission, body: z.object({ from: From }) }, async ({ ctx, params, body: { from } }) => {
    const { name, id } = await processes.act(ctx, params['id'] ?? '', action)
    return redirect(pageAfter(from, id), { kind: 'ok', text: `${name} ${done[action]}.` })
  })
}

declareLive(routes)
