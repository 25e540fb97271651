import fc from 'fast-check'
import { startApp, type TestApp } from './helpers/app'
import { hostile } from './helpers/hostile'
import { Problem } from './helpers/routes'

let app: TestApp
beforeAll(async () => {
  app = await startApp({ env: { INGEST_RATE_LIMIT: '100000' } })
})
afterAll(() => app.close())

interface JsonSchema {
  type?: string
  enum?: unknown[]
  anyOf?: JsonSchema[]
  items?: JsonSchema
  properties?: Record<string, JsonSchema>
  required?: string[]
  format?: string
}

interface Operation {
  parameters?: { name: string; in: string; schema: JsonSchema }[]
  requestBody?: { content: Record<string, { schema: JsonSchema }> }
}

const garbage = fc.oneof(
  fc.constantFrom(...hostile.slice(0, -1)),
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.integer(),
  fc.double(),
  fc.constant(null),
  fc.boolean(),
  fc.jsonValue({ maxDepth: 3 }),
)

function like(schema: JsonSchema): fc.Arbitrary<unknown> {
  const { type, properties = {}, required = [] } = schema
  if (schema.enum) return fc.constantFrom(...schema.enum)
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map(like))
  if (schema.format === 'date-time') return fc.date({ noInvalidDate: true }).map((date) => date.toISOString())
  if (type === 'string') return fc.oneof(fc.string({ maxLength: 40 }), fc.constantFrom('1', '50', 'cpu.percent'))
  if (type === 'integer' || type === 'number') return fc.integer()
  if (type === 'array') return fc.array(wild(schema.items ?? {}), { maxLength: 5 })
  if (type === 'object')
    return fc.record(Object.fromEntries(Object.entries(properties).map(([name, one]) => [name, wild(one)])), { requiredKeys: required })
  return fc.jsonValue({ maxDepth: 3 })
}

/** Mostly as it should be: what is refused at the door tries nothing behind it. */
const wild = (schema: JsonSchema): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 12, arbitrary: like(schema) }, { weight: 1, arbitrary: garbage })

test('three hundred requests made up from the document of the API: no answer is a mistake of ours', async () => {
  const alice = await app.as('alice')
  const { paths } = (await alice.get('/openapi.json')).body as { paths: Record<string, Record<string, Operation>> }
  const calls = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { parameters = [], requestBody }]) => {
      const of = (where: string) =>
        fc.record(Object.fromEntries(parameters.filter((one) => one.in === where).map(({ name, schema }) => [name, wild(schema)])), {
          requiredKeys: [],
        })
      const schema = requestBody?.content['application/json']?.schema
      return fc.record({
        path: fc.constant(path),
        method: fc.constant(method as 'get' | 'post'),
        query: of('query'),
        params: of('path'),
        body: schema ? wild(schema) : fc.constant(undefined),
      })
    }),
  )
  const asText = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value ?? ''))
  const statuses = new Map<number, number>()
  await fc.assert(
    fc.asyncProperty(fc.oneof(...calls), async ({ path, method, query, params, body }) => {
      const address = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(asText(params[name] ?? 'x').toWellFormed()) || 'x')
      const search = new URLSearchParams(Object.entries(query).map(([name, value]): [string, string] => [name, asText(value)])).toString()
      const call = alice[method](`${address}?${search}`)
      const answer = await (body === undefined ? call : call.set('Content-Type', 'application/json').send(JSON.stringify(body)))
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
      expect(answer.status).toBeLessThan(500)
      expect(answer.status < 400 || Problem.safeParse(JSON.parse(answer.text)).success).toBe(true)
    }),
    { numRuns: 300, seed: 20260308 },
  )
  expect([...statuses.keys()]).toEqual(expect.arrayContaining([200, 201, 400, 404, 422]))
})
