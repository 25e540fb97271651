import type { State } from '../../views/views'
import { plural } from '../../monitoring/markup'
import { markOf, type Check, type CheckCounts, type History, type Mark, type Period } from '../../services/checks'

/** One sentence that answers: is it fine, and do I have to do something? */
export interface Sentence {
  state: State
  title: string
  detail: string
  /** A moment that belongs to it, and the words before it. */
  at: number | null
  said: string
  action: { href: string; label: string } | null
}

const named = (checks: readonly Check[]): string => {
  const names = checks.slice(0, 3).map(({ name }) => name)
  const rest = checks.length - names.length
  if (rest > 0) return `${names.join(', ')} and ${plural(rest, 'other', 'others')}`
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1) ?? ''}` : (names[0] ?? '')
}

const rest = ({ up, warn, paused }: CheckCounts, without: 'down' | 'warn'): string =>
  [
    ...(up > 0 ? [`${plural(up, 'other is', 'others are')} up`] : []),
    ...(without === 'down' && warn > 0 ? [`${plural(warn, 'has', 'have')} a warning`] : []),
    ...(paused > 0 ? [`${plural(paused, 'is', 'are')} paused`] : []),
  ].join(', ')

export function listSentence(troubled: readonly Check[], counts: CheckCounts, checkedAt: number | null): Sentence {
  const down = troubled.filter(({ state }) => state === 'down')
  const watched = counts.up + counts.down + counts.warn
  const [first] = [...down].sort((a, b) => a.state_at - b.state_at)
  if (first)
    return {
      state: 'err',
      title: down.length === 1 ? `${first.name} is down` : `${down.length} checks are down: ${named(down)}`,
      detail: [down.length === 1 ? first.message : null, rest(counts, 'down')].filter(Boolean).join('. '),
      ...{ at: first.state_at, said: 'began' },
      action:
        first.incident_id === null ? null : { href: `/incidents/${encodeURIComponent(first.incident_id)}`, label: 'See the incident' },
    }
  const warned = troubled.filter(({ tone }) => tone === 'warn')
  const [one] = warned
  if (one)
    return {
      state: 'warn',
      title:
        warned.length === 1
          ? `${one.name}: ${one.word}`
          : `${plural(warned.length, 'check needs', 'checks need')} attention: ${named(warned)}`,
      detail: [warned.length === 1 ? one.message : null, rest(counts, 'warn')].filter(Boolean).join('. '),
      ...{ at: null, said: '' },
      action: warned.length === 1 ? { href: `/checks/${encodeURIComponent(one.id)}`, label: 'Look' } : null,
    }
  if (watched === 0)
    return {
      state: 'idle',
      title: counts.paused > 0 ? 'Every check is paused' : 'Nothing is checked yet',
      detail: counts.paused > 0 ? 'Nobody is told when something goes down.' : 'Make a check, and this line says whether all is well.',
      ...{ at: null, said: '', action: null },
    }
  return {
    state: 'ok',
    title: watched === 1 ? 'The one check is up' : `All ${watched} checks are up`,
    detail: counts.paused > 0 ? `${plural(counts.paused, 'other is', 'others are')} paused` : '',
    ...{ at: checkedAt, said: 'checked', action: null },
  }
}

export function checkSentence(check: Check): Sentence {
  const { name, kind, state, tone, word, message, state_at, incident_id, maintenance } = check
  const about = { detail: message ?? '', at: state_at, said: 'began', action: null }
  if (maintenance)
    return {
      state: 'idle',
      title: `${name} is in maintenance`,
      ...about,
      detail: `“${maintenance.name}”: what fails does not count`,
      at: maintenance.ends_at,
      said: 'ends',
    }
  switch (state) {
    case 'down':
      return {
        ...{ state: 'err', title: `${name} is down`, ...about },
        action: incident_id === null ? null : { href: `/incidents/${encodeURIComponent(incident_id)}`, label: 'See the incident' },
      }
    case 'late':
      return { state: tone, title: `${name} is late`, ...about }
    case 'paused':
      return { state: 'idle', title: `${name} is paused`, ...about, detail: 'Nobody is told when it goes down' }
    case 'unset':
      return { state: 'idle', title: `${name} is not configured`, ...about, detail: 'It counts nowhere until it is', at: null }
    case 'new':
      return { state: tone, title: `${name}: ${word}`, ...about, at: null }
    case 'up':
      return {
        state: tone,
        title: tone === 'ok' ? `${name} is up` : `${name}: ${word}`,
        ...about,
        // When it was checked follows by itself.
        at: null,
        said: kind === 'heartbeat' ? 'last ping' : 'checked',
      }
  }
}

/** Newest first. */
export const lastChecked = (checks: readonly Check[]): number | null =>
  checks.reduce<number | null>((newest, { checked_at }) => (checked_at !== null && checked_at > (newest ?? 0) ? checked_at : newest), null)

const units: Readonly<Record<Period, readonly [string, string]>> = {
  '24h': ['half hour', 'half hours'],
  '7d': ['span', 'spans'],
  '30d': ['span', 'spans'],
  '90d': ['day', 'days'],
}

/** The strip of a period: from its spans, with those in which nothing was probed between them. */
export function pastOf({ from, to, step, strip }: History, range: Period) {
  const count = Math.min(200, Math.max(1, Math.round((to - from) / step)))
  const marks = new Array<Mark>(count).fill('none')
  for (const { at, up, down, maintenance } of strip) {
    const place = Math.min(count - 1, Math.max(0, Math.floor((at - from) / step)))
    marks[place] = markOf(up, up + down, maintenance)
  }
  return { marks, unit: units[range], from }
}

interface Line {
  name: string
  kind: 'c1' | 'c2' | 'c3'
  path: string
}

/** A round number at or above it, of which the half is round too. */
function roundUp(value: number): number {
  const size = 10 ** Math.floor(Math.log10(Math.max(1, value)))
  return ([1, 2, 4, 6, 8, 10].find((step) => step * size >= value) ?? 10) * size
}

/** Response times as lines that the server draws: they need no script, and what they say stands in each span's title. */
export function linesOf({ from, to, step, durations }: History) {
  const points = durations.filter(({ count }) => count > 0)
  const top = roundUp(Math.max(1, ...points.map(({ p99, max }) => p99 ?? max)))
  const x = (at: number) => Math.round((1000 * (at + step / 2 - from)) / Math.max(1, to - from))
  const line = (name: string, kind: Line['kind'], of: (point: (typeof points)[number]) => number | null): Line => {
    let path = ''
    let before = -Infinity
    for (const point of points) {
      const value = of(point)
      if (value === null) continue
      path += `${point.at - before > 1.5 * step ? 'M' : 'L'}${x(point.at)} ${Math.round(300 - (300 * value) / top)}`
      // A point alone would be no line at all.
      if (point.at - before > 1.5 * step) path += 'h1'
      before = point.at
    }
    return { name, kind, path }
  }
  return {
    top,
    lines: [line('p99', 'c3', ({ p99 }) => p99), line('p95', 'c2', ({ p95 }) => p95), line('typical (p50)', 'c1', ({ p50 }) => p50)],
    spans: points.map((point) => ({
      ...point,
      x: Math.round((1000 * (point.at - from)) / Math.max(1, to - from)),
      width: Math.max(1, Math.round((1000 * step) / Math.max(1, to - from))),
    })),
  }
}
