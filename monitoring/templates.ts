import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import ejs from 'ejs'
import type { Views } from '../views/views'
import { markup } from './markup'
import { inProject } from './paths'

export interface Templates {
  /** Renders one view with the props that `Views` says it takes. */
  readonly render: <Name extends keyof Views>(name: Name, props: Views[Name]) => string
}

type Compiled = (locals: { it: object; h: ReturnType<typeof markup>; partial: (name: string, props: object) => string }) => string

/** Using a name that the view was not given is a mistake that must not print "undefined". */
const strictProps: ProxyHandler<object> = {
  get(props, name) {
    if (name in props || typeof name === 'symbol') return Reflect.get(props, name) as unknown
    throw new ReferenceError(`The view was not given “${name}”`)
  },
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' }

const escape = (value: unknown): string => {
  const text = typeof value === 'string' ? value : value === null || value === undefined ? '' : `${value as number}`
  return /[&<>"']/.test(text) ? text.replace(/[&<>"']/g, (character) => entities[character] ?? '') : text
}

/** Compiles every view once: strict, without `with`, which is twice as fast as EJS's default and finds misspelt names. */
export function openTemplates(assets: Readonly<Record<string, string>>, zone: string, folder = inProject('views')): Templates {
  const h = markup(assets, zone)
  const compiled = new Map<string, Compiled>()
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ejs')) continue
    const name = relative('.', file).split(sep).join('/').slice(0, -'.ejs'.length)
    compiled.set(
      name,
      ejs.compile(readFileSync(join(folder, file), 'utf8'), {
        filename: join(folder, file),
        strict: true,
        destructuredLocals: ['it', 'h', 'partial'],
        escape,
      }),
    )
  }
  function partial(name: string, props: object): string {
    const view = compiled.get(name)
    if (!view) throw new Error(`There is no view “${name}”`)
    return view({ it: new Proxy(props, strictProps), h, partial })
  }
  return { render: (name, props) => partial(name, props) }
}
