'use strict'

// npm run faults [-- --cycles 100] [--seed 7] [kill|flips|leave|reload|rescue|durable]: the fault tests, more often and with figures.

const { spawnSync } = require('node:child_process')
const path = require('node:path')
const { ensureBuilt, ensureDependencies, root } = require('./setup')

const words = process.argv.slice(2)

function option(name, fallback) {
  const at = words.indexOf(`--${name}`)
  if (at < 0) return fallback
  const [, value] = words.splice(at, 2)
  if (/^[1-9]\d*$/.test(value ?? '')) return value
  process.stderr.write(`--${name} takes a whole number above zero.\n`)
  process.exit(2)
}

const env = { ...process.env, NODE_ENV: 'test', FAULT_CYCLES: option('cycles', '20'), FAULT_SEED: option('seed', '1') }
ensureDependencies()
ensureBuilt()
const jest = path.join(root, 'node_modules', 'jest', 'bin', 'jest.js')
// One after the other: each wants the whole machine.
const options = ['--runInBand', ...(words.length > 0 ? ['--testPathPatterns', ...words] : []), '--selectProjects', 'faults']
process.exitCode = spawnSync(process.execPath, [jest, ...options], { cwd: root, env, stdio: 'inherit' }).status ?? 1
