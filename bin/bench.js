'use strict'

// npm run bench [-- --only page,health] [--rounds 5] [--quick] [--full] [--profile] [--json]: docs/performance.md says what is measured and why.

const { parseArgs } = require('node:util')
const { ensureBuilt, ensureDependencies, fail } = require('./setup')

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    rounds: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
    full: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds || (values.quick ? 3 : 5))
if (!Number.isInteger(rounds) || rounds < 1) fail('--rounds takes a whole number from 1 on')

ensureDependencies()
ensureBuilt()

const { endAll, run } = require('../tests/bench/run')

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void endAll().then(() => process.exit(130)))

run({ ...values, only: values.only.flatMap((names) => names.split(',')), rounds, ms: values.quick ? 1000 : 3000 }).then(
  (code) => process.exit(code),
  (error) => {
    process.stderr.write(`${error.stack}\n`)
    process.exit(1)
  },
)
