import { connect as connectTcp, isIP, type Socket } from 'node:net'
import {
  connect as connectTls,
  createSecureContext,
  rootCertificates,
  type PeerCertificate,
  type SecureContext,
  type TLSSocket,
} from 'node:tls'
import { setImmediate as immediately } from 'node:timers/promises'
import { type Run } from './attempt'
import { plain, ProbeFailure, type ProbeOptions } from './probe'
import { hostOf } from './targets'

export interface TlsOptions {
  /** `encrypt` takes any certificate, `chain` any name in it. */
  verify: 'full' | 'chain' | 'encrypt'
  protocols?: readonly string[]
}

/** Connects to exactly one of the addresses that the guard named. */
export async function dial(run: Run, host: string, port: number): Promise<Socket> {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new ProbeFailure('The port is a number from 1 to 65535')
  run.stage = 'no answer from DNS'
  const addresses = await run.guard.resolve(host, run.signal)
  run.signal.throwIfAborted()
  run.stage = 'no connection'
  const socket = connectTcp({
    host: hostOf(host) ?? host,
    port,
    lookup: (_name, { all }, found) => {
      const [first] = addresses
      if (all || !first) found(null, addresses)
      else found(null, first.address, first.family)
    },
    autoSelectFamily: true,
    // Node's own 250 ms give up on a server that is merely far away
    autoSelectFamilyAttemptTimeout: Math.max(250, Math.min(2_500, Math.floor(run.options.timeout / 3))),
    noDelay: true,
  })
  await opened(run, socket, 'connect')
  const address = hostOf(socket.remoteAddress ?? '')
  if (address === null || !addresses.some((one) => one.address === address)) throw new ProbeFailure('The connection went elsewhere')
  run.details['address'] = socket.remoteAddress ?? null
  return socket
}

/** Speaks TLS over a connection, and reports whether the certificate is good and until when. */
export async function secure(run: Run, socket: Socket, host: string, { verify, protocols }: TlsOptions): Promise<TLSSocket> {
  run.stage = 'no TLS handshake'
  const name = hostOf(host) ?? host
  const secured = connectTls({
    socket,
    host: name,
    ...(isIP(name) === 0 ? { servername: name } : {}),
    ...(protocols ? { ALPNProtocols: [...protocols] } : {}),
    secureContext: trust(run.options),
    // Judged below, before a byte of ours is written, so that a bad certificate's dates can be told too
    rejectUnauthorized: false,
    ...(verify === 'chain' ? { checkServerIdentity: () => undefined } : {}),
  })
  await opened(run, secured, 'secureConnect')
  // Out of the handshake's callback, in which nothing may be closed
  await immediately()
  if (secured.destroyed) throw Object.assign(new Error('closed'), { code: 'ECONNRESET' })
  // Empty where the server has none
  const { valid_to, issuer } = secured.getPeerCertificate() as Partial<PeerCertificate>
  const end = Date.parse(valid_to ?? '')
  if (Number.isFinite(end)) run.facts.certificate_at = Math.min(end, run.facts.certificate_at ?? Infinity)
  run.details['tls'] = secured.getProtocol()
  run.details['issuer'] = plain(String(issuer?.O ?? issuer?.CN ?? ''), 80) || null
  if (verify !== 'encrypt' && !secured.authorized) throw refusedCertificate(secured, name)
  return secured
}

function refusedCertificate(socket: TLSSocket, name: string): Error {
  // The type says Error, but Node puts the code there
  const code = String(socket.authorizationError)
  if (code !== 'ERR_TLS_CERT_ALTNAME_INVALID') return Object.assign(new Error(code), { code })
  const names = (socket.getPeerCertificate().subjectaltname ?? '').replaceAll(/(?:DNS|IP Address):/g, '')
  return new ProbeFailure(`the certificate is not for ${name}${names ? ` but for ${plain(names, 120)}` : ''}`)
}

function opened(run: Run, socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  run.finally(() => socket.destroy())
  return new Promise((resolve, reject) => {
    // Stays on for good: a socket without it ends the process when it fails later
    socket.on('error', reject)
    socket.once('close', () => reject(Object.assign(new Error('closed'), { code: 'ECONNRESET' })))
    socket.once(event, resolve)
  })
}

// A context costs most of a millisecond, and they are all the same
let usual: SecureContext | undefined

function trust({ targets }: ProbeOptions): SecureContext {
  if (targets.authorities?.length) return createSecureContext({ ca: [...rootCertificates, ...targets.authorities] })
  usual ??= createSecureContext()
  return usual
}
