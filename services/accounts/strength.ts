type Check = (password: string, words: string[]) => { score: number }

let loaded: Promise<Check> | undefined

/** A megabyte of words that are tried first: read when somebody chooses a password, and only in the thread that looks for them. */
async function load(): Promise<Check> {
  const [{ ZxcvbnFactory }, { dictionary, adjacencyGraphs }] = await Promise.all([
    import('@zxcvbn-ts/core'),
    import('@zxcvbn-ts/language-common'),
  ])
  const factory = new ZxcvbnFactory({ dictionary, graphs: adjacencyGraphs })
  return (password, words) => factory.check(password, words)
}

/** Beyond this a password is long enough, and looking for patterns in it takes many times as long. */
const longest = 32

/** Whether it would be guessed within a million tries: a common one, a row of keys, one of these words with a number. */
export async function isGuessable(password: string, words: readonly string[]): Promise<boolean> {
  const check = await (loaded ??= load())
  return check(password.slice(0, longest), [...words]).score < 2
}
