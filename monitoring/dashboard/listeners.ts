import type { IncomingMessage } from 'node:http'
import type { WebSocket } from 'ws'
import { AppError, TooMany, Unavailable } from '../errors'
import type { Identity, Sessions } from './session'

/** A socket, and who opened it with which request. */
interface Opened {
  readonly socket: WebSocket
  readonly request: IncomingMessage
  readonly identity: Identity
}

/** Every open socket. Whose person may no longer listen, or may something else by now, is closed. */
export interface Listeners<One extends Opened> extends Iterable<One> {
  readonly size: number
  /** Throws when whoever asks has as many open as one may have. */
  leaveRoom(identity: Identity): void
  /** Until its socket closes. */
  add(one: One): void
  /** Something of these topics was changed: when it may be about who listens, everybody is looked at. */
  notice(topics: Iterable<string>): void
  close(): void
}

/** A change of these may be about who listens. */
const aboutPeople: ReadonlySet<string> = new Set(['users', 'roles', 'keys', 'sessions', 'organisations'])

/** At least between two looks, however much is changed. */
const restMs = 250
/** Of one person, or of one key: more than anybody has pages open, and too few to fill the memory with. */
const mostOfOne = 200
const comeBackSeconds = 10

export function openListeners<One extends Opened>({ sessions, checkMs }: { sessions: Sessions; checkMs: number }): Listeners<One> {
  const everybody = new Set<One>()
  const opened = new Map<string, number>()
  let closed = false
  let looking: Promise<void> | undefined
  let lookAgain = false

  /** One look at a time. */
  function look(): void {
    lookAgain = true
    looking ??= (async () => {
      while (lookAgain && !closed) {
        lookAgain = false
        await lookOnce()
        await new Promise((resolve) => setTimeout(resolve, restMs).unref())
      }
      looking = undefined
    })()
  }

  async function lookOnce(): Promise<void> {
    // A hundred sockets of one session are one question.
    const asked = new Map<string, Promise<Identity | undefined | 'unknown'>>()
    const looks = [...everybody].map(async ({ request, identity, socket }) => {
      const credentials = `${request.headers.cookie ?? ''}\n${request.headers.authorization ?? ''}`
      let answer = asked.get(credentials)
      if (!answer) asked.set(credentials, (answer = whoIsIt(request)))
      const now = await answer
      // A page that is told so loads itself again, with what its person may see now.
      if (now !== 'unknown' && !isSame(now, identity)) socket.close(4401, 'signed out')
    })
    await Promise.all(looks)
  }

  async function whoIsIt(request: IncomingMessage): Promise<Identity | undefined | 'unknown'> {
    try {
      return await sessions.identify(request, { touch: false })
    } catch (error) {
      // A database that is away for a moment has signed nobody out; whoever is refused, for whatever reason, is out.
      return error instanceof AppError && !(error instanceof Unavailable) ? undefined : 'unknown'
    }
  }

  // What was changed without a change row is found by this.
  const timer = setInterval(look, checkMs).unref()

  return {
    [Symbol.iterator]: () => everybody.values(),
    get size() {
      return everybody.size
    },
    leaveRoom(identity) {
      if ((opened.get(ownerOf(identity)) ?? 0) < mostOfOne) return
      const whose = identity.key ? 'This key has' : 'You have'
      throw new TooMany(`${whose} ${mostOfOne} sockets open, which is the most. Close one of them first.`, comeBackSeconds)
    },
    add(one) {
      const owner = ownerOf(one.identity)
      everybody.add(one)
      opened.set(owner, (opened.get(owner) ?? 0) + 1)
      one.socket.once('close', () => {
        everybody.delete(one)
        const left = (opened.get(owner) ?? 1) - 1
        if (left > 0) opened.set(owner, left)
        else opened.delete(owner)
      })
    },
    notice(topics) {
      if (![...topics].some((topic) => aboutPeople.has(topic))) return
      // Another process may have made the change, and this one remembers what was before.
      sessions.forget()
      look()
    },
    close() {
      closed = true
      clearInterval(timer)
    },
  }
}

const ownerOf = ({ key, principal }: Identity): string => key?.id ?? principal.id

const isSame = (now: Identity | undefined, then: Identity): boolean =>
  now?.principal.id === then.principal.id &&
  now.principal.rights === then.principal.rights &&
  now.principal.org_id === then.principal.org_id
