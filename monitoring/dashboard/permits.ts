import { actions, permissions, rightsOf, roles } from '../permissions'
import type { Routes } from './endpoint'

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n')

/** Which role may take which action, as docs/security.md prints it. */
export const actionTable = (): string =>
  table(
    ['action', 'what it is', ...roles, 'instance admin'],
    actions.map((action) => [
      `\`${action}\``,
      permissions[action].does,
      ...roles.map((role) => (rightsOf[role].actions.has(action) ? 'yes' : 'no')),
      permissions[action].least === 'instance admin' ? 'yes' : 'as the role',
    ]),
  )

/** What every page, form, endpoint and live topic asks for. */
export function routeTable(features: readonly Routes[]): string {
  const rows = features.flatMap(({ pages, actions, endpoints, topics }) => [
    ...pages.map(({ path, permission }) => ['page', `GET ${path}`, permission]),
    ...actions.map(({ path, permission }) => ['form', `POST ${path}`, permission]),
    ...endpoints.map(({ method, path, permission }) => ['API', `${method} ${path}`, permission]),
    ...[...topics].map(([name, { permission }]) => ['topic', name, permission]),
  ])
  return table(
    ['kind', 'route', 'asks for'],
    rows
      .sort(([a = '', b = ''], [c = '', d = '']) => (a === c ? (b < d ? -1 : 1) : a < c ? -1 : 1))
      .map(([kind = '', route = '', permission = '']) => [kind, `\`${route}\``, `\`${permission}\``]),
  )
}
