import { createHash } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { inProject } from '../../monitoring/paths'
import type { Question } from './password-worker'

export const minimumLength = 10
const cost = 12

interface Pending {
  readonly resolve: (answer: never) => void
  readonly reject: (error: Error) => void
}

/** A thread with what it was asked: when it ends, what the next one was asked goes on. */
interface Helper {
  readonly thread: Worker
  readonly pending: Map<number, Pending>
}

let helper: Helper | undefined
let lastId = 0
let goodbye: NodeJS.Timeout | undefined

/** Nobody signs in for this long: the thread and its memory go. */
const idleMs = 30_000

function open(): Helper {
  const thread = new Worker(inProject('dist', 'services', 'accounts', 'password-worker.js'))
  const pending = new Map<number, Pending>()
  const opened = { thread, pending }
  const leave = () => {
    if (helper === opened) helper = undefined
  }
  const failed = (error: Error) => {
    leave()
    for (const { reject } of pending.values()) reject(error)
    pending.clear()
  }
  thread.on('message', ({ id, answer }: { id: number; answer: never }) => {
    pending.get(id)?.resolve(answer)
    pending.delete(id)
    if (pending.size > 0) return
    thread.unref()
    goodbye = setTimeout(() => {
      leave()
      void thread.terminate()
    }, idleMs).unref()
  })
  thread.on('error', failed)
  thread.on('exit', () => {
    failed(new Error('The thread that compares passwords has ended'))
  })
  return opened
}

/** One after the other, in a thread of low priority: the event loop, its helpers for files and names, and other requests go first. */
function ask<Answer>(question: Question): Promise<Answer> {
  clearTimeout(goodbye)
  const { thread, pending } = (helper ??= open())
  const id = ++lastId
  // A command that only waits for this must not end before.
  thread.ref()
  return new Promise<Answer>((resolve, reject) => {
    pending.set(id, { resolve, reject })
    thread.postMessage({ id, question })
  })
}

/** How many wait for their turn. */
export const waitingTurns = (): number => helper?.pending.size ?? 0

/** bcrypt reads 72 bytes and stops at a NUL: a digest makes every byte of a long password count. */
const digestOf = (password: string): string => createHash('sha384').update(password.normalize('NFC')).digest('base64')

export const hashPassword = (password: string): Promise<string> => ask({ digest: digestOf(password), cost })

export const matchesPassword = (password: string, hash: string): Promise<boolean> => ask({ digest: digestOf(password), hash })

/** Compared when there is no such account, so that the answer takes as long. It is a hash of random bytes of that cost. */
export const nobodysHash = '$2b$12$C6UzMDM.H6dfI/f/IKcEeO7ZBnHyDdrTVXrBkPWGpPTq8CgDFz1pa'

/** Whether a password is among the first that are tried against whoever has this name. */
export const isGuessable = (guess: string, username: string): Promise<boolean> =>
  ask({ guess, words: [username, 'operations', 'center', 'console'] })
