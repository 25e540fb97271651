import type { Pm2Process, Pm2State } from '../../monitoring/probes/pm2'
import type { SystemSample } from '../../monitoring/probes/system'
import * as health from '../../services/health'
import * as processes from '../../services/processes'
import type { TestApp } from './app'

const gigabyte = 1024 ** 3

export const disk = (percent: number, mount = '/'): SystemSample['disks'][number] => ({
  mount,
  total: 100 * gigabyte,
  used: percent * gigabyte,
  free: (100 - percent) * gigabyte,
  percent,
})

export const memory = (percent: number): SystemSample['memory'] => ({
  total: 10 * gigabyte,
  used: (percent / 10) * gigabyte,
  available: (10 - percent / 10) * gigabyte,
  percent,
})

/** A machine at rest. */
export const sampleOf = (app: TestApp, changes: Partial<SystemSample> = {}): SystemSample => ({
  at: app.ctx.now(),
  host: app.platform.config.hostName,
  cpu: { percent: 12, cores: [4, 20], load: [0.4, 0.3, 0.2] },
  memory: memory(40),
  swap: { total: 0, used: 0, percent: null },
  disks: [disk(50)],
  network: [{ name: 'eth0', rx: 2048, tx: 1024 }],
  diskIo: { read: 0, write: 4096 },
  uptime: 86_400,
  ...changes,
})

/** The machine is measured like this now. */
export function measured(app: TestApp, changes: Partial<SystemSample> = {}): void {
  const latest = sampleOf(app, changes)
  app.platform.probes.system = { start: () => undefined, stop: () => undefined, latest }
  health.takeSample(app.ctx, latest)
}

export const running = (pm_id: number, name: string, changes: Partial<Pm2Process> = {}): Pm2Process => ({
  pm_id,
  name,
  pid: 4000 + pm_id,
  status: 'online',
  cpu: 3,
  memory: 50 * 1024 ** 2,
  restarts: 0,
  started_at: 1_760_000_000_000,
  mode: 'fork',
  script: '/srv/app.js',
  out_log: null,
  err_log: null,
  port: null,
  ...changes,
})

/** PM2 says this now. Nothing can be done to its processes: for that, there is a real one. */
export async function pm2Says(app: TestApp, state: Pm2State): Promise<void> {
  app.platform.probes.pm2 = {
    start: () => undefined,
    stop: () => Promise.resolve(),
    latest: state,
    act: () => Promise.reject(new Error('This PM2 only talks')),
    refresh: () => Promise.resolve(state),
    environment: () => Promise.resolve({ variables: [{ name: 'CITY', value: 'Pune', masked: false }], left_out: 0 }),
  }
  await processes.takeState(app.ctx, state)
}

export const pm2Keeps = (app: TestApp, ...list: Pm2Process[]): Promise<void> =>
  pm2Says(app, { state: 'ok', at: app.ctx.now(), processes: list })
