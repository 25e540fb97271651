export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

const help = /^# HELP ([a-zA-Z_:][\w:]*) \S.*$/
const type = /^# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge|histogram|summary|untyped)$/
const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN)$/i
const label = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y

/** Reads Prometheus' text format, and throws at whatever its specification does not allow. */
export function samplesOf(text: string): Sample[] {
  if (!text.endsWith('\n')) throw new Error('The last line has no end')
  const typed = new Map<string, string>()
  const done = new Set<string>()
  const seen = new Set<string>()
  const found: Sample[] = []
  let current = ''
  const begin = (name: string) => {
    if (name === current) return
    if (done.has(name)) throw new Error(`${name} stands in two places`)
    done.add(name)
    current = name
  }
  for (const line of text.split('\n').filter(Boolean)) {
    const [, helped] = help.exec(line) ?? []
    const [, named, kind] = type.exec(line) ?? []
    if (helped !== undefined) begin(helped)
    else if (named !== undefined) {
      begin(named)
      typed.set(named, kind ?? '')
    } else if (line.startsWith('#')) throw new Error(`Not a comment that is allowed: ${line}`)
    else {
      const [, name = '', labels = '', value = ''] = sample.exec(line) ?? []
      if (!typed.has(name)) throw new Error(`A sample without its type: ${line}`)
      begin(name)
      if (typed.get(name) === 'counter' && !name.endsWith('_total')) throw new Error(`A counter that is not called so: ${name}`)
      if (seen.has(`${name}{${labels}}`)) throw new Error(`The same series twice: ${line}`)
      seen.add(`${name}{${labels}}`)
      found.push({ name, labels: labelsOf(labels), value: Number(value) })
    }
  }
  return found
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  label.lastIndex = 0
  while (label.lastIndex < text.length) {
    const at = label.lastIndex
    const [, name = '', value = ''] = label.exec(text) ?? []
    if (name === '' || name in labels) throw new Error(`Labels that cannot be read at ${at}: ${text}`)
    labels[name] = value.replace(/\\(["\\n])/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped))
  }
  return labels
}
