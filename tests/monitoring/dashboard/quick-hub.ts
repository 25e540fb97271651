import { rightsOf } from '../../../monitoring/permissions'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Topic } from '../../../monitoring/dashboard/endpoint'
import { openHub, type Hub, type Pace } from '../../../monitoring/dashboard/live'
import { securityOf } from '../../../monitoring/dashboard/security'
import type { Identity } from '../../../monitoring/dashboard/session'
import type { TestApp } from '../../helpers/app'

export interface QuickHub {
  readonly hub: Hub
  /** Where it listens: `ws://127.0.0.1:40123`. */
  readonly url: string
  /** Who everybody is, or why that cannot be told. */
  who: Identity | Error
  close(): Promise<void>
}

const carol = {
  id: 'user-carol',
  username: 'carol',
  handle: 'carol',
  org_id: 'home',
  org_name: '',
  role: 'viewer',
  rights: rightsOf.viewer,
  instance_admin: false,
  theme: 'auto',
  timezone: null,
  created_at: 0,
} as const

/** The hub alone, on the application's database, with topics and a pulse of the test's own. */
export async function openQuickHub(
  app: TestApp,
  topics: Readonly<Record<string, Omit<Topic, 'permission'>>>,
  pace?: Pace,
): Promise<QuickHub> {
  const quick: { who: Identity | Error } = { who: { principal: carol, session: null, key: null } }
  const hub = openHub({
    platform: app.platform,
    security: securityOf(app.platform.config),
    sessions: {
      identify: () => (quick.who instanceof Error ? Promise.reject(quick.who) : Promise.resolve(quick.who)),
      carriesCredentials: () => false,
      forget: () => undefined,
      begin: () => Promise.resolve(),
      end: () => Promise.resolve(),
      middleware: (_request, _response, next) => {
        next()
      },
    },
    topics: new Map(Object.entries(topics).map(([name, topic]) => [name, { permission: 'events.read', ...topic }])),
    render: () => '',
    ...(pace ? { pace } : {}),
  })
  await hub.start()
  const server = createServer()
  hub.attach(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(quick, {
    hub,
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      hub.close()
      await new Promise((resolve) => server.close(resolve))
    },
  })
}
