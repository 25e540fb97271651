// Servers that do to a client what servers on the internet do: hang, drip, flood, redirect for ever, lie about who they are.

import { execFile } from 'node:child_process'
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer as createHttp, type RequestListener } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { createServer as createTcp, isIP, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Listening {
  port: number
  /** Connections that were made so far. */
  connections: number
  /** Those that are open now. */
  open: number
}

/** Starts servers for one test file, and ends them all with their connections. */
export function servers() {
  const closers: (() => Promise<unknown>)[] = []

  async function listen(server: Server, host = '127.0.0.1', port = 0): Promise<Listening> {
    const open = new Set<Socket>()
    const listening: Listening = { port: 0, connections: 0, open: 0 }
    server.on('connection', (socket: Socket) => {
      listening.connections++
      open.add(socket)
      listening.open = open.size
      socket.on('error', () => undefined)
      socket.on('close', () => {
        open.delete(socket)
        listening.open = open.size
      })
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, resolve)
    })
    listening.port = (server.address() as AddressInfo).port
    closers.push(() => {
      for (const socket of open) socket.destroy()
      return new Promise((resolve) => server.close(resolve))
    })
    return listening
  }

  return {
    listen,
    http: (listener: RequestListener, host?: string): Promise<Listening> => listen(createHttp(listener), host),
    https: (identity: Identity, listener: RequestListener): Promise<Listening> => {
      const server = createHttps(identity, listener)
      server.on('tlsClientError', () => undefined)
      return listen(server)
    },
    tcp: (serve: (socket: Socket) => void, host?: string): Promise<Listening> =>
      listen(
        createTcp((socket) => {
          serve(socket)
          // Who reads nothing is not told either that the other side has gone
          if (socket.listenerCount('data') === 0) socket.resume()
        }),
        host,
      ),
    async dns(zone: Zone): Promise<NameServer> {
      const server = await startDns(zone)
      closers.push(server.close)
      return server
    },
    close: async (): Promise<void> => {
      await Promise.all(closers.splice(0).map((close) => close()))
    },
  }
}

/** What is written to a connection again and again until it is closed; respects a reader that is slower. */
export function pour(socket: Writable, chunk: Buffer, every?: number): void {
  if (every !== undefined) {
    const timer = setInterval(() => socket.write(chunk), every)
    socket.on('close', () => clearInterval(timer))
    return
  }
  const on = (): void => {
    while (!socket.destroyed && socket.write(chunk));
  }
  socket.on('drain', on)
  on()
}

export interface Identity {
  key: string
  cert: string
}

export interface Certificates {
  authority: string
  /** Signed by the authority, for `names`, until `days` from now; negative: since so many days it is no longer valid. */
  issue(names: readonly string[], days?: number): Promise<Identity>
  selfSigned(name: string): Promise<Identity>
  remove(): Promise<void>
}

