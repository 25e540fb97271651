import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemProbe, type SystemProbe, type SystemProbeOptions, type SystemSample } from '../../../monitoring/probes/system'

const kib = 1024

let folder: string
let probe: SystemProbe | undefined
let samples: SystemSample[]
let errors: unknown[]

function write(file: string, text: string): void {
  mkdirSync(join(folder, 'net'), { recursive: true })
  writeFileSync(join(folder, file), text)
}

function stat(...cores: [busy: number, idle: number][]): void {
  const line = (name: string, busy: number, idle: number): string => `${name} ${busy} 0 0 ${idle} 0 0 0 0 0 0`
  const sum = (index: 0 | 1): number => cores.reduce((total, core) => total + core[index], 0)
  write(
    'stat',
    [line('cpu ', sum(0), sum(1)), ...cores.map(([busy, idle], index) => line(`cpu${index}`, busy, idle)), 'intr 1 2 3', ''].join('\n'),
  )
}

function net(interfaces: Record<string, [rx: number, tx: number]>): void {
  const lines = Object.entries(interfaces).map(([name, [rx, tx]]) => `${name.padStart(6)}: ${rx} 1 0 0 0 0 0 0 ${tx} 1 0 0 0 0 0 0`)
  write('net/dev', ['Inter-| Receive | Transmit', ' face |bytes packets|bytes packets', ...lines, ''].join('\n'))
}

function diskstats(disks: Record<string, [read: number, written: number]>): void {
  write(
    'diskstats',
    Object.entries(disks)
      .map(([name, [read, written]]) => `   8  0 ${name} 1 0 ${read} 1 1 0 ${written} 1 0 1 1\n`)
      .join(''),
  )
}

function start(options: Partial<SystemProbeOptions> = {}): void {
  probe = systemProbe({
    every: 40,
    dataDir: folder,
    host: 'vm-1',
    now: Date.now,
    proc: folder,
    onSample: (sample) => samples.push(sample),
    onError: (error) => errors.push(error),
    ...options,
  })
  probe.start()
}

