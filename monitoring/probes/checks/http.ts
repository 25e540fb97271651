import { request as httpRequest, validateHeaderName, validateHeaderValue, type IncomingMessage } from 'node:http'
import type { JSONValue } from 'json-p3'
import { Answered, attempt, type Run } from './attempt'
import { dial, secure } from './dial'
import { readAnswer, type Body } from './http-body'
import { readPath, type Path } from './json-path'
import { plain, ProbeFailure, type HttpSpec, type Outcome, type Probe } from './probe'

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
// What frames the message is this program's to say: a second opinion in the same request is how requests are smuggled, or another
// server reached behind the one that was judged
const ours = /^(?:connection|host|content-length|expect|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade)$/i
// The only headers that another origin gets to see: a token may stand in any other, whatever its name
const harmless = /^(?:accept|accept-language|user-agent)$/i
const redirecting = new Set([301, 302, 303, 307, 308])
const mostInterim = 10

interface Asked {
  url: URL
  method: string
  headers: readonly { name: string; value: string }[]
  body: string | null
}

interface Answer {
  status: number
  message: IncomingMessage
}

export const probeHttp: Probe<HttpSpec> = (spec, options) =>
  attempt(options, async (run) => {
    const statuses = readStatuses(spec.statuses)
    const path = spec.json_path === null ? null : readPath(spec.json_path)
    let asked: Asked = firstRequest(spec)
    for (let hop = 0; ; hop++) {
      const answer = await exchange(run, asked, spec.verify_certificate)
      run.details['status'] = answer.status
      run.details['protocol'] = `HTTP/${answer.message.httpVersion}`
      run.details['redirects'] = hop
      const target = spec.redirects > 0 && redirecting.has(answer.status) ? answer.message.headers.location : undefined
      if (target === undefined) {
        const found = await judge(run, answer, { spec, statuses, path })
        warnOfCertificate(run, spec)
        return found
      }
      if (hop >= spec.redirects) throw new Answered(`more than ${spec.redirects} redirects`)
      answer.message.destroy()
      asked = follow(asked, answer.status, target)
    }
  })

/** "200-299, 401" → the ranges; throws with words where it is something else. */
export function readStatuses(text: string): [number, number][] {
  const ranges = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part): [number, number] => {
      const [, from, to] = /^(\d{3})(?:\s*[-–]\s*(\d{3}))?$/.exec(part) ?? []
      if (from === undefined || Number(from) < 100 || Number(to ?? from) < Number(from) || Number(to ?? from) > 599)
        throw new ProbeFailure(`“${plain(part, 40)}” is not a status from 100 to 599, or a range like 200-299`)
      return [Number(from), Number(to ?? from)]
    })
  return ranges.length > 0 ? ranges : [[200, 299]]
}

/** Why a header cannot be sent, for forms; null: it can. */
export function headerProblem(name: string, value: string): string | null {
  try {
    validateHeaderName(name)
    validateHeaderValue(name, value)
  } catch {
    return `The header “${plain(name, 60)}” holds characters that a header cannot hold`
  }
  return ours.test(name) ? `The header ${name} is set by the console itself` : null
}

function firstRequest(spec: HttpSpec): Asked {
  const method = spec.method.toUpperCase()
  if (!methods.has(method)) throw new ProbeFailure(`${plain(method, 20)} is not a method that checks use`)
  for (const { name, value } of spec.headers) {
    const problem = headerProblem(name, value)
    if (problem !== null) throw new ProbeFailure(problem)
  }
  return { url: readUrl(spec.url), method, headers: spec.headers, body: spec.body }
}

function readUrl(text: string, base?: URL): URL {
  const url = URL.canParse(text, base?.href) ? new URL(text, base?.href) : null
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw new ProbeFailure(base ? 'the redirect does not lead to a web address' : 'The URL begins with http:// or https://')
  return url
}

function follow(asked: Asked, status: number, target: string): Asked {
  const url = readUrl(target, asked.url)
  const elsewhere = url.origin !== asked.url.origin
  const keeps = status === 307 || status === 308 || asked.method === 'GET' || asked.method === 'HEAD'
  if (elsewhere && keeps && asked.body !== null)
    throw new Answered(`HTTP ${status} to ${plain(url.host, 80)}: what is sent to one server is not sent on to another`)
  // Names and passwords in a redirect's address are the server's idea, not ours
  url.username = elsewhere ? '' : asked.url.username
  url.password = elsewhere ? '' : asked.url.password
  return {
    url,
    method: keeps ? asked.method : 'GET',
    body: keeps ? asked.body : null,
    // Once left out they stay out, even if the way leads back
    headers: asked.headers.filter(({ name }) => (elsewhere ? harmless.test(name) : keeps || !/^content-/i.test(name))),
  }
}

