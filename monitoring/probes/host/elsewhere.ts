import { maskCommand } from '../mask'
import { clean } from './files'
import type { HostMount, Interface, Temperature } from './parts'
import type { HostProcess } from './processes'
import type { Sockets } from './sockets'

interface Found {
  processes: HostProcess[]
  sockets: Sockets
  mounts: HostMount[]
  interfaces: Interface[]
  temperatures: Temperature[]
}

/** The same facts on a system without /proc. */
export async function fromSystemInformation(): Promise<Found> {
  const si = await import('systeminformation')
  const [processes, connections, sizes, interfaces, temperature] = await Promise.all([
    si.processes(),
    si.networkConnections(),
    si.fsSize(),
    si.networkInterfaces(),
    si.cpuTemperature(),
  ])
  const states: Record<string, number> = {}
  const ports: Sockets['ports'] = []
  for (const { protocol, localAddress, localPort, state, pid } of connections) {
    if (protocol.startsWith('tcp')) states[state.toLowerCase()] = (states[state.toLowerCase()] ?? 0) + 1
    if (/^listen/i.test(state)) ports.push({ protocol: 'tcp', address: localAddress, port: Number(localPort), pid: pid || null })
  }
  return {
    processes: processes.list.map((one): HostProcess => ({
      ...{ pid: one.pid, parent: one.parentPid, name: clean(one.name, 60), user: clean(one.user, 40), threads: 1 },
      command: clean(maskCommand([one.command, ...one.params.split(' ')]), 600),
      ...{ state: one.state.slice(0, 1).toUpperCase(), cpu: Math.round(one.cpu * 10) / 10, memory: one.memRss * 1024 },
      started_at: Date.parse(one.started) || null,
    })),
    sockets: { ports, states, udp: connections.filter(({ protocol }) => protocol.startsWith('udp')).length, partly: false },
    mounts: sizes.map(({ fs, type, size, used, available, use, mount, rw }): HostMount => ({
      ...{ path: mount, source: fs, type, read_only: rw === false, total: size, used, free: available },
      ...{ percent: use, inodes_percent: null },
    })),
    interfaces: (Array.isArray(interfaces) ? interfaces : [interfaces]).map((one): Interface => ({
      ...{ name: one.iface, up: one.operstate === 'up', addresses: [one.ip4, one.ip6].filter(Boolean), mac: one.mac || null },
      ...{ speed: one.speed, received: 0, sent: 0, errors: 0, dropped: 0 },
    })),
    temperatures: typeof temperature.main === 'number' ? [{ name: 'CPU', celsius: temperature.main, critical: null }] : [],
  }
}
