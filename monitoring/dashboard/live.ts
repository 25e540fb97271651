import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer, type WebSocket } from 'ws'
import { changesAfter, changesBetween, newestChange } from '../db/changes'
import { contextOf, systemActor, type Context, type OrgId, type Platform } from '../context'
import { AppError, asError, Forbidden, Malformed, Unauthorized, Unavailable } from '../errors'
import { may, type Rights } from '../permissions'
import type { Render, Topic } from './endpoint'
import { frameOf, refuse, textFrame } from './frames'
import { openListeners } from './listeners'
import type { Security } from './security'
import type { Identity, Sessions } from './session'

/** Who gets the same bytes: pages (or programs, which get JSON) of one organisation and the same rights. */
interface Audience {
  readonly kind: 'page' | 'program'
  readonly org: OrgId
  readonly rights: Rights
}

type Subjects = Map<string, Set<string>>

/** Those of one audience that follow the same topics. */
interface Channel extends Audience {
  readonly key: string
  readonly topics: readonly string[]
  readonly listeners: Set<Listener>
  /** What changed and is not painted yet, by topic. */
  readonly pending: Subjects
  /** The same of transient topics. */
  readonly passing: Subjects
  /** By transient topic: when it may be painted again. */
  readonly passNotBefore: Map<string, number>
  passTimer: NodeJS.Timeout | undefined
  /** One at a time, so that frames leave in the order of their numbers. */
  painting: boolean
  passingOn: boolean
  notBefore: number
  timer: NodeJS.Timeout | undefined
  /** What everybody who comes back from the same moment has missed: after a restart these are all pages at once. */
  missed: { readonly since: number; readonly at: number; readonly content: Promise<string | null> } | undefined
}

interface Listener {
  readonly socket: WebSocket
  /** The TCP connection below: frames are encoded once and written to each. */
  readonly wire: Duplex
  readonly channel: Channel
  readonly identity: Identity
  readonly request: IncomingMessage
  /** What was committed up to here reaches it as what it missed. */
  readonly from: number
  /** Frames that have to wait until it has got what it missed. */
  held: { frames: Buffer[]; bytes: number } | undefined
  alive: boolean
}

export interface Hub {
  /** Begins with what is committed now. */
  start(): Promise<void>
  /** The newest change that everything painted from now on contains. */
  readonly seq: () => number
  /** Sends a transient topic to whoever follows it now. */
  publish(topic: string, org: OrgId, subject: string): void
  /** What a page missed, for those that cannot have a socket. */
  poll(identity: Identity, topics: readonly string[], since: number | null): Promise<string>
  attach(server: Server): void
  /** Looks for changes now; tests wait for it. */
  drain(): Promise<void>
  readonly sockets: number
  /** Tells every page to come back in a moment, and closes. */
  close(): void
}

/** A page is repainted at once, and then at most this often; what is transient rests so long after each round. */
const repaintMs = 250
/** After the database could not be read. */
const retryMs = 1000
/** A socket with more than this waiting gets no transient frames; with more than the cap it is closed, and comes back by `since`. */
const slowBytes = 64 * 1024
const capBytes = 1024 * 1024
/** How many changes a program that comes back gets in one frame: each can be thousands of events. */
const piece = 10
/** Pages come back within two seconds, not all at once; what has not answered by then is cut off. */
const goodbyeMs = 500
const goodbyePatienceMs = 2000

/** How often the pulse beats, sessions are looked at, and silent sockets are found. */
export interface Pace {
  readonly beatMs: number
  readonly checkMs: number
  readonly pingMs: number
}

const usualPace: Pace = { beatMs: 2000, checkMs: 4000, pingMs: 30_000 }

