import { z } from 'zod'
import { redirect, Routes, view } from '../monitoring/dashboard/endpoint'
import { iso, isoOf, text } from '../monitoring/dashboard/shapes'
import { may } from '../monitoring/permissions'
import * as snapshots from '../services/snapshots'
import * as system from '../services/system'

declare module '../views/views' {
  interface Views {
    'system/index': {
      system: Omit<system.System, 'processes'>
      processes: readonly system.RunningProcess[]
      /** How many match, and how many there are. */
      matching: number
      total: number
      running: number
      filter: { q: string; sort: (typeof system.sorts)[number]; order: 'asc' | 'desc'; all: '' | '1' }
      may: { snapshot: boolean }
    }
    'system/_processes': {
      processes: readonly system.RunningProcess[]
      /** null: as it was kept, not to be sorted. */
      filter: { q: string; sort: (typeof system.sorts)[number]; order: 'asc' | 'desc'; all: '' | '1' } | null
    }
    'system/_ports': { ports: readonly system.Port[]; partly: boolean }
    'system/_mounts': { mounts: readonly system.HostMount[] }
    'system/_network': { interfaces: readonly system.Interface[]; rates: system.System['rates'] }
    'system/_sockets': { states: Readonly<Record<string, number>>; udp: number }
    'system/_temperatures': { temperatures: readonly system.Temperature[] }
    'system/_figures': { system: Omit<system.System, 'processes'>; total: number; running: number }
  }
}

export const routes = new Routes('system')

const shown = 25

routes.page(
  '/system',
  {
    permission: 'system.read',
    query: z.object({
      q: text(100).catch('').default(''),
      sort: z.enum(system.sorts).catch('cpu').default('cpu'),
      order: z.enum(['asc', 'desc']).catch('desc').default('desc'),
      all: z.enum(['', '1']).catch('').default(''),
    }),
  },
  async ({ ctx, query }) => {
    const { processes, ...rest } = await system.read(ctx)
    const found = system.pick(processes, query)
    return view(
      'system/index',
      {
        system: rest,
        processes: query.all ? found : found.slice(0, shown),
        ...{ matching: found.length, total: processes.length, running: processes.filter(({ state }) => state === 'R').length },
        filter: query,
        may: { snapshot: may(ctx.actor, 'snapshots.take') },
      },
      { title: 'System', live: ['system.now'] },
    )
  },
)

routes.action('/system/snapshot', { permission: 'snapshots.take' }, async ({ ctx }) => {
  const { id } = await snapshots.takeNow(ctx)
  return redirect(`/snapshots/${id}`, { kind: 'ok', text: 'The snapshot is kept.' })
})

const amount = z.number().nullable()

const System = z
  .object({
    host: z.string(),
    at: iso,
    kernel: z.string(),
    uptime_s: z.number(),
    cores: z.int(),
    load: z.tuple([z.number(), z.number(), z.number()]),
    processes: z.array(
      z.object({
        pid: z.int(),
        parent_pid: z.int(),
        name: z.string(),
        command: z.string().describe('Secrets are masked'),
        user: z.string(),
        state: z.string().describe('R running, S sleeping, D waiting for the disk, T stopped, Z ended but not collected, I idle'),
        threads: z.int(),
        cpu_percent: amount.describe('Of one core, since the look before'),
        memory_bytes: z.number(),
        started_at: iso.nullable(),
        pm2: z.string().nullable().describe('The id of the process of PM2 that it is or belongs to'),
      }),
    ),
    ports: z.array(
      z.object({
        protocol: z.enum(['tcp', 'udp']),
        address: z.string(),
        port: z.int(),
        pid: z.int().nullable().describe('null: of another user, into whose processes the console may not look'),
        process: z.string().nullable(),
      }),
    ),
    sockets: z.record(z.string(), z.int()).describe('TCP connections by state'),
    mounts: z.array(
      z.object({
        ...{ path: z.string(), source: z.string(), type: z.string(), read_only: z.boolean() },
        ...{ total_bytes: amount, used_bytes: amount, free_bytes: amount, percent: amount, inodes_percent: amount },
      }),
    ),
    interfaces: z.array(
      z.object({
        ...{ name: z.string(), up: z.boolean(), addresses: z.array(z.string()), mac: z.string().nullable(), speed_mbit: amount },
        ...{ received_bytes: z.number(), sent_bytes: z.number(), errors: z.number(), dropped: z.number() },
      }),
    ),
    temperatures: z.array(z.object({ name: z.string(), celsius: z.number(), critical: amount })),
  })
  .meta({ id: 'System' })

const asJson = ({ system: found }: { system: system.System }): z.input<typeof System> => ({
  ...{ host: found.host, at: isoOf(found.at), kernel: found.kernel, uptime_s: found.uptime, cores: found.cores, load: found.load },
  processes: found.processes.map((one) => ({
    ...{ pid: one.pid, parent_pid: one.parent, name: one.name, command: one.command, user: one.user, state: one.state },
    ...{
      threads: one.threads,
      cpu_percent: one.cpu,
      memory_bytes: one.memory,
      started_at: isoOf(one.started_at),
      pm2: one.pm2?.id ?? null,
    },
  })),
  ports: found.ports.map(({ protocol, address, port, pid, process }) => ({ protocol, address, port, pid, process })),
  sockets: found.states,
  mounts: found.mounts.map(({ total, used, free, ...mount }) => ({ ...mount, total_bytes: total, used_bytes: used, free_bytes: free })),
  interfaces: found.interfaces.map(({ speed, received, sent, ...one }) => ({
    ...one,
    ...{ speed_mbit: speed, received_bytes: received, sent_bytes: sent },
  })),
  temperatures: found.temperatures,
})

routes.endpoint(
  'GET /api/system',
  {
    summary: 'All that runs on the machine, its ports, mounts, interfaces and temperatures',
    description: 'Measured when it is asked for, at most every two seconds.',
    permission: 'system.read',
    query: z.strictObject({
      q: text(100).optional(),
      sort: z.enum(system.sorts).default('cpu'),
      order: z.enum(['asc', 'desc']).default('desc'),
    }),
    response: System,
    errors: [404, 422],
  },
  async ({ ctx, query }) => {
    const found = await system.read(ctx)
    return asJson({ system: { ...found, processes: system.pick(found.processes, query) } })
  },
)

/** Looked at only while somebody does: each page asks for what it was searched and sorted by. */
routes.live('system.now', {
  transient: true,
  permission: 'system.read',
  paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>'),
})
