import { copiesIn, verifyCopy, type Verdict } from '../db/inspect'
import { beginAnew, copyNamed, restoreCopy } from '../db/repair'
import { NotFound } from '../errors'
import { bytes } from '../markup'
import { spaceOf, stepsOf, type Step } from './space'
import { mayRestore, type Trouble } from './trouble'

/** What is asked before something is done. */
export interface Question {
  readonly title: string
  readonly consequences: readonly string[]
  readonly button: string
  readonly action: string
  /** What has to be typed; null: nothing. */
  readonly word: string | null
  /** Something else was typed. */
  readonly wrong: boolean
}

export interface CopyShown {
  readonly name: string
  readonly at: number
  readonly bytes: number
  readonly verdict: Verdict
}

/** What rescue mode can do about a trouble. A task is named by its path: /rescue/steps/log, /rescue/copies/<name>, /rescue/begin. */
export interface Tasks {
  steps(trouble: Trouble): Step[]
  copies(trouble: Trouble): CopyShown[]
  mayBegin(trouble: Trouble): boolean
  ask(trouble: Trouble, path: string, wrong?: boolean): Question
  /** Answers what was done, in a sentence. */
  carryOut(trouble: Trouble, path: string): Promise<string>
}

export interface TasksOptions {
  readonly dataDir: string
  readonly logs: readonly string[]
  readonly onPostgres: boolean
  readonly now: () => number
}

/** Below this, a copy may not find the room to be put back. */
const scarce = 200 * 1024 * 1024

export function openTasks({ dataDir, logs, onPostgres, now }: TasksOptions): Tasks {
  const verdicts = new Map<string, Verdict>()

  /** Reading all of a copy takes a while; one that nobody has written since need not be read again. */
  function verdictOf(file: string, at: number): Verdict {
    const key = `${file} ${at}`
    let verdict = verdicts.get(key)
    if (!verdict) verdicts.set(key, (verdict = verifyCopy(file)))
    return verdict
  }

  const steps = (trouble: Trouble): Step[] =>
    trouble.kind === 'full' || (spaceOf(dataDir)?.free ?? 0) < scarce ? stepsOf({ dataDir, logs, trouble, now: now() }) : []

  const step = (trouble: Trouble, id: string): Step => {
    const found = steps(trouble).find((one) => one.id === id)
    if (!found) throw new NotFound('There is nothing left to free here.')
    return found
  }

  const copy = (trouble: Trouble, name: string) => {
    const found = mayRestore(trouble) ? copyNamed(dataDir, name) : undefined
    if (!found) throw new NotFound('There is no such copy.')
    return found
  }

  const mayBegin = ({ kind }: Trouble): boolean => !onPostgres && ['missing', 'foreign', 'damaged'].includes(kind)

  return {
    steps,
    mayBegin,
    copies: (trouble) =>
      mayRestore(trouble) ? copiesIn(dataDir).map(({ file, name, at, bytes }) => ({ name, at, bytes, verdict: verdictOf(file, at) })) : [],
    ask(trouble, path, wrong = false) {
      const [what, name] = partsOf(path)
      const base = { action: path, wrong }
      if (what === 'steps') {
        const { title, consequences, button, bytes: size } = step(trouble, name)
        return { ...base, title: `${title}?`, consequences: [`About ${bytes(size)} will be free.`, ...consequences], button, word: null }
      }
      if (what === 'copies') {
        const { name: file } = copy(trouble, name)
        const consequences = [
          `The console starts with what was in ${file}. What came after it is not in it.`,
          'The database that is there now is renamed and kept beside it.',
          'The copy itself stays as it is.',
        ]
        return { ...base, title: 'Put this copy back?', consequences, button: 'Put the copy back', word: 'restore' }
      }
      if (what !== 'begin' || !mayBegin(trouble)) throw new NotFound()
      const consequences = [
        'The console starts without people, history and settings, and prints a new claim link.',
        'What is there now is renamed and kept beside it.',
        'API keys and sessions of before are worth nothing in it.',
      ]
      return { ...base, title: 'Begin with an empty database?', consequences, button: 'Begin with an empty database', word: 'begin' }
    },
    async carryOut(trouble, path) {
      const [what, name] = partsOf(path)
      if (what === 'steps') {
        const { title, run } = step(trouble, name)
        return `${title}: ${bytes(await run())} freed.`
      }
      const aside = what === 'copies' ? restoreCopy(dataDir, copy(trouble, name), now()) : beginAnew(dataDir, now())
      return aside === null ? 'Done.' : `Done. The old database is ${aside} now.`
    },
  }
}

function partsOf(path: string): [string, string] {
  try {
    const [, , what = '', name = ''] = path.split('/').map(decodeURIComponent)
    return [what, name]
  } catch {
    throw new NotFound()
  }
}
