import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  ftruncateSync,
  closeSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hidden } from '../monitoring/probes/mask'
import { plainLine, readLogFile } from '../services/processes/log'

// What happens to a log while somebody follows it: rotated, emptied, deleted, replaced, huge, or growing faster than it is read.
let folder: string
let path: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'oc-log-'))
  path = join(folder, 'web-out.log')
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

const read = (after?: string) => readLogFile(path, { after, most: 200 })
const numbered = (from: number, to: number): string => Array.from({ length: to - from }, (_, index) => `line ${from + index}\n`).join('')

test('the first look shows the last 200 lines, whatever stands before them', async () => {
  writeFileSync(path, numbered(0, 5000))
  const { lines, next, state, size } = await read()
  expect([lines.length, lines[0], lines.at(-1), state, size]).toEqual([200, 'line 4800', 'line 4999', 'ok', numbered(0, 5000).length])
  expect(await read(next)).toMatchObject({ lines: [], next, turn: null, left_out: 0 })
})

test('following loses no line and doubles none, however they are cut while they are written', async () => {
  writeFileSync(path, '')
  let { next } = await read()
  const seen: string[] = []
  const text = numbered(0, 300)
  for (let at = 0; at < text.length; at += 37) {
    appendFileSync(path, text.slice(at, at + 37))
    const part = await read(next)
    seen.push(...part.lines)
    next = part.next
  }
  expect(seen).toEqual(text.trimEnd().split('\n'))
})

test('a private key is hidden over its lines, also where the parts are cut inside of it', async () => {
  const body = ['MIIEvQIBADANBgkq', 'tail/of+it==']
  writeFileSync(path, 'before\n-----BEGIN RSA PRIVATE KEY-----\n')
  const first = await read()
  appendFileSync(path, `${body[0]}\n`)
  const second = await read(first.next)
  appendFileSync(path, `${body[1]}\n-----END RSA PRIVATE KEY-----\nafter\n`)
  const third = await read(second.next)
  expect([first, second, third].map(({ lines }) => lines)).toEqual([['before', hidden], [hidden], [hidden, hidden, 'after']])
  expect((await read()).lines).toEqual(['before', hidden, hidden, hidden, hidden, 'after'])
})

test('what has no end yet is shown as unfinished, and once as a line', async () => {
  writeFileSync(path, 'one\nthe password? ')
  const first = await read()
  expect([first.lines, first.unfinished]).toEqual([['one'], 'the password? '])
  appendFileSync(path, 'given\n')
  expect(await read(first.next)).toMatchObject({ lines: ['the password? given'], unfinished: null })
})

test('a rotation by renaming loses no line: the end of the old file, then the new one', async () => {
  writeFileSync(path, 'old 1\n')
  let part = await read()
  appendFileSync(path, 'old 2\n')
  renameSync(path, `${path}.1`)
  // The program has not opened the new one yet.
  appendFileSync(`${path}.1`, 'old 3\n')
  part = await read(part.next)
  expect(part).toMatchObject({ lines: ['old 2', 'old 3'], turn: null, state: 'ok' })
  appendFileSync(`${path}.1`, 'old 4\n')
  writeFileSync(path, 'new 1\n')
  part = await read(part.next)
  expect(part).toMatchObject({ lines: ['old 4', 'new 1'], turn: 'rotated' })
  appendFileSync(path, 'new 2\n')
  expect(await read(part.next)).toMatchObject({ lines: ['new 2'], turn: null })
})

test('a file that was copied and emptied is read from its beginning, and says so; also when it has grown longer than it was', async () => {
  writeFileSync(path, numbered(0, 100))
  const first = await read()
  copyFileSync(path, `${path}.1`)
  truncateSync(path, 0)
  appendFileSync(path, 'anew\n')
  expect(await read(first.next)).toMatchObject({ lines: ['anew'], turn: 'truncated' })
  truncateSync(path, 0)
  appendFileSync(path, numbered(1000, 1200))
  const { lines, turn } = await read(first.next)
  expect([lines.length, lines[0], turn]).toEqual([200, 'line 1000', 'truncated'])
})

