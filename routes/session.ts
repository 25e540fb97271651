import { z } from 'zod'
import { username } from '../monitoring/dashboard/shapes'
import { type Answer, Routes, redirect, view } from '../monitoring/dashboard/endpoint'
import { type AppError, type Invalid, TooMany, Unauthorized } from '../monitoring/errors'
import * as accounts from '../services/accounts'
import * as claim from '../services/claim'

declare module '../views/views' {
  interface Views {
    'session/sign-in': { error: string | null; username: string; next: string; wait: number | null }
    'session/claim': {
      errors: Readonly<Record<string, string>>
      values: { username: string }
      token: string
      state: 'open' | 'claimed' | 'invalid'
    }
  }
}

export const routes = new Routes('session')

/** Only a path of this console: `next` comes from the address bar, and must not lead to another site. */
function ownPath(next: string): string {
  if (!/^\/(?![/\\])/.test(next) || !URL.canParse(next, 'http://here')) return '/'
  const { origin, pathname, search, hash } = new URL(next, 'http://here')
  return origin === 'http://here' && !/^\/[/\\]/.test(pathname) && !pathname.startsWith('/sign-') ? pathname + search + hash : '/'
}

routes.page(
  '/sign-in',
  { permission: 'public', query: z.object({ next: z.string().max(2000).catch('/').default('/') }) },
  async ({ ctx, identity, query }) => {
    if (identity) return redirect(ownPath(query.next))
    if (!(await accounts.isClaimed(ctx))) return redirect('/claim')
    return view('session/sign-in', { error: null, username: '', next: ownPath(query.next), wait: null }, { title: 'Sign in' })
  },
)

const SignIn = z.object({ username: z.string().max(200), password: z.string().max(2000), next: z.string().max(2000).default('/') })

routes.action(
  '/sign-in',
  {
    permission: 'public',
    limit: 'sign-in',
    body: SignIn,
    again: ({ typed }) => signInAgain(typed, 422, 'Type a name and a password.'),
  },
  async ({ ctx, body }) => {
    const since = ctx.now()
    try {
      const member = await accounts.signIn(ctx, body.username, body.password)
      return { kind: 'sign-in', userId: member.id, to: ownPath(body.next), since }
    } catch (error) {
      if (error instanceof Unauthorized || error instanceof TooMany) return signInAgain(body, error.status, error.message, error)
      throw error
    }
  },
)

const signInAgain = (typed: Readonly<Record<string, string>>, status: number, message: string, error?: AppError): Answer =>
  view(
    'session/sign-in',
    { error: message, username: typed['username'] ?? '', next: ownPath(typed['next'] ?? '/'), wait: error?.retryAfterSeconds ?? null },
    { title: 'Sign in', status, retryAfter: error?.retryAfterSeconds ?? null },
  )

routes.action('/sign-out', { permission: 'self' }, async ({ ctx }) => {
  await accounts.signOut(ctx)
  return { kind: 'sign-out', to: '/sign-in' }
})

routes.page(
  '/claim',
  { permission: 'public', query: z.object({ token: z.string().max(200).catch('').default('') }) },
  async ({ ctx, query: { token } }) => {
    const state = await claim.state(ctx, token)
    return view(
      'session/claim',
      { errors: {}, values: { username: '' }, token, state },
      { title: 'Claim this console', status: state === 'open' ? 200 : state === 'claimed' ? 410 : 403 },
    )
  },
)

const Claim = z.object({
  token: z.string().max(200),
  username,
  password: z.string().max(1024, 'Use 1,024 characters at the most.'),
})

routes.action('/claim', { permission: 'public', limit: 'sign-in', body: Claim, again: claimAgain }, async ({ ctx, body }) => ({
  kind: 'sign-in',
  userId: await claim.claim(ctx, body),
  to: '/',
  since: ctx.now(),
}))

async function claimAgain({
  ctx,
  typed,
  error,
}: {
  ctx: Parameters<typeof claim.state>[0]
  typed: Readonly<Record<string, string>>
  error: Invalid
}): Promise<Answer> {
  const token = typed['token'] ?? ''
  const state = await claim.state(ctx, token)
  const errors = Object.fromEntries(error.fields.map(({ field, message }) => [field, message]))
  return view(
    'session/claim',
    { errors, values: { username: typed['username'] ?? '' }, token, state },
    { title: 'Claim this console', status: 422 },
  )
}
