import type { IncomingMessage } from 'node:http'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import type { Duplex } from 'node:stream'
import { Answered, type Run } from './attempt'
import { plain } from './probe'

export interface Body {
  text: string
  /** There was more than is read. */
  cut: boolean
}

const mostBytes = 512 * 1024

const decoders: Record<string, () => Duplex> = {
  gzip: () => createGunzip(),
  'x-gzip': () => createGunzip(),
  deflate: () => createInflate(),
  br: () => createBrotliDecompress(),
}

/** Reads an answer to its end, or to its first 512 kB, counted as sent and again as unpacked. */
export async function readAnswer(run: Run, message: IncomingMessage, wanted: boolean): Promise<Body> {
  const unpack = wanted ? decoder(run, message) : null
  const chunks: Buffer[] = []
  let sent = 0
  let unpacked = 0
  const cut = await new Promise<boolean>((resolve, reject) => {
    const take = (chunk: Buffer): void => {
      unpacked += chunk.length
      if (wanted) chunks.push(chunk)
      if (unpacked > mostBytes) resolve(true)
    }
    message.on('data', (chunk: Buffer) => {
      sent += chunk.length
      if (unpack) unpack.write(chunk)
      else take(chunk)
      if (sent > mostBytes) resolve(true)
    })
    message.on('end', () => (unpack ? unpack.end() : resolve(false)))
    message.on('error', reject)
    unpack?.on('data', take)
    unpack?.on('end', () => resolve(false))
    unpack?.on('error', () => reject(new Answered('the answer cannot be unpacked: it is not what its content-encoding says')))
  })
  message.destroy()
  unpack?.destroy()
  run.details['bytes'] = sent
  return { text: wanted ? textOf(Buffer.concat(chunks).subarray(0, mostBytes), message.headers['content-type']) : '', cut }
}

function decoder(run: Run, message: IncomingMessage): Duplex | null {
  const encoding = (message.headers['content-encoding'] ?? '').trim().toLowerCase()
  if (encoding === '' || encoding === 'identity') return null
  const make = Object.hasOwn(decoders, encoding) ? decoders[encoding] : undefined
  if (!make) throw new Answered(`the answer is packed in a way that is not read here (${plain(encoding, 40)})`)
  const stream = make()
  run.finally(() => stream.destroy())
  return stream
}

function textOf(bytes: Buffer, type: string | undefined): string {
  const label = /charset\s*=\s*"?([\w:.-]{1,40})/i.exec(type ?? '')?.[1] ?? 'utf-8'
  try {
    return new TextDecoder(label).decode(bytes)
  } catch {
    return bytes.toString('utf8')
  }
}
