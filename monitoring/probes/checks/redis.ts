import type { Socket } from 'node:net'
import { Answered, attempt, type Run } from './attempt'
import { dial, secure } from './dial'
import { plain, ProbeFailure, type Probe, type RedisSpec } from './probe'

// AUTH, SELECT and PING are answered with one line each. A whole client would understand more, and with it what a hostile server makes of it.
const longestLine = 4_096

export const probeRedis: Probe<RedisSpec> = (spec, options) =>
  attempt(options, async (run) => {
    const url = readUrl(spec.url)
    const encrypted = url.protocol === 'rediss:'
    const opened = await dial(run, url.hostname, Number(url.port) || 6_379)
    const socket = encrypted ? await secure(run, opened, url.hostname, { verify: 'full' }) : opened
    run.stage = 'no answer'
    const [user, password] = [decoded(url.username), decoded(url.password)]
    const told = asker(socket)
    // Some repeat in their complaint what they were sent
    const ask = async (words: readonly string[]): Promise<string> => hidden(await told(words), password)
    if (password !== '') expectOk(await ask(user === '' ? ['AUTH', password] : ['AUTH', user, password]), 'sign-in refused')
    const database = url.pathname.slice(1)
    if (database !== '' && database !== '0') expectOk(await ask(['SELECT', database]), `database ${database} refused`)
    const answer = await ask(['PING'])
    if (answer !== '+PONG') throw new Answered(complaint(run, answer))
    socket.end()
    return { ok: true, message: 'PONG' }
  })

function readUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (!url || !/^rediss?:$/.test(url.protocol) || url.hostname === '') throw new ProbeFailure('The URL begins with redis:// or rediss://')
  if (url.search !== '' || url.hash !== '' || !/^\/?\d{0,5}$/.test(url.pathname))
    throw new ProbeFailure('The URL ends with the port or the number of a database, as in redis://host:6379/0')
  return url
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw new ProbeFailure('The name or the password in the URL is not percent-encoded as it should be')
  }
}

/** Asks one thing after the other, and reads one line for each. */
function asker(socket: Socket): (command: readonly string[]) => Promise<string> {
  let waiting: { resolve: (line: string) => void; reject: (error: Error) => void } | undefined
  let received = ''
  const read = (chunk: Buffer): void => {
    received += chunk.toString('latin1')
    const end = received.indexOf('\r\n')
    if ((end < 0 ? received.length : end) > longestLine) waiting?.reject(new Answered('the answer is not Redis'))
    if (end < 0) return
    const line = received.slice(0, end)
    received = received.slice(end + 2)
    waiting?.resolve(line)
  }
  socket.on('data', read)
  socket.on('error', (error) => waiting?.reject(error))
  socket.on('close', () => waiting?.reject(new Answered('the connection was closed without an answer')))
  return (command) =>
    new Promise((resolve, reject) => {
      waiting = { resolve, reject }
      socket.write(`*${command.length}\r\n${command.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`)
    })
}

function hidden(answer: string, password: string): string {
  return password === '' ? answer : answer.replaceAll(Buffer.from(password).toString('latin1'), '•••')
}

function expectOk(answer: string, otherwise: string): void {
  if (answer !== '+OK') throw new Answered(`${otherwise}: ${said(answer)}`)
}

function complaint(run: Run, answer: string): string {
  if (!/^[-+]/.test(answer)) return 'the answer is not Redis'
  run.details['answer'] = said(answer)
  if (answer.startsWith('-NOAUTH')) return 'Redis asks for a password, and the URL has none'
  if (answer.startsWith('-LOADING')) return 'Redis is still loading its data'
  return `PING was answered with: ${said(answer)}`
}

function said(answer: string): string {
  return plain(answer.replace(/^[-+]/, ''), 120) || 'nothing'
}
