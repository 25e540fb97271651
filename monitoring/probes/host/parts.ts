import { readdirSync } from 'node:fs'
import { readFile, statfs } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { clean, small } from './files'

export interface HostMount {
  path: string
  source: string
  type: string
  read_only: boolean
  /** Bytes; null: it does not answer, or has no size. */
  total: number | null
  used: number | null
  free: number | null
  percent: number | null
  inodes_percent: number | null
}

export interface Interface {
  name: string
  up: boolean
  addresses: string[]
  mac: string | null
  /** Megabits per second. */
  speed: number | null
  /** Bytes since the machine was started. */
  received: number
  sent: number
  errors: number
  dropped: number
}

export interface Temperature {
  name: string
  celsius: number
  /** From here on the machine protects itself. */
  critical: number | null
}

/** Kernel tables and images that are never full, or always. */
const notStorage =
  /^(?:proc|sysfs|devtmpfs|devpts|securityfs|cgroup2?|pstore|bpf|tracefs|debugfs|configfs|fusectl|mqueue|hugetlbfs|autofs|rpc_pipefs|binfmt_misc|nsfs|efivarfs|selinuxfs|squashfs|ramfs|fuse\.(?:gvfsd|portal|lxcfs).*)$/
const mostMounts = 100
const patienceMs = 1500

const asking = new Map<string, Promise<Sizes | null>>()

interface Sizes {
  total: number
  used: number
  free: number
  percent: number
  inodes_percent: number | null
}

const rounded = (part: number, whole: number): number => Math.round((part / whole) * 1000) / 10

async function sizesOf(path: string): Promise<Sizes | null> {
  const { blocks, bfree, bavail, bsize, files, ffree } = await statfs(path)
  const used = (blocks - bfree) * bsize
  const free = bavail * bsize
  if (blocks === 0) return null
  return {
    ...{ total: blocks * bsize, used, free, percent: used + free > 0 ? rounded(used, used + free) : 0 },
    inodes_percent: files > 0 ? rounded(files - ffree, files) : null,
  }
}

/** A dead network mount never answers: it is asked once, and not again until it has. */
function patiently(path: string): Promise<Sizes | null> {
  let asked = asking.get(path)
  if (!asked) {
    asked = sizesOf(path)
      .catch(() => null)
      .finally(() => asking.delete(path))
    asking.set(path, asked)
  }
  return Promise.race([asked, new Promise<null>((resolve) => setTimeout(resolve, patienceMs, null).unref())])
}

const plain = (word: string): string => word.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))

export async function readMounts(proc: string): Promise<HostMount[]> {
  const text = await readFile(join(proc, 'mounts'), 'utf8').catch(() => '')
  const found = new Map<string, { source: string; path: string; type: string; options: string }>()
  for (const line of text.split('\n')) {
    const [source, path, type, options = ''] = line.split(' ')
    // What is mounted over a path hides what was there before. Files are mounted into containers one by one: they are no storage of their own.
    if (source && path && type && !notStorage.test(type) && !/^\/(?:etc\/|proc\/|sys\/|dev\/(?!shm))/.test(path))
      found.set(path, { source: plain(source), path: plain(path), type, options })
  }
  const mounts = [...found.values()].slice(0, mostMounts)
  return await Promise.all(
    mounts.map(async ({ source, path, type, options }): Promise<HostMount> => {
      const sizes = await patiently(path)
      return {
        ...{ path: clean(path, 300), source: clean(source.replace(/(\/\/[^:@/]*):[^@/]*@/, '$1:•••••@'), 300), type: clean(type, 40) },
        read_only: options.split(',').includes('ro'),
        ...(sizes ?? { total: null, used: null, free: null, percent: null, inodes_percent: null }),
      }
    }),
  )
}

export function readInterfaces(proc: string): Interface[] {
  const known = os.networkInterfaces()
  const lines = (small(join(proc, 'net/dev')) ?? '').split('\n').slice(2)
  return lines.flatMap((line): Interface[] => {
    const colon = line.lastIndexOf(':')
    const name = line.slice(0, Math.max(0, colon)).trim()
    if (name === '') return []
    const fields = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number)
    const entries = known[name] ?? []
    const about = (file: string): string | null => small(`/sys/class/net/${name}/${file}`)?.trim() ?? null
    const speed = Number(about('speed') ?? NaN)
    const [first] = entries
    return [
      {
        name: clean(name, 40),
        up: entries.length > 0 || about('operstate') === 'up',
        addresses: entries.map(({ cidr, address }) => cidr ?? address),
        mac: first && first.mac !== '00:00:00:00:00:00' ? first.mac : null,
        speed: speed > 0 ? speed : null,
        ...{ received: fields[0] ?? 0, sent: fields[8] ?? 0 },
        ...{ errors: (fields[2] ?? 0) + (fields[10] ?? 0), dropped: (fields[3] ?? 0) + (fields[11] ?? 0) },
      },
    ]
  })
}

const entriesOf = (folder: string): string[] => {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** Virtual machines have none. */
export function readTemperatures(sys = '/sys'): Temperature[] {
  const degrees = (path: string): number | null => {
    const value = parseInt(small(path) ?? '', 10) / 1000
    return value > -50 && value < 200 ? Math.round(value * 10) / 10 : null
  }
  const sensors = entriesOf(`${sys}/class/hwmon`).flatMap((chip) => {
    const folder = `${sys}/class/hwmon/${chip}`
    const called = small(`${folder}/name`)?.trim() ?? chip
    return entriesOf(folder)
      .filter((file) => /^temp\d+_input$/.test(file))
      .map((file) => {
        const which = file.replace('_input', '')
        const label = small(`${folder}/${which}_label`)?.trim()
        return {
          name: label ? `${called} · ${label}` : called,
          celsius: degrees(`${folder}/${file}`),
          critical: degrees(`${folder}/${which}_crit`),
        }
      })
  })
  const zones = entriesOf(`${sys}/class/thermal`)
    .filter((name) => name.startsWith('thermal_zone'))
    .map((name) => ({
      name: small(`${sys}/class/thermal/${name}/type`)?.trim() ?? name,
      celsius: degrees(`${sys}/class/thermal/${name}/temp`),
      critical: null,
    }))
  const found = sensors.some(({ celsius }) => celsius !== null) ? sensors : zones
  return found
    .flatMap(({ name, celsius, critical }) => (celsius === null ? [] : [{ name: clean(name, 60), celsius, critical }]))
    .slice(0, 40)
}
