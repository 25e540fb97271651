import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs'
import { realpath, stat, statfs } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'

export interface SystemSample {
  at: number
  host: string
  /** `percent` and `cores` are 0 to 100; null where there is nothing to compare with. */
  cpu: { percent: number | null; cores: (number | null)[]; load: [number, number, number] }
  memory: { total: number; used: number; available: number; percent: number }
  swap: { total: number; used: number; percent: number | null }
  /** `free` is what is left for ordinary users, and `percent` is counted as df does it. */
  disks: Disk[]
  /** Bytes per second. */
  network: { name: string; rx: number; tx: number }[]
  /** Bytes per second over all physical disks. */
  diskIo: { read: number; write: number } | null
  /** Seconds since the machine was started. */
  uptime: number
}

export interface SystemProbe {
  start(): void
  stop(): void
  readonly latest: SystemSample | undefined
}

export interface SystemProbeOptions {
  every?: number
  dataDir: string
  host: string
  now: () => number
  proc?: string
  onSample: (sample: SystemSample) => void
  onError: (error: unknown) => void
}

interface Disk {
  mount: string
  total: number
  used: number
  free: number
  percent: number
}

interface Mount {
  source: string
  path: string
  type: string
}

interface CpuTimes {
  idle: number
  total: number
}

type Pair = [number, number]

/** What one tick counted, kept to be subtracted from what the next one counts. */
interface Counters {
  at: number
  cpu: Map<string, CpuTimes>
  network: Map<string, Pair>
  disks: Map<string, Pair> | null
}

const disksEvery = 5_000
const slowFactsEvery = 30_000
const sector = 512 // /proc/diskstats counts in these, whatever the disk's own sector size is

// What dm and md devices read and write is counted on the disks below them
const notPhysicalDisk = /^(loop|ram|zram|dm-|md|sr|fd)\d/
const notRealDevice = /^\/dev\/(loop|ram|zram|sr|fd)\d/
// The host's ends of container and bridge traffic: it passes the physical interface as well
const notRealInterface = /^(lo$|veth|docker|br-|virbr|ifb|dummy|cni|flannel|cali)/
const readOnlyImage = /^(squashfs|iso9660|udf|erofs|cramfs)$/

