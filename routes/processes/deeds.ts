import { z } from 'zod'
import type { Context } from '../../monitoring/context'
import { duration, plural } from '../../monitoring/markup'
import type { Process, ProcessAction } from '../../services/processes'

export const doing = { restart: 'Restart', reload: 'Reload', stop: 'Stop', start: 'Start' } as const
export const done = { restart: 'was restarted', reload: 'was reloaded', stop: 'was stopped', start: 'was started' } as const

/** Where somebody was who asked for it. */
export const From = z.enum(['', 'list', 'page']).catch('').default('')

export const pageAfter = (from: z.output<typeof From>, id: string): string =>
  from === 'page' ? `/processes/${encodeURIComponent(id)}` : from === 'list' ? '/processes' : '/'

/** What happens then, in numbers. */
export function consequencesOf(ctx: Context, process: Process, action: ProcessAction): string[] {
  const up = process.started_at === null ? null : duration(Math.max(0, ctx.now() - process.started_at))
  const own = process.own ? ['This is the console itself: the page comes back by itself within seconds.'] : []
  switch (action) {
    case 'restart':
      return [
        ...own,
        up ? `It ends now, after ${up}, and starts again. What it is doing is cut off.` : 'It starts again.',
        process.mode === 'cluster' ? 'Reload would do it without a gap: it runs in cluster mode.' : 'It cannot be reached while it starts.',
        `So far: ${plural(process.restarts, 'restart', 'restarts')}, ${plural(process.crashes_10m, 'crash', 'crashes')} in the last 10 min.`,
      ]
    case 'reload':
      return [
        ...own,
        process.mode === 'cluster'
          ? 'A new one starts first, then the old one ends: nothing is cut off.'
          : 'It runs in fork mode, where a reload is a restart: it cannot be reached while it starts.',
      ]
    case 'stop':
      return [
        ...(process.own ? ['This is the console itself. It stays away until somebody starts it on the machine.'] : []),
        `It ends now${up ? `, after ${up}` : ''}, and PM2 does not start it again until somebody asks for it.`,
        'What it serves is not served meanwhile.',
        ...(process.details?.cron ? [`Its clock goes on: PM2 starts it again at its next time (${process.details.cron}).`] : []),
      ]
    case 'start':
      return [
        process.job
          ? 'It runs now, once more than planned, and ends by itself.'
          : 'It starts now, and PM2 starts it again whenever it ends by itself.',
      ]
  }
}
