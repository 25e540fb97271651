import { z } from 'zod'
import { Routes, redirect, view, type Answer } from '../monitoring/dashboard/endpoint'
import type { Context } from '../monitoring/context'
import type { Identity } from '../monitoring/dashboard/session'
import type { Invalid } from '../monitoring/errors'
import * as profile from '../services/profile'
import type { Theme } from '../services/users'

declare module '../views/views' {
  interface Views {
    'profile/show': {
      user: { username: string; role: string; theme: Theme; timezone: string | null; created_at: number }
      zones: readonly string[]
      errors: Readonly<Record<string, string>>
      saved: string | null
    }
  }
}

export const routes = new Routes('profile')

const known = Intl.supportedValuesOf('timeZone')

/** The list names each zone once, in an older spelling for some, and leaves UTC out: all that work are accepted. */
function isZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch {
    return false
  }
}
const Themes = z.enum(['auto', 'light', 'dark'], 'Choose one of the three.')

const show = (ctx: Context, identity: Identity | null, error?: Invalid): Answer => {
  if (!identity) throw new Error('A page of one’s own without anybody')
  const { username, role, theme, created_at } = identity.principal
  const { timezone } = identity.principal
  const zones = [...new Set([...known, 'UTC', ctx.platform.config.timezone, ...(timezone === null ? [] : [timezone])])].sort()
  const errors = Object.fromEntries((error?.fields ?? []).map(({ field, message }) => [field, message]))
  return view(
    'profile/show',
    { user: { username, role, theme, timezone, created_at }, zones, errors, saved: null },
    { title: 'Profile', live: [] },
  )
}

routes.page('/profile', { permission: 'self' }, ({ ctx, identity }) => show(ctx, identity))

routes.action(
  '/profile',
  {
    permission: 'self',
    body: z.object({
      theme: Themes,
      timezone: z.string().refine((zone) => zone === '' || isZone(zone), 'There is no such zone.'),
    }),
    again: ({ ctx, identity, error }) => show(ctx, identity, error),
  },
  async ({ ctx, body }) => {
    await profile.changePreferences(ctx, { theme: body.theme, timezone: body.timezone || null })
    return redirect('/profile', { kind: 'ok', text: 'Your settings were saved.' })
  },
)

routes.action('/profile/theme', { permission: 'self', body: z.object({ theme: Themes }) }, async ({ ctx, body }) => {
  await profile.changePreferences(ctx, { theme: body.theme })
  return redirect('/profile')
})

routes.action(
  '/profile/password',
  {
    permission: 'self',
    body: z.object({
      current: z.string().max(2000),
      password: z.string().max(1024, 'Use 1,024 characters at the most.'),
      repeat: z.string().max(1024),
    }),
    again: ({ ctx, identity, error }) => show(ctx, identity, error),
  },
  async ({ ctx, body, identity }) => {
    const { ended } = await profile.changePassword(ctx, { ...body, session: identity?.session ?? null })
    const others = ended === 0 ? '' : ended === 1 ? ' One other session was ended.' : ` ${ended} other sessions were ended.`
    return redirect('/profile', { kind: 'ok', text: `Your password was changed.${others}` })
  },
)