/** Measures this machine once every `every` milliseconds: from /proc where there is one, else from Node and systeminformation. */
export function systemProbe(options: SystemProbeOptions): SystemProbe {
  const { every = 1_000, dataDir, host, now, proc = '/proc', onSample, onError } = options
  const linux = existsSync(join(proc, 'stat'))
  const files = procReader(proc)
  const broken = new Set<string>()

  let latest: SystemSample | undefined
  let before: Counters | undefined
  let timer: NodeJS.Timeout | undefined
  let started = false
  let run = 0
  let disks: Disk[] = []
  let disksAt = -Infinity
  let mountsBefore = ''
  let chosen: string[] = []
  let scanning = false
  let slow: SlowFacts = { swap: { total: 0, used: 0, percent: null }, network: [], diskIo: null }
  let slowAt = -Infinity
  let asking = false

  /** Runs one reading; a source that fails is reported once, and again only after it has worked in between. */
  function attempt<T>(what: string, reading: () => T): T | null {
    try {
      const value = reading()
      broken.delete(what)
      return value
    } catch (error) {
      failed(what, error)
      return null
    }
  }

  function failed(what: string, error: unknown): void {
    if (broken.has(what)) return
    broken.add(what)
    onError(new Error(`The system probe cannot read ${what}`, { cause: error }))
  }

  async function scanDisks(): Promise<void> {
    // A file system that hangs (a dead network mount under DATA_DIR) must hold one thread of the pool, not one more every time
    if (scanning) return
    scanning = true
    disksAt = performance.now()
    try {
      const mounts = linux ? (attempt('mounts', () => files.read('mounts')) ?? '') : ''
      if (!chosen.length || mounts !== mountsBefore) chosen = await chooseMounts(parseMounts(mounts), dataDir)
      mountsBefore = mounts
      const found: Disk[] = []
      for (const mount of chosen) {
        const disk = await measureDisk(mount).catch((error: unknown) => {
          failed(mount, error)
          return null
        })
        if (!disk) continue
        broken.delete(mount)
        found.push(disk)
      }
      disks = found
    } finally {
      scanning = false
    }
  }

  async function askSlowFacts(): Promise<void> {
    if (asking) return
    asking = true
    slowAt = performance.now()
    try {
      slow = await slowFacts()
      broken.delete('systeminformation')
    } catch (error) {
      failed('systeminformation', error)
    } finally {
      asking = false
    }
  }

  function count(): Counters {
    return {
      at: performance.now(),
      cpu: attempt('stat', () => (linux ? parseCpu(files.read('stat')) : cpuFromNode())) ?? new Map<string, CpuTimes>(),
      network: linux ? (attempt('net/dev', () => parseNetwork(files.read('net/dev'))) ?? new Map<string, Pair>()) : new Map<string, Pair>(),
      disks: linux ? attempt('diskstats', () => parseDisks(files.read('diskstats'))) : null,
    }
  }

  function measure(): SystemSample {
    const after = count()
    const facts = linux ? attempt('meminfo', () => parseMemory(files.read('meminfo'))) : null
    const sample: SystemSample = {
      at: now(),
      host,
      cpu: { ...cpuUsage(before?.cpu, after.cpu), load: os.loadavg() as [number, number, number] },
      memory: facts?.memory ?? memoryFromNode(),
      swap: facts?.swap ?? slow.swap,
      disks,
      network: linux ? networkRates(before, after) : slow.network,
      diskIo: linux ? diskRates(before, after) : slow.diskIo,
      uptime: Math.floor(os.uptime()),
    }
    before = after
    return sample
  }

  function tick(): void {
    try {
      if (performance.now() - disksAt >= disksEvery) void scanDisks().catch(onError)
      if (!linux && performance.now() - slowAt >= slowFactsEvery) void askSlowFacts()
      latest = measure()
      onSample(latest)
    } catch (error) {
      onError(error)
    }
  }

  /** Ticks on a fixed beat; beats that were missed (a busy or suspended machine) are left out, not made up for. */
  function schedule(due: number): void {
    const beat = (): void => {
      tick()
      if (!started) return
      const missed = Math.max(0, Math.floor((performance.now() - due) / every))
      schedule(due + every * (1 + missed))
    }
    timer = setTimeout(beat, Math.max(0, due - performance.now())).unref()
  }

  return {
    get latest() {
      return latest
    },
    start() {
      if (started) return
      started = true
      const mine = ++run
      before = count()
      // The first sample comes soon, but not at once: the CPU needs two readings, and the disks have to answer
      const soon = performance.now() + Math.min(every, 250)
      void Promise.race([Promise.all([scanDisks(), linux ? undefined : askSlowFacts()]), patience(2_000)])
        .catch(onError)
        .then(() => {
          if (mine === run) schedule(soon)
        })
    },
    stop() {
      started = false
      run++
      clearTimeout(timer)
      files.close()
    },
  }
}

