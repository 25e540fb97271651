/** Markup that templates share. Every function escapes what it is given, so its result may be printed with `<%-`. */

export type State = 'ok' | 'warn' | 'err' | 'run' | 'idle'
export type HalfHour = 'ok' | 'warn' | 'err' | 'none'
export type TimeFormat = 'relative' | 'clock' | 'uptime' | 'date'

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

type Printable = string | number | null | undefined

function escape(value: Printable): string {
  return String(value ?? '').replace(/[&<>"']/g, (character) => entities[character] ?? '')
}

const stateIcons: Record<State, string> = {
  ok: 'check-circle-fill',
  warn: 'exclamation-triangle-fill',
  err: 'x-octagon-fill',
  run: 'run',
  idle: 'idle',
}

type Shape = 'clock' | 'date' | 'full' | 'long'

const formatters = new Map<string, Intl.DateTimeFormat>()

// Building an Intl.DateTimeFormat costs far more than using one; the zones and shapes in use are few.
function formatter(zone: string, shape: Shape): Intl.DateTimeFormat {
  const key = `${shape} ${zone}`
  let found = formatters.get(key)
  if (!found) {
    const clock = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const
    const date = { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' } as const
    const shapes = {
      clock,
      date: { ...clock, day: 'numeric', month: 'short' },
      long: date,
      full: { ...date, ...clock, second: '2-digit', timeZoneName: 'short' },
    } as const
    found = new Intl.DateTimeFormat('en-GB', { ...shapes[shape], timeZone: zone })
    if (formatters.size > 500) formatters.clear()
    formatters.set(key, found)
  }
  return found
}

// "Fri 12 Sep 2025, 20:41:07": the British names, without their comma after the weekday and their fourth letter of September.
function say(shape: Shape, zone: string, date: Date): string {
  return formatter(zone, shape)
    .format(date)
    .replace(/^(\p{L}{3}),/u, '$1')
    .replace('Sept', 'Sep')
}

const units: readonly [string, number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
]

/** "640 ms", "1.2 s", "2 min 6 s", "12 d 4 h": two units at most. */
export function duration(ms: number | null): string {
  if (ms === null || !Number.isFinite(ms)) return '–'
  const span = Math.max(0, ms)
  if (span < 1000) return `${Math.round(span)} ms`
  if (span < 10_000 && span % 1000 !== 0) return `${(Math.floor(span / 100) / 10).toFixed(1)} s`
  const index = units.findIndex(([, size]) => span >= size)
  const [name, size] = units[index] ?? ['s', 1000]
  const whole = Math.floor(span / size)
  const [smaller, part] = units[index + 1] ?? ['', 0]
  const rest = part ? Math.floor((span - whole * size) / part) : 0
  return rest ? `${whole} ${name} ${rest} ${smaller}` : `${whole} ${name}`
}

/** "142 MB", "4.6 GB", "31 GB": steps of 1024, one decimal below ten. */
export function bytes(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return '–'
  const names = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let size = Math.max(0, value)
  let step = 0
  while (size >= 999.5 && step < names.length - 1) {
    size /= 1024
    step += 1
  }
  const digits = step > 2 && size < 9.95 && size % 1 >= 0.05 ? 1 : 0
  return `${size.toFixed(digits)} ${names[step] ?? ''}`
}

export function percent(value: number | null, digits = 0): string {
  return value === null || !Number.isFinite(value) ? '–' : `${value.toFixed(digits)}%`
}

const grouped = new Intl.NumberFormat('en-GB')

function number(value: number | null): string {
  return value === null || !Number.isFinite(value) ? '–' : grouped.format(value)
}

/** "1 process", "6 processes". */
export function plural(count: number, one: string, many: string): string {
  return `${number(count)} ${count === 1 ? one : many}`
}

/** Two letters for the avatar: "asha.ops" gives AO, "bob" gives BO. */
export function initials(name: string): string {
  const words: string[] = name.match(/[\p{L}\p{N}]+/gu) ?? ['?']
  const [first = '', last = ''] = [words[0], words[words.length - 1]]
  const letters = words.length > 1 ? `${/^./u.exec(first)?.[0] ?? ''}${/^./u.exec(last)?.[0] ?? ''}` : (/^..?/u.exec(first)?.[0] ?? '')
  return letters.toUpperCase()
}

/** What templates know as `h`; `zone` is used where a call names none (fragments that are pushed to everybody). */
export function markup(assets: Readonly<Record<string, string>>, zone = 'UTC') {
  const sprite = escape(assets['icons.svg'] ?? '')

  function icon(name: string, extra = ''): string {
    return `<svg class="oc-icon${extra && ` ${escape(extra)}`}" aria-hidden="true"><use href="${sprite}#i-${escape(name)}"/></svg>`
  }

  function stateIcon(name: State, extra = ''): string {
    return icon(stateIcons[name], name === 'run' ? `oc-spin ${extra}`.trim() : extra)
  }

  return {
    icon,
    stateIcon,
    duration,
    bytes,
    percent,
    number,
    plural,
    initials,
    escape,

    state(name: State, word: string, extra = ''): string {
      return `<span class="oc-state is-${escape(name)}${extra && ` ${escape(extra)}`}">${stateIcon(name)}<span>${escape(word)}</span></span>`
    },

    /** "20:41", as text. */
    clock(at: number, where = zone): string {
      return say('clock', where, new Date(at))
    },

    /** A moment for the browser to phrase; what stands there without script is absolute, in the page's zone. */
    time(at: number | null, options: { zone?: string; format?: TimeFormat; class?: string } = {}): string {
      if (at === null || !Number.isFinite(at)) return '–'
      const { format = 'relative' } = options
      const where = options.zone ?? zone
      const date = new Date(at)
      const text = say(format === 'clock' ? 'clock' : format === 'date' ? 'long' : 'date', where, date)
      const said = format === 'uptime' ? `since ${text}` : text
      const attributes =
        format === 'date' ? '' : ` data-controller="time"${format === 'relative' ? '' : ` data-time-format-value="${format}"`}`
      const cls = options.class ? ` class="${escape(options.class)}"` : ''
      return `<time${cls} datetime="${date.toISOString()}" title="${escape(say('full', where, date))}"${attributes}>${escape(said)}</time>`
    },

    bar(value: number, name: State = 'run', label = 'Progress'): string {
      const width = Math.min(100, Math.max(0, Number.isFinite(value) ? value : 0))
      const now = Math.round(width)
      return (
        `<span class="oc-bar is-${escape(name)}" role="progressbar" aria-label="${escape(label)}" aria-valuenow="${now}" aria-valuemin="0" aria-valuemax="100">` +
        `<svg width="100%" height="100%" aria-hidden="true"><rect width="${width.toFixed(1)}%" height="100%" rx="3"/></svg></span>`
      )
    },

    /** A line without axes, from zero to `max`; a null is a gap. */
    spark(values: readonly (number | null)[], max = 100): string {
      const step = 100 / Math.max(1, values.length - 1)
      let path = ''
      let pen = 'M'
      values.forEach((value, index) => {
        if (value === null || !Number.isFinite(value)) {
          pen = 'M'
          return
        }
        path += `${pen}${+(index * step).toFixed(1)} ${+(29 - (28 * Math.min(max, Math.max(0, value))) / (max || 1)).toFixed(1)}`
        pen = 'L'
      })
      return `<svg class="oc-spark" viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true"><path d="${path}"/></svg>`
    },

    /** 48 half hours, oldest first: one path per state, since 48 rectangles would be four times the bytes in every frame. */
    strip(history: readonly HalfHour[]): string {
      const height: Record<HalfHour, number> = { none: 3, ok: 9, warn: 14, err: 18 }
      const paths = (['none', 'ok', 'warn', 'err'] as const).map((kind) => {
        const marks = history.map((half, index) => (half === kind ? `M${+(index * 4 + 1.4).toFixed(1)} 18v-${height[kind]}` : '')).join('')
        return marks && `<path class="${kind}" d="${marks}"/>`
      })
      const count = (kind: HalfHour) => history.filter((half) => half === kind).length
      const [bad, poor, blank] = [count('err'), count('warn'), count('none')]
      const parts = [
        bad && `${plural(bad, 'half hour', 'half hours')} bad`,
        poor && `${poor} with a warning`,
        blank && `${blank} not measured`,
      ].filter(Boolean)
      const said = parts.length ? parts.join(', ') : 'all well'
      const label = `Last ${Math.round(history.length / 2)} hours: ${said}`
      return `<svg class="oc-strip" viewBox="0 0 ${history.length * 4} 18" preserveAspectRatio="none" role="img" aria-label="${label}">${paths.join('')}</svg>`
    },

    /** JSON for a data attribute (in quotes). */
    json(value: unknown): string {
      return escape(JSON.stringify(value))
    },
  }
}
