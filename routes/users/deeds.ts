import { z } from 'zod'
import type { Context } from '../../monitoring/context'
import { redirect, view, type Routes } from '../../monitoring/dashboard/endpoint'
import { duration, plural } from '../../monitoring/markup'
import { may } from '../../monitoring/permissions'
import * as resets from '../../services/resets'
import * as users from '../../services/users'

/** What an admin does to a person after being asked: the question, and how it is done. */
interface Deed {
  readonly deed: users.Deed
  readonly title: (name: string) => string
  readonly consequences: (person: users.PersonRow, ctx: Context) => readonly string[]
  readonly button: string
  readonly keep: string
  readonly danger: boolean
  readonly done: (name: string) => string
  readonly act: (ctx: Context, id: string) => Promise<unknown>
}

const deeds: Readonly<Record<string, Deed>> = {
  disable: {
    deed: 'disable',
    title: (name) => `Disable ${name}?`,
    consequences: ({ username, sessions, keys }) => [
      `${username} is signed out everywhere within seconds: ${plural(sessions, 'session ends', 'sessions end')}.`,
      keys > 0
        ? `${plural(keys, 'API key does', 'API keys do')} not work until the account is enabled again.`
        : 'There are no API keys of theirs.',
      'What they did stays in the audit trail, and the account can be enabled again.',
    ],
    ...{ button: 'Disable the account', keep: 'Leave it open', danger: true },
    done: (name) => `${name} is disabled.`,
    act: users.disable,
  },
  enable: {
    deed: 'disable',
    title: (name) => `Enable ${name} again?`,
    consequences: ({ username, role, keys }) => [
      `${username} can sign in again with the old password, as ${role}.`,
      keys > 0 ? `${plural(keys, 'API key works', 'API keys work')} again.` : 'There are no API keys of theirs.',
    ],
    ...{ button: 'Enable the account', keep: 'Leave it disabled', danger: false },
    done: (name) => `${name} can sign in again.`,
    act: users.enable,
  },
  remove: {
    deed: 'remove',
    title: (name) => `Remove ${name}?`,
    consequences: ({ username, elsewhere, keys }) => [
      elsewhere > 0
        ? `${username} loses what they may do here, and keeps ${plural(elsewhere, 'other organisation', 'other organisations')}.`
        : `${username} is signed out everywhere within seconds and cannot sign in any more.`,
      keys > 0 ? `${plural(keys, 'API key stops', 'API keys stop')} working here.` : 'There are no API keys of theirs here.',
      'What they did stays in the audit trail. A new invitation lets them in again.',
    ],
    ...{ button: 'Remove from here', keep: 'Keep them', danger: true },
    done: (name) => `${name} was removed.`,
    act: users.remove,
  },
  'sign-out': {
    deed: 'sessions',
    title: (name) => `Sign ${name} out?`,
    consequences: ({ sessions, elsewhere }, { actor }) => [
      `${plural(sessions, 'session ends', 'sessions end')} within seconds, with ${sessions === 1 ? 'its' : 'their'} open pages.`,
      ...(elsewhere > 0 && !may(actor, 'accounts.manage') ? ['Where they work in another organisation, they stay signed in.'] : []),
      'They can sign in again with their password. API keys are not touched.',
    ],
    ...{ button: 'End the sessions', keep: 'Leave them open', danger: true },
    done: (name) => `${name} was signed out.`,
    act: users.signOut,
  },
}

export function declareDeeds(routes: Routes): void {
  for (const [name, { deed, title, consequences, button, keep, danger, done, act }] of Object.entries(deeds)) {
    routes.page(`/users/:id/${name}`, { permission: 'users.manage' }, async ({ ctx, params }) => {
      const person = await users.find(ctx, params['id'] ?? '')
      users.insist(ctx, person, deed)
      const back = `/users/${person.id}`
      return view(
        'shared/confirm',
        {
          ...{ title: title(person.username), consequences: consequences(person, ctx), action: `${back}/${name}` },
          ...{ button, keep, back, danger, password: false, errors: {} },
        },
        { title: title(person.username) },
      )
    })

    routes.action(`/users/:id/${name}`, { permission: 'users.manage' }, async ({ ctx, params }) => {
      const { id, username } = await users.find(ctx, params['id'] ?? '')
      await act(ctx, id)
      return redirect(name === 'remove' ? '/users' : `/users/${id}`, { kind: 'ok', text: done(username) })
    })
  }

  routes.page('/users/:id/instance-admin', { permission: 'accounts.manage' }, async ({ ctx, params }) => {
    const { id, username, instance_admin } = await users.find(ctx, params['id'] ?? '')
    const title = instance_admin ? `Take the installation from ${username}?` : `Make ${username} an instance admin?`
    return view(
      'shared/confirm',
      {
        title,
        consequences: instance_admin
          ? [
              `${username} can no longer make organisations or join them, nor disable accounts of several organisations.`,
              'Their role here stays.',
            ]
          : [`${username} can make organisations and join any of them, and disable or reset every account.`, 'Their role here stays.'],
        ...{
          action: `/users/${id}/instance-admin`,
          fields: { become: instance_admin ? 'nothing' : 'instance-admin' },
          button: instance_admin ? 'Take it away' : 'Make an instance admin',
        },
        ...{ keep: 'Leave it', back: `/users/${id}`, danger: instance_admin, password: false, errors: {} },
      },
      { title },
    )
  })

  routes.action(
    '/users/:id/instance-admin',
    // What they become, not that it changes: sent twice, it is the same.
    { permission: 'accounts.manage', body: z.object({ become: z.enum(['instance-admin', 'nothing']) }) },
    async ({ ctx, params, body }) => {
      const { id, username, instance_admin } = await users.setInstanceAdmin(ctx, params['id'] ?? '', body.become === 'instance-admin')
      return redirect(`/users/${id}`, {
        kind: 'ok',
        text: instance_admin ? `${username} is an instance admin now.` : `${username} is no instance admin any more.`,
      })
    },
  )

  routes.page('/users/:id/reset', { permission: 'users.manage' }, async ({ ctx, params }) => {
    const person = await users.find(ctx, params['id'] ?? '')
    users.insist(ctx, person, 'reset')
    const title = `A new password for ${person.username}?`
    return view(
      'shared/confirm',
      {
        title,
        consequences: [
          'You get a link to hand on. It works once, for 15 minutes, and voids the one before.',
          'With the new password, every session of theirs ends. Until then nothing changes.',
        ],
        ...{ action: `/users/${person.id}/reset`, button: 'Make the link', keep: 'Not now', back: `/users/${person.id}` },
        ...{ danger: false, password: false, errors: {} },
      },
      { title },
    )
  })

  routes.action('/users/:id/reset', { permission: 'users.manage' }, async ({ ctx, params, origin }) => {
    const id = params['id'] ?? ''
    const { token, expires_at, username } = await resets.make(ctx, id)
    return view(
      'users/link',
      {
        title: `A link for ${username}`,
        text: `Give it to ${username} and to nobody else: whoever opens it within ${duration(expires_at - ctx.now())} chooses the password. It works once.`,
        link: `${origin}/reset?token=${token}`,
        expires_at,
        back: { href: `/users/${id}`, label: `Back to ${username}` },
      },
      { title: `A link for ${username}` },
    )
  })
}
