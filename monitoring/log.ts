import pino, { type Logger } from 'pino'

export type Log = Logger

/** What JSON leaves as it is, but a terminal obeys or a reader of lines takes for the end of one. */
const treacherous = /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** JSON lines on stdout. Control characters are escaped, secrets hidden by name. */
export const openLog = (level = 'info', destination?: pino.DestinationStream): Log =>
  pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: {
        paths: ['password', '*.password', 'token', '*.token', 'authorization', '*.authorization', 'cookie', '*.cookie'],
        censor: '[hidden]',
      },
      hooks: {
        streamWrite: (line) => line.replace(treacherous, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`),
      },
    },
    destination ?? pino.destination({ fd: 1, sync: true }),
  )
