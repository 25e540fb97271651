import { z } from 'zod'
import { Routes, redirect, view, type Answer } from '../monitoring/dashboard/endpoint'
import type { Context } from '../monitoring/context'
import type { Identity } from '../monitoring/dashboard/session'
import { errorsOf, Theme as Themes, timezone, username } from '../monitoring/dashboard/shapes'
import type { Invalid } from '../monitoring/errors'
import { plural } from '../monitoring/markup'
import type { SignIn, Theme } from '../services/accounts'
import * as keys from '../services/keys'
import * as organisations from '../services/organisations'
import * as profile from '../services/profile'
import * as sessions from '../services/sessions'

declare module '../views/views' {
  interface Views {
    'profile/show': {
      user: {
        username: string
        handle: string
        instance_admin: boolean
        theme: Theme
        timezone: string | null
        created_at: number
      }
      role: string
      /** null while there is only one. */
      organisation: string | null
      zones: readonly string[]
      errors: Readonly<Record<string, string>>
      sessions: readonly sessions.Session[]
      signIns: readonly SignIn[]
      /** New devices that the person has not said anything about. */
      notice: readonly SignIn[]
      /** How many working keys they have. */
      keys: number
    }
  }
}

export const routes = new Routes('profile')

const known = Intl.supportedValuesOf('timeZone')

async function show(ctx: Context, identity: Identity | null, error?: Invalid): Promise<Answer> {
  if (!identity) throw new Error('A page of one’s own without anybody')
  const { username, handle, role, instance_admin, org_name, theme, timezone, created_at } = identity.principal
  const zones = [...new Set([...known, 'UTC', ctx.platform.config.timezone, ...(timezone === null ? [] : [timezone])])].sort()
  const [open, signIns, notice, several, working] = await Promise.all([
    sessions.list(ctx, ctx.actor.id, identity.session),
    profile.listOwnSignIns(ctx),
    profile.newDevices(ctx),
    organisations.areSeveral(ctx),
    keys.countOf(ctx, ctx.actor.id),
  ])
  return view(
    'profile/show',
    {
      user: { username, handle, instance_admin, theme, timezone, created_at },
      role,
      organisation: several ? org_name : null,
      zones,
      errors: errorsOf(error),
      ...{ sessions: open, signIns, notice, keys: working },
    },
    { title: 'Profile', live: [] },
  )
}

routes.page('/profile', { permission: 'self' }, ({ ctx, identity }) => show(ctx, identity))

routes.action(
  '/profile',
  {
    permission: 'self',
    body: z.object({ username: username.optional(), theme: Themes, timezone: z.union([z.literal(''), timezone]) }),
    again: ({ ctx, identity, error }) => show(ctx, identity, error),
  },
  async ({ ctx, body }) => {
    await profile.change(ctx, { ...body, timezone: body.timezone || null })
    return redirect('/profile', { kind: 'ok', text: 'Your settings were saved.' })
  },
)

routes.action('/profile/theme', { permission: 'self', body: z.object({ theme: Themes }) }, async ({ ctx, body }) => {
  await profile.change(ctx, { theme: body.theme })
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

routes.action('/profile/sessions/end', { permission: 'self' }, async ({ ctx, identity }) => {
  const ended = await sessions.endAll(ctx, ctx.actor.id, identity?.session ?? null, ctx.actor.name)
  return redirect('/profile#sessions', {
    kind: 'ok',
    text: ended === 0 ? 'There was no other session.' : `${plural(ended, 'other session was', 'other sessions were')} ended.`,
  })
})

routes.action('/profile/sessions/:id/end', { permission: 'self' }, async ({ ctx, params }) => {
  await sessions.endOne(ctx, ctx.actor.id, params['id'] ?? '')
  return redirect('/profile#sessions', { kind: 'ok', text: 'The session was ended.' })
})

routes.action('/profile/devices', { permission: 'self' }, async ({ ctx }) => {
  await profile.confirmDevices(ctx)
  return redirect('/profile', { kind: 'ok', text: 'Thank you. You are told about the next new device.' })
})
