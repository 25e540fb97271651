import type { Context } from '../../monitoring/context'
import type { Builtin, BuiltinName } from './check'
import { insertCheck, listChecks, type NewCheck } from './queries'

interface Dependency {
  readonly title: string
  readonly about: string
  readonly steps: (host: string) => string[]
}

/** What every installation depends on, whether somebody watches it or not. */
const dependencies: Readonly<Record<BuiltinName, Dependency>> = {
  whatsapp: {
    title: 'WhatsApp API',
    about: 'Every message to an advisor goes through the WhatsApp Business API of Meta.',
    steps: () => [
      'Edit this check, and give the address https://graph.facebook.com/v21.0/<the id of your phone number>?fields=quality_rating.',
      'Add a header “Authorization” with “Bearer <your access token>”. It is stored encrypted and shown as dots.',
      'Press “Test”: it answers 200 while the token is good and the number may send. 401 means that the token is over.',
    ],
  },
  sheets: {
    title: 'Google Sheets',
    about: 'Advisors and their contacts are read from and written to Google Sheets.',
    steps: () => [
      'Edit this check, and give the address https://sheets.googleapis.com/$discovery/rest?version=v4: it answers 200 while the API works.',
      'To see your own sheet too, give https://sheets.googleapis.com/v4/spreadsheets/<its id>?key=<an API key>. The key is stored encrypted.',
    ],
  },
  webhook: {
    title: 'Story 3.2 webhook',
    about: 'What advisors answer and press in WhatsApp arrives at this webhook.',
    steps: (host) => [
      `Edit this check, and give the address at which Meta reaches it, https://<your domain>/health, or http://127.0.0.1:3000/health on ${host}.`,
      'An address of this machine has to be allowed first: Checks → Allowed targets, by an admin of the installation.',
      'Ask for the keyword that its health answers, so that a tunnel’s own error page does not count as up.',
    ],
  },
}

const names = Object.keys(dependencies) as BuiltinName[]

export const unsetRow = (ctx: Context, id: string, builtin: BuiltinName): NewCheck => ({
  ...{ id, builtin, name: dependencies[builtin].title, name_key: nameKeyOf(dependencies[builtin].title) },
  ...{ kind: 'http', spec: '{}', secrets: null, token_hash: null, tags: [] },
  ...{ interval_s: 60, timeout_ms: 10_000, retries: 1, retry_s: 20 },
  ...{ state: 'unset', state_at: ctx.now(), failures: 0, message: null, duration: null, certificate_at: null },
  ...{ checked_at: null, paused_at: null, created_at: ctx.now(), changed_at: ctx.now() },
})

/** As names are compared: two that look alike are one. */
export const nameKeyOf = (name: string): string => name.normalize('NFKC').trim().toLowerCase().replace(/\s+/g, ' ')

/** The dependencies of the installation are listed from the first start on, configured or not. */
export async function ensureBuiltins(ctx: Context): Promise<void> {
  const known = new Set((await listChecks(ctx)).map(({ builtin }) => builtin))
  if (names.every((name) => known.has(name))) return
  await ctx.transaction(async (ctx) => {
    for (const name of names) if (!known.has(name)) await insertCheck(ctx, unsetRow(ctx, ctx.newId(), name))
  })
}

export async function unsetBuiltins(ctx: Context): Promise<Builtin[]> {
  return (await listChecks(ctx)).flatMap(({ id, builtin, state }) => {
    if (builtin === null || state !== 'unset') return []
    const name = builtin as BuiltinName
    const { title, about, steps } = dependencies[name]
    return [{ name, check_id: id, title, about, steps: steps(ctx.platform.config.hostName) }]
  })
}
