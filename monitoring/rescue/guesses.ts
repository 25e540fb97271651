import { TooMany } from '../errors'

/** The links that did not fit, by where they came from: one who guesses keeps nobody else out, and never the one whose link is right. */
export interface Guesses {
  /** Throws when it is one too many. */
  countWrong(address: string): void
}

const mostPerMinute = 30
/** Beyond these, whoever guesses wrong in this minute waits: memory has an end. */
const mostAddresses = 10_000

export function openGuesses(now: () => number): Guesses {
  const wrong = new Map<string, number>()
  let minute = 0
  return {
    countWrong(address) {
      const current = Math.floor(now() / 60_000)
      if (current !== minute) wrong.clear()
      minute = current
      const count = (wrong.get(address) ?? 0) + 1
      if (wrong.has(address) || wrong.size < mostAddresses) wrong.set(address, count)
      if (count > mostPerMinute || !wrong.has(address)) throw new TooMany('Too many links that do not fit. Wait a minute.', 60)
    },
  }
}