export function openHub(options: {
  platform: Platform
  security: Security
  sessions: Sessions
  topics: ReadonlyMap<string, Topic>
  render: Render
  pace?: Pace
}): Hub {
  const { platform, security, sessions, topics, render, pace = usualPace } = options
  const { store, log } = platform
  const channels = new Map<string, Channel>()
  const listeners = openListeners<Listener>({ sessions, checkMs: pace.checkMs })
  const wss = new WebSocketServer({ noServer: true, maxPayload: 4096, perMessageDeflate: false, clientTracking: false })
  let seq = 0
  let draining: Promise<void> | undefined
  let again = false
  let closed = false
  let unreadable = false
  let retry: NodeJS.Timeout | undefined

  const audienceContext = ({ org, rights }: Audience): Context =>
    contextOf(platform, { ...systemActor, id: 'audience', name: 'whoever is looking', rights }, org)

  // ---- From the table to the channels

  async function readChanges(): Promise<void> {
    for (;;) {
      const rows = await changesAfter(store.db, seq)
      const last = rows.at(-1)
      if (!last) return
      for (const { org_id, topic, subject } of rows)
        for (const channel of channels.values())
          if (channel.org === org_id && channel.topics.includes(topic)) add(channel.pending, topic, subject)
      seq = last.seq
      listeners.notice(rows.map(({ topic }) => topic))
      for (const channel of channels.values()) schedule(channel)
    }
  }

  function drain(): Promise<void> {
    if (draining) {
      // Something was committed while the table was being read: it may have been missed.
      again = true
      return draining
    }
    draining = (async () => {
      do {
        again = false
        try {
          await readChanges()
          unreadable = false
        } catch (error) {
          if (closed) break
          if (!unreadable) log.error({ err: asError(error) }, 'live updates cannot read the changes; they are tried again each second')
          unreadable = true
          // Nobody may ring again for a long time.
          retry ??= setTimeout(() => {
            retry = undefined
            void drain()
          }, retryMs).unref()
        }
      } while (again as boolean)
      draining = undefined
    })()
    return draining
  }

  function schedule(channel: Channel): void {
    if (channel.timer || channel.painting || channel.pending.size === 0) return
    const wait = channel.notBefore - performance.now()
    if (wait <= 0) void flush(channel)
    else
      channel.timer = setTimeout(() => {
        channel.timer = undefined
        void flush(channel)
      }, wait).unref()
  }

  async function flush(channel: Channel): Promise<void> {
    channel.painting = true
    channel.notBefore = performance.now() + (channel.kind === 'page' ? repaintMs : 0)
    const pending = [...channel.pending]
    channel.pending.clear()
    const at = seq
    const { content, unpainted } = await paintAll(channel, pending)
    for (const [topic, subjects] of unpainted) for (const subject of subjects) add(channel.pending, topic, subject)
    if (unpainted.length > 0) channel.notBefore = performance.now() + retryMs
    // Without a number when something is still owed: who comes back now must ask for it.
    if (content !== '') send(channel, frameOf(channel.kind, unpainted.length > 0 ? null : at, content), at)
    channel.painting = false
    schedule(channel)
  }

  /**
   * Of what is worthless a second later, only the newest is painted when there is more than can be painted. The rest is counted from
   * the end of a round: however long one takes, requests have their turn between two.
   */
  async function passOn(channel: Channel): Promise<void> {
    if (channel.passingOn) return
    clearTimeout(channel.passTimer)
    channel.passingOn = true
    const now = performance.now()
    const due = [...channel.passing].filter(([topic]) => (channel.passNotBefore.get(topic) ?? 0) <= now)
    for (const [topic] of due) channel.passing.delete(topic)
    if (due.length > 0) {
      const { content } = await paintAll(channel, due)
      for (const [topic] of due) channel.passNotBefore.set(topic, performance.now() + repaintMs)
      if (content !== '') send(channel, frameOf(channel.kind, null, content), null)
    }
    channel.passingOn = false
    if (channel.passing.size === 0 || channel.listeners.size === 0 || closed) return
    const next = Math.min(...[...channel.passing.keys()].map((topic) => channel.passNotBefore.get(topic) ?? 0))
    channel.passTimer = setTimeout(() => void passOn(channel), Math.max(0, next - performance.now())).unref()
  }

  // ---- Painting

  /** One poisoned topic must not keep the others from being painted. What the database could not give is handed back. */
  async function paintAll(
    audience: Audience,
    pending: Iterable<readonly [string, ReadonlySet<string>]>,
  ): Promise<{ content: string; unpainted: (readonly [string, ReadonlySet<string>])[] }> {
    const ctx = audienceContext(audience)
    const parts: string[] = []
    const unpainted: (readonly [string, ReadonlySet<string>])[] = []
    for (const [name, subjects] of pending) {
      const topic = topics.get(name)
      try {
        if (audience.kind === 'page') parts.push((await topic?.paint?.(ctx, [...subjects], render)) ?? '')
        else {
          const items = await topic?.data?.(ctx, [...subjects])
          if (items && items.length > 0) parts.push(JSON.stringify({ topic: name, items }))
        }
      } catch (error) {
        if (error instanceof Unavailable) unpainted.push([name, subjects])
        else {
          log.error({ err: asError(error), topic: name }, 'a live part could not be painted')
          // A program counts on every item: it reads the list anew.
          if (audience.kind === 'program') parts.push(JSON.stringify({ topic: name, items: [], missed_too_much: true }))
        }
      }
    }
    return { content: parts.join(audience.kind === 'page' ? '' : ','), unpainted }
  }

  /** `at`: the newest change that the frame contains; null for a transient one. */
  function send(channel: Channel, frame: Buffer, at: number | null): void {
    for (const listener of channel.listeners) {
      const { held } = listener
      if (at === null) {
        if (!held) write(listener, frame, slowBytes)
      } else if (at > listener.from) {
        if (!held) write(listener, frame, capBytes)
        else {
          held.frames.push(frame)
          held.bytes += frame.length
          if (held.bytes > 4 * capBytes) listener.socket.terminate()
        }
      }
    }
  }

  // What waits is counted without the frame itself: one that is larger than the cap must be able to leave.
  function write({ socket, wire }: Listener, frame: Buffer, cap: number): void {
    if (socket.readyState !== socket.OPEN) return
    if (wire.writableLength <= cap) wire.write(frame)
    // Its state would be wrong from now on; it comes back and asks for what it missed.
    else if (cap === capBytes) socket.terminate()
  }

  // ---- Subscribing

  function channelFor(kind: Channel['kind'], { principal: { org_id: org, rights } }: Identity, names: readonly string[]): Channel {
    const sorted = [...new Set(names)].sort()
    const key = `${kind} ${org} ${rights.key} ${sorted.join()}`
    let channel = channels.get(key)
    if (!channel) {
      channel = {
        key,
        kind,
        org,
        rights,
        topics: sorted,
        listeners: new Set(),
        pending: new Map(),
        passing: new Map(),
        passNotBefore: new Map(),
        passTimer: undefined,
        painting: false,
        passingOn: false,
        notBefore: 0,
        timer: undefined,
        missed: undefined,
      }
      channels.set(key, channel)
    }
    return channel
  }

  function allowedTopics(names: readonly string[], rights: Rights, kind: Channel['kind']): readonly string[] {
    if (names.length === 0 || names.length > 30) throw new Malformed('topics: name the topics to follow')
    for (const name of names) {
      const topic = topics.get(name)
      if (!topic || (kind === 'program' && !topic.data)) throw new Malformed(`topics: there is no topic “${name.slice(0, 50)}”`)
      if (!may({ rights }, topic.permission)) throw new Forbidden(`Your role does not allow to follow “${name}”.`)
    }
    return names
  }

  /** Everything in one piece, as a page wants it. */
  async function missedBy(audience: Audience, names: readonly string[], since: number, at: number): Promise<string | null> {
    const rows = await changesBetween(store.db, audience.org, names, since, at)
    if (!rows) return null
    const { content, unpainted } = await paintAll(audience, bySubject(rows))
    if (unpainted.length > 0) throw new Unavailable('The database', 'What was missed cannot be read at the moment.')
    return content
  }

  /** A page may come from another process that knew more: the changes are looked at before it is told that its number is of the future. */
  async function reach(since: number | null): Promise<void> {
    if (since !== null && since > seq) await drain()
  }

  async function accept(request: IncomingMessage, wire: Duplex, head: Buffer): Promise<void> {
    const [path, query] = (request.url ?? '').split('?', 2)
    const parameters = new URLSearchParams(query)
    // Every request with an Upgrade header lands here, also those of clients that only offer another HTTP.
    if (request.headers.upgrade?.toLowerCase() !== 'websocket')
      throw new Malformed('Only WebSocket can be upgraded to: send the request without its Upgrade header.')
    const kind = path === '/live' ? 'page' : path === '/ws/events' ? 'program' : undefined
    if (!kind) throw new AppError(404, 'Not found', 'There is no socket here.')
    const identity = await sessions.identify(request)
    if (!identity) throw new Unauthorized('Sign in first.')
    // A page of another site must not listen with this browser's cookie, nor with the Basic credentials that it keeps.
    if ((identity.session !== null || request.headers.origin !== undefined) && !security.isOwnOrigin(request))
      throw new Forbidden('This socket was opened by another site.')
    const names = allowedTopics((parameters.get('topics') ?? '').split(',').filter(Boolean), identity.principal.rights, kind)
    const since = sinceOf(parameters.get('since'))
    await reach(since)
    listeners.leaveRoom(identity)
    wss.handleUpgrade(request, wire, head, (socket) => {
      const channel = channelFor(kind, identity, names)
      // Listening first and catching up second; what is committed meanwhile waits for what was missed.
      const listener: Listener = { socket, wire, channel, identity, request, from: seq, held: { frames: [], bytes: 0 }, alive: true }
      join(listener)
      catchUp(listener, since).catch((error: unknown) => {
        if (!(error instanceof Unavailable)) log.error({ err: asError(error) }, 'a socket could not be brought up to date')
        socket.close(1011)
      })
    })
  }

  function join(listener: Listener): void {
    const { socket, channel } = listener
    listeners.add(listener)
    channel.listeners.add(listener)
    socket.on('error', () => {
      socket.terminate()
    })
    socket.on('pong', () => {
      listener.alive = true
    })
    socket.on('close', () => {
      channel.listeners.delete(listener)
      if (channel.listeners.size > 0) return
      clearTimeout(channel.timer)
      clearTimeout(channel.passTimer)
      channels.delete(channel.key)
    })
  }

  async function catchUp(listener: Listener, since: number | null): Promise<void> {
    const { channel, from: at } = listener
    if (channel.kind === 'page') {
      const content = since === null ? '' : await missedByPages(channel, since, at)
      write(listener, textFrame(content === null ? '!refresh' : `${at}\n${content}`), capBytes)
    } else {
      const rows = since === null ? [] : await changesBetween(store.db, channel.org, channel.topics, since, at)
      // The number is where following begins: before what was missed, so that a break in the middle of it loses nothing.
      write(
        listener,
        textFrame(JSON.stringify({ seq: rows && since !== null ? since : at, hello: true, missed_too_much: rows === null })),
        capBytes,
      )
      for (let start = 0; rows && start < rows.length; start += piece) {
        const some = rows.slice(start, start + piece)
        const { content, unpainted } = await paintAll(channel, bySubject(some))
        if (unpainted.length > 0) throw new Unavailable('The database', 'What was missed cannot be read at the moment.')
        if (content !== '') write(listener, frameOf('program', some.at(-1)?.seq ?? at, content), capBytes)
        await roomIn(listener.wire)
      }
    }
    const { held } = listener
    listener.held = undefined
    for (const frame of held?.frames ?? []) write(listener, frame, capBytes)
  }

  /** Painted once for all that come back from the same moment. */
  function missedByPages(channel: Channel, since: number, at: number): Promise<string | null> {
    if (channel.missed?.since === since && channel.missed.at === at) return channel.missed.content
    const content = missedBy(channel, channel.topics, since, at)
    const missed = { since, at, content }
    channel.missed = missed
    // A failure is not for those who come later.
    content.catch(() => {
      if (channel.missed === missed) channel.missed = undefined
    })
    return content
  }

  // ---- The pulse

  const timers = [
    setInterval(() => {
      const beat = textFrame(`~${platform.now()}`)
      for (const listener of listeners) if (listener.channel.kind === 'page' && !listener.held) write(listener, beat, slowBytes)
    }, pace.beatMs),
    setInterval(() => {
      for (const listener of listeners) {
        if (!listener.alive) listener.socket.terminate()
        else {
          listener.alive = false
          listener.socket.ping()
        }
      }
    }, pace.pingMs),
  ]
  for (const timer of timers) timer.unref()

  const stopListening = store.bell.onRing(() => void drain())

  return {
    async start() {
      seq = await newestChange(store.db)
    },
    seq: () => seq,
    drain,
    publish(topic, org, subject) {
      for (const channel of channels.values()) {
        if (channel.org !== org || !channel.topics.includes(topic)) continue
        add(channel.passing, topic, subject)
        void passOn(channel)
      }
    },
    async poll({ principal: { org_id: org, rights } }, names, since) {
      const audience: Audience = { kind: 'page', org, rights }
      const allowed = allowedTopics(names, rights, 'page')
      await reach(since)
      const at = seq
      const content = since === null ? '' : await missedBy(audience, allowed, since, at)
      if (content === null) return '!refresh'
      // Transient parts are not in the table: they are painted as they are now.
      const now = await paintAll(
        audience,
        bySubject(allowed.filter((topic) => topics.get(topic)?.transient).map((topic) => ({ topic, subject: 'now' }))),
      )
      return `${at}\n${content}${now.content}`
    },
    attach(server) {
      server.on('upgrade', (request, wire, head) => {
        wire.on('error', () => wire.destroy())
        accept(request, wire, head).catch((thrown: unknown) => {
          const error = thrown instanceof AppError ? thrown : undefined
          if (!error) log.error({ err: asError(thrown) }, 'a socket could not be opened')
          refuse(wire, error, security.headers)
        })
      })
    },
    get sockets() {
      return listeners.size
    },
    close() {
      closed = true
      clearTimeout(retry)
      stopListening()
      listeners.close()
      for (const timer of timers) clearInterval(timer)
      for (const { timer, passTimer } of channels.values()) {
        clearTimeout(timer)
        clearTimeout(passTimer)
      }
      for (const listener of listeners) {
        if (listener.channel.kind === 'page') write(listener, textFrame(`!bye ${goodbyeMs}`), capBytes)
        listener.socket.close(1012, 'restarting')
      }
      // A phone that has lost its network answers no closing frame, and would keep the process from ending.
      setTimeout(() => {
        for (const { socket } of listeners) socket.terminate()
      }, goodbyePatienceMs).unref()
      wss.close()
    },
  }
}

function add(to: Subjects, topic: string, subject: string): void {
  const subjects = to.get(topic)
  if (subjects) subjects.add(subject)
  else to.set(topic, new Set([subject]))
}

function bySubject(rows: readonly { topic: string; subject: string }[]): Subjects {
  const subjects: Subjects = new Map()
  for (const { topic, subject } of rows) add(subjects, topic, subject)
  return subjects
}

/** Waits until a slow reader has read most of what was sent. */
function roomIn(wire: Duplex): Promise<void> {
  if (wire.writableLength <= slowBytes || wire.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    const go = () => {
      wire.off('drain', go).off('close', go)
      resolve()
    }
    wire.on('drain', go).on('close', go)
  })
}

/** A number of `changes`, or null for "from now on". */
export function sinceOf(text: string | null): number | null {
  if (text === null || text === '') return null
  if (!/^\d{1,15}$/.test(text)) throw new Malformed('since: this is not a number that a page was given')
  return Number(text)
}
