import { spawn, type ChildProcess } from 'node:child_process'
import { constants, type Stats } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { dirname, isAbsolute } from 'node:path'
import { z } from 'zod'
import { Answered, attempt, type Run } from './attempt'
import { codeOf, plain, ProbeFailure, type CommandSpec, type Outcome, type ProbeOptions } from './probe'

export interface Command {
  name: string
  description: string | null
}

export interface CommandList {
  commands: Command[]
  /** Why the file cannot be used, in words; null: it can, or there is none. */
  problem: string | null
}

const argument = z
  .string()
  .max(4_096)
  .refine((text) => !text.includes('\0'), 'holds a zero byte')

const AllowList = z.record(
  z.string().regex(/^[\w][\w .-]{0,79}$/, 'letters, digits, spaces, dots, dashes and underscores'),
  z.strictObject({
    run: z
      .array(argument)
      .min(1)
      .max(100)
      .refine(([program = '']) => isAbsolute(program), 'begins with the absolute path of a program'),
    description: z.string().max(300).optional(),
    ok: z.array(z.int().min(0).max(255)).min(1).optional(),
  }),
)

type Entry = z.infer<typeof AllowList>[string]

const largestFile = 256 * 1024
const mostOutput = 64 * 1024
const tooMuchOutput = 16 * 1024 * 1024
const lastOutput = 200
const beforeKill = 150
// Nothing of the console's own: its environment holds what it signs and seals with
const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' }

/** Runs one of the commands that `file` allows, by its name. */
export function probeCommand(spec: CommandSpec, file: string, options: ProbeOptions): Promise<Outcome> {
  return attempt(options, async (run) => {
    const list = await readList(file)
    const entry = Object.hasOwn(list, spec.name) ? list[spec.name] : undefined
    if (!entry) throw new ProbeFailure(`There is no command “${plain(spec.name, 80)}” in the list of this machine`)
    run.signal.throwIfAborted()
    run.stage = 'it did not end'
    const { code, signal, line } = await ended(run, entry)
    run.details['exit code'] = code
    if (signal !== null) throw new Answered(`ended by ${signal}${line}`)
    if (!(entry.ok ?? [0]).includes(code ?? -1)) throw new Answered(`exit code ${code}${line}`)
    return { ok: true, message: `exit code ${code}${line}` }
  })
}

/** The commands that checks may run. A list that is not there is an empty one. */
export async function listCommands(file: string): Promise<CommandList> {
  try {
    const list = Object.entries(await readList(file))
    return { commands: list.map(([name, { description = null }]) => ({ name, description })), problem: null }
  } catch (error) {
    if (!(error instanceof ProbeFailure)) throw error
    return { commands: [], problem: codeOf(error.cause) === 'ENOENT' ? null : error.message }
  }
}

async function readList(file: string): Promise<Record<string, Entry>> {
  const unusable = (why: string, cause?: unknown): ProbeFailure => new ProbeFailure(`The list of commands ${file} ${why}`, { cause })
  let text: string
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const found = await handle.stat()
      if (!found.isFile() || found.size > largestFile) throw unusable('is not a file of at most 256 kB')
      if (writableByOthers(found)) throw unusable('is not used, because others than its owner may write it (chmod 600)')
      if (!trusted(found)) throw unusable('is not used, because it belongs neither to root nor to the user of the console')
      const folder = await stat(dirname(file))
      // In a folder like /tmp others may put their file in this one's place only where they own it, and then it is not trusted
      if (writableByOthers(folder) && (folder.mode & 0o1000) === 0) throw unusable('is not used, because others may write its folder')
      text = await handle.readFile('utf8')
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (error instanceof ProbeFailure) throw error
    const code = codeOf(error)
    throw unusable(code === 'ENOENT' ? 'is not there' : code === 'ELOOP' ? 'is a link' : `cannot be read (${code})`, error)
  }
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch {
    throw unusable('is not JSON')
  }
  const parsed = AllowList.safeParse(content)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw unusable(`has a mistake at ${issue?.path.length ? issue.path.join('.') : 'its start'}: ${plain(issue?.message ?? '', 120)}`)
}

function writableByOthers({ mode }: Stats): boolean {
  return (mode & 0o022) !== 0
}

function trusted({ uid }: Stats): boolean {
  return uid === 0 || uid === process.getuid?.()
}

interface Ended {
  code: number | null
  signal: string | null
  line: string
}

function ended(run: Run, { run: [program = '', ...words] }: Entry): Promise<Ended> {
  return new Promise((resolve, reject) => {
    // In a process group of its own, so that what it starts ends with it
    const child = spawn(program, words, { cwd: '/', env: environment, stdio: ['ignore', 'pipe', 'pipe'], shell: false, detached: true })
    run.finally(() => {
      endGroup(child, 'SIGTERM')
      setTimeout(() => endGroup(child, 'SIGKILL'), beforeKill)
      child.stdout.destroy()
      child.stderr.destroy()
    })
    const output = collect(child, () => {
      endGroup(child, 'SIGKILL')
      reject(new Answered('it wrote more than 16 MB, and was ended'))
    })
    child.once('error', (error) => reject(startFailure(error, program)))
    child.once('exit', (code, signal) => {
      const done = (): void => {
        run.details['output'] = plain(output(), 2_000) || null
        const line = plain(output().trim().split('\n', 1)[0] ?? '', 160)
        resolve({ code, signal, line: line ? `: ${line}` : '' })
      }
      // What it left running may hold its output open for ever
      const patience = setTimeout(done, lastOutput)
      child.once('close', () => {
        clearTimeout(patience)
        done()
      })
    })
  })
}

function collect(child: ChildProcess, tooMuch: () => void): () => string {
  const kept: Buffer[][] = [[], []]
  let bytes = 0
  for (const [index, stream] of [child.stdout, child.stderr].entries()) {
    stream?.on('error', () => undefined)
    stream?.on('data', (chunk: Buffer) => {
      if (bytes < mostOutput) kept[index]?.push(chunk.subarray(0, mostOutput - bytes))
      bytes += chunk.length
      if (bytes > tooMuchOutput) tooMuch()
    })
  }
  // What it says comes before what it complains about, unless it says nothing
  return () => kept.map((chunks) => Buffer.concat(chunks).toString('utf8')).join('\n')
}

function endGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch {
    // Nothing of it is left
  }
}

function startFailure(error: Error, program: string): ProbeFailure {
  const code = codeOf(error)
  if (code === 'ENOENT') return new ProbeFailure(`there is no program ${plain(program, 120)}`)
  if (code === 'EACCES') return new ProbeFailure(`the console may not run ${plain(program, 120)}`)
  return new ProbeFailure(`it could not be started (${plain(code || error.message, 60)})`)
}
