import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { projectDir } from '../../monitoring/paths'

const run = promisify(execFile)

/** PM2's own command, in a home of the test's. */
export const pm2 = async (home: string, ...words: string[]): Promise<string> => {
  const { stdout } = await run(join(projectDir, 'node_modules', '.bin', 'pm2'), words, { env: { ...process.env, PM2_HOME: home } })
  return stdout
}
