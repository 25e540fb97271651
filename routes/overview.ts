import { home } from '../monitoring/context'
import { redirect, Routes, view } from '../monitoring/dashboard/endpoint'
import { nav, openTo } from '../monitoring/dashboard/nav'
import { may } from '../monitoring/permissions'
import * as overview from '../services/overview'
import * as processes from '../services/processes'

declare module '../views/views' {
  interface Views {
    'overview/index': overview.Overview & {
      /** Whether the organisation has one that reports. */
      machine: boolean
      may: processes.Rights & { keys: boolean }
    }
  }
}

export const routes = new Routes('overview')

/** Where everybody arrives who has signed in: whoever may not see it is led on to the first page that they may. */
routes.page('/', { permission: 'self', shared: 250 }, async ({ ctx }) => {
  if (!may(ctx.actor, 'health.read')) return redirect(openTo(nav, ctx.actor.rights, ctx.org)[0]?.href ?? '/profile')
  const machine = ctx.org === home
  return view(
    'overview/index',
    { ...(await overview.read(ctx)), machine, may: { ...processes.rights(ctx), keys: may(ctx.actor, 'keys.make') } },
    {
      title: 'Overview',
      live: ['health', 'events', ...(machine ? ['health.now', 'processes', 'processes.now', 'metrics'] : [])],
    },
  )
})
