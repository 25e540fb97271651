import { z } from 'zod'
import { text } from '../../monitoring/dashboard/shapes'
import { groupsOf, type Group, type Process } from '../../services/processes'

const Fields = z.object({
  q: text(100).catch('').default(''),
  state: z.enum(['', 'online', 'bad', 'stopped']).catch('').default(''),
  sort: z.enum(['name', 'state', 'cpu', 'memory', 'up', 'restarts']).catch('name').default('name'),
  order: z.enum(['asc', 'desc']).catch('asc').default('asc'),
})
type Asked = z.output<typeof Fields>

export const chosen = (state: Asked['state'], one: Process): boolean => {
  switch (state) {
    case '':
      return true
    case 'online':
      return one.status === 'online'
    case 'bad':
      return one.state === 'err' || one.state === 'warn' || one.crashes_10m > 0
    case 'stopped':
      return one.state === 'idle'
  }
}

const rank = { err: 0, warn: 1, run: 2, ok: 3, idle: 4 } as const
const worst = (group: Group): number => Math.min(...group.items.map(({ state }) => rank[state]))
const longest = (group: Group): number => -Math.min(...group.items.map(({ started_at }) => started_at ?? Infinity))

const worth: Readonly<Record<Asked['sort'], (group: Group) => number | string>> = {
  name: ({ name }) => name.toLowerCase(),
  state: worst,
  cpu: ({ cpu }) => cpu ?? -1,
  memory: ({ memory }) => memory ?? -1,
  up: longest,
  restarts: ({ restarts }) => restarts,
}

/** Those that match, by name, in the order that was asked for: the instances of one name stay together. */
function pick(items: readonly Process[], { q, state, sort, order }: Asked): Group[] {
  const wanted = q.toLowerCase().split(/\s+/).filter(Boolean)
  const found = items.filter((one) => {
    const said = `${one.name} ${one.word} ${one.pm_id} ${one.pid ?? ''} ${one.details?.script ?? ''}`.toLowerCase()
    return chosen(state, one) && wanted.every((word) => said.includes(word))
  })
  const of = worth[sort]
  const sign = order === 'asc' ? 1 : -1
  return groupsOf(found).sort((a, b) => {
    const [x, y] = [of(a), of(b)]
    return x === y ? (a.name < b.name ? -1 : 1) : x < y ? -sign : sign
  })
}

export const Filter = Object.assign(Fields, { pick })
