import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Platform } from '../../monitoring/context'
import { projectDir } from '../../monitoring/paths'
import { until } from './until'

const run = promisify(execFile)

/** PM2's own command, in a home of the test's. */
export const pm2 = async (home: string, ...words: string[]): Promise<string> => {
  const { stdout } = await run(join(projectDir, 'node_modules', '.bin', 'pm2'), words, { env: { ...process.env, PM2_HOME: home } })
  return stdout
}

/** Starts processes under a PM2 of their own, with nothing of this environment in theirs. */
export async function startApps(home: string, apps: readonly Record<string, unknown>[]): Promise<void> {
  const file = join(home, 'apps.json')
  writeFileSync(file, JSON.stringify({ apps }))
  const env = { PATH: process.env['PATH'], HOME: home, PM2_HOME: home }
  await run(process.execPath, [join(projectDir, 'node_modules/pm2/bin/pm2'), 'start', file, '--force'], { env })
}

/** Every process that carries the folder in its command or its environment: the daemon, its apps, our helper. */
export function processesOf(home: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(home) || readFileSync(`/proc/${pid}/environ`, 'utf8').includes(home)
      } catch {
        return false
      }
    })
    .map(Number)
}

/** Ends all of it, so that nothing of a test is left on the machine. */
export async function stopApps(platform: Platform, home: string): Promise<void> {
  await platform.probes.pm2?.stop()
  for (const pid of processesOf(home)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // Gone already: with the daemon its apps end.
    }
  }
  await until(() => processesOf(home).length === 0)
}
