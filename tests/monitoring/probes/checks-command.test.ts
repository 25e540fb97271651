import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listCommands, probeCommand } from '../../../monitoring/probes/checks/command'
import type { Outcome } from '../../../monitoring/probes/checks/probe'
import { until } from '../../helpers/until'
import { expectTimeout, options } from './probing'

const folder = mkdtempSync(join(tmpdir(), 'operations-center-commands-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let count = 0

function list(content: unknown, mode = 0o600): string {
  const file = join(folder, `commands-${++count}.json`)
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  chmodSync(file, mode)
  return file
}

const shell = (script: string, more: object = {}): string => list({ it: { run: ['/bin/sh', '-c', script], ...more } })
const ask = (file: string, name = 'it', timeout = 10_000): Promise<Outcome> => probeCommand({ name }, file, options({ timeout }))

/** Processes of this machine whose command line holds `mark`. */
const running = (mark: string): number => {
  try {
    return execFileSync('pgrep', ['-fc', mark], { encoding: 'utf8' }).trim() === '0' ? 0 : 1
  } catch {
    return 0
  }
}

describe('A command', () => {
  test('is up when it ends with 0, and its first line is shown', async () => {
    expect(await ask(shell('echo all is well; echo more'))).toMatchObject({
      ok: true,
      message: 'Exit code 0: all is well',
      details: { 'exit code': 0, output: 'all is well more' },
    })
  })

  test('is down when it ends otherwise, unless the list says that this is good', async () => {
    expect((await ask(shell('echo no space >&2; exit 2'))).message).toBe('Exit code 2: no space')
    expect((await ask(shell('exit 2', { ok: [0, 2] }))).ok).toBe(true)
    expect((await ask(shell('exit 0', { ok: [1] }))).ok).toBe(false)
    expect((await ask(shell('kill -9 $$'))).message).toBe('Ended by SIGKILL')
  })

  test('gets its words as they stand in the list, without a shell', async () => {
    const file = list({ it: { run: ['/usr/bin/printf', '%s|', '$HOME', '; touch x', '`id`', '--', '*', 'ä\n', ''] } })
    expect((await ask(file)).details?.['output']).toBe('$HOME|; touch x|`id`|--|*|ä ||')
  })

  test('gets nothing of the environment of the console, and no input', async () => {
    process.env['CANARY'] = 'S3CR3T'
    const outcome = await ask(list({ it: { run: ['/usr/bin/env'] } }))
    delete process.env['CANARY']
    expect(outcome.details?.['output']).toBe('PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8')
    expect((await ask(shell('cat; pwd'))).message).toBe('Exit code 0: /')
  })

  test('that does not end is ended when the time is over, with all that it started', async () => {
    const mark = `31415.${process.pid}`
    const file = shell(`trap '' TERM HUP INT; sleep ${mark} & (sleep ${mark} &) ; sleep ${mark}; sleep ${mark}`)
    await expectTimeout((given) => probeCommand({ name: 'it' }, file, given), /^It did not end within 400 ms$/)
    await until(() => running(`sleep ${mark}`) === 0)
  })

  test('that ends and leaves something behind is not waited for, and what it left is ended', async () => {
    const mark = `27182.${process.pid}`
    const began = performance.now()
    expect(await ask(shell(`sleep ${mark} & echo started`))).toMatchObject({ ok: true, message: 'Exit code 0: started' })
    expect(performance.now() - began).toBeLessThan(3_000)
    await until(() => running(`sleep ${mark}`) === 0)
  })

  test('that floods is ended, and little of it is kept', async () => {
    const before = process.memoryUsage().rss
    expect((await ask(shell('yes | head -c 1000000000'))).message).toBe('It wrote more than 16 MB, and was ended')
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024)
    const some = await ask(shell('head -c 1000000 /dev/zero | tr "\\0" x'))
    expect(some.ok).toBe(true)
    expect(some.message.length).toBeLessThan(200)
  })

  test('that writes what disturbs a terminal is shown without it', async () => {
    const outcome = await ask(shell('printf "\\033[2J\\377a\\000b\\r\\n"'))
    expect(outcome.message).toMatch(/^[\P{C}]+$/u)
  })

  test('that is not there, or may not be run, says so', async () => {
    expect((await ask(list({ it: { run: ['/nowhere/program'] } }))).message).toBe('There is no program /nowhere/program')
    const file = join(folder, 'not-executable')
    writeFileSync(file, '#!/bin/sh\n', { mode: 0o600 })
    expect((await ask(list({ it: { run: [file] } }))).message).toMatch(/may not run/)
  })

  test.each(['other', '', '__proto__', 'constructor', '../it', 'it; id'])(
    'named %j is not run, because the list does not have it',
    async (name) => {
      expect((await ask(shell('echo ran'), name)).message).toMatch(/There is no command/)
    },
  )
})

describe('The list of commands', () => {
  test('is read for its names and descriptions', async () => {
    const file = list({ backup: { run: ['/bin/true'], description: 'Is the backup fresh?' }, other: { run: ['/bin/true'] } })
    expect(await listCommands(file)).toEqual({
      commands: [
        { name: 'backup', description: 'Is the backup fresh?' },
        { name: 'other', description: null },
      ],
      problem: null,
    })
  })

  test('that is not there is an empty one', async () => {
    const file = join(folder, 'missing.json')
    expect(await listCommands(file)).toEqual({ commands: [], problem: null })
    expect((await ask(file)).message).toMatch(/is not there$/)
  })

  test.each([0o666, 0o622, 0o660, 0o620, 0o602, 0o777])('that others may write (%o) is not used', async (mode) => {
    const file = list({ it: { run: ['/bin/echo', 'ran'] } }, mode)
    expect((await listCommands(file)).problem).toMatch(/others than its owner may write it/)
    expect((await ask(file)).ok).toBe(false)
  })

  test('in a folder that others may write is not used', async () => {
    const open = join(folder, 'open')
    mkdirSync(open)
    chmodSync(open, 0o777)
    const file = join(open, 'commands.json')
    writeFileSync(file, JSON.stringify({ it: { run: ['/bin/true'] } }), { mode: 0o600 })
    expect((await listCommands(file)).problem).toMatch(/others may write its folder/)
  })

  test('that is a link, a folder, a pipe or too large is not used', async () => {
    const link = join(folder, 'link.json')
    symlinkSync(list({ it: { run: ['/bin/true'] } }), link)
    expect((await listCommands(link)).problem).toMatch(/is a link/)
    expect((await listCommands(folder)).problem).toMatch(/is not a file/)
    const pipe = join(folder, 'pipe')
    execFileSync('mkfifo', ['-m', '600', pipe])
    expect((await listCommands(pipe)).problem).toMatch(/is not a file/)
    expect((await listCommands(list(' '.repeat(300_000)))).problem).toMatch(/at most 256 kB/)
  })

  test.each([
    ['no JSON', 'it: [/bin/true]'],
    ['a list', '[]'],
    ['a line for a shell', { it: { run: '/bin/true' } }],
    ['a program without its path', { it: { run: ['true'] } }],
    ['a path that is not absolute', { it: { run: ['./true'] } }],
    ['nothing to run', { it: { run: [] } }],
    ['a zero byte', { it: { run: ['/bin/true', 'a\0b'] } }],
    ['a field that nobody knows', { it: { run: ['/bin/true'], env: { A: 'b' } } }],
    ['a name with a slash', { '../it': { run: ['/bin/true'] } }],
  ])('with %s is not used', async (_what, content) => {
    const { commands, problem } = await listCommands(list(content))
    expect(commands).toEqual([])
    expect(problem).toMatch(/is not JSON|has a mistake at/)
  })
})
