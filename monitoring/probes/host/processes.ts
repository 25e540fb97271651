import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { maskCommand } from '../mask'
import { clean, othersFirst, small } from './files'

export interface HostProcess {
  pid: number
  parent: number
  /** The program's name, as the kernel keeps it. */
  name: string
  /** The command line, without secrets; of the kernel's own threads the name in brackets. */
  command: string
  user: string
  /** R running, S sleeping, D waiting for the disk, T stopped, Z ended but not collected, I idle. */
  state: string
  threads: number
  /** Percent of one core since the look before; null at the first. */
  cpu: number | null
  /** Bytes in memory. */
  memory: number
  started_at: number | null
}

interface Known {
  started: number
  command: string
  user: string
}

const piece = 40
const longest = 600
/** The kernel counts in these on every system that Node runs on. */
const ticksPerSecond = 100
const pageSizes = [4096, 16_384, 65_536] as const
/** A machine with more has other troubles, and the page would not be read. */
const mostProcesses = 5000

export interface ProcessReader {
  read(now: number): Promise<HostProcess[]>
}

/** Reads /proc in small pieces, so that no request waits; command lines and owners are read once for each process. */
export function processReader(proc: string): ProcessReader {
  const known = new Map<number, Known>()
  let ticks = new Map<number, { started: number; used: number }>()
  let lookedAt = 0
  let users = new Map<number, string>()
  let usersAt = -Infinity

  let pageSize: number | undefined

  /** The kernel counts memory in pages, whose size it does not say here: this very process knows both. */
  function ownPageSize(): number {
    const pages = parseStat(small('/proc/self/stat') ?? '')?.pages ?? 0
    const size = pages > 0 ? process.memoryUsage.rss() / pages : 4096
    return pageSizes.reduce((best, one) => (Math.abs(one - size) < Math.abs(best - size) ? one : best), 4096)
  }

  function userOf(uid: number): string {
    return users.get(uid) ?? String(uid)
  }

  function describe(pid: number, name: string, started: number): Known {
    const before = known.get(pid)
    if (before?.started === started) return before
    const line = small(join(proc, String(pid), 'cmdline')) ?? ''
    const words = line.split('\0')
    if (words.at(-1) === '') words.pop()
    const command = words.length > 0 && line !== '' ? maskCommand(words) : `[${name}]`
    let uid = -1
    try {
      uid = statSync(join(proc, String(pid))).uid
    } catch {
      // Gone between two looks.
    }
    const found = { started, command: clean(command, longest), user: uid < 0 ? '?' : userOf(uid) }
    known.set(pid, found)
    return found
  }

  return {
    async read(now) {
      const at = performance.now()
      pageSize ??= ownPageSize()
      if (at - usersAt > 300_000) {
        users = readUsers()
        usersAt = at
      }
      const bootedAt = Number(/^btime (\d+)$/m.exec(readFileSync(join(proc, 'stat'), 'utf8'))?.[1] ?? NaN) * 1000
      const pids = readdirSync(proc)
        .filter((name) => /^\d+$/.test(name))
        .slice(0, mostProcesses)
        .map(Number)
      const seconds = (at - lookedAt) / 1000
      const next: typeof ticks = new Map()
      const found: HostProcess[] = []
      for (const [index, pid] of pids.entries()) {
        if (index % piece === piece - 1) await othersFirst()
        const line = small(join(proc, String(pid), 'stat'))
        const one = line === null ? null : parseStat(line)
        if (!one) continue
        const { command, user } = describe(pid, one.name, one.started)
        const before = ticks.get(pid)
        const used = before?.started === one.started && lookedAt > 0 ? one.used - before.used : null
        next.set(pid, { started: one.started, used: one.used })
        const startedAt = bootedAt + (one.started / ticksPerSecond) * 1000
        found.push({
          ...{ pid, parent: one.parent, name: clean(one.name, 60), command, user, state: one.state, threads: one.threads },
          cpu: used === null ? null : Math.round((Math.max(0, used) / ticksPerSecond / Math.max(0.05, seconds)) * 1000) / 10,
          memory: one.pages * pageSize,
          started_at: Number.isFinite(startedAt) ? Math.min(now, Math.round(startedAt)) : null,
        })
      }
      ticks = next
      lookedAt = at
      for (const pid of [...known.keys()]) if (!next.has(pid)) known.delete(pid)
      return found
    },
  }
}

/** proc(5): the name stands in brackets and may hold anything, brackets too. */
export function parseStat(
  line: string,
): { name: string; state: string; parent: number; used: number; threads: number; started: number; pages: number } | null {
  const open = line.indexOf('(')
  const close = line.lastIndexOf(')')
  if (open < 0 || close < open) return null
  const fields = line.slice(close + 2).split(' ')
  const number = (index: number): number => Number(fields[index] ?? NaN)
  const found = {
    name: line.slice(open + 1, close),
    state: fields[0] ?? '?',
    parent: number(1),
    used: number(11) + number(12),
    threads: number(17),
    started: number(19),
    pages: number(21),
  }
  return [found.parent, found.used, found.threads, found.started, found.pages].every(Number.isFinite) ? found : null
}

function readUsers(): Map<number, string> {
  try {
    return new Map(
      readFileSync('/etc/passwd', 'utf8')
        .split('\n')
        .map((line) => line.split(':'))
        .flatMap(([name, , uid]): [number, string][] => (name && uid ? [[Number(uid), clean(name, 40)]] : [])),
    )
  } catch {
    return new Map()
  }
}
