import { cpus, release, type } from 'node:os'
import { home, type Context } from '../../monitoring/context'
import type { SystemSample } from '../../monitoring/probes/system'
import { observe, type Reading } from '../metrics'
import { saveHost } from './queries'

export type State = 'ok' | 'warn' | 'err' | 'run' | 'idle'

/** At these percentages a person is told. Shown as the dashed line in the charts. */
export const limits = {
  cpu: { warn: 85, err: 101 },
  memory: { warn: 90, err: 97 },
  disk: { warn: 90, err: 95 },
} as const

/** Takes a sample of the machine: into the series now, into the database with the next flush. */
export function takeSample(ctx: Context, sample: SystemSample): void {
  const readings: Reading[] = [
    { name: 'cpu.percent', value: sample.cpu.percent },
    { name: 'cpu.load', value: sample.cpu.load[0] },
    { name: 'memory.percent', value: sample.memory.percent },
    { name: 'memory.used', value: sample.memory.used },
    { name: 'swap.percent', value: sample.swap.percent },
    { name: 'disk.read', value: sample.diskIo?.read ?? null },
    { name: 'disk.write', value: sample.diskIo?.write ?? null },
    { name: 'console.rss', value: process.memoryUsage.rss() },
    ...sample.cpu.cores.map((value, core): Reading => ({ name: 'cpu.core', subject: String(core), value })),
    ...sample.disks.flatMap(({ mount, percent, used }): Reading[] => [
      { name: 'disk.percent', subject: mount, value: percent },
      { name: 'disk.used', subject: mount, value: used },
    ]),
    ...sample.network.flatMap(({ name, rx, tx }): Reading[] => [
      { name: 'network.rx', subject: name, value: rx },
      { name: 'network.tx', subject: name, value: tx },
    ]),
  ]
  observe(ctx, sample.host, sample.at, readings)
}

export async function rememberHost(ctx: Context): Promise<void> {
  const [first] = cpus()
  await saveHost(ctx, ctx.platform.config.hostName, { system: `${type()} ${release()}`, cores: cpus().length, cpu: first?.model ?? null })
}

export const fullest = (sample: SystemSample) =>
  sample.disks.reduce<SystemSample['disks'][number] | undefined>(
    (most, disk) => (most && most.percent >= disk.percent ? most : disk),
    undefined,
  )

/** The machine belongs to one organisation; the others have none. */
export const sampleOf = (ctx: Context): SystemSample | undefined => (ctx.org === home ? ctx.platform.probes.system?.latest : undefined)

export const silentAfter = 10_000
