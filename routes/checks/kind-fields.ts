import { methods, type Kind } from '../../services/checks'

/** A field of a form: what it looks like, and what its text means. */
export interface Field {
  readonly name: string
  readonly label: string
  readonly type: 'text' | 'url' | 'number' | 'select' | 'lines' | 'check' | 'moment'
  readonly help?: string
  readonly optional?: boolean
  readonly placeholder?: string
  readonly unit?: string
  readonly mono?: boolean
  /** Words of people: the keyboard may help. */
  readonly words?: boolean
  readonly rows?: number
  readonly options?: readonly { value: string; label: string }[]
  /** What is offered while typing. */
  readonly list?: readonly string[]
  /** Stands in the line of the one before. */
  readonly beside?: boolean
}

type Meaning = 'text' | 'nullable' | 'number' | 'span' | 'flag' | 'headers'

export interface Told extends Field {
  readonly as: Meaning
  /** What it is before somebody types. */
  readonly usual?: string
}

/** What of this machine can be chosen from. */
export interface Offers {
  readonly processes: readonly string[]
  readonly mounts: readonly string[]
  readonly commands: readonly { name: string; description: string | null }[]
}

const choices = (values: readonly string[]) => values.map((value) => ({ value, label: value }))
const recordTypes = ['A', 'AAAA', 'CNAME', 'MX', 'NS', 'TXT', 'SRV', 'CAA', 'SOA', 'PTR']