function patience(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

interface ProcReader {
  read(file: string): string
  close(): void
}

/** Reads files of /proc through descriptors that stay open: every read from the start is a fresh reading, at a fraction of the cost of opening. */
function procReader(proc: string): ProcReader {
  const buffer = Buffer.allocUnsafe(64 * 1024)
  const descriptors = new Map<string, number>()

  function forget(file: string): void {
    const descriptor = descriptors.get(file)
    if (descriptor !== undefined) closeSync(descriptor)
    descriptors.delete(file)
  }

  return {
    read(file) {
      try {
        const descriptor = descriptors.get(file) ?? openSync(join(proc, file), 'r')
        descriptors.set(file, descriptor)
        let end = 0
        for (let size = -1; size !== 0 && end < buffer.length; end += size)
          size = readSync(descriptor, buffer, end, buffer.length - end, end)
        return end < buffer.length ? buffer.toString('utf8', 0, end) : readFileSync(join(proc, file), 'utf8')
      } catch (error) {
        forget(file)
        throw error
      }
    },
    close() {
      for (const file of [...descriptors.keys()]) forget(file)
    },
  }
}

/** The first `limit` words of a line: the lines of /proc are long, and their first fields are enough. */
function words(line: string, limit: number): string[] {
  return line.trim().split(/\s+/, limit)
}

function parseCpu(text: string): Map<string, CpuTimes> {
  const times = new Map<string, CpuTimes>()
  for (let start = 0; text.startsWith('cpu', start);) {
    const newline = text.indexOf('\n', start)
    const end = newline < 0 ? text.length : newline
    const [name = '', ...fields] = words(text.slice(start, end), 9)
    // user nice system idle iowait irq softirq steal; guest time, which follows, is part of user time already
    const [user, nice, system, idle, iowait = 0, irq = 0, softirq = 0, steal = 0] = fields.map(Number)
    const busy = Number(user) + Number(nice) + Number(system) + irq + softirq + steal
    const total = busy + Number(idle) + iowait
    if (Number.isFinite(total)) times.set(name, { idle: Number(idle) + iowait, total })
    start = end + 1
  }
  if (!times.has('cpu')) throw new Error('no cpu line')
  return times
}

function cpuFromNode(): Map<string, CpuTimes> {
  const times = new Map<string, CpuTimes>([['cpu', { idle: 0, total: 0 }]])
  const all = { idle: 0, total: 0 }
  os.cpus().forEach(({ times: { user, nice, sys, idle, irq } }, index) => {
    const total = user + nice + sys + idle + irq
    all.idle += idle
    all.total += total
    times.set(`cpu${index}`, { idle, total })
  })
  return times.set('cpu', all)
}

function cpuUsage(
  before: Map<string, CpuTimes> | undefined,
  after: Map<string, CpuTimes>,
): { percent: number | null; cores: (number | null)[] } {
  const usage = (name: string): number | null => {
    const old = before?.get(name)
    const current = after.get(name)
    if (!old || !current) return null
    const total = current.total - old.total
    // The kernel documents that iowait may go backwards, so the idle share can leave the range
    return total > 0 ? percentage(total - (current.idle - old.idle), total) : null
  }
  const cores: (number | null)[] = []
  // A core that is switched off has no line: its place stays empty
  for (const name of after.keys()) if (/^cpu\d+$/.test(name)) cores[Number(name.slice(3))] = usage(name)
  return { percent: usage('cpu'), cores: Array.from(cores, (core) => core ?? null) }
}

function percentage(part: number, whole: number): number {
  if (!(whole > 0)) return 0
  return Math.round(Math.min(100, Math.max(0, (part / whole) * 100)) * 10) / 10
}

function parseMemory(text: string): Pick<SystemSample, 'memory' | 'swap'> {
  const lines = `\n${text}`
  const bytes = (name: string): number | null => {
    const at = lines.indexOf(`\n${name}:`)
    const kilobytes = at < 0 ? NaN : parseInt(lines.slice(at + name.length + 2, at + 80), 10)
    return Number.isFinite(kilobytes) ? kilobytes * 1024 : null
  }
  const total = bytes('MemTotal')
  if (!total) throw new Error('no MemTotal line')
  // Kernels before 3.14, and some containers' imitations of this file, have no MemAvailable
  const estimate = (): number => (bytes('MemFree') ?? 0) + (bytes('Buffers') ?? 0) + (bytes('Cached') ?? 0)
  const available = Math.min(total, bytes('MemAvailable') ?? estimate())
  const swapTotal = bytes('SwapTotal') ?? 0
  const swapUsed = Math.max(0, swapTotal - (bytes('SwapFree') ?? swapTotal))
  return {
    memory: memoryOf(total, available),
    swap: { total: swapTotal, used: swapUsed, percent: swapTotal > 0 ? percentage(swapUsed, swapTotal) : null },
  }
}

function memoryOf(total: number, available: number): SystemSample['memory'] {
  return { total, used: total - available, available, percent: percentage(total - available, total) }
}

function memoryFromNode(): SystemSample['memory'] {
  return memoryOf(os.totalmem(), os.freemem())
}

function parseNetwork(text: string): Map<string, Pair> {
  const counters = new Map<string, Pair>()
  for (const line of text.split('\n')) {
    const colon = line.lastIndexOf(':')
    const name = line.slice(0, Math.max(0, colon)).trim()
    if (!name || notRealInterface.test(name)) continue
    const fields = words(line.slice(colon + 1), 9)
    const pair: Pair = [Number(fields[0]), Number(fields[8])]
    if (pair.every(Number.isFinite)) counters.set(name, pair)
  }
  return counters
}

function parseDisks(text: string): Map<string, Pair> {
  const counters = new Map<string, Pair>()
  for (const line of text.split('\n')) {
    const fields = words(line, 10)
    const name = fields[2]
    if (!name || notPhysicalDisk.test(name)) continue
    const pair: Pair = [Number(fields[5]) * sector, Number(fields[9]) * sector]
    if (pair.every(Number.isFinite)) counters.set(name, pair)
  }
  // A partition's traffic is counted on its disk too; some clouds show partitions without a disk, and those stay
  for (const name of [...counters.keys()]) {
    const disk = name.replace(/\d+$/, '')
    if (disk !== name && (counters.has(disk) || (disk.endsWith('p') && counters.has(disk.slice(0, -1))))) counters.delete(name)
  }
  return counters
}

/** A counter that went backwards was reset or wrapped: nobody knows by how much, so that second counts as nothing. */
function rate(before: number, after: number, seconds: number): number {
  return after >= before && seconds > 0 ? Math.round((after - before) / seconds) : 0
}

function networkRates(before: Counters | undefined, after: Counters): SystemSample['network'] {
  const seconds = before ? (after.at - before.at) / 1000 : 0
  return Array.from(after.network, ([name, [rx, tx]]) => {
    const [oldRx, oldTx] = before?.network.get(name) ?? [rx, tx]
    return { name, rx: rate(oldRx, rx, seconds), tx: rate(oldTx, tx, seconds) }
  })
}

function diskRates(before: Counters | undefined, after: Counters): SystemSample['diskIo'] {
  if (!before?.disks || !after.disks || after.disks.size === 0) return null
  const seconds = (after.at - before.at) / 1000
  const sum = { read: 0, write: 0 }
  for (const [name, [read, write]] of after.disks) {
    const [oldRead, oldWrite] = before.disks.get(name) ?? [read, write]
    sum.read += rate(oldRead, read, seconds)
    sum.write += rate(oldWrite, write, seconds)
  }
  return sum
}

function parseMounts(text: string): Mount[] {
  // proc(5): blanks and backslashes in a path are written as octal numbers
  const plain = (word: string): string => word.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))
  return text
    .split('\n')
    .map((line) => line.split(' '))
    .flatMap(([source, path, type]) => (source && path && type ? [{ source: plain(source), path: plain(path), type }] : []))
}

