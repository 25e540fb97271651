import { home } from '../../monitoring/context'
import * as checks from '../../services/checks'
import * as health from '../../services/health'
import * as incidents from '../../services/incidents'
import * as invites from '../../services/invites'
import * as maintenance from '../../services/maintenance'
import * as roles from '../../services/roles'
import * as snapshots from '../../services/snapshots'
import { keyOfAgent } from './people'
import type { TestApp } from './app'

/** Something that exists, for each feature that has an id in its addresses. */
export async function oneOfEach(app: TestApp): Promise<Readonly<Record<string, string>>> {
  const admin = { ...app.ctx, actor: { ...app.ctx.actor, kind: 'user' as const, id: 'user-alice', name: 'alice' } }
  const { db } = app.ctx
  const at = app.ctx.now()
  const { invite } = await invites.make(admin, { role: 'viewer', name: 'somebody', days: 7 })
  const role = await roles.save(admin, null, { name: 'on call', actions: ['health.read'] })
  await keyOfAgent(app, await app.as('alice'), { name: 'reporter', role: 'operator' })
  const key = await db.selectFrom('keys').select('id').executeTakeFirstOrThrow()
  await app.as('bob')
  const session = await db.selectFrom('sessions').select('id').where('user_id', '=', 'user-bob').executeTakeFirstOrThrow()
  const check = await checks.create(admin, { name: 'watched', kind: 'heartbeat', spec: {} })
  const window = await maintenance.plan(admin, {
    ...{ name: 'Upgrade', starts_at: at, ends_at: at + 3_600_000, repeats: 'never' },
    covers: { checks: [check.id], tags: [] },
  })
  const incident = await app.ctx.transaction((ctx) => incidents.begin(ctx, { check_id: check.id, title: 'down', cause: 'none', at }))
  const snapshot = await snapshots.takeNow(admin)
  return {
    ...{
      users: 'user-bob',
      invites: invite.id,
      roles: role.id,
      keys: key.id,
      sessions: session.id,
      organisations: home,
      profile: session.id,
    },
    ...{
      processes: `${app.platform.config.hostName}:0`,
      checks: check.id,
      push: check.push_url?.split('/').at(-1) ?? '',
      health: health.panels[0]?.id ?? '',
      status: home,
      incidents: incident ?? '',
      maintenance: window.id,
      snapshots: snapshot.id,
    },
  }
}