test('a deleted file is waited for; a link that leads elsewhere is another file', async () => {
  const one = join(folder, 'one')
  const two = join(folder, 'two')
  writeFileSync(one, 'of one\n')
  writeFileSync(two, 'of two\n')
  symlinkSync(one, path)
  const first = await read()
  expect(first.lines).toEqual(['of one'])
  unlinkSync(path)
  const gone = await read(first.next)
  expect(gone).toMatchObject({ state: 'missing', hint: 'Nothing has been written yet.', lines: [] })
  symlinkSync(two, path)
  expect(await read(gone.next)).toMatchObject({ lines: ['of two'], turn: 'replaced' })
})

test('a log that is not there yet is followed from its first line', async () => {
  const before = await read()
  expect(before.state).toBe('missing')
  writeFileSync(path, 'first\n')
  expect(await read(before.next)).toMatchObject({ lines: ['first'], turn: null })
})

test('five gigabytes, and fifty megabytes at once, cost what 256 kB cost', async () => {
  const file = openSync(path, 'w')
  ftruncateSync(file, 5 * 1024 ** 3)
  closeSync(file)
  appendFileSync(path, `\n${numbered(0, 300)}`)
  const memory = process.memoryUsage.rss()
  const began = performance.now()
  const first = await read()
  expect([first.lines.length, first.lines.at(-1)]).toEqual([200, 'line 299'])
  appendFileSync(path, `${'x'.repeat(99)}\n`.repeat(500_000))
  const part = await read(first.next)
  expect(part.left_out).toBeGreaterThan(49_000_000)
  expect(part.lines.length).toBeLessThan(2700)
  expect(performance.now() - began).toBeLessThan(2000)
  expect(process.memoryUsage.rss() - memory).toBeLessThan(150 * 1024 ** 2)
}, 20_000)

test('no descriptor stays open', async () => {
  writeFileSync(path, 'one\n')
  const open = () => readdirSync('/proc/self/fd').length
  const before = open()
  let { next } = await read()
  for (let round = 0; round < 50; round++) ({ next } = await read(next))
  renameSync(path, `${path}.1`)
  await read(next)
  expect(open()).toBeLessThanOrEqual(before + 2)
})

test('pipes, devices and folders are not opened, and what may not be read says so', async () => {
  execFileSync('mkfifo', [path])
  expect(await read()).toMatchObject({ state: 'none', lines: [] })
  expect(await readLogFile('/dev/zero', { most: 200 })).toMatchObject({ state: 'none' })
  expect(await readLogFile(folder, { most: 200 })).toMatchObject({ state: 'none' })
})

test('another file of the folder cannot be named', async () => {
  writeFileSync(path, 'mine\n')
  const other = join(folder, 'secrets.txt')
  writeFileSync(other, 'not yours\n')
  const { next } = await readLogFile(other, { most: 200 })
  appendFileSync(other, 'more\n')
  const part = await read(next)
  expect([part.lines, part.turn]).toEqual([['mine'], 'replaced'])
  await expect(read('nonsense')).rejects.toThrow()
})

test('a line acts on nothing, hides nothing, gives nothing away and ends somewhere', () => {
  const plain = (text: string): string => plainLine(Buffer.from(text))
  expect(plain('\u001b[1;31mred\u001b[0m and \u001b]0;title\u0007plain')).toBe('red and plain')
  expect(plain('10%\r50%\r100% done\r')).toBe('100% done')
  expect(plain('a\u0000b\u0008c\u202Ed\u200Be')).toBe('a\\u{0}b\\u{8}c\\u{202e}d\\u{200b}e')
  expect(plain('tab\tstays, नमस्ते stays, 👍 stays')).toBe('tab\tstays, नमस्ते stays, 👍 stays')
  expect(plain('login with password=hunter2 at postgres://ops:hunter2@db/ops')).toBe(
    'login with password=••••• at postgres://ops:•••••@db/ops',
  )
  expect(plainLine(Buffer.from([0x61, 0xff, 0x62]))).toBe('a\uFFFDb')
  expect(plain('y'.repeat(10_000))).toBe(`${'y'.repeat(4000)}… (10000 bytes)`)
})
