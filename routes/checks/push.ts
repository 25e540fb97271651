import { z } from 'zod'
import type { Routes } from '../../monitoring/dashboard/endpoint'
import { text } from '../../monitoring/dashboard/shapes'
import * as checks from '../../services/checks'

/** Others’ agents send more parameters than we know; those of the wrong form are no reason to lose a ping. */
const Query = z.object({
  msg: text(2000).optional().catch(undefined).describe('What the job has to say'),
  duration_ms: z.coerce.number().min(0).max(1e10).optional().catch(undefined).describe('How long it took'),
})

const paths = { success: '', start: '/start', fail: '/fail' } as const
const summaries = {
  success: 'Tell a heartbeat that the job has run',
  start: 'Tell a heartbeat that the job begins, so that it knows how long it takes',
  fail: 'Tell a heartbeat that the job failed',
} as const

/** Whoever has the address may ping: it is as long as a key, and good for nothing else. A body is not read. */
export function declarePushes(routes: Routes): void {
  for (const method of ['GET', 'POST'] as const)
    for (const kind of checks.pingKinds)
      routes.endpoint(
        `${method} /api/push/:token${paths[kind]}`,
        {
          summary: summaries[kind],
          description:
            'Without signing in. Answered after it is stored; at most 60 a minute for each heartbeat. GET and POST are the same.',
          permission: 'public',
          ...{ limit: 'ingest', head: false },
          query: Query,
          response: z.object({ status: z.literal('OK') }),
          errors: [404],
        },
        async ({ ctx, params, query }) => {
          await checks.ping(ctx, params['token'] ?? '', kind, { message: query.msg, duration_ms: query.duration_ms })
          return { status: 'OK' as const }
        },
      )
}
