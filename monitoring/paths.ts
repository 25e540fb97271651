import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The project's folder, from the source tree as well as from `dist/`: the nearest parent with a package.json. */
export const projectDir = (function find(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder
  const parent = dirname(folder)
  if (parent === folder) throw new Error(`No package.json above ${__dirname}`)
  return find(parent)
})(__dirname)

export const inProject = (...parts: string[]): string => join(projectDir, ...parts)