async function exchange(run: Run, { url, method, headers, body }: Asked, verify: boolean): Promise<Answer> {
  const encrypted = url.protocol === 'https:'
  const opened = await dial(run, url.hostname, Number(url.port) || (encrypted ? 443 : 80))
  const tls = { verify: verify ? 'full' : 'encrypt', protocols: ['http/1.1'] } as const
  const socket = encrypted ? await secure(run, opened, url.hostname, tls) : opened
  run.stage = 'no answer'
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      createConnection: () => socket,
      method,
      path: url.pathname + url.search,
      headers: written(url, headers, body),
      setHost: false,
      maxHeaderSize: 16_384,
      insecureHTTPParser: false,
    })
    run.finally(() => request.destroy())
    request.on('error', reject)
    request.on('response', (message) => resolve({ status: message.statusCode ?? 0, message }))
    request.on('upgrade', () => reject(new Answered('HTTP 101: the server changed to another protocol, unasked')))
    let interim = 0
    request.on('information', () => {
      if (++interim > mostInterim) request.destroy(new Answered('the server announces an answer again and again, and gives none'))
    })
    request.end(body ?? undefined)
  })
}

function written(url: URL, own: Asked['headers'], body: string | null): Record<string, string | string[]> {
  const headers = new Map<string, string[]>([
    ['host', [url.host]],
    ['user-agent', ['OperationsCenter']],
    ['accept', ['*/*']],
    ['accept-encoding', ['identity']],
    ['connection', ['close']],
  ])
  if (url.username !== '' || url.password !== '')
    headers.set('authorization', [`Basic ${Buffer.from(`${decoded(url.username)}:${decoded(url.password)}`).toString('base64')}`])
  if (body !== null) {
    headers.set('content-length', [String(Buffer.byteLength(body))])
    headers.set('content-type', [/^\s*[[{]/.test(body) ? 'application/json' : 'text/plain; charset=utf-8'])
  }
  const given = new Set<string>()
  for (const { name, value } of own) {
    const key = name.toLowerCase()
    headers.set(key, given.has(key) ? [...(headers.get(key) ?? []), value] : [value])
    given.add(key)
  }
  return Object.fromEntries(Array.from(headers, ([name, values]) => [name, values.length === 1 ? String(values[0]) : values]))
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

interface Wanted {
  spec: HttpSpec
  statuses: readonly [number, number][]
  path: Path | null
}

async function judge(run: Run, { status, message }: Answer, { spec, statuses, path }: Wanted): Promise<Pick<Outcome, 'ok' | 'message'>> {
  if (!statuses.some(([from, to]) => status >= from && status <= to)) {
    const expected = statuses.map(([from, to]) => (from === to ? from : `${from}–${to}`)).join(', ')
    throw new Answered(`HTTP ${status}, expected ${expected}`)
  }
  run.stage = `HTTP ${status}, but no end of the answer`
  const body = await readAnswer(run, message, spec.keyword !== null || path !== null)
  if (spec.keyword !== null) judgeKeyword(body, spec.keyword, spec.keyword_absent)
  if (path !== null) judgeJson(body, path, spec)
  return { ok: true, message: `HTTP ${status}` }
}

function judgeKeyword(body: Body, keyword: string, absent: boolean): void {
  const found = body.text.includes(keyword)
  const where = body.cut ? ' in the first 512 kB of the answer' : ' in the answer'
  if (found && absent) throw new Answered(`“${plain(keyword, 80)}” is${where}, and should not be`)
  if (!found && !absent) throw new Answered(`“${plain(keyword, 80)}” is not${where}`)
}

function judgeJson(body: Body, path: Path, { json_path, json_equals }: HttpSpec): void {
  const name = plain(json_path ?? '', 80)
  if (body.cut) throw new Answered('the answer is larger than 512 kB, so its JSON cannot be read')
  let document: JSONValue
  try {
    document = JSON.parse(body.text) as JSONValue
  } catch {
    throw new Answered('the answer is not JSON')
  }
  const value = path.first(document)
  if (value === undefined) throw new Answered(`the answer holds nothing at ${name}`)
  if (json_equals === null) return
  const found = typeof value === 'string' ? value : JSON.stringify(value)
  if (found !== json_equals)
    throw new Answered(`${name} is ${plain(found, 80) || 'empty'}, expected ${plain(json_equals, 80) || 'nothing'}`)
}

function warnOfCertificate(run: Run, { certificate_days }: HttpSpec): void {
  const end = run.facts.certificate_at
  if (end === undefined) return
  const days = Math.floor((end - run.options.now()) / 86_400_000)
  if (days < 0) run.facts.warning = 'the certificate has expired'
  else if (certificate_days !== null && days < certificate_days)
    run.facts.warning = days === 0 ? 'the certificate ends within a day' : `the certificate ends in ${days} ${days === 1 ? 'day' : 'days'}`
}
