import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { markup } from '../monitoring/markup'
import { inProject } from '../monitoring/paths'
import { openTemplates } from '../monitoring/templates'

const folder = inProject('views')
const views = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ejs'))
const sources = views.map((file) => [file, readFileSync(join(folder, file), 'utf8')] as const)

test.each(sources)('%s prints nothing unescaped but partials, helpers and the body', (_file, source) => {
  const printed = [...source.matchAll(/<%-\s*([\s\S]*?)\s*[-_]?%>/g)].map(([, what = '']) => what)
  // One call, and nothing after it: `h.icon(a) + it.b` would print the second as it is.
  const allowed = (what: string) => what === 'it.body' || (/^(partial|h\.\w+)\(/.test(what) && closesAtEnd(what))
  expect(printed.filter((what) => !allowed(what))).toEqual([])
})

/** Whether the parenthesis of the first call is closed by the last character. */
function closesAtEnd(call: string): boolean {
  let depth = 0
  let quote = ''
  for (let index = 0; index < call.length; index++) {
    const character = call.charAt(index)
    if (quote) {
      if (character === quote && call[index - 1] !== '\\') quote = ''
    } else if (`'"\``.includes(character)) quote = character
    else if (character === '(') depth++
    else if (character === ')' && --depth === 0) return index === call.length - 1
  }
  return false
}

test.each(sources)('%s has no inline script, style or handler, which the policy of the page would refuse', (_file, source) => {
  expect(source).not.toMatch(/<style|\sstyle=|\son[a-z]+=|javascript:/i)
  for (const [tag] of source.matchAll(/<script[^>]*>/g)) expect(tag).toMatch(/\ssrc=/)
})

describe('a helper', () => {
  const h = markup({ 'icons.svg': '/assets/icons.svg' })
  const evil = `x" onload='1'><script>&`
  const calls: Record<string, () => string> = {
    icon: () => h.icon(evil, evil),
    stateIcon: () => h.stateIcon(evil as 'ok', evil),
    state: () => h.state(evil as 'ok', evil, evil),
    time: () => h.time(0, { class: evil, format: 'uptime' }),
    bar: () => h.bar(50, evil as 'ok', evil),
    spark: () => h.spark([1, null, Number.NaN, evil as unknown as number]),
    strip: () => h.strip([evil as 'ok', 'ok']),
    json: () => h.json({ [evil]: evil }),
    escape: () => h.escape(evil),
  }
  // These answer plain words, which templates print escaped.
  const words = ['duration', 'bytes', 'percent', 'number', 'plural', 'initials', 'clock']

  test('is in this list, whichever there are', () => {
    expect([...Object.keys(calls), ...words].sort()).toEqual(Object.keys(h).sort())
    const printed = new Set(sources.flatMap(([, source]) => [...source.matchAll(/<%-\s*h\.(\w+)/g)].map(([, name = '']) => name)))
    expect([...printed].filter((name) => words.includes(name))).toEqual([])
  })

  test.each(Object.entries(calls))('%s escapes what it is given', (_name, call) => {
    expect(call()).not.toMatch(/x" |onload='|<script/)
  })
})

describe('a template', () => {
  const templates = openTemplates({ 'icons.svg': '/icons.svg' }, 'UTC')

  test('that is not given what it prints throws, with the name', () => {
    expect(() => templates.render('overview/_verdict', {} as never)).toThrow('The view was not given “verdict”')
    expect(() => templates.render('shared/error', { status: 404, title: 'Not found', requestId: null, retryAfter: null } as never)).toThrow(
      '“detail”',
    )
  })

  test('that does not exist is named', () => {
    expect(() => templates.render('shared/nothing' as 'shared/error', {} as never)).toThrow('There is no view “shared/nothing”')
  })

  test('escapes what it prints', () => {
    const html = templates.render('shared/error', { status: 404, title: '<b>&"\'', detail: '<script>', requestId: null, retryAfter: null })
    expect(html).toContain('&lt;b&gt;&amp;&#34;')
    expect(html).not.toMatch(/<script>|<b>&/)
  })
})
