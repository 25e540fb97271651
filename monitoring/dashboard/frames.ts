import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { AppError } from '../errors'
import type { Security } from './security'

const opText = 1

export const frameOf = (kind: 'page' | 'program', seq: number | null, content: string): Buffer =>
  textFrame(kind === 'page' ? `${seq ?? ''}\n${content}` : `{"seq":${seq ?? 'null'},"changes":[${content}]}`)

/** An unmasked text frame (RFC 6455, 5.2), encoded once for all who get it. */
export function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text)
  const header = length < 126 ? 2 : length < 65_536 ? 4 : 10
  const frame = Buffer.allocUnsafe(header + length)
  frame[0] = 0x80 | opText
  if (header === 2) frame[1] = length
  else if (header === 4) {
    frame[1] = 126
    frame.writeUInt16BE(length, 2)
  } else {
    frame[1] = 127
    frame.writeBigUInt64BE(BigInt(length), 2)
  }
  frame.write(text, header)
  return frame
}

export function refuse(wire: Duplex, error: AppError | undefined, common: Security['headers']): void {
  const status = error?.status ?? 500
  const body = JSON.stringify({
    type: 'about:blank',
    title: error?.title ?? 'Something went wrong on our side',
    status,
    detail: error?.message ?? 'The log of the server has the details.',
  })
  const headers = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Connection: close',
    ...(status === 401 ? ['WWW-Authenticate: Basic realm="Operations Center", charset="UTF-8"'] : []),
    ...(error?.retryAfterSeconds == null ? [] : [`Retry-After: ${error.retryAfterSeconds}`]),
    'Content-Type: application/problem+json; charset=utf-8',
    ...common.map(([name, value]) => `${name}: ${value}`),
    `Content-Length: ${Buffer.byteLength(body)}`,
  ]
  // Otherwise a client that does not close its half keeps it for ever.
  wire.once('finish', () => wire.destroy())
  wire.end(`${headers.join('\r\n')}\r\n\r\n${body}`)
}
