import { Routes, view } from '../monitoring/dashboard/endpoint'
import * as overview from '../services/overview'
import * as processes from '../services/processes'

declare module '../views/views' {
  interface Views {
    'overview/index': overview.Overview & { may: processes.Rights }
  }
}

export const routes = new Routes('overview')

routes.page('/', { permission: 'health.read', shared: 250 }, async ({ ctx }) => {
  return view(
    'overview/index',
    { ...(await overview.read(ctx)), may: processes.rights(ctx) },
    { title: 'Overview', live: ['health', 'health.now', 'processes', 'processes.now', 'events', 'metrics'] },
  )
})
