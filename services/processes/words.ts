import { duration, plural } from '../../monitoring/markup'
import type { Process } from './list'

export interface Verdict {
  state: Process['state']
  title: string
  detail: string
}

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const two = (text: string): string => text.padStart(2, '0')
const number = /^\d{1,2}$/

/** The usual times of cron in words; what is more special stays in its own. */
export function cronInWords(cron: string): string {
  const fields = cron.trim().split(/\s+/)
  const [minute = '', hour = '', date = '', month = '', weekday = ''] = fields.length === 6 ? fields.slice(1) : fields
  const every = /^\*\/(\d{1,2})$/
  if (date === '*' && month === '*') {
    if (weekday === '*' && hour === '*') {
      if (minute === '*') return 'every minute'
      const step = every.exec(minute)?.[1]
      if (step) return `every ${step} min`
      if (number.test(minute)) return minute === '0' ? 'every hour' : `every hour at :${two(minute)}`
    }
    const hours = every.exec(hour)?.[1]
    if (weekday === '*' && hours && number.test(minute)) return `every ${hours} h at :${two(minute)}`
    if (number.test(hour) && number.test(minute)) {
      const at = `at ${two(hour)}:${two(minute)}`
      if (weekday === '*') return `every day ${at}`
      if (weekday === '1-5') return `every weekday ${at}`
      const day = days[Number(weekday) % 7]
      if (/^[0-7]$/.test(weekday) && day) return `every ${day} ${at}`
    }
  }
  return `at “${cron}”`
}

/** The answer to "is it fine, and do I have to do something?" */
export function verdictOf(one: Process): Verdict {
  const { details, state } = one
  const crashed = one.crashes_10m > 0 ? `Crashed ${one.crashes_10m} × in 10 min` : null
  const clock = details?.cron ? ` PM2 starts it ${cronInWords(details.cron)}.` : ''
  const exit = details?.exit_code ?? null
  if (one.word === 'Gone') return { state, title: 'Gone', detail: 'PM2 is not running any more, and this process with it.' }
  switch (one.status) {
    case 'errored':
      return {
        state,
        title: crashed ?? 'Down',
        detail: `PM2 gave it up after ${plural(one.restarts, 'restart', 'restarts')}. Look at its error log, then restart it.`,
      }
    case 'waiting restart': {
      const wait = details?.restart_delay ? ` for ${duration(details.restart_delay)}` : ''
      return {
        state,
        title: crashed ?? 'Down',
        detail: `It ended${exit ? ` with exit code ${exit}` : ''}; PM2 waits${wait} before it starts it again.`,
      }
    }
    case 'stopped':
      if (!one.job) return { state, title: 'Stopped', detail: 'Somebody stopped it: PM2 leaves it so until somebody starts it.' }
      return {
        state,
        title: exit ? 'The last run failed' : 'Stopped between runs',
        detail: `The last run ended with exit code ${exit ?? 0}.${clock || ' It is started when it is needed.'}`,
      }
    case 'online':
      if (one.crashes_10m >= 3)
        return { state: 'warn', title: crashed ?? '', detail: 'PM2 started it again each time. Its error log says why.' }
      return {
        state,
        title: one.word,
        detail: `${crashed ? `${crashed}.` : 'No crash in the last 10 min.'}${one.job ? ` It is a job, and runs now.${clock}` : clock}`,
      }
    default:
      return { state, title: one.word, detail: crashed ? `${crashed}.` : 'PM2 is at it.' }
  }
}
