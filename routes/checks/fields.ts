import { kinds, type Check, type CheckInput, type Kind } from '../../services/checks'
import { duration } from '../../monitoring/markup'
import type { Errors } from '../../monitoring/dashboard/shapes'
import { name, specFields, tags, when, type Offers, type Told } from './kind-fields'

const prefixed = (field: Told): Told => ({ ...field, name: `spec_${field.name}` })

export interface FieldsOf {
  readonly what: readonly Told[]
  readonly more: readonly Told[]
  readonly when: readonly Told[]
  readonly last: readonly Told[]
}

export function fieldsOf(kind: Kind, offers: Offers): FieldsOf {
  const { what, more } = specFields(kind, offers)
  return { what: [name, ...what.map(prefixed)], more: more.map(prefixed), when: kind === 'heartbeat' ? [] : when, last: [tags] }
}

const all = ({ what, more, when, last }: FieldsOf): readonly Told[] => [...what, ...more, ...when, ...last]

/** What the form of any kind may send. */
export const fieldNames: readonly string[] = [
  ...new Set(kinds.flatMap((kind) => all(fieldsOf(kind, { processes: [], mounts: [], commands: [] })).map(({ name }) => name))),
]

export type Typed = Readonly<Record<string, string>>

const inSeconds: Readonly<Record<string, number>> = { ms: 0.001, s: 1, sec: 1, min: 60, m: 60, h: 3600, d: 86_400 }

/** "90", "90 s", "1 min 30 s", "1.5 h" in seconds; what is none of these stays as it is, for the service to refuse. */
function secondsOf(text: string): number | string {
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)\s*([a-z]*)\s*/gi)]
  if (parts.length === 0 || parts.map(([whole]) => whole).join('') !== text.trim()) return text
  const values = parts.map(([, number = '', unit = '']) => Number(number) * (inSeconds[unit.toLowerCase() || 's'] ?? Number.NaN))
  const sum = values.reduce((total, one) => total + one, 0)
  return Number.isNaN(sum) ? text : sum
}

function read({ as, name }: Told, typed: Typed): unknown {
  const text = typed[name] ?? ''
  switch (as) {
    case 'flag':
      return text !== ''
    case 'nullable':
      return text === '' ? null : text
    case 'number':
      return text.trim() === '' ? null : Number.isNaN(Number(text)) ? text : Number(text)
    case 'span': {
      if (text.trim() === '') return undefined
      const seconds = secondsOf(text)
      return typeof seconds === 'number' && name.endsWith('_ms') ? Math.round(seconds * 1000) : seconds
    }
    case 'headers':
      return text
        .split(/\r?\n/)
        .filter((line) => line.trim() !== '')
        .map((line) => {
          const at = line.indexOf(':')
          return at < 0 ? { name: line.trim(), value: '' } : { name: line.slice(0, at).trim(), value: line.slice(at + 1).trim() }
        })
    case 'text':
      return text
  }
}

function write({ as, name }: Told, value: unknown): string {
  if (value === null || value === undefined) return ''
  if (as === 'flag') return value === true ? 'on' : ''
  if (as === 'span') return duration(Number(value) * (name.endsWith('_ms') ? 1 : 1000))
  if (as === 'headers') return (value as readonly { name: string; value: string }[]).map((one) => `${one.name}: ${one.value}`).join('\n')
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : ''
}

/** What the form shows before somebody types. */
export function valuesOf(fields: FieldsOf, check: Check | null): Typed {
  const spec = (check?.spec ?? {}) as Readonly<Record<string, unknown>>
  const known: Readonly<Record<string, unknown>> = check ? { ...check, tags: check.tags.join(', ') } : {}
  return Object.fromEntries(
    all(fields).map((field) => {
      const given = field.name.startsWith('spec_') ? spec[field.name.slice(5)] : known[field.name]
      if (given !== undefined) return [field.name, write(field, given)]
      const { usual = '' } = field
      return [field.name, field.as === 'span' && usual !== '' ? write(field, Number(usual)) : usual]
    }),
  )
}

/** What was typed, as the service takes it. */
export function inputOf(kind: Kind, fields: FieldsOf, typed: Typed): CheckInput {
  const told = all(fields).map((field) => [field.name, read(field, typed)] as const)
  const spec = Object.fromEntries(told.flatMap(([name, value]) => (name.startsWith('spec_') ? [[name.slice(5), value] as const] : [])))
  const { tags, ...rest } = Object.fromEntries(told.filter(([name]) => !name.startsWith('spec_')))
  const listed = String(tags)
    .split(',')
    .map((tag) => tag.trim())
    .filter(Boolean)
  return { ...(rest as { name: string }), kind, spec, tags: [...new Set(listed)] }
}

/** `spec.headers.0.name` is wrong where the form has `spec_headers`. */
export const formErrors = (wrong: readonly { field: string; message: string }[]): Errors =>
  Object.fromEntries(
    wrong.map(({ field, message }) => {
      const [first = '', second = ''] = field.split('.')
      return [first === 'spec' && second !== '' ? `spec_${second}` : first, message]
    }),
  )
