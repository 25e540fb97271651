import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type supertest from 'supertest'
import { z } from 'zod'
import type { ActionRoute, EndpointRoute, PageRoute, Routes } from '../../monitoring/dashboard/endpoint'
import { inProject } from '../../monitoring/paths'

/** What every file in `routes/` declares: a new one is part of the tests that walk over all of them. */
export const features: readonly Routes[] = readdirSync(inProject('routes'))
  .filter((file) => file.endsWith('.ts') && file !== 'shapes.ts')
  // eslint-disable-next-line @typescript-eslint/no-require-imports
  .map((file) => (require(join(inProject('routes'), file)) as { routes: Routes }).routes)

export const pages: readonly PageRoute[] = features.flatMap(({ pages }) => pages)
export const actions: readonly ActionRoute[] = features.flatMap(({ actions }) => actions)
export const endpoints: readonly EndpointRoute[] = features.flatMap(({ endpoints }) => endpoints)

/** The path with something in place of its parameters. */
export const filled = (path: string, value = 'nothing'): string => path.replace(/:\w+/g, value)

/** RFC 9457, as this product fills it in. */
export const Problem = z.strictObject({
  type: z.string(),
  title: z.string().min(1),
  status: z.int(),
  detail: z.string().min(1),
  instance: z.string().regex(/^urn:request:[0-9a-f-]{36}$/),
  errors: z.array(z.strictObject({ field: z.string().min(1), message: z.string().min(1) })).optional(),
})
export type Problem = z.output<typeof Problem>

/** The problem in an answer, after looking at its form. */
export function expectProblem(answer: supertest.Response, status: number): Problem {
  expect(answer.status).toBe(status)
  expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8')
  const problem = Problem.parse(JSON.parse(answer.text))
  expect(problem.status).toBe(status)
  expect(answer.text).not.toMatch(/\.ts:|\.js:|node_modules|SqliteError|at .*\(/)
  return problem
}

export const fieldsOf = (answer: supertest.Response, status: number): string[] =>
  (expectProblem(answer, status).errors ?? []).map(({ field }) => field)

/** The body of an endpoint's answer, exactly as its declaration says. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the test says what it goes on to read
export function bodyOf<Body = Record<string, unknown>>(answer: supertest.Response, route: string): Body {
  const endpoint = endpoints.find(({ method, path }) => `${method} ${path}` === route)
  if (!endpoint) throw new Error(`There is no endpoint ${route}`)
  expect({ status: answer.status, text: answer.status < 400 ? '' : answer.text }).toEqual({ status: endpoint.status ?? 200, text: '' })
  expect(answer.headers['content-type']).toBe('application/json; charset=utf-8')
  const body: unknown = JSON.parse(answer.text)
  expect(endpoint.response.parse(body)).toEqual(body)
  return body as Body
}
