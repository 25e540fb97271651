import { z } from 'zod'
import type { Routes } from '../../monitoring/dashboard/endpoint'
import { text } from '../../monitoring/dashboard/shapes'
import * as checks from '../../services/checks'

/** What checks may reach and run, and what nobody checks yet. */
export function declareFacts(routes: Routes): void {
  const Targets = z.object({ allowed: z.array(z.string()).describe('Networks beside the public ones, like 10.0.0.0/8') })
  routes.endpoint(
    'GET /api/checks/targets',
    { summary: 'Which private and loopback addresses checks may reach', permission: 'checks.read', response: Targets },
    ({ ctx }) => checks.targets(ctx),
  )
  routes.endpoint(
    'PUT /api/checks/targets',
    {
      summary: 'Allow private and loopback addresses',
      permission: 'checks.targets',
      body: z.strictObject({ allowed: z.array(text(100)).max(100) }),
      response: Targets,
    },
    ({ ctx, body }) => checks.setTargets(ctx, body.allowed),
  )

  routes.endpoint(
    'GET /api/checks/commands',
    {
      summary: 'The commands that checks may run',
      description: 'From the allow-list file on the machine; commands are never sent here.',
      permission: 'checks.read',
      response: z.object({ items: z.array(z.object({ name: z.string(), description: z.string().nullable() })) }),
      errors: [503],
    },
    async ({ ctx }) => ({ items: await checks.commands(ctx) }),
  )

  routes.endpoint(
    'GET /api/checks/builtins',
    {
      summary: 'Dependencies that nobody has configured yet',
      permission: 'checks.read',
      response: z.object({
        items: z.array(
          z.object({
            name: z.enum(checks.builtinNames),
            check_id: z.string(),
            title: z.string(),
            about: z.string(),
            steps: z.array(z.string()),
          }),
        ),
      }),
    },
    async ({ ctx }) => ({ items: await checks.builtins(ctx) }),
  )
}
