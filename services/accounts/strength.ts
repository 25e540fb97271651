type Check = (password: string, words: string[]) => { score: number }

let loaded: Promise<Check> | undefined

/** A megabyte of words that are tried first: read when somebody chooses a password, which few processes ever see. */
async function load(): Promise<Check> {
  const [{ ZxcvbnFactory }, { dictionary, adjacencyGraphs }] = await Promise.all([
    import('@zxcvbn-ts/core'),
    import('@zxcvbn-ts/language-common'),
  ])
  const factory = new ZxcvbnFactory({ dictionary, graphs: adjacencyGraphs })
  return (password, words) => factory.check(password, words)
}

/** Beyond this a password is long enough, and looking for patterns in it would take long too. */
const longest = 64

/** Whether it would be guessed within a million tries: a common one, a row of keys, the user's own name with a number. */
export async function isGuessable(password: string, username: string): Promise<boolean> {
  const check = await (loaded ??= load())
  return check(password.slice(0, longest), [username, 'operations', 'center', 'console']).score < 2
}