/** A certificate authority of its own, made by the machine's openssl. */
export async function certificates(): Promise<Certificates> {
  const folder = await mkdtemp(join(tmpdir(), 'operations-center-certificates-'))
  const openssl = (...words: string[]): Promise<unknown> => run('openssl', words, { cwd: folder })
  const pair = async (name: string): Promise<Identity> => ({
    key: await readFile(join(folder, `${name}.key`), 'utf8'),
    cert: await readFile(join(folder, `${name}.pem`), 'utf8'),
  })
  const key = (name: string): string[] => ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`]
  const authority = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign'].flatMap((extension) => ['-addext', extension])
  await openssl(
    'req',
    '-x509',
    ...key('authority'),
    '-out',
    'authority.pem',
    '-subj',
    '/CN=Authority of the tests',
    '-days',
    '3650',
    ...authority,
  )
  await writeFile(
    join(folder, 'ca.cnf'),
    '[ca]\ndefault_ca=one\n[one]\nnew_certs_dir=.\ndatabase=index.txt\ndefault_md=sha256\npolicy=any\nrand_serial=yes\nunique_subject=no\ncopy_extensions=copy\n[any]\ncommonName=supplied\n',
  )
  await writeFile(join(folder, 'index.txt'), '')
  let count = 0
  const day = 86_400_000
  const stamp = (at: number): string =>
    new Date(at)
      .toISOString()
      .replace(/[-:T]|\.\d+/g, '')
      .slice(2)
  return {
    authority: await readFile(join(folder, 'authority.pem'), 'utf8'),
    async issue(names, days = 300) {
      const name = `issued-${++count}`
      const alternative = names.map((one) => `${isIP(one) ? 'IP' : 'DNS'}:${one}`).join(',')
      await openssl(
        'req',
        '-new',
        ...key(name),
        '-out',
        `${name}.csr`,
        '-subj',
        `/CN=${names[0]}`,
        '-addext',
        `subjectAltName=${alternative}`,
      )
      const dates = ['-startdate', stamp(Date.now() - 1_000 * day), '-enddate', stamp(Date.now() + days * day)]
      const by = ['-config', 'ca.cnf', '-cert', 'authority.pem', '-keyfile', 'authority.key']
      await openssl('ca', '-batch', ...by, '-in', `${name}.csr`, '-out', `${name}.pem`, '-notext', ...dates)
      return pair(name)
    },
    async selfSigned(host) {
      const name = `self-${++count}`
      await openssl(
        'req',
        '-x509',
        ...key(name),
        '-out',
        `${name}.pem`,
        '-subj',
        `/CN=${host}`,
        '-days',
        '30',
        '-addext',
        `subjectAltName=DNS:${host}`,
      )
      return pair(name)
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

export type RecordKind = 'A' | 'NS' | 'CNAME' | 'SOA' | 'PTR' | 'MX' | 'TXT' | 'AAAA' | 'SRV' | 'CAA'

/** Answers a question: records as they stand in zone files, or what goes wrong. `count` tells how often it was asked before. */
export type Zone = (
  name: string,
  type: RecordKind,
  count: number,
) => readonly string[] | 'unknown' | 'failure' | 'refused' | 'silent' | 'garbage'

export interface NameServer {
  port: number
  resolver: Resolver
  questions: string[]
  close: () => Promise<void>
}

const kinds: Record<number, RecordKind> = {
  1: 'A',
  2: 'NS',
  5: 'CNAME',
  6: 'SOA',
  12: 'PTR',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  33: 'SRV',
  257: 'CAA',
}
const codes = { unknown: 3, failure: 2, refused: 5 }

/** A name server on this machine. */
async function startDns(zone: Zone): Promise<NameServer> {
  const socket: UdpSocket = createSocket('udp4')
  const questions: string[] = []
  const counts = new Map<string, number>()
  socket.on('message', (message, from): void => {
    const { name, end } = readName(message, 12)
    const number = message.readUInt16BE(end)
    const kind = kinds[number] ?? 'A'
    const question = `${name} ${kind}`
    const count = counts.get(question) ?? 0
    counts.set(question, count + 1)
    questions.push(question)
    const found = zone(name.toLowerCase(), kind, count)
    if (found === 'silent') return
    const reply = (...parts: Buffer[]): void => {
      socket.send(Buffer.concat(parts), from.port, from.address)
    }
    if (found === 'garbage') {
      reply(message.subarray(0, 2), Buffer.from('81800001ffff00000000', 'hex'), Buffer.alloc(40, 0xff))
      return
    }
    const records = typeof found === 'string' ? [] : found
    const header = Buffer.alloc(12)
    message.copy(header, 0, 0, 2)
    header.writeUInt16BE(0x8180 | (typeof found === 'string' ? codes[found] : 0), 2)
    header.writeUInt16BE(1, 4)
    header.writeUInt16BE(records.length, 6)
    const answers = records.map((record) => {
      const data = encode(kind, record)
      const head = Buffer.alloc(12)
      head.writeUInt16BE(0xc00c, 0)
      head.writeUInt16BE(number, 2)
      head.writeUInt16BE(1, 4)
      head.writeUInt16BE(data.length, 10)
      return Buffer.concat([head, data])
    })
    reply(header, message.subarray(12, end + 4), ...answers)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  const { port } = socket.address()
  const resolver = new Resolver({ timeout: 1_000, tries: 2 })
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    resolver.cancel()
    return (closed ??= new Promise((resolve) => socket.close(() => resolve())))
  }
  resolver.setServers([`127.0.0.1:${port}`])
  return { port, resolver, questions, close }
}

function readName(message: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = []
  let at = start
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length))
    at += length + 1
  }
  return { name: labels.join('.'), end: at + 1 }
}

function encode(kind: RecordKind, record: string): Buffer {
  const name = (text: string): Buffer =>
    Buffer.concat([
      ...text
        .split('.')
        .filter(Boolean)
        .map((label) => Buffer.from([label.length, ...Buffer.from(label)])),
      Buffer.from([0]),
    ])
  const short = (value: string): Buffer => Buffer.from([Number(value) >> 8, Number(value) & 255])
  const long = (value: string): Buffer => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(Number(value))
    return bytes
  }
  const words = record.split(' ')
  const [one = '', two = '', three = '', four = '', ...rest] = words
  switch (kind) {
    case 'A':
      return Buffer.from(record.split('.').map(Number))
    case 'AAAA': {
      const [left = '', right = ''] = record.split('::')
      const groups = (text: string): string[] => text.split(':').filter(Boolean)
      const missing = Array<string>(8 - groups(left).length - groups(right).length).fill('0')
      return Buffer.concat([...groups(left), ...missing, ...groups(right)].map((group) => short(`0x${group}`)))
    }
    case 'TXT':
      return Buffer.from([record.length, ...Buffer.from(record)])
    case 'MX':
      return Buffer.concat([short(one), name(two)])
    case 'SRV':
      return Buffer.concat([short(one), short(two), short(three), name(four)])
    case 'CAA':
      return Buffer.concat([Buffer.from([Number(one), two.length]), Buffer.from(two), Buffer.from(words.slice(2).join(' '))])
    case 'SOA':
      return Buffer.concat([name(one), name(two), ...[three, four, ...rest].map(long)])
    default:
      return name(record)
  }
}
