import { replace, Routes } from '../monitoring/dashboard/endpoint'
import type { Errors } from '../monitoring/dashboard/shapes'
import type { Outcome } from '../monitoring/probes/checks/probe'
import * as checks from '../services/checks'
import type { Incident } from '../services/incidents'
import type { Window } from '../services/maintenance'
import { declareApi } from './checks/api'
import { declareDeeds } from './checks/deeds'
import { declareEditor } from './checks/editor'
import type { FieldsOf, Typed } from './checks/fields'
import type { Field } from './checks/kind-fields'
import { declarePages, mostRows, type ListFilter, type rightsOf } from './checks/pages'
import type { linesOf, pastOf, Sentence } from './checks/paint'
import type { Hint, KindWords } from './checks/words'

type Rights = ReturnType<typeof rightsOf>
type Past = ReturnType<typeof pastOf> & { rows: readonly (checks.History['strip'][number] & { label: string })[] }
type Lines = ReturnType<typeof linesOf> & {
  all: checks.Percentiles
  period: string
  axis: readonly string[]
  label: (at: number) => string
  csv: string
  updated: { at: number | null; beat: number }
}

declare module '../views/views' {
  interface Views {
    'checks/index': {
      items: readonly checks.ListedCheck[]
      counts: checks.CheckCounts
      total: number
      /** Which of those that were found the page shows, from 1 on. */
      shown: { from: number; to: number; of: number }
      /** Addresses of the page before and after it. */
      pages: { before: string | null; next: string | null }
      filter: ListFilter
      /** Its own address. */
      here: string
      tags: readonly string[]
      kinds: readonly { id: string; label: string }[]
      icons: Readonly<Record<string, string>>
      verdict: Sentence
      unset: readonly checks.Builtin[]
      may: Rights
    }
    'checks/_took': { check: checks.Check }
    'checks/_seen': { check: checks.Check }
    'checks/_verdict': { id: string; verdict: Sentence; /** Says when it was last looked at, and follows it. */ seen?: checks.Check }
    'checks/_field': { field: Field; value: string | undefined; error: string | null }
    'checks/choose': { kinds: readonly (KindWords & { id: checks.Kind })[]; path: string }
    'checks/edit': {
      /** null: a new one. */
      id: string | null
      kind: Omit<KindWords, 'hints'> & { id: checks.Kind }
      fields: FieldsOf
      values: Typed
      errors: Errors
      outcome: Outcome | null
      /** Whether the frame with the outcome says what is wrong. */
      framed: boolean
      hints: readonly Hint[]
      action: string
      back: string
      may: Rights
    }
    'checks/targets': { networks: string; errors: Errors }
    'checks/show': {
      check: checks.Check
      verdict: Sentence
      uptimes: readonly checks.Uptime[]
      range: checks.Period
      ranges: readonly checks.Period[]
      history: Past
      durations: Lines
      facts: readonly { name: string; text: string; at: number | null; mono: boolean }[]
      /** Whether the verdict says when it was last checked. */
      seen: boolean
      /** The address that a heartbeat is sent to. */
      push: string | null
      incidents: readonly Incident[]
      windows: readonly Window[]
      zone: string
      may: Rights
    }
  }
}

export const routes = new Routes('checks')

declareApi(routes)
// In this order: /checks/bulk and /checks/new are no checks.
declareDeeds(routes)
declareEditor(routes)
declarePages(routes)

routes.live('checks', {
  permission: 'checks.read',
  // Which rows a page has, and in which order, is its own: each fetches it.
  paint: () => Promise.resolve('<turbo-stream action="refresh"></turbo-stream>'),
  data: async (ctx, subjects) => {
    return (await checks.listNow(ctx, subjects)).map(({ id, name, kind, state, word, tone, message, duration, checked_at }) => ({
      id,
      name,
      kind,
      state,
      word,
      tone,
      message,
      duration_ms: duration,
      checked_at,
    }))
  },
})

/** Response time and age of what was just checked and stays as it was. `now`: of all that a page shows, for those that poll. */
routes.live('checks.now', {
  transient: true,
  permission: 'checks.read',
  async paint(ctx, subjects, render) {
    const these = await (subjects.includes('now') ? checks.listFirst(ctx, mostRows) : checks.listNow(ctx, subjects))
    return these
      .filter(({ state }) => state !== 'unset')
      .map(
        (check) =>
          replace(`check_${check.id}_took`, render('checks/_took', { check })) +
          replace(`check_${check.id}_seen`, render('checks/_seen', { check })),
      )
      .join('')
  },
})
