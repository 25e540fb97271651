import { existsSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fromSystemInformation } from './host/elsewhere'
import { readInterfaces, readMounts, readTemperatures, type HostMount, type Interface, type Temperature } from './host/parts'
import { processReader, type HostProcess } from './host/processes'
import { readSockets, type OpenPort, type Sockets } from './host/sockets'

export type { HostMount, HostProcess, Interface, OpenPort, Sockets, Temperature }

/** All that runs on the machine, at one moment. */
export interface HostState {
  at: number
  processes: HostProcess[]
  sockets: Sockets
  mounts: HostMount[]
  interfaces: Interface[]
  temperatures: Temperature[]
  kernel: string
  /** Seconds since the machine was started. */
  uptime: number
  cores: number
  load: [number, number, number]
}

export interface HostProbe {
  /** Measured when it is asked for; whoever asks within two seconds gets the same. */
  read(): Promise<HostState>
}

const freshMs = 2000
/** A share of the processor is the difference of two looks: older ones are too far away. */
const lookBackMs = 30_000
const firstLookMs = 300
const socketsMs = 8000

/** Looks at the machine only when somebody asks: nothing of this runs in the background. */
export function hostProbe({ now, proc = '/proc' }: { now: () => number; proc?: string }): HostProbe {
  const linux = existsSync(join(proc, 'stat'))
  const processes = processReader(proc)
  let lastLook = -Infinity
  let last: { at: number; state: Promise<HostState> } | undefined
  let sockets: { at: number; found: Sockets } | undefined

  async function look(): Promise<HostState> {
    if (performance.now() - lastLook > lookBackMs) {
      await processes.read(now())
      await new Promise((resolve) => setTimeout(resolve, firstLookMs))
    }
    const found = await processes.read(now())
    lastLook = performance.now()
    if (!sockets || performance.now() - sockets.at > socketsMs) {
      const read = await readSockets(
        proc,
        found.map(({ pid }) => pid),
      )
      sockets = { at: performance.now(), found: read }
    }
    return {
      ...facts(now()),
      processes: found,
      sockets: sockets.found,
      mounts: await readMounts(proc),
      interfaces: readInterfaces(proc),
      temperatures: readTemperatures(),
    }
  }

  return {
    read() {
      const at = performance.now()
      if (last && at - last.at < freshMs) return last.state
      const state = linux ? look() : elsewhere(now())
      const mine = { at, state }
      last = mine
      // From when it is there; and a failure is not for those who come later.
      state.then(
        () => (mine.at = performance.now()),
        () => {
          if (last === mine) last = undefined
        },
      )
      return state
    },
  }
}

const facts = (at: number) => ({
  at,
  kernel: `${os.type()} ${os.release()} · ${os.arch()}`,
  uptime: Math.floor(os.uptime()),
  cores: os.cpus().length,
  load: os.loadavg() as [number, number, number],
})

/** Where there is no /proc, systeminformation starts programs to find out. */
async function elsewhere(at: number): Promise<HostState> {
  return { ...facts(at), ...(await fromSystemInformation()) }
}
