import { stringify } from 'csv-stringify/sync'
import { z } from 'zod'
import { Download } from '../monitoring/dashboard/download'
import { Routes, view } from '../monitoring/dashboard/endpoint'
import { iso, isoOf, isoToMoment, limit, text } from '../monitoring/dashboard/shapes'
import { may } from '../monitoring/permissions'
import { spanOf } from '../monitoring/zones'
import * as audit from '../services/audit'

interface Choice {
  id: string
  name: string
}

declare module '../views/views' {
  interface Views {
    'audit/index': {
      entries: readonly audit.Entry[]
      filter: { person: string; action: string; subject: string; from: string; to: string; q: string; refused: boolean }
      actions: readonly string[]
      people: readonly Choice[]
      /** The next page's address. */
      next: string | null
      /** How far back a search has looked when there was too much to read at once. */
      searched_to: number | null
      exports: { csv: string; json: string }
      seal: audit.Seal
      kept: string
      zone: string
      may: { export: boolean }
    }
    'audit/_entry': { entry: audit.Entry; clock: string | null; full: string | null; narrow: boolean }
  }
}

export const routes = new Routes('audit')

const typed = text(200).trim().catch('')

const perPage = 100

/** Without what was left empty. */
const search = (parameters: Readonly<Record<string, string | undefined>>): string =>
  new URLSearchParams(Object.entries(parameters).flatMap(([name, value]): [string, string][] => (value ? [[name, value]] : []))).toString()

routes.page(
  '/audit',
  {
    permission: 'audit.read',
    query: z.object({
      person: typed,
      action: typed,
      subject: typed,
      from: typed,
      to: typed,
      q: typed,
      refused: typed,
      cursor: text(200).optional().catch(undefined),
    }),
  },
  async ({ ctx, query, identity }) => {
    const { timezone, auditRetentionDays } = ctx.platform.config
    const zone = identity?.principal.timezone ?? timezone
    const [from, to] = [spanOf(query.from, zone), spanOf(query.to, zone)]
    const { person, action, subject, q } = query
    const refused = query.refused !== ''
    const filter: audit.AuditFilter = {
      ...{ person: person || undefined, action: action || undefined, subject: subject || undefined, q: q || undefined },
      ...{ refused, from: from?.start, to: to?.end },
    }
    const [{ items, next, searched_to }, actions, people, seal] = await Promise.all([
      audit.list(ctx, { filter, limit: perPage, cursor: query.cursor }),
      audit.listActions(ctx),
      audit.listActors(ctx),
      audit.statusHere(ctx),
    ])
    const chosen = { person, action, subject, q, refused: refused ? '1' : '' }
    const shown = { from: from ? withTime(query.from, '00:00') : '', to: to ? withTime(query.to, '23:59') : '' }
    const exported = { ...chosen, from: isoOf(filter.from), to: isoOf(filter.to) }
    return view(
      'audit/index',
      {
        entries: items.map(audit.present),
        filter: { ...chosen, ...shown, refused },
        actions: [...new Set([...actions, ...(action ? [action] : [])])].sort(),
        people: person && !people.some(({ id }) => id === person) ? [...people, { id: person, name: person }] : people,
        next: next === null ? null : `/audit?${search({ ...chosen, ...shown, cursor: next })}`,
        searched_to,
        exports: {
          csv: `/api/audit/export?${search({ format: 'csv', ...exported })}`,
          json: `/api/audit/export?${search({ format: 'json', ...exported })}`,
        },
        seal,
        kept: `${auditRetentionDays} days`,
        zone,
        may: { export: may(ctx.actor, 'audit.export') },
      },
      { title: 'Audit trail', live: [] },
    )
  },
)

/** As the field for a date and a time takes it. */
const withTime = (text: string, time: string): string => (text.length === 10 ? `${text}T${time}` : text.replace(' ', 'T'))

