import type { EventRow, Severity } from './queries'

type State = 'ok' | 'warn' | 'err' | 'run' | 'idle'

const states: Readonly<Record<Severity, State>> = {
  debug: 'idle',
  info: 'idle',
  notice: 'ok',
  warning: 'warn',
  error: 'err',
  critical: 'err',
}

type Data = Readonly<Record<string, unknown>>

const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '')

const exitOf = (data: Data): string =>
  data['signal'] ? ` by ${text(data['signal'])}` : data['exit_code'] === undefined ? '' : ` with exit code ${text(data['exit_code'])}`

/** A sentence for what the product itself records; anything else is shown as it was reported. */
const sentences: Readonly<Record<string, { icon: string; say: (subject: string, data: Data) => string }>> = {
  'process.crashed': { icon: 'x-octagon', say: (subject, data) => `${subject} crashed${exitOf(data)}` },
  'process.exited': { icon: 'box-arrow-right', say: (subject, data) => `${subject} ended${exitOf(data)}` },
  'process.online': { icon: 'play', say: (subject) => `${subject} is online` },
  'process.gave_up': { icon: 'x-octagon', say: (subject) => `PM2 gave ${subject} up: it crashed too often` },
  'process.restart': { icon: 'arrow-clockwise', say: (subject, data) => `${text(data['by'])} restarted ${subject}` },
  'process.reload': { icon: 'arrow-repeat', say: (subject, data) => `${text(data['by'])} reloaded ${subject}` },
  'process.stop': { icon: 'stop-circle', say: (subject, data) => `${text(data['by'])} stopped ${subject}` },
  'process.start': { icon: 'play', say: (subject, data) => `${text(data['by'])} started ${subject}` },
  'process.action_failed': {
    icon: 'x-octagon',
    say: (subject, data) => `Could not ${text(data['action'])} ${subject}: ${text(data['reason'])}`,
  },
  'pm2.back': { icon: 'check2-circle', say: () => 'PM2 answers again' },
  'pm2.no-daemon': { icon: 'x-octagon', say: () => 'PM2 is not running any more' },
  'pm2.unreachable': { icon: 'exclamation-triangle', say: () => 'PM2 does not answer' },
  'check.down': { icon: 'x-octagon', say: (subject, data) => `${subject} is down${data['cause'] ? `: ${text(data['cause'])}` : ''}` },
  'check.up': {
    icon: 'check2-circle',
    say: (subject, data) => `${subject} is up again${data['lasted'] ? ` after ${text(data['lasted'])}` : ''}`,
  },
  'check.maintenance': { icon: 'tools', say: (subject) => `${subject} is in maintenance: its incident ends` },
  'health.problem': { icon: 'exclamation-triangle', say: (subject, data) => text(data['title']) || subject },
  'health.recovered': { icon: 'check2-circle', say: (subject, data) => `Over: ${text(data['title']) || subject}` },
}

const icons: Readonly<Record<State, string>> = {
  ok: 'check2-circle',
  warn: 'exclamation-triangle',
  err: 'x-octagon',
  run: 'activity',
  idle: 'record-circle',
}

/** How an event is told to people. */
export function phrase(event: EventRow): { text: string; icon: string; state: State } {
  const state = states[event.severity]
  // The type is whatever a reporter sent, `constructor` too.
  const known = Object.hasOwn(sentences, event.type) ? sentences[event.type] : undefined
  const data: Data = typeof event.data === 'object' && event.data !== null ? (event.data as Data) : {}
  if (known && (event.source === 'pm2' || event.source === 'console'))
    return { text: known.say(event.subject ?? '', data), icon: known.icon, state }
  const said = text(data['message']) || text(data['title'])
  if (event.type === 'deploy')
    return {
      text: [`${event.source} deployed ${event.subject ?? 'something'}`, said].filter(Boolean).join(': '),
      icon: 'rocket-takeoff',
      state,
    }
  return { text: [event.source, event.type, event.subject, said].filter(Boolean).join(' · '), icon: icons[state], state }
}
