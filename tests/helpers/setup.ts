// Runs before every test file, inside its environment.

import { format } from 'node:util'

declare global {
  /** The database that this project runs on, set by jest.config.js. */
  var TEST_DIALECT: 'sqlite' | 'postgres'
  var TEST_PROJECT: 'sqlite' | 'postgres' | 'browser' | 'faults'
}

process.env['TEST_DIALECT'] = TEST_DIALECT

// A project whose server or browser cannot be had is skipped test by test, so that the last line still counts what was not tried.
if (process.env[`TEST_SKIP_${TEST_PROJECT.toUpperCase()}`] !== undefined) {
  const skipped = Object.assign(test.skip, { only: test.skip, skip: test.skip, todo: test.todo, failing: test.skip, concurrent: test.skip })
  Object.assign(globalThis, { test: skipped, it: skipped })
}

const unexpected: string[] = []
const expected: RegExp[] = []

/** Lets this test file write warnings or errors that match `pattern` to the console; everything else there fails it. */
export function expectConsole(pattern: RegExp): void {
  expected.push(pattern)
}

for (const method of ['error', 'warn'] as const) {
  console[method] = (...parts: unknown[]) => {
    const text = format(...parts)
    if (!expected.some((pattern) => pattern.test(text))) unexpected.push(`console.${method}: ${text}`)
  }
}

function nothingUnexpected(): void {
  const lines = unexpected.splice(0)
  if (lines.length > 0) throw new Error(`Something was written to the console:\n${lines.join('\n')}`)
}

afterEach(nothingUnexpected)
// Also what is written when a file takes its servers down.
afterAll(nothingUnexpected)
