'use strict'

// One line per test file, failures in full, and every skipped test with its reason. bin/test.js prints the last line from `summary`.

const fs = require('node:fs')
const path = require('node:path')

class Reporter {
  constructor(config) {
    this.root = config.rootDir
    // With -t nearly everything is skipped, and the reason is known.
    this.filtered = Boolean(config.testNamePattern)
    this.failed = []
    this.skipped = new Map()
    this.counts = { passed: 0, failed: 0, skipped: 0 }
  }

  onTestFileResult(test, result) {
    const project = test.context.config.displayName?.name ?? ''
    const file = path.relative(this.root, result.testFilePath)
    const failures = result.testResults.filter(({ status }) => status === 'failed')
    const skipped = result.testResults.filter(({ status }) => ['pending', 'todo', 'disabled'].includes(status))
    const passed = result.testResults.length - failures.length - skipped.length
    // A file that could not run has no tests to count, and is a failure all the same.
    const broken = failures.length === 0 && Boolean(result.testExecError ?? result.failureMessage)
    this.counts.passed += passed
    this.counts.failed += failures.length + (broken ? 1 : 0)
    this.counts.skipped += skipped.length
    for (const { fullName } of skipped) this.#skip(project, file, fullName)
    const seconds = `${(((result.perfStats?.end ?? 0) - (result.perfStats?.start ?? 0)) / 1000).toFixed(1)} s`
    const word = failures.length > 0 || broken ? 'FAIL' : passed === 0 ? 'SKIP' : 'ok  '
    this.#print(`${word} ${project.padEnd(8)} ${file} (${passed} passed${skipped.length ? `, ${skipped.length} skipped` : ''}, ${seconds})`)
    if (word === 'FAIL' && result.failureMessage) {
      this.#print(result.failureMessage)
      for (const { message, type, origin } of result.console ?? []) this.#print(`console.${type}: ${message}\n${origin.split('\n')[0]}`)
      this.failed.push(`${project} ${file}`)
    }
  }

  #skip(project, file, name) {
    const reason = process.env[`TEST_SKIP_${project.toUpperCase()}`]
    const key = reason ? `${project}: ${reason}` : `${project} ${file}: ${name}`
    this.skipped.set(key, (this.skipped.get(key) ?? 0) + 1)
  }

  #print(text) {
    process.stdout.write(`${text}\n`)
  }

  onRunComplete(_contexts, results) {
    if (results.runExecError) this.#print(results.runExecError.message)
    if (this.skipped.size > 0 && !this.filtered)
      this.#print(`\nSkipped:\n${[...this.skipped].map(([key, times]) => `  ${times} × ${key}`).join('\n')}`)
    if (this.failed.length > 0) this.#print(`\nFailed:\n${this.failed.map((line) => `  ${line}`).join('\n')}`)
    if (process.env.TEST_SUMMARY_FILE) fs.writeFileSync(process.env.TEST_SUMMARY_FILE, JSON.stringify(this.counts))
    else this.#print(`\n${this.counts.passed} passed, ${this.counts.failed} failed, ${this.counts.skipped} skipped`)
  }
}

module.exports = Reporter
