import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { sqliteFile } from '../../monitoring/db/open'
import { until } from '../helpers/until'

export const root = resolve(__dirname, '../..')
export const script = join(root, 'dist/monitoring/dashboard/server.js')
export const account = { username: 'alice', password: 'correct horse battery' }

/** How often the long ones go round: a few times in the suite, as often as asked in `npm run faults`. */
export const cycles = (usual: number): number => Number(process.env['FAULT_CYCLES'] ?? usual)

/** The same sequence in each run of the suite; another one with FAULT_SEED. */
export function randomness(seed = Number(process.env['FAULT_SEED'] ?? 1)): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
}

/** Figures of a full run go to the person who asked for it; the suite stays silent. */
export const tell = (text: string): void => {
  if (process.env['FAULT_CYCLES'] !== undefined) process.stdout.write(`     ${text}\n`)
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => {
        resolve(port)
      })
    })
  })
}

export interface Ground {
  readonly folder: string
  readonly dataDir: string
  readonly port: number
  readonly url: string
  readonly env: Readonly<Record<string, string>>
  clear(): void
}

/** A data folder, a port, and the environment of a console on them. */
export async function makeGround(): Promise<Ground> {
  if (!existsSync(script)) throw new Error('The console is not built: run “npm run build” first')
  const folder = mkdtempSync(join(tmpdir(), 'oc-faults-'))
  const port = await freePort()
  const dataDir = join(folder, 'data')
  return {
    folder,
    dataDir,
    port,
    url: `http://127.0.0.1:${port}`,
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: folder,
      PM2_HOME: join(folder, 'pm2'),
      NODE_ENV: 'production',
      HOST: '127.0.0.1',
      PORT: String(port),
      DATA_DIR: dataDir,
      ADMIN_USERNAME: account.username,
      ADMIN_PASSWORD: account.password,
      INGEST_RATE_LIMIT: '9999999',
      API_RATE_LIMIT: '9999999',
      LOG_LEVEL: 'warn',
    },
    clear: () => {
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export interface Console {
  readonly child: ChildProcess
  /** From the start of the process to its first answer. */
  readonly readyMs: number
  output(): string
  readonly ended: Promise<{ code: number | null; signal: string | null }>
}

export function launch(ground: Ground, env: Readonly<Record<string, string>> = {}): Omit<Console, 'readyMs'> {
  const child = spawn(process.execPath, [script], { cwd: root, env: { ...ground.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    child.once('exit', (code, signal) => {
      resolve({ code, signal })
    }),
  )
  return { child, output: () => output, ended }
}

/** Starts a console and waits until it is ready. */
export async function startConsole(ground: Ground): Promise<Console> {
  const from = performance.now()
  const started = launch(ground)
  try {
    await until(async () => {
      if (started.child.exitCode !== null || started.child.signalCode !== null)
        throw new Error(`The console did not start:\n${started.output()}`)
      return await isReady(ground.url)
    }, 60_000)
  } catch (error) {
    // Nobody else knows of it.
    started.child.kill('SIGKILL')
    await started.ended
    throw error
  }
  return { ...started, readyMs: performance.now() - from }
}

export const isReady = (url: string): Promise<boolean> =>
  fetch(`${url}/healthz`, { headers: { connection: 'close' } }).then(
    (answer) => answer.ok,
    () => false,
  )

/** Signs in and answers the headers of this person's requests. */
export async function signIn(url: string): Promise<Record<string, string>> {
  const answer = await fetch(`${url}/sign-in`, { method: 'POST', body: new URLSearchParams(account), redirect: 'manual' })
  const cookie = answer.headers
    .getSetCookie()
    .map((one) => one.split(';')[0])
    .join('; ')
  if (answer.status !== 303 || !cookie) throw new Error(`Signing in answered ${answer.status}`)
  return { Cookie: cookie, Origin: url }
}

/** What became of the events that were sent: which are lost, and whether the file is whole. */
export function audit(
  dataDir: string,
  acknowledged: ReadonlySet<string>,
): { stored: number; lost: string[]; twice: number; integrity: unknown } {
  const db = new Database(sqliteFile(dataDir), { readonly: true, timeout: 5000 })
  try {
    const ids = db.prepare(`select id from events where type = 'load'`).pluck().all() as string[]
    const stored = new Set(ids)
    return {
      stored: ids.length,
      lost: [...acknowledged].filter((id) => !stored.has(id)),
      twice: ids.length - stored.size,
      integrity: db.pragma('integrity_check', { simple: true }),
    }
  } finally {
    db.close()
  }
}
