import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openRing, readRing, ringFile, type RingEntry } from '../../monitoring/ring'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'oc-ring-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const entry = (at: number, text = `entry ${at}`): RingEntry => ({ at, severity: 'info', source: 'test', text })

test('the newest are kept, in order, across restarts, in a file that never grows and is nobody else’s', () => {
  const size = () => statSync(ringFile(folder)).size
  let ring = openRing(folder)
  ring.add(entry(0))
  const first = size()
  for (let at = 1; at < 700; at++) ring.add(entry(at))
  ring.close()
  ring = openRing(folder)
  for (let at = 700; at < 1500; at++) ring.add(entry(at))
  ring.close()
  expect(readRing(folder, 3)).toEqual([entry(1499), entry(1498), entry(1497)])
  expect(readRing(folder, 5000).map(({ at }) => at)).toEqual(Array.from({ length: 1024 }, (_, index) => 1499 - index))
  expect([size(), statSync(ringFile(folder)).mode & 0o777]).toEqual([first, 0o600])
})

test('what is long, hostile or cut off by a power loss spoils nothing beside it', () => {
  const ring = openRing(folder)
  ring.add(entry(1, 'before'))
  ring.add(entry(2, '\n{"no":99,"at":1}\n\u0000\u2028'.repeat(20)))
  ring.add(entry(3, '💥'.repeat(5000)))
  ring.add(entry(4, 'after'))
  ring.close()
  const [after, long, hostile, before] = readRing(folder, 10)
  expect([after?.text, before?.text]).toEqual(['after', 'before'])
  expect(long?.text.startsWith('💥💥')).toBe(true)
  expect(hostile?.text.startsWith('\n{"no"')).toBe(true)
  const whole = readFileSync(ringFile(folder))
  whole.fill(0x5a, 512, 560)
  writeFileSync(ringFile(folder), whole)
  expect(readRing(folder, 10).map(({ at }) => at)).toEqual([4, 3, 1])
  truncateSync(ringFile(folder), 512)
  expect(readRing(folder, 10).map(({ at }) => at)).toEqual([1])
})

test('where the file cannot be had, the console runs without it', () => {
  const ring = openRing(join(folder, 'nowhere'))
  ring.add(entry(1))
  ring.close()
  expect(readRing(join(folder, 'nowhere'), 10)).toEqual([])
})