/** Of each kind: what is asked first, and what can be opened. */
export function specFields(kind: Kind, offers: Offers): { what: readonly Told[]; more: readonly Told[] } {
  switch (kind) {
    case 'http':
      return {
        what: [
          { name: 'url', as: 'text', label: 'Address', type: 'url', mono: true, placeholder: 'https://example.com/health' },
          { name: 'method', as: 'text', label: 'Method', type: 'select', options: choices(methods), usual: 'GET' },
          { name: 'statuses', as: 'text', label: 'Statuses that are fine', type: 'text', beside: true, usual: '200-299', mono: true },
          {
            name: 'keyword',
            as: 'nullable',
            label: 'Text in the answer',
            type: 'text',
            optional: true,
            help: 'The answer has to contain it, letter by letter.',
          },
          { name: 'keyword_absent', as: 'flag', label: 'Turn it round: the text must not be there', type: 'check' },
        ],
        more: [
          {
            name: 'headers',
            as: 'headers',
            label: 'Headers',
            type: 'lines',
            rows: 3,
            optional: true,
            placeholder: 'Authorization: Bearer …',
            help: 'One in each line.',
          },
          { name: 'body', as: 'nullable', label: 'Body', type: 'lines', rows: 3, optional: true },
          { name: 'json_path', as: 'nullable', label: 'JSON path', type: 'text', optional: true, mono: true, placeholder: '$.status' },
          {
            name: 'json_equals',
            as: 'nullable',
            label: 'Its value',
            type: 'text',
            optional: true,
            beside: true,
            mono: true,
            placeholder: 'ok',
            help: 'Empty: something has to be there.',
          },
          { name: 'redirects', as: 'number', label: 'Redirects to follow', type: 'number', usual: '5' },
          {
            name: 'certificate_days',
            as: 'number',
            label: 'Warn when the certificate ends in',
            type: 'number',
            beside: true,
            unit: 'days',
            optional: true,
            usual: '14',
          },
          { name: 'verify_certificate', as: 'flag', label: 'The certificate has to be valid', type: 'check', usual: 'on' },
        ],
      }
    case 'tcp':
      return {
        what: [
          { name: 'host', as: 'text', label: 'Host', type: 'text', mono: true, placeholder: 'mail.example.com' },
          { name: 'port', as: 'number', label: 'Port', type: 'number', beside: true, placeholder: '25' },
        ],
        more: [
          { name: 'send', as: 'nullable', label: 'Send this', type: 'lines', rows: 2, optional: true },
          {
            name: 'expect',
            as: 'nullable',
            label: 'Wait for this in the answer',
            type: 'text',
            optional: true,
            mono: true,
            placeholder: '220',
          },
        ],
      }
    case 'dns':
      return {
        what: [
          { name: 'name', as: 'text', label: 'Domain', type: 'text', mono: true, placeholder: 'example.com' },
          { name: 'type', as: 'text', label: 'Record', type: 'select', beside: true, options: choices(recordTypes), usual: 'A' },
          {
            name: 'expect',
            as: 'nullable',
            label: 'One of the answers has to be',
            type: 'text',
            optional: true,
            mono: true,
            placeholder: '203.0.113.7',
          },
        ],
        more: [
          {
            name: 'server',
            as: 'nullable',
            label: 'Ask this server',
            type: 'text',
            optional: true,
            mono: true,
            placeholder: '1.1.1.1',
            help: 'Empty: the resolver of this machine.',
          },
        ],
      }
    case 'process':
      return {
        what: [
          {
            name: 'name',
            as: 'text',
            label: 'Name of the process',
            type: 'text',
            mono: true,
            list: offers.processes,
            help: 'As PM2 calls it.',
          },
        ],
        more: [],
      }
    case 'disk':
      return {
        what: [
          { name: 'mount', as: 'text', label: 'Mount', type: 'text', mono: true, list: offers.mounts, usual: '/' },
          { name: 'percent', as: 'number', label: 'Down when it is fuller than', type: 'number', beside: true, unit: '%', usual: '90' },
        ],
        more: [],
      }
    case 'postgres':
      return {
        what: [
          {
            name: 'url',
            as: 'text',
            label: 'Address',
            type: 'url',
            mono: true,
            placeholder: 'postgres://reader:password@db.example.com:5432/shop',
          },
          {
            name: 'query',
            as: 'nullable',
            label: 'Query',
            type: 'lines',
            rows: 2,
            optional: true,
            placeholder: 'select 1',
            help: 'Empty: it only signs in.',
          },
        ],
        more: [],
      }
    case 'redis':
      return {
        what: [{ name: 'url', as: 'text', label: 'Address', type: 'url', mono: true, placeholder: 'redis://cache.example.com:6379' }],
        more: [],
      }
    case 'database':
      return { what: [], more: [] }
    case 'heartbeat':
      return {
        what: [
          {
            name: 'period_s',
            as: 'span',
            label: 'A ping is expected every',
            type: 'text',
            usual: '86400',
            help: '“10 min”, “1 h”, “1 d”.',
          },
          { name: 'grace_s', as: 'span', label: 'And may be late by', type: 'text', beside: true, usual: '300' },
        ],
        more: [],
      }
    case 'command':
      return {
        what: [
          {
            ...{ name: 'name', as: 'text', label: 'Command', type: 'select' },
            options: offers.commands.map(({ name, description }) => ({
              value: name,
              label: description === null ? name : `${name}: ${description}`,
            })),
            ...(offers.commands.length === 0
              ? { help: 'The machine’s allow-list names none. docs/checks.md says where it is and what stands in it.' }
              : {}),
          },
        ],
        more: [],
      }
  }
}

export const when: readonly Told[] = [
  { name: 'interval_s', as: 'span', label: 'Every', type: 'text', usual: '60', help: '5 s to 24 h' },
  { name: 'timeout_ms', as: 'span', label: 'Gives up after', type: 'text', usual: '10000', help: 'at most 60 s' },
  { name: 'retries', as: 'number', label: 'Retries', type: 'number', usual: '1', help: 'before it is down' },
  {
    name: 'retry_s',
    as: 'span',
    label: 'Each after',
    type: 'text',
    optional: true,
    placeholder: '20 s',
    help: 'since the failure; at most the interval',
  },
]

export const name: Told = {
  name: 'name',
  as: 'text',
  label: 'Name',
  type: 'text',
  words: true,
  placeholder: 'Shop',
  help: 'As it stands in lists, alerts and on the status page.',
}
export const tags: Told = {
  name: 'tags',
  as: 'text',
  label: 'Tags',
  type: 'text',
  optional: true,
  words: true,
  placeholder: 'shop, night',
  help: 'Separated by commas. Lists and maintenance can be narrowed to one.',
}
