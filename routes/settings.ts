import { Routes, view } from '../monitoring/dashboard/endpoint'
import { may } from '../monitoring/permissions'
import * as settings from '../services/settings'

declare module '../views/views' {
  interface Views {
    'settings/show': {
      groups: readonly settings.SettingGroup[]
      facts: readonly { label: string; value: string }[]
      may: { organisations: boolean }
    }
  }
}

export const routes = new Routes('settings')

routes.page('/settings', { permission: 'settings.read' }, ({ ctx }) => {
  settings.mayRead(ctx)
  return view(
    'settings/show',
    { groups: settings.effective(ctx), facts: settings.facts(ctx), may: { organisations: may(ctx.actor, 'organisations.manage') } },
    { title: 'Settings', live: [] },
  )
})
