import { z } from 'zod'
import type { Context } from '../monitoring/context'
import { Routes, view, type Answer } from '../monitoring/dashboard/endpoint'
import { errorsOf } from '../monitoring/dashboard/shapes'
import { Conflict, type Invalid } from '../monitoring/errors'
import * as resets from '../services/resets'

declare module '../views/views' {
  interface Views {
    'resets/new': { state: resets.State; username: string; token: string; errors: Readonly<Record<string, string>> }
  }
}

export const routes = new Routes('resets')

const token = z.string().max(200)

async function page(ctx: Context, token: string, error?: Invalid): Promise<Answer> {
  const { state, username } = await resets.open(ctx, token)
  const status = error ? 422 : state === 'open' ? 200 : state === 'invalid' ? 404 : 410
  return view('resets/new', { state, username, token, errors: errorsOf(error) }, { title: 'Choose a new password', status })
}

routes.page('/reset', { permission: 'public', query: z.object({ token: token.catch('').default('') }) }, ({ ctx, query }) =>
  page(ctx, query.token),
)

routes.action(
  '/reset',
  {
    permission: 'public',
    limit: 'sign-in',
    body: z.object({ token, password: z.string().max(1024, 'Use 1,024 characters at the most.'), repeat: z.string().max(1024) }),
    again: ({ ctx, typed, error }) => page(ctx, typed['token'] ?? '', error),
  },
  async ({ ctx, body }) => {
    try {
      return { kind: 'sign-in', userId: await resets.use(ctx, body), to: '/', since: ctx.now() }
    } catch (error) {
      if (error instanceof Conflict) return page(ctx, body.token)
      throw error
    }
  },
)
