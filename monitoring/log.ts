import pino, { type Logger } from 'pino'

export type Log = Logger

/** A line of the log that says that something is wrong: a warning or worse. */
export interface Trouble {
  readonly at: number
  readonly level: 'warning' | 'error' | 'fatal'
  readonly text: string
  /** The message of the error that came with it, if one did. */
  readonly cause: string | null
}

interface Listening {
  readonly last: Trouble[]
  readonly listeners: Set<(trouble: Trouble) => void>
}

/** What JSON leaves as it is, but a terminal obeys or a reader of lines takes for the end of one. */
const treacherous = /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** So many are kept in memory, for the console's own page. */
const mostKept = 100

const known = new WeakMap<Log, Listening>()

/** JSON lines on stdout. Control characters are escaped, secrets hidden by name. */
export function openLog(level = 'info', destination?: pino.DestinationStream): Log {
  const listening: Listening = { last: [], listeners: new Set() }
  const log = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: {
        paths: ['password', '*.password', 'token', '*.token', 'authorization', '*.authorization', 'cookie', '*.cookie'],
        censor: '[hidden]',
      },
      hooks: {
        streamWrite(line) {
          const safe = line.replace(treacherous, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
          // pino writes the level first, so that the many lines of the others need not be read.
          if (/^\{"level":[4-6]0/.test(safe)) note(listening, safe)
          return safe
        },
      },
    },
    destination ?? pino.destination({ fd: 1, sync: true }),
  )
  known.set(log, listening)
  return log
}

/** The last warnings and errors, the newest first. */
export const troublesOf = (log: Log): readonly Trouble[] => known.get(log)?.last ?? []

/** Calls for each warning and error from now on; returns how to stop. */
export function onTrouble(log: Log, listener: (trouble: Trouble) => void): () => void {
  const listeners = known.get(log)?.listeners
  listeners?.add(listener)
  return () => void listeners?.delete(listener)
}

const levels: Readonly<Record<number, Trouble['level']>> = { 40: 'warning', 50: 'error', 60: 'fatal' }

/** Passwords in addresses, and what is as long and as random as a secret of ours. */
const secrets: readonly (readonly [RegExp, string])[] = [
  [/(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@]*:)[^\s@/]+@/gi, '$1•••••@'],
  [/\bjug_[\w.-]+/g, 'jug_•••••'],
  [/\b(?=[\w-]*\d)(?=[\w-]*[a-zA-Z])[\w-]{40,}/g, '•••••'],
]

/** What a person may see who does not read the log of the server. */
const withoutSecrets = (text: string): string => secrets.reduce((shown, [pattern, mask]) => shown.replace(pattern, mask), text)

function note({ last, listeners }: Listening, line: string): void {
  let trouble: Trouble
  try {
    const { level, time, msg, err } = JSON.parse(line) as { level: number; time: string; msg?: string; err?: { message?: string } }
    trouble = {
      at: Date.parse(time),
      level: levels[level] ?? 'warning',
      text: withoutSecrets(msg ?? ''),
      cause: err?.message === undefined || err.message === msg ? null : withoutSecrets(err.message).slice(0, 500),
    }
  } catch {
    return
  }
  last.unshift(trouble)
  if (last.length > mostKept) last.length = mostKept
  for (const listener of listeners) listener(trouble)
}
