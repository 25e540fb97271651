import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../helpers/until'
import { makeGround, signIn, startConsole, type Console, type Ground } from './console'

// Neither a power cut nor a disk that forgets can be had here; what the kernel is asked for, and when, can be read.
const mayTrace = process.platform === 'linux' && spawnSync('strace', ['-f', '-e', 'trace=none', 'true']).status === 0

;(mayTrace ? describe : describe.skip)('an acknowledged event survives a power cut (needs strace, and the right to use it)', () => {
  let ground: Ground
  let current: Console | undefined
  beforeEach(async () => {
    ground = await makeGround()
  })
  afterEach(async () => {
    current?.child.kill('SIGKILL')
    await current?.ended
    ground.clear()
  })

  test('every event is answered after the write-ahead log was written through, and not before', async () => {
    current = await startConsole(ground)
    const headers = { ...(await signIn(ground.url)), 'Content-Type': 'application/json' }
    const log = join(ground.folder, 'strace')
    const options = ['-f', '-y', '-s', '60', '-e', 'trace=fsync,fdatasync,write,writev,sendto,sendmsg,read', '-o', log]
    const strace = spawn('strace', [...options, '-p', String(current.child.pid)], { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    strace.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
    await until(() => said.includes('attached'))
    for (let index = 0; index < 20; index++) {
      const body = JSON.stringify({ events: [{ id: `durable-${index}`, type: 'test', source: 'strace' }] })
      expect((await fetch(`${ground.url}/api/events`, { method: 'POST', headers, body })).status).toBe(201)
    }
    strace.kill('SIGINT')
    await new Promise((resolve) => strace.once('exit', resolve))
    let synced = false
    const answers: boolean[] = []
    for (const line of readFileSync(log, 'utf8').split('\n')) {
      if (/read\(.*"POST \/api\/events/.test(line)) synced = false
      else if (/(?:fsync|fdatasync)\(\d+<[^>]*-wal>/.test(line)) synced = true
      else if (/write\w*\(.*HTTP\/1\.1 201/.test(line)) answers.push(synced)
    }
    expect(answers).toEqual(Array.from({ length: 20 }, () => true))
  }, 60_000)
})
