import type { Context } from '../../monitoring/context'

export interface AuditTable {
  id: string
  org_id: string
  at: number
  actor_kind: string
  actor_id: string
  actor_name: string
  address: string | null
  action: string
  subject: string
  data: string | null
}

declare module '../../monitoring/db/schema' {
  interface Schema {
    audit: AuditTable
  }
}

export async function insertAudit(ctx: Context, action: string, subject: string, data?: Readonly<Record<string, unknown>>): Promise<void> {
  await ctx.db
    .insertInto('audit')
    .values({
      id: ctx.newId(),
      org_id: ctx.org,
      at: ctx.now(),
      actor_kind: ctx.actor.kind,
      actor_id: ctx.actor.id,
      actor_name: ctx.actor.name,
      address: ctx.actor.address,
      action,
      subject,
      data: data ? JSON.stringify(data) : null,
    })
    .execute()
}
