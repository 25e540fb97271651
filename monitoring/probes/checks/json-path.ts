import { isNativeError } from 'node:util/types'
import { jsonpath, JSONPathEnvironment, type JSONPathQuery, type JSONValue } from 'json-p3'
import { plain, ProbeFailure } from './probe'

// A path comes from a person and the document from a stranger. What RFC 9535 allows lets the two together take for ever: `$..*..*..*`,
// regular expressions, filters that compare one half of the document with the other. What is left visits every value at most once per step.
const longestPath = 500
const mostValues = 50_000

const environment = new JSONPathEnvironment({ maxRecursionDepth: 100 })
environment.functionRegister.clear()

const { FilterQuery, RootQuery, InfixExpression, PrefixExpression, LogicalExpression } = jsonpath.expressions
const { FilterSelector } = jsonpath.selectors

export interface Path {
  /** The first value it leads to; undefined: to none. */
  first(document: JSONValue): JSONValue | undefined
}

/** Reads a JSON path, and refuses those that a hostile answer could make expensive. */
export function readPath(text: string): Path {
  if (text.length > longestPath) throw new ProbeFailure(`The JSON path is longer than ${longestPath} characters`)
  const query = compile(text)
  let searches = 0
  for (const step of query.segments) {
    const [selector, ...more] = step.selectors
    if (more.length > 0) throw new ProbeFailure('The JSON path may choose one thing at each step, not a list like [0, 1]')
    if (step.toString().startsWith('..') && ++searches > 1) throw new ProbeFailure('The JSON path may hold .. once')
    if (selector instanceof FilterSelector) allowFilter(selector.expression)
  }
  return {
    first(document) {
      if (!query.singularQuery()) countValues(document)
      try {
        return query.match(document)?.value
      } catch (error) {
        throw new ProbeFailure(`the JSON path cannot be followed: ${reason(error)}`)
      }
    },
  }
}

function compile(text: string): JSONPathQuery {
  try {
    return environment.compile(text)
  } catch (error) {
    throw new ProbeFailure(`The JSON path cannot be read: ${reason(error)}`)
  }
}

function reason(error: unknown): string {
  return plain(isNativeError(error) ? error.message : '', 120) || 'it is not one'
}

function allowFilter(expression: jsonpath.expressions.FilterExpression): void {
  if (expression instanceof RootQuery) throw new ProbeFailure('A filter of the JSON path may look at @, not at $')
  if (expression instanceof FilterQuery && !expression.path.singularQuery())
    throw new ProbeFailure('A filter of the JSON path may look at one value, like @.name, not at several')
  if (expression instanceof InfixExpression) {
    const { left, right, logical } = expression
    if (!logical && left instanceof FilterQuery && right instanceof FilterQuery)
      throw new ProbeFailure('A filter of the JSON path compares with a text, a number, true, false or null')
    allowFilter(left)
    allowFilter(right)
  }
  if (expression instanceof PrefixExpression) allowFilter(expression.right)
  if (expression instanceof LogicalExpression) allowFilter(expression.expression)
}

function countValues(document: JSONValue): void {
  const waiting: JSONValue[] = [document]
  for (let count = 0; waiting.length > 0; count++) {
    if (count + waiting.length > mostValues)
      throw new ProbeFailure(`the answer holds more than ${mostValues} values; name the way to one without .., * or a filter`)
    const value = waiting.pop()
    // Not spread: an array of a hundred thousand would not fit among the arguments of a call
    if (typeof value === 'object' && value !== null) for (const child of Object.values(value)) waiting.push(child)
  }
}