/** The mount points worth showing: the root and the one under `dataDir` always, then every other real file system once. */
async function chooseMounts(mounts: Mount[], dataDir: string): Promise<string[]> {
  const data = await realpath(dataDir).catch(() => dataDir)
  const contains = (path: string): boolean => path === '/' || data === path || data.startsWith(`${path}/`)
  // The last of several mounts on one path is the one that is seen
  const visible = [...new Map(mounts.map((mount) => [mount.path, mount])).values()]
  const longestFirst = visible.filter(({ path }) => contains(path)).sort((a, b) => b.path.length - a.path.length)
  const root = visible.find(({ path }) => path === '/') ?? { source: '/', path: '/', type: '' }
  const ofData = longestFirst[0] ?? { source: data, path: data, type: '' }
  const others = visible.filter(isRealFileSystem).sort((a, b) => a.path.length - b.path.length)

  const seen = new Set<string>()
  const chosen: string[] = []
  for (const mount of [root, ofData, ...others]) {
    const device = await deviceOf(mount)
    if (seen.has(device) || chosen.includes(mount.path)) continue
    // Containers have single files (/etc/hosts) mounted from the host's disk
    if (mount !== root && mount !== ofData && !(await isDirectory(mount.path))) continue
    seen.add(device)
    chosen.push(mount.path)
  }
  return chosen
}

function isRealFileSystem({ source, type }: Mount): boolean {
  if (type === 'zfs') return true
  return source.startsWith('/dev/') && !notRealDevice.test(source) && !readOnlyImage.test(type)
}

/** What two mounts share when they are one and the same space. The subvolumes of btrfs have device numbers of their own, but one source. */
async function deviceOf({ source, type, path }: Mount): Promise<string> {
  if (type === 'zfs') return `zfs:${source.split('/')[0] ?? source}`
  if (source.startsWith('/dev/')) return source
  return stat(path).then(
    ({ dev }) => String(dev),
    () => path,
  )
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
}

async function measureDisk(mount: string): Promise<Disk> {
  const { blocks, bfree, bavail, bsize } = await statfs(mount)
  const used = (blocks - bfree) * bsize
  const free = bavail * bsize
  return { mount, total: blocks * bsize, used, free, percent: percentage(used, used + free) }
}

type SlowFacts = Pick<SystemSample, 'swap' | 'network' | 'diskIo'>

/** What neither /proc nor Node tells on other systems; these calls start programs, so they are made rarely. */
async function slowFacts(): Promise<SlowFacts> {
  const si = await import('systeminformation')
  const [memory, interfaces, io] = await Promise.all([si.mem(), si.networkStats('*'), si.fsStats().catch(() => null)])
  const whole = (value: number | null | undefined): number => Math.max(0, Math.round(value ?? 0))
  return {
    swap: {
      total: memory.swaptotal,
      used: memory.swapused,
      percent: memory.swaptotal > 0 ? percentage(memory.swapused, memory.swaptotal) : null,
    },
    network: interfaces
      .filter(({ iface }) => !notRealInterface.test(iface))
      .map(({ iface, rx_sec, tx_sec }) => ({ name: iface, rx: whole(rx_sec), tx: whole(tx_sec) })),
    diskIo: io ? { read: whole(io.rx_sec), write: whole(io.wx_sec) } : null,
  }
}
