import { Routes, view } from '../monitoring/dashboard/endpoint'
import { nav, openTo } from '../monitoring/dashboard/nav'
import { may } from '../monitoring/permissions'
import * as processes from '../services/processes'

interface PaletteItem {
  label: string
  href: string
  icon: string
  hint: string
  group: string
}

declare module '../views/views' {
  interface Views {
    'shared/_palette': { items: readonly PaletteItem[] }
  }
}

export const routes = new Routes('palette')

/** Where one can go and what one can do from anywhere; the same pages as in the sidebar. */
routes.page('/palette', { permission: 'self' }, async ({ ctx }) => {
  const pages = openTo(nav, ctx.actor.rights, ctx.org).map(({ label, href, icon, group }): PaletteItem => ({
    label,
    href,
    icon,
    hint: group,
    group: 'Pages',
  }))
  const { items } = may(ctx.actor, 'processes.read') ? await processes.list(ctx) : { items: [] }
  const acts = items.flatMap((one) => {
    const action = one.status === 'stopped' || one.status === 'errored' ? 'start' : 'restart'
    if (!processes.mayAct(ctx, action)) return []
    const label = `${action === 'start' ? 'Start' : 'Restart'} ${one.name}`
    return [
      {
        label,
        href: `/processes/${encodeURIComponent(one.id)}/${action}`,
        icon: action === 'start' ? 'play-fill' : 'arrow-clockwise',
        hint: one.word,
        group: 'Processes',
      },
    ]
  })
  return view('shared/_palette', { items: [...pages, ...acts] }, { title: 'Search or jump to' })
})
