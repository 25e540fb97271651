import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Views } from '../../views/views'
import { asError } from '../errors'
import type { Log } from '../log'
import { inProject } from '../paths'
import type { RingEntry } from '../ring'
import { openTemplates } from '../templates'
import type { Space, Step } from './space'
import type { CopyShown, Question } from './tasks'
import type { Trouble } from './trouble'

declare module '../../views/views' {
  interface Views {
    'rescue/closed': { retries: boolean }
    'rescue/enter': { token: string; fits: boolean }
    'rescue/index': RescuePage
    'rescue/confirm': { question: Question }
    'rescue/starting': Record<string, never>
    'rescue/page': { title: string; body: string; watch: boolean }
  }
}

export interface RescuePage {
  trouble: Trouble
  retries: boolean
  nextAt: number | null
  said: { kind: 'ok' | 'err'; text: string } | null
  version: string
  dataDir: string
  space: Space | null
  steps: readonly Step[]
  copies: readonly CopyShown[]
  mayBegin: boolean
  events: readonly RingEntry[]
}

const types: Readonly<Record<string, string>> = {
  'rescue.css': 'text/css; charset=utf-8',
  'rescue.js': 'text/javascript; charset=utf-8',
  'icons.svg': 'image/svg+xml',
}

type RescueView = Extract<keyof Views, `rescue/${string}`>

export interface Pages {
  /** A whole page. `watch`: it asks by itself whether the console is there. */
  page<Name extends RescueView>(name: Name, props: Views[Name], title: string, watch?: boolean): string
  /** What a page loads, by its path. */
  readonly files: ReadonlyMap<string, { readonly type: string; readonly body: Buffer }>
}

/** Nothing of this is made by the build: it has to work where that is missing. */
export function openPages(zone: string, log: Log): Pages {
  const files = new Map<string, { type: string; body: Buffer }>()
  for (const [name, type] of Object.entries(types))
    try {
      files.set(`/rescue/${name}`, { type, body: readFileSync(inProject('public', 'rescue', name)) })
    } catch {
      // The page is readable without.
    }
  const font = fontFile()
  if (font) files.set('/rescue/inter.woff2', { type: 'font/woff2', body: font })
  const render = openViews(zone, log)
  return {
    files,
    page(name, props, title, watch = false) {
      const body = render?.(name, props) ?? plain(name, props)
      return (
        render?.('rescue/page', { title, body, watch }) ?? `<!doctype html><html lang="en"><title>${escape(title)}</title>${body}</html>`
      )
    },
  }
}

/** As the console has it, if the build is there. */
function fontFile(): Buffer | null {
  const folder = inProject('public', 'build')
  try {
    const name = readdirSync(folder).find((one) => /^inter-latin-wght-normal.*\.woff2$/.test(one))
    return name === undefined ? null : readFileSync(join(folder, name))
  } catch {
    return null
  }
}

function openViews(zone: string, log: Log): ReturnType<typeof openTemplates>['render'] | null {
  try {
    return openTemplates({ 'icons.svg': '/rescue/icons.svg' }, zone).render
  } catch (error) {
    log.error({ err: asError(error) }, 'the views cannot be read')
    return null
  }
}

const escape = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)

const form = (action: string, button: string, fields = ''): string =>
  `<form method="post" action="${escape(action)}">${fields}<button>${escape(button)}</button></form>`

/** Without the views: what is wrong, the way in, and to try again. */
function plain(name: RescueView, props: Views[RescueView]): string {
  if (name === 'rescue/enter') {
    const { token } = props as Views['rescue/enter']
    return form('/rescue', 'Open rescue mode', `<input type="hidden" name="token" value="${escape(token)}">`)
  }
  if (name !== 'rescue/index') return '<h1>Operations Center is in rescue mode</h1><p>Its log has a link for whoever mends it.</p>'
  const { title, detail, steps, cause } = (props as RescuePage).trouble
  const list = steps.map((step) => `<li>${escape(step)}</li>`).join('')
  return `<h1>${escape(title)}</h1><p>${escape(detail)}</p><ol>${list}</ol><pre>${escape(cause)}</pre>${form('/rescue/again', 'Try again')}`
}
