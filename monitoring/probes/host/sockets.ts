import { readdirSync, readlinkSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { othersFirst } from './files'

export interface OpenPort {
  protocol: 'tcp' | 'udp'
  /** "0.0.0.0" and "::" are all of the machine's addresses. */
  address: string
  port: number
  /** null: of another user, whose processes this console may not look into. */
  pid: number | null
}

export interface SocketCounts {
  /** By state: established, time-wait, listen, … */
  states: Record<string, number>
  udp: number
}

export interface Sockets extends SocketCounts {
  ports: OpenPort[]
  /** Whether some belong to processes that may not be looked into. */
  partly: boolean
}

const names: readonly string[] = [
  ...['', 'established', 'syn-sent', 'syn-received', 'fin-wait-1', 'fin-wait-2'],
  ...['time-wait', 'closed', 'close-wait', 'last-ack', 'listen', 'closing'],
]
const listening = 0x0a
/** Of a table with hundreds of thousands of connections, the first part is enough to count with. */
const mostBytes = 16 * 1024 * 1024
const mostPorts = 1000

interface Row {
  address: string
  port: number
  remotePort: number
  state: number
  inode: string
}

/** The open ports with their processes, and how many connections are in which state. */
export async function readSockets(proc: string, pids: readonly number[]): Promise<Sockets> {
  const states: Record<string, number> = {}
  const ports: (OpenPort & { inode: string })[] = []
  let udp = 0
  const seen = new Set<string>()
  const add = (protocol: OpenPort['protocol'], { address, port, inode }: Row): void => {
    const key = `${protocol} ${address} ${port}`
    if (seen.has(key) || ports.length >= mostPorts) return
    seen.add(key)
    ports.push({ protocol, address, port, pid: null, inode })
  }
  for (const file of ['tcp', 'tcp6'])
    await eachRow(join(proc, 'net', file), (row) => {
      const name = names[row.state] ?? 'other'
      states[name] = (states[name] ?? 0) + 1
      if (row.state === listening) add('tcp', row)
    })
  for (const file of ['udp', 'udp6'])
    await eachRow(join(proc, 'net', file), (row) => {
      udp++
      if (row.remotePort === 0) add('udp', row)
    })
  const owners = await ownersOf(proc, pids, new Set(ports.map(({ inode }) => inode)))
  const named = ports.map(({ inode, ...port }): OpenPort => ({ ...port, pid: owners.get(inode) ?? null }))
  named.sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1))
  return { ports: named, states, udp, partly: named.some(({ pid }) => pid === null) }
}

async function eachRow(path: string, take: (row: Row) => void): Promise<void> {
  const file = await open(path, 'r').catch(() => null)
  if (!file) return
  try {
    const buffer = Buffer.allocUnsafe(64 * 1024)
    let rest = ''
    for (let total = 0; total < mostBytes;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null)
      if (bytesRead === 0) break
      total += bytesRead
      const lines = (rest + buffer.toString('latin1', 0, bytesRead)).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const row = parseRow(line)
        if (row) take(row)
      }
    }
  } finally {
    await file.close()
  }
}

/** proc_net_tcp(5): addresses are hexadecimal, in the byte order of the machine. */
export function parseRow(line: string): Row | null {
  const [, local, remote, state, , , , , , inode] = line.trim().split(/\s+/, 10)
  const [address, port] = (local ?? '').split(':')
  if (address === undefined || port === undefined || state === undefined || inode === undefined) return null
  const row = {
    address: address.length === 8 ? ipv4(address) : ipv6(address),
    port: parseInt(port, 16),
    remotePort: parseInt(remote?.split(':')[1] ?? '', 16),
    state: parseInt(state, 16),
    inode,
  }
  return Number.isFinite(row.port) && Number.isFinite(row.state) ? row : null
}

const bytesOf = (word: string): number[] => [6, 4, 2, 0].map((at) => parseInt(word.slice(at, at + 2), 16))

const ipv4 = (hex: string): string => bytesOf(hex).join('.')

function ipv6(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap(bytesOf)
  if (bytes.length !== 16) return '?'
  if (bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255) return bytes.slice(12).join('.')
  const groups = Array.from({ length: 8 }, (_, index) => (((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)).toString(16))
  const zeros = [...groups.join(':').matchAll(/(?:^|(?<=:))(?:0(?::|$)){2,}/g)].sort((a, b) => b[0].length - a[0].length)[0]
  if (!zeros) return groups.join(':')
  const text = groups.join(':')
  const before = text.slice(0, zeros.index).replace(/:$/, '')
  const after = text.slice(zeros.index + zeros[0].length)
  return `${before}::${after}`
}

/** Which process holds which socket: the descriptors of those processes that may be looked into. */
async function ownersOf(proc: string, pids: readonly number[], wanted: ReadonlySet<string>): Promise<Map<string, number>> {
  const owners = new Map<string, number>()
  let looked = 0
  for (const pid of pids) {
    if (owners.size === wanted.size) break
    const folder = join(proc, String(pid), 'fd')
    for (const descriptor of list(folder)) {
      if (++looked % 100 === 0) await othersFirst()
      const inode = /^socket:\[(\d+)\]$/.exec(link(join(folder, descriptor)))?.[1]
      if (inode !== undefined && wanted.has(inode) && !owners.has(inode)) owners.set(inode, pid)
    }
  }
  return owners
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
