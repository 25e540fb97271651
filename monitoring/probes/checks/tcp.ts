import type { Socket } from 'node:net'
import { Answered, attempt, type Run } from './attempt'
import { dial } from './dial'
import { plain, type Probe, type TcpSpec } from './probe'
import { bytesOf } from './text'

const mostBytes = 64 * 1024

export const probeTcp: Probe<TcpSpec> = (spec, options) =>
  attempt(options, async (run) => {
    const expected = spec.expect === null || spec.expect === '' ? null : bytesOf(spec.expect)
    const socket = await dial(run, spec.host, spec.port)
    if (spec.send !== null && spec.send !== '') socket.write(bytesOf(spec.send))
    if (expected === null || spec.expect === null) {
      socket.end()
      return { ok: true, message: 'connected' }
    }
    run.stage = `connected, but no “${plain(spec.expect, 80)}”`
    await waitFor(run, socket, expected, spec.expect)
    return { ok: true, message: `answered “${plain(spec.expect, 80)}”` }
  })

function waitFor(run: Run, socket: Socket, expected: Buffer, shown: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let bytes = 0
    let start = ''
    let tail = Buffer.alloc(0)
    const missing = (why: string): void => {
      const begins = plain(start, 80)
      reject(new Answered(`the answer does not hold “${plain(shown, 80)}”${why}${begins ? `; it begins with “${begins}”` : ''}`))
    }
    socket.on('data', (chunk: Buffer) => {
      if (start.length < 200) start += chunk.toString('utf8', 0, 200)
      bytes += chunk.length
      run.details['bytes'] = bytes
      // Only what is new and the end of what came before: searching it all again for every byte that drips in would cost the square
      const fresh = Buffer.concat([tail, chunk])
      if (fresh.includes(expected)) resolve()
      else if (bytes > mostBytes) missing(' in its first 64 kB')
      tail = Buffer.from(fresh.subarray(Math.max(0, fresh.length - expected.length + 1)))
    })
    socket.once('end', () => missing(bytes === 0 ? ': the connection was closed before anything came' : ''))
  })
}
