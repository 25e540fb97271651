import { setMaxListeners } from 'node:events'
import { isNativeError } from 'node:util/types'
import { codeOf, plain, ProbeFailure, type Outcome, type ProbeOptions } from './probe'
import { guard, type Guard } from './targets'

/** One probe under way. */
export interface Run {
  /** Aborted when the time is up or nobody wants the result any more. */
  readonly signal: AbortSignal
  readonly guard: Guard
  readonly options: ProbeOptions
  /** What is missing until the next stage, in the words of "no answer within 10 s". */
  stage: string
  /** Goes into the outcome however it ends. */
  readonly facts: { certificate_at?: number; warning?: string | null }
  readonly details: Record<string, string | number | null>
  /** Milliseconds since the start. */
  elapsed(): number
  /** Called once, when it is over. */
  finally(tidy: () => void): void
}

// A timer that comes this late tells of this process, not of the target: what has arrived meanwhile is looked at first
const stalled = 100
const secondChance = 200

/** Runs a probe with a deadline. Whatever the target does, this ends in time, with an outcome, and leaves nothing open. */
export async function attempt(options: ProbeOptions, work: (run: Run) => Promise<Pick<Outcome, 'ok' | 'message'>>): Promise<Outcome> {
  const started = performance.now()
  const over = new AbortController()
  const tidies: (() => void)[] = []
  let finished = false
  const run: Run = {
    signal: over.signal,
    guard: guard(options.targets),
    options,
    stage: 'no answer',
    facts: {},
    details: {},
    elapsed: () => Math.round((performance.now() - started) * 10) / 10,
    finally: (tidy) => {
      if (finished) tidy()
      else tidies.push(tidy)
    },
  }
  const ended = (found: Pick<Outcome, 'ok' | 'message'>, duration: number | null): Outcome => ({
    ok: found.ok,
    message: sentence(found.message),
    duration,
    ...run.facts,
    ...(run.facts.warning ? { warning: sentence(run.facts.warning) } : {}),
    details: { ...run.details },
  })

  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<Outcome>((resolve) => {
    const giveUp = (): void => resolve(ended({ ok: false, message: `${run.stage} within ${seconds(options.timeout)}` }, null))
    timer = setTimeout(() => {
      const late = performance.now() - started - options.timeout
      if (late > stalled) timer = setTimeout(giveUp, secondChance)
      else giveUp()
    }, options.timeout)
    const stop = (): void => resolve(ended({ ok: false, message: 'stopped before it ended' }, null))
    // All probes under way share one signal, and Node takes more than ten listeners for a leak
    setMaxListeners(0, options.signal)
    if (options.signal.aborted) stop()
    else options.signal.addEventListener('abort', stop)
    run.finally(() => options.signal.removeEventListener('abort', stop))
  })
  // In its own step, so that nothing is begun for a probe that was stopped before it started
  const working = async (): Promise<Outcome> => {
    try {
      const found = await work(run)
      return ended(found, run.elapsed())
    } catch (error) {
      return ended({ ok: false, message: words(error) }, error instanceof Answered ? run.elapsed() : null)
    }
  }
  try {
    return await Promise.race(options.signal.aborted ? [deadline] : [deadline, working()])
  } finally {
    clearTimeout(timer)
    finished = true
    over.abort()
    // Not in the same breath: this may run inside a callback of TLS, and to free a connection there crashes the process
    setImmediate(() => {
      for (const tidy of tidies.reverse()) tidy()
    })
  }
}

/** The target answered, and not what was wanted: how long it took says something. */
export class Answered extends ProbeFailure {}

function sentence(text: string): string {
  return text.replace(/^[a-z]/, (letter) => letter.toUpperCase())
}

function seconds(ms: number): string {
  return ms < 1_000 ? `${ms} ms` : `${Math.round(ms / 100) / 10} s`
}

const known: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was broken off',
  EPIPE: 'the connection was broken off',
  ETIMEDOUT: 'no connection: nothing answered',
  EHOSTUNREACH: 'the host cannot be reached',
  EHOSTDOWN: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
  EADDRNOTAVAIL: 'no address or port left on this machine to connect from',
  EMFILE: 'this machine has no file descriptor left',
  ENFILE: 'this machine has no file descriptor left',
  ENOTFOUND: 'there is no such name',
  ENODATA: 'the name has no address',
  ESERVFAIL: 'the DNS server could not find out (SERVFAIL)',
  EREFUSED: 'the DNS server refused to answer',
  EFORMERR: 'the DNS server did not understand the question',
  ENOTIMP: 'the DNS server does not know this kind of question',
  EBADRESP: 'the DNS server answered nonsense',
  EBADNAME: 'this is not a name that DNS knows',
  ETIMEOUT: 'no DNS server answered',
  HPE_HEADER_OVERFLOW: 'the headers of the answer are larger than 16 kB',
  HPE_INVALID_EOF_STATE: 'the connection ended in the middle of the answer',
  CERT_HAS_EXPIRED: 'the certificate has expired',
  CERT_NOT_YET_VALID: 'the certificate is not valid yet',
  CERT_REVOKED: 'the certificate was revoked',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the certificate is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'the certificate comes from an authority that this machine does not trust',
  UNABLE_TO_GET_ISSUER_CERT: 'the certificate comes from an authority that this machine does not trust',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the certificate comes from an authority that this machine does not trust',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the certificate comes without those between it and an authority that this machine trusts',
  ERR_SSL_WRONG_VERSION_NUMBER: 'this port does not speak TLS',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'this port does not speak TLS',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'the server offers only versions of TLS that are no longer safe',
}

/** Words for what a socket, a resolver or a parser threw. */
function words(error: unknown): string {
  if (error instanceof ProbeFailure) return error.message
  if (!isNativeError(error)) return 'it failed without a reason'
  // All addresses of a host failed, each in its way
  if ('errors' in error && Array.isArray(error.errors) && error.errors.length > 0) return words(error.errors[0])
  const code = codeOf(error)
  const found = known[code]
  if (found !== undefined) return found
  if (code.startsWith('HPE_')) return 'the answer is not HTTP'
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO') return `the TLS handshake failed (${plain(code.replace('ERR_SSL_', ''), 60)})`
  return plain(error.message) || plain(code) || 'it failed without a reason'
}
