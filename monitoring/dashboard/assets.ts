import { readFileSync, statSync } from 'node:fs'
import type { RequestHandler } from 'express'
import { inProject } from '../paths'

const folder = inProject('public', 'build')

/** Logical name → address of the hashed file, as the build wrote it. */
export function readAssets(): Record<string, string> {
  try {
    const names = JSON.parse(readFileSync(`${folder}/assets.json`, 'utf8')) as Record<string, string>
    return Object.fromEntries(Object.entries(names).map(([name, file]) => [name, `/assets/${file}`]))
  } catch (error) {
    throw new Error('public/build/assets.json is missing: run “npm run build” first', { cause: error })
  }
}

const safeName = /^\/(?:fonts\/)?[\w-]+(?:\.[\w-]+)*\.(?:css|js|svg|woff2|png|ico|txt)$/

const encodings = [
  ['br', '.br'],
  ['gzip', '.gz'],
] as const

/** Sends built files, compressed at build time; their names change with their content, so browsers keep them for good. */
export const serveAssets: RequestHandler = (request, response, next) => {
  if (!safeName.test(request.path)) {
    next()
    return
  }
  const accepted = request.headers['accept-encoding'] ?? ''
  const [encoding, ending] = encodings.find(([name, ending]) => accepted.includes(name) && exists(folder + request.path + ending)) ?? [
    '',
    '',
  ]
  // In place of the `no-store` of pages; sendFile sets its own when there is none.
  response.removeHeader('Cache-Control')
  response.setHeader('Vary', 'Accept-Encoding')
  if (encoding) {
    response.type(request.path.slice(request.path.lastIndexOf('.')))
    response.setHeader('Content-Encoding', encoding)
  }
  const hashed = /-[A-Za-z0-9_]{6,}\.\w+$/.test(request.path)
  response.sendFile(
    request.path.slice(1) + ending,
    { root: folder, immutable: hashed, maxAge: hashed ? '1y' : '1d', dotfiles: 'deny' },
    (error) => {
      if (!error || response.headersSent) return
      response.removeHeader('Content-Encoding')
      response.setHeader('Cache-Control', 'no-store')
      next()
    },
  )
}

const known = new Map<string, boolean>()

function exists(path: string): boolean {
  let answer = known.get(path)
  if (answer === undefined) {
    answer = statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
    // Only what is there: a stranger's invented names must not fill the memory.
    if (answer) known.set(path, answer)
  }
  return answer
}
