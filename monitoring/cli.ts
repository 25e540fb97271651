import * as resets from '../services/resets'
import { version, withSystem } from './app'
import { askSecretly } from './ask'
import { prepareDataDir, readConfig } from './config'
import { doctor } from './doctor'
import { asError } from './errors'
import { openLog } from './log'
import { plural } from './markup'

/** What a command answers: its exit code. */
type Command = (argv: readonly string[]) => Promise<number>

const commands: Readonly<Record<string, { summary: string; run: Command }>> = {
  doctor: {
    summary: 'show the effective configuration and try everything that the console depends on',
    run: () => doctor(say),
  },
  'reset-password': {
    summary: 'reset-password <name>: set a new password (typed, or the first line of the input) and end every session of that person',
    run: ([name]) => resetPassword(name),
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
  ['operations-center <command>', '', ...Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(16)}${summary}`)].join('\n')

async function resetPassword(name: string | undefined): Promise<number> {
  if (!name) {
    process.stderr.write('Whose? operations-center reset-password <name>\n')
    return 2
  }
  const config = prepareDataDir(readConfig())
  const { ended } = await withSystem(config, openLog('silent'), async (ctx) => {
    await resets.insistOn(ctx, name)
    const password = await askSecretly(`New password for ${name}: `)
    if (process.stdin.isTTY && (await askSecretly('Again: ')) !== password) throw new Error('These were not the same. Nothing was changed.')
    return await resets.bySystem(ctx, name, password)
  })
  return done(`The password of ${name} was changed, and ${plural(ended, 'session', 'sessions')} ended.`)
}

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
