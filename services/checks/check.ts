import type { Kind, Spec } from './kinds'

/** `unset`: a dependency that every installation has, and nobody has configured yet. */
export const checkStates = ['new', 'up', 'late', 'down', 'paused', 'unset'] as const
export type CheckState = (typeof checkStates)[number]
export type Tone = 'ok' | 'warn' | 'err' | 'run' | 'idle'
/** `idle`: in maintenance. */
export type Mark = 'ok' | 'warn' | 'err' | 'none' | 'idle'

export const builtinNames = ['whatsapp', 'sheets', 'webhook'] as const
export type BuiltinName = (typeof builtinNames)[number]

/** A check, as people see it. */
export interface Check {
  id: string
  name: string
  kind: Kind
  /** Secrets are dots. */
  spec: Spec
  builtin: BuiltinName | null
  tags: string[]
  interval_s: number
  timeout_ms: number
  retries: number
  retry_s: number
  state: CheckState
  word: string
  tone: Tone
  state_at: number
  /** What the last probe found. */
  message: string | null
  duration: number | null
  certificate_at: number | null
  checked_at: number | null
  next_at: number | null
  maintenance: { id: string; name: string; ends_at: number } | null
  /** The incident that is open. */
  incident_id: string | null
  created_at: number
  changed_at: number
  /** One line, without secrets. */
  target: string
  /** The path to which a heartbeat is sent; only for those who may change the check, and only on its own page. */
  push_url?: string
}

export const periods = ['24h', '7d', '30d', '90d'] as const
export type Period = (typeof periods)[number]

/** Up probes of all probes; what was probed in maintenance counts for neither. */
export interface Uptime {
  period: Period
  /** null: not probed. */
  percent: number | null
  probes: number
  up: number
}

/** A check in the list, with its last 24 hours. */
export interface ListedCheck extends Check {
  uptime_24h: Uptime
  /** 48 half hours, oldest first. */
  strip: Mark[]
}

/** What a check is made of, by a person or a program. `spec` is what its kind takes. */
export interface CheckInput {
  name: string
  kind: Kind
  spec: unknown
  tags?: readonly string[] | undefined
  interval_s?: number | undefined
  timeout_ms?: number | undefined
  retries?: number | undefined
  retry_s?: number | undefined
}

export const checkSorts = ['state', 'name', 'uptime', 'duration', 'changed'] as const
export type CheckSort = (typeof checkSorts)[number]

export interface CheckFilter {
  q?: string | undefined
  /** `warn`: late, failing, or soon to fail. */
  state?: CheckState | 'warn' | 'maintenance' | undefined
  tag?: string | undefined
  kind?: Kind | undefined
  sort?: CheckSort | undefined
  order?: 'asc' | 'desc' | undefined
}

export interface CheckCounts {
  up: number
  down: number
  /** Late, failing, or with a warning. */
  warn: number
  paused: number
  unset: number
}

export interface CheckList {
  items: ListedCheck[]
  /** Of all, whatever the filter. */
  counts: CheckCounts
  tags: string[]
}

/** What a built-in dependency needs to be watched. */
export interface Builtin {
  name: BuiltinName
  check_id: string
  title: string
  /** What it is, in a sentence. */
  about: string
  /** How to have it watched, step by step. */
  steps: string[]
}

export interface History {
  /** Milliseconds per mark and point. */
  step: number
  from: number
  to: number
  strip: { at: number; up: number; down: number; maintenance: number; probes: number }[]
  /** Milliseconds. */
  durations: { at: number; p50: number | null; p95: number | null; p99: number | null; average: number; max: number; count: number }[]
}

export interface Percentiles {
  p50: number | null
  p95: number | null
  p99: number | null
  count: number
}

/** Of one organisation. */
export const mostChecks = 2000
