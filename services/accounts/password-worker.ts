import { setPriority } from 'node:os'
import { parentPort } from 'node:worker_threads'
import bcrypt from 'bcrypt'
import { isGuessable } from './strength'

/** What is asked for: a hash to be made, or to be compared with, or whether a password is among the first that are tried. */
export type Question =
  | { readonly digest: string; readonly cost: number }
  | { readonly digest: string; readonly hash: string }
  | { readonly guess: string; readonly words: readonly string[] }

// On Linux this is about this thread alone: a hash takes a sixth of a second, and whoever asks for something else must not wait for it.
// Not the lowest: on a machine whose processors are all busy, which is when somebody needs to sign in, that would take many seconds.
setPriority(0, 5)

async function answer(id: number, question: Question): Promise<void> {
  if ('guess' in question) parentPort?.postMessage({ id, answer: await isGuessable(question.guess, question.words) })
  else {
    const { digest } = question
    const answer = 'hash' in question ? bcrypt.compareSync(digest, question.hash) : bcrypt.hashSync(digest, question.cost)
    parentPort?.postMessage({ id, answer })
  }
}

parentPort?.on('message', ({ id, question }: { id: number; question: Question }) => {
  void answer(id, question)
})
