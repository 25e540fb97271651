import type { Context } from '../../monitoring/context'
import { listLatestOf, phrase, type EventRow } from '../events'

export const markKinds = ['deploy', 'restart', 'crash', 'incident', 'edit'] as const
export type MarkKind = (typeof markKinds)[number]

/** What happened, to be seen beside the figures. */
export interface Mark {
  at: number
  kind: MarkKind
  text: string
  icon: string
  /** Where there is more of it. */
  href: string | null
  /** How many of this kind and subject stand at this place. */
  count: number
}

/** Which events are marked. A deploy is reported by whoever deploys; the rest by the console. */
const kinds: Readonly<Record<string, MarkKind>> = {
  deploy: 'deploy',
  'process.crashed': 'crash',
  'process.gave_up': 'crash',
  'process.restart': 'restart',
  'process.reload': 'restart',
  'process.stop': 'restart',
  'process.start': 'restart',
  'pm2.no-daemon': 'incident',
  'health.problem': 'incident',
  'check.down': 'incident',
  edit: 'edit',
  'check.changed': 'edit',
  'check.created': 'edit',
  'check.deleted': 'edit',
  'settings.changed': 'edit',
}

const icons: Readonly<Record<MarkKind, string>> = {
  deploy: 'rocket-takeoff',
  restart: 'arrow-clockwise',
  crash: 'x-octagon',
  incident: 'exclamation-triangle',
  edit: 'pencil',
}

/** Of each type: a crash loop must not crowd out the deploy before it. */
const mostOfType = 60

/** Anybody may report a deploy or an edit; what is called a crash or an incident was seen by the console itself. */
const isMarked = ({ type, source, subject }: EventRow): boolean =>
  type === 'deploy' ||
  type === 'edit' ||
  // A check that is down says so itself.
  ((source === 'console' || source === 'pm2') && !(type === 'health.problem' && subject?.startsWith('check ')))

const hrefOf = ({ source, data }: EventRow): string | null => {
  const incident = source === 'console' && typeof data === 'object' && data !== null ? (data as Record<string, unknown>)['incident'] : null
  return typeof incident === 'string' ? `/incidents/${incident}` : null
}

/** What happened in a range, oldest first; what happened to one thing within `close` milliseconds is one mark. */
export async function marks(ctx: Context, { from, to, close }: { from: number; to: number; close: number }): Promise<Mark[]> {
  const found = await listLatestOf(ctx, { types: Object.keys(kinds), from, to, most: mostOfType })
  const all: (Mark & { key: string })[] = []
  for (const event of found.filter(isMarked).sort((a, b) => a.at - b.at)) {
    const kind = kinds[event.type] ?? 'edit'
    const key = `${event.type} ${event.subject ?? ''}`
    const before = all.findLast((one) => one.key === key)
    if (before && event.at - before.at < close && kind !== 'deploy') before.count++
    else all.push({ at: event.at, kind, text: phrase(event).text, icon: icons[kind], href: hrefOf(event), count: 1, key })
  }
  return all.map(({ key: _, ...mark }) => mark)
}
