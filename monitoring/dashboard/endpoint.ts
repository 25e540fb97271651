import type { z } from 'zod'
import type { Views } from '../../views/views'
import type { Context } from '../context'
import type { Invalid } from '../errors'
import type { Action } from '../permissions'
import type { Download } from './download'
import type { Identity } from './session'

/**
 * Who may use a route: an action of the permissions table; `self`: a person who is signed in, on what is their own;
 * `anyone`: whoever is signed in, programs with a key too; `public`: everybody, documented as such.
 */
export type Access = Action | 'self' | 'anyone' | 'public'

type Schema = z.ZodType
type Output<S extends Schema | undefined> = S extends Schema ? z.output<S> : undefined

/** What a route's function is given: parsed, checked, and who asks. */
export interface Call<Query extends Schema | undefined = undefined, Body extends Schema | undefined = undefined> {
  readonly ctx: Context
  /** What stands in the path. */
  readonly params: Readonly<Record<string, string>>
  readonly query: Output<Query>
  readonly body: Output<Body>
  /** null on public routes when nobody is signed in. */
  readonly identity: Identity | null
  /** Under which address the person sees the console: `https://ops.example.com`, for links to hand on. */
  readonly origin: string
}

export interface Flash {
  kind: 'ok' | 'warn' | 'err'
  text: string
}

/** What a page or a form answers. */
export type Answer =
  | { kind: 'view'; name: keyof Views; props: object; title: string; status?: number; live?: readonly string[]; retryAfter?: number | null }
  | { kind: 'redirect'; to: string; flash?: Flash }
  /** `since`: when the password was asked for; one that was changed after that lets nobody in. */
  | { kind: 'sign-in'; userId: string; to: string; since: number }
  | { kind: 'sign-out'; to: string }

export const view = <Name extends keyof Views>(
  name: Name,
  props: Views[Name],
  page: { title: string; status?: number; live?: readonly string[]; retryAfter?: number | null },
): Answer => ({ kind: 'view', name, props, ...page })

export const redirect = (to: string, flash?: Flash): Answer => ({ kind: 'redirect', to, ...(flash ? { flash } : {}) })

export interface PageSpec<Query extends Schema | undefined> {
  readonly permission: Access
  readonly query?: Query
  /** For how many milliseconds the same rendered body serves everybody of the same organisation and rights. */
  readonly shared?: number
  /** In place of the strict policy, for a page whose library cannot live with it. */
  readonly contentSecurityPolicy?: string
}

export interface ActionSpec<Query extends Schema | undefined, Body extends Schema | undefined> {
  readonly permission: Access
  readonly query?: Query
  readonly body?: Body
  /** Counted by the address that sends it: for forms with which strangers try something. */
  readonly limit?: 'sign-in'
  /** Shows the form again with what was typed and what is wrong with it. `chosen`: the same as lists, for fields that may be given more than once. */
  readonly again?: (
    call: Call<Query> & {
      typed: Readonly<Record<string, string>>
      chosen: Readonly<Record<string, readonly string[]>>
      error: Invalid
    },
  ) => Promise<Answer> | Answer
}

export interface EndpointSpec<Query extends Schema | undefined, Body extends Schema | undefined, Response extends Schema> {
  readonly summary: string
  readonly description?: string
  readonly permission: Access
  readonly query?: Query
  readonly body?: Body
  readonly response: Response
  readonly status?: 200 | 201 | 202
  /** The other content types that it answers, as a download. */
  readonly alsoAs?: readonly string[]
  /** Problems that it can answer beside the ones that every endpoint can. */
  readonly errors?: readonly number[]
  /** Served before Express, for what is called hundreds of times a second. Its path has no parameters. */
  readonly fast?: boolean
  /** For how many milliseconds the same answer serves everybody of the same organisation and rights. */
  readonly shared?: number
  /** Counted apart from the rest of the API, with its own limit. */
  readonly limit?: 'ingest'
  /** false: asking with HEAD is no use of it, because it does something. */
  readonly head?: false
}

/** One part of the pages that follows what changes. */
export interface Topic {
  readonly permission: Action
  /** Worthless a second later: sent to whoever listens now, and painted as it is now for those who ask. */
  readonly transient?: boolean
  /** Turbo streams that bring open pages up to date with these subjects, as they are now. Depends on nothing of the viewer but organisation and rights. */
  readonly paint?: (ctx: Context, subjects: readonly string[], render: Render) => Promise<string>
  /** The same for programs: one JSON value per item. */
  readonly data?: (ctx: Context, subjects: readonly string[]) => Promise<readonly unknown[]>
}

export type Render = <Name extends keyof Views>(name: Name, props: Views[Name]) => string

export type PageRoute = PageSpec<Schema | undefined> & {
  readonly path: string
  readonly answer: (call: Call<Schema>) => Promise<Answer> | Answer
}
export type ActionRoute = ActionSpec<Schema | undefined, Schema | undefined> & {
  readonly path: string
  readonly answer: (call: Call<Schema, Schema>) => Promise<Answer> | Answer
}
export type EndpointRoute = EndpointSpec<Schema | undefined, Schema | undefined, Schema> & {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly tag: string
  readonly answer: (call: Call<Schema, Schema>) => Promise<unknown>
}

/** A feature's pages, forms, endpoints and live parts, declared side by side. */
export class Routes {
  readonly pages: PageRoute[] = []
  readonly actions: ActionRoute[] = []
  readonly endpoints: EndpointRoute[] = []
  readonly topics = new Map<string, Topic>()

  constructor(readonly feature: string) {}

  /** A page: GET, answered with HTML. */
  page<Query extends Schema | undefined = undefined>(
    path: string,
    spec: PageSpec<Query>,
    answer: (call: Call<Query>) => Promise<Answer> | Answer,
  ): void {
    this.pages.push({ ...spec, path, answer } as unknown as PageRoute)
  }

  /** A form's target: POST, answered with a redirect or the form again. */
  action<Query extends Schema | undefined = undefined, Body extends Schema | undefined = undefined>(
    path: string,
    spec: ActionSpec<Query, Body>,
    answer: (call: Call<Query, Body>) => Promise<Answer> | Answer,
  ): void {
    this.actions.push({ ...spec, path, answer } as unknown as ActionRoute)
  }

  /** An endpoint of the API, `METHOD /path`: registered, checked and documented from this one declaration. */
  endpoint<Response extends Schema, Query extends Schema | undefined = undefined, Body extends Schema | undefined = undefined>(
    route: `${'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} /${string}`,
    spec: EndpointSpec<Query, Body, Response>,
    answer: (call: Call<Query, Body>) => Promise<z.input<Response> | Download>,
  ): void {
    const [method, path] = route.split(' ') as [EndpointRoute['method'], string]
    this.endpoints.push({ ...spec, method, path, tag: this.feature, answer } as unknown as EndpointRoute)
  }

  /** What open pages and programs can follow, and how it is painted. */
  live(topic: string, spec: Topic): void {
    this.topics.set(topic, spec)
  }
}

/** Turbo streams. */
export const replace = (target: string, html: string): string =>
  `<turbo-stream action="replace" method="morph" target="${target}"><template>${html}</template></turbo-stream>`
