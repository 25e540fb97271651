import { version } from './app'
import { doctor } from './doctor'
import { asError } from './errors'

/** What a command answers: its exit code. */
type Command = (argv: readonly string[]) => Promise<number>

const commands: Readonly<Record<string, { summary: string; run: Command }>> = {
  doctor: {
    summary: 'show the effective configuration and try everything that the console depends on',
    run: () => doctor(say),
  },
  version: { summary: 'print the version', run: () => done(version) },
  help: { summary: 'print this', run: () => done(help()) },
}

const say = (text: string) => process.stdout.write(`${text}\n`)

function done(text: string): Promise<number> {
  say(text)
  return Promise.resolve(0)
}

const help = (): string =>
  ['operations-center <command>', '', ...Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`)].join('\n')

const [given = 'help', ...rest] = process.argv.slice(2)
const name = given === '-h' ? 'help' : given.replace(/^--/, '')
const command = Object.hasOwn(commands, name) ? commands[name] : undefined
if (!command) {
  process.stderr.write(`There is no command “${given}”.\n\n${help()}\n`)
  process.exit(2)
}
command.run(rest).then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${asError(error).message}\n`)
    process.exit(1)
  },
)