function fail(error: unknown): never {
  throw error
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 4_000
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`this did not happen; the last sample: ${JSON.stringify(samples.at(-1))}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Waits for a sample that was measured after this call and of which `wanted` is true. */
async function sample(wanted: (sample: SystemSample) => boolean = () => true): Promise<SystemSample> {
  const from = samples.length
  let found: SystemSample | undefined
  await until(() => (found = samples.slice(from).find(wanted)) !== undefined)
  return found as unknown as SystemSample
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'probe-'))
  samples = []
  errors = []
  stat([100, 900], [200, 800])
  write('meminfo', 'MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\nSwapCached: 7 kB\nSwapTotal: 200 kB\nSwapFree: 150 kB\n')
  net({ lo: [5, 5], eth0: [1_000, 2_000], veth12: [9, 9] })
  diskstats({ sda: [0, 0], sda1: [0, 0], nvme0n1: [0, 0], nvme0n1p1: [0, 0], loop0: [0, 0], 'dm-0': [0, 0] })
  write('mounts', '/dev/sda1 / ext4 rw 0 0\n')
})

afterEach(() => {
  probe?.stop()
  rmSync(folder, { recursive: true })
})

test('CPU is the busy share since the last beat, in all and for each core', async () => {
  start()
  await sample()
  stat([150, 950], [200, 900])
  const { cpu } = await sample(({ cpu: { percent } }) => percent !== null)
  expect(cpu).toMatchObject({ percent: 25, cores: [50, 0] })
  expect(cpu.load).toHaveLength(3)
})

test('CPU counters that stand still or run backwards give null or a share within 0 and 100', async () => {
  start()
  expect((await sample()).cpu.percent).toBeNull()
  stat([50, 950], [10, 990])
  await sample()
  stat([90, 900], [10, 1090])
  await sample()
  for (const { cpu } of samples) {
    for (const share of [cpu.percent, ...cpu.cores]) expect(share === null || (share >= 0 && share <= 100)).toBe(true)
  }
})

test('a core that is switched off leaves a gap', async () => {
  start()
  await sample()
  write('stat', 'cpu 400 0 0 2000 0 0 0 0 0 0\ncpu1 300 0 0 900 0 0 0 0 0 0\n')
  const { cpu } = await sample(({ cpu: { percent } }) => percent !== null)
  expect(cpu.cores).toEqual([null, 50])
})

test('memory counts what is available, and swap what is not free', async () => {
  start()
  const { memory, swap, host } = await sample()
  expect(memory).toEqual({ total: 1000 * kib, used: 600 * kib, available: 400 * kib, percent: 60 })
  expect(swap).toEqual({ total: 200 * kib, used: 50 * kib, percent: 25 })
  expect(host).toBe('vm-1')
})

test('a kernel without MemAvailable and without swap', async () => {
  write('meminfo', 'MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 250 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n')
  start()
  const { memory, swap } = await sample()
  expect(memory.available).toBe(400 * kib)
  expect(swap.percent).toBeNull()
})

test('traffic is bytes per second; loopback and container ends are left out', async () => {
  start()
  const before = await sample()
  expect(before.network).toEqual([{ name: 'eth0', rx: 0, tx: 0 }])
  net({ lo: [5_000_000, 5_000_000], eth0: [101_000, 202_000], veth12: [99_999, 99_999] })
  const { network } = await sample(({ network: [eth0] }) => (eth0?.rx ?? 0) > 0)
  // The beat is 40 ms, or a little more when the machine is busy
  expect(network[0]?.rx).toBeGreaterThan(50_000)
  expect(network[0]?.rx).toBeLessThan(4_000_000)
  expect((network[0]?.tx ?? 0) / (network[0]?.rx ?? 1)).toBeCloseTo(2, 1)
})

test('an interface that was reset, is new or has gone is never negative', async () => {
  start()
  await sample()
  net({ eth0: [10, 20], wg0: [7_000_000, 7_000_000] })
  await sample(({ network }) => network.length === 2)
  net({ wg0: [7_000_000, 7_000_000] })
  await sample(({ network }) => network.length === 1)
  expect(samples.flatMap(({ network }) => network).filter(({ rx, tx }) => rx !== 0 || tx !== 0)).toEqual([])
})

test('disk traffic counts every physical disk once', async () => {
  start()
  await sample()
  diskstats({ sda: [1000, 0], sda1: [1000, 0], nvme0n1: [0, 3000], nvme0n1p1: [0, 3000], loop0: [9999, 9999], 'dm-0': [1000, 3000] })
  const { diskIo } = await sample((found) => (found.diskIo?.read ?? 0) > 0)
  expect((diskIo?.write ?? 0) / (diskIo?.read ?? 1)).toBeCloseTo(3, 1)
  expect(diskIo?.read).toBeLessThan((1000 * 512) / 0.03)
  diskstats({ sda: [0, 0], nvme0n1: [0, 0] })
  await sample()
  await sample(({ diskIo: rates }) => rates?.read === 0 && rates.write === 0)
})

test('file systems: the root and that of the data always, real devices once, nothing else', async () => {
  mkdirSync(join(folder, 'with space'))
  writeFileSync(join(folder, 'hosts'), '')
  const mounts = [
    'overlay / overlay rw 0 0',
    'proc /proc proc rw 0 0',
    'tmpfs /dev/shm tmpfs rw 0 0',
    `/dev/sdb1 ${join(folder, 'hosts')} ext4 rw 0 0`,
    `/dev/sdb1 ${join(folder, 'with\\040space')} ext4 rw 0 0`,
    `/dev/sdb1 ${join(folder, 'net')} ext4 rw 0 0`,
    '/dev/loop3 /usr squashfs ro 0 0',
    '/dev/sr0 /etc iso9660 ro 0 0',
    `/dev/sdc1 ${folder} xfs rw 0 0`,
    '/dev/sdd1 /not-there-any-more ext4 rw 0 0',
  ]
  write('mounts', `${mounts.join('\n')}\n`)
  start()
  const { disks } = await sample()
  expect(disks.map(({ mount }) => mount)).toEqual(['/', folder, join(folder, 'net')])
  for (const { total, used, free, percent } of disks) {
    expect(total).toBeGreaterThan(0)
    expect(used + free).toBeLessThanOrEqual(total)
    expect(percent).toBeGreaterThanOrEqual(0)
    expect(percent).toBeLessThanOrEqual(100)
  }
  expect(errors).toEqual([])
})

test('a container without any device still shows the root', async () => {
  write('mounts', 'overlay / overlay rw 0 0\ntmpfs /dev tmpfs rw 0 0\n')
  start()
  expect((await sample()).disks.map(({ mount }) => mount)).toEqual(['/'])
})

test('sources that break become null, are reported once each, and come back', async () => {
  start()
  await sample()
  for (const file of ['stat', 'meminfo', 'diskstats']) write(file, 'gibberish\n')
  await sample()
  const broken = await sample()
  expect(broken.cpu).toMatchObject({ percent: null, cores: [] })
  expect(broken.diskIo).toBeNull()
  expect(broken.memory.total).toBeGreaterThan(0)
  expect(errors.map((error) => (error as Error).message)).toEqual([
    'The system probe cannot read stat',
    'The system probe cannot read meminfo',
  ])
  stat([100, 900])
  await sample()
  stat([200, 900])
  expect((await sample(({ cpu }) => cpu.percent !== null)).cpu.percent).toBe(100)
})

test('a listener that throws does not stop the beat', async () => {
  let beats = 0
  start({
    onSample: () => {
      beats++
      throw new Error('listener')
    },
  })
  await until(() => beats >= 3)
  expect((errors[0] as Error).message).toBe('listener')
})

test('nothing is measured after stop, and start begins again', async () => {
  start()
  await sample()
  probe?.stop()
  const count = samples.length
  probe?.start()
  probe?.stop()
  // A second probe is the clock: while it beats, the first would have as well
  const beats: SystemSample[] = []
  const clock = systemProbe({
    every: 40,
    dataDir: folder,
    host: 'clock',
    now: Date.now,
    proc: folder,
    onSample: (beat) => beats.push(beat),
    onError: fail,
  })
  clock.start()
  await until(() => beats.length >= 3)
  clock.stop()
  expect(samples).toHaveLength(count)
  probe?.start()
  await sample()
})

test('this machine is measured for real', async () => {
  start({ proc: '/proc', dataDir: tmpdir() })
  const found = await sample(({ cpu }) => cpu.percent !== null)
  expect(found.cpu.cores.length).toBeGreaterThan(0)
  expect(found.memory.used + found.memory.available).toBe(found.memory.total)
  expect(found.disks[0]?.mount).toBe('/')
  expect(found.uptime).toBeGreaterThan(0)
  expect(errors).toEqual([])
  expect(probe?.latest).toEqual(samples.at(-1))
})

test('a system without /proc is measured through Node and systeminformation', async () => {
  start({ proc: join(folder, 'nowhere'), dataDir: folder })
  const found = await sample(({ cpu }) => cpu.percent !== null)
  expect(found.memory.total).toBeGreaterThan(0)
  expect(found.disks.map(({ mount }) => mount)).toContain('/')
  expect(Array.isArray(found.network)).toBe(true)
  expect(errors).toEqual([])
})
