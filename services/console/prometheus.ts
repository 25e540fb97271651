import { Counter, Gauge, Registry } from 'prom-client'
import { home, type Context } from '../../monitoring/context'
import type { ConsoleHealth } from '../console'

interface Figure {
  readonly name: string
  readonly help: string
  readonly total?: true
  readonly values: readonly (readonly [labels: Readonly<Record<string, string>>, value: number | null | undefined])[]
}

const seconds = (ms: number | null | undefined): number | null => (ms == null ? null : ms / 1000)

/** Prometheus' text format. The machine's figures are for the organisation that owns it; the others see the console's name and version. */
export async function textOf(ctx: Context, health: (ctx: Context) => Promise<ConsoleHealth>): Promise<{ type: string; text: string }> {
  const registry = new Registry()
  const figures: Figure[] = [
    {
      name: 'operations_center_info',
      help: 'Which console this is.',
      values: [[{ version: ctx.platform.version, node: process.version, database: ctx.platform.store.dialect.name }, 1]],
    },
  ]
  if (ctx.org === home) figures.push(...consoleFigures(await health(ctx)), ...machineFigures(ctx))
  for (const { name, help, total, values } of figures) {
    const given = values.filter((one): one is [Record<string, string>, number] => one[1] != null && Number.isFinite(one[1]))
    if (given.length === 0) continue
    const labelNames = Object.keys(given[0]?.[0] ?? {})
    const metric = total
      ? new Counter({ name, help, labelNames, registers: [registry] })
      : new Gauge({ name, help, labelNames, registers: [registry] })
    for (const [labels, value] of given) metric.inc(labels, value)
  }
  return { type: registry.contentType, text: await registry.metrics() }
}

function consoleFigures({ startedAt, database, process: own, sockets, queues, chores, troubles }: ConsoleHealth): Figure[] {
  const { measured } = own
  const { user, system } = process.cpuUsage()
  return [
    figure('process_start_time_seconds', 'When the console was started, since 1970.', seconds(startedAt)),
    {
      name: 'process_cpu_seconds_total',
      help: 'Processor time that the console has used.',
      total: true,
      values: [[{}, (user + system) / 1e6]],
    },
    figure('process_resident_memory_bytes', 'Memory that the console takes.', own.rss),
    figure('nodejs_heap_used_bytes', 'Memory that its objects take.', own.heap),
    {
      name: 'operations_center_event_loop_delay_seconds',
      help: 'How late the event loop was in the last seconds.',
      values: [
        [{ percentile: '50' }, seconds(measured?.loopP50)],
        [{ percentile: '99' }, seconds(measured?.loopP99)],
      ],
    },
    {
      name: 'operations_center_ingest_delay_seconds',
      help: 'From an event coming in to its being stored, in the last seconds.',
      values: [
        [{ percentile: '50' }, seconds(measured?.lagP50)],
        [{ percentile: '99' }, seconds(measured?.lagP99)],
      ],
    },
    figure('operations_center_database_bytes', 'What the database takes.', database.bytes),
    figure('operations_center_database_wal_bytes', 'What its write-ahead log takes.', database.wal),
    figure('operations_center_data_free_bytes', 'What is left on the disk of the data folder.', database.free),
    {
      name: 'operations_center_table_bytes',
      help: 'What each table takes, with its indexes; measured every ten minutes.',
      values: database.tables.map(({ name, bytes }) => [{ table: name }, bytes]),
    },
    figure('operations_center_live_sockets', 'Open live connections.', sockets),
    {
      name: 'operations_center_queue_length',
      help: 'What waits to be written.',
      values: queues.map(({ name, length }) => [{ queue: name.toLowerCase() }, length]),
    },
    {
      name: 'operations_center_chore_runs_total',
      help: 'How often each chore has run.',
      total: true,
      values: chores.map(({ name, runs }) => [{ chore: name }, runs]),
    },
    {
      name: 'operations_center_chore_failures_total',
      help: 'How often each chore has failed.',
      total: true,
      values: chores.map(({ name, failures }) => [{ chore: name }, failures]),
    },
    {
      name: 'operations_center_chore_duration_seconds',
      help: 'How long each chore took last.',
      values: chores.map(({ name, tookMs }) => [{ chore: name }, seconds(tookMs)]),
    },
    figure('operations_center_log_troubles', 'Warnings and errors among the last lines of the log.', troubles.length),
  ]
}

const figure = (name: string, help: string, value: number | null | undefined): Figure => ({ name, help, values: [[{}, value]] })

function machineFigures({ platform: { probes } }: Context): Figure[] {
  const sample = probes.system?.latest
  const pm2 = probes.pm2?.latest
  return [
    figure('operations_center_host_cpu_ratio', 'Processor in use, of 1.', sample?.cpu.percent == null ? null : sample.cpu.percent / 100),
    figure('operations_center_host_load1', 'Load of the last minute.', sample?.cpu.load[0]),
    figure('operations_center_host_memory_used_bytes', 'Memory in use.', sample?.memory.used),
    figure('operations_center_host_memory_total_bytes', 'Memory that there is.', sample?.memory.total),
    {
      name: 'operations_center_host_disk_used_bytes',
      help: 'Space in use on each file system.',
      values: (sample?.disks ?? []).map(({ mount, used }) => [{ mount }, used]),
    },
    {
      name: 'operations_center_host_disk_free_bytes',
      help: 'Space left on each file system.',
      values: (sample?.disks ?? []).map(({ mount, free }) => [{ mount }, free]),
    },
    {
      name: 'operations_center_process_up',
      help: '1 for each PM2 process that is online.',
      values:
        pm2?.state === 'ok'
          ? pm2.processes.map(({ name, pm_id, status }) => [{ name, pm_id: String(pm_id) }, status === 'online' ? 1 : 0])
          : [],
    },
  ]
}
