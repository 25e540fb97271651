import type { Context } from '../monitoring/context'
import { insertAudit } from './audit/queries'

/**
 * Leaves the audit row of a verb and marks what it changed, in the verb's own transaction.
 * Verbs that people call end with it, so that neither can be forgotten.
 */
export async function recordAct(
  ctx: Context,
  act: { action: string; topic: string; subject: string; data?: Readonly<Record<string, unknown>> },
): Promise<void> {
  await insertAudit(ctx, act.action, act.subject, act.data)
  ctx.changed(act.topic, act.subject)
}