const Entry = z
  .object({
    id: z.string(),
    at: iso,
    actor_kind: z.enum(['user', 'system']),
    actor_id: z.string(),
    actor_name: z.string().describe('As they were called at that time'),
    key_id: z.string().nullable().describe('The API key that acted in their name'),
    key_name: z.string().nullable(),
    address: z.string().nullable(),
    action: z.string().describe('What was done; with `.refused` at the end: not done'),
    subject: z.string(),
    subject_name: z.string().nullable(),
    data: z.record(z.string(), z.unknown()).nullable().describe('`before`, `after`, and what else there is to say; secrets are left out'),
    no: z.int().nullable().describe('Its place in the chain of the whole installation; null: not sealed yet'),
    hash: z.string().nullable(),
  })
  .meta({ id: 'AuditEntry' })

const asJson = ({ org_id: _, at, actor_kind, ...row }: audit.AuditRow): z.input<typeof Entry> => ({
  ...row,
  at: isoOf(at),
  actor_kind: actor_kind === 'user' ? 'user' : 'system',
})

const Filter = z.strictObject({
  person: text(200).optional().describe('The id of whoever did it'),
  action: text(100).optional().describe('Like users.role; with a dot at the end, all that begin so'),
  subject: text(2100).optional().describe('The id or the name of what it was done to'),
  from: isoToMoment.optional().describe('From this moment on'),
  to: isoToMoment.optional().describe('Until just before this moment'),
  q: text(200).optional().describe('Stands in who, what, to what, from where or the details, in any case of letters'),
  refused: z
    .literal('1', 'This is 1, or not there.')
    .optional()
    .transform((value) => value !== undefined)
    .describe('1: only what was refused'),
})

routes.endpoint(
  'GET /api/audit',
  {
    summary: 'List the audit trail, newest first',
    description:
      'With `q`, at most 10,000 entries are read at once: a page can then be short, or empty, and still have a `next`; `searched_to` says how far it looked.',
    permission: 'audit.read',
    query: Filter.extend({ limit: limit.default(50), cursor: text(200).optional().describe('`next` of the page before') }),
    response: z.object({ items: z.array(Entry), next: z.string().nullable(), searched_to: iso.nullable() }),
  },
  async ({ ctx, query: { limit, cursor, ...filter } }) => {
    const { items, next, searched_to } = await audit.list(ctx, { filter, limit, cursor })
    return { items: items.map(asJson), next, searched_to: isoOf(searched_to) }
  },
)

routes.endpoint(
  'GET /api/audit/export',
  {
    summary: 'Download the audit trail',
    description:
      'Everything that passes the filter, newest first. In CSV a cell that a spreadsheet would calculate begins with an apostrophe.',
    permission: 'audit.export',
    query: Filter.extend({ format: z.enum(['json', 'csv'], 'Choose json or csv.').default('json') }),
    response: z.array(Entry),
    alsoAs: ['text/csv'],
  },
  async ({ ctx, query: { format, ...filter } }) => {
    const pages = await audit.exportAll(ctx, filter, format)
    const name = `audit-${new Date(ctx.now()).toISOString().slice(0, 10)}.${format}`
    return format === 'csv'
      ? new Download(name, 'text/csv; charset=utf-8', csvOf(pages))
      : new Download(name, 'application/json; charset=utf-8', jsonOf(pages))
  },
)

async function* jsonOf(pages: AsyncIterable<readonly audit.AuditRow[]>): AsyncGenerator<string> {
  let before = '[\n'
  for await (const rows of pages) {
    if (rows.length === 0) continue
    yield before + rows.map((row) => JSON.stringify(asJson(row))).join(',\n')
    before = ',\n'
  }
  yield before === '[\n' ? '[]\n' : '\n]\n'
}

const columns = Object.keys(Entry.shape)

async function* csvOf(pages: AsyncIterable<readonly audit.AuditRow[]>): AsyncGenerator<string> {
  yield stringify([columns])
  for await (const rows of pages)
    yield stringify(
      rows.map(asJson).map((row) => ({ ...row, data: row.data === null ? '' : JSON.stringify(row.data) })),
      { columns, escape_formulas: true },
    )
}
