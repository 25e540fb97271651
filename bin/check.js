'use strict'

// npm run check: every check with one line of verdict, and in full what is wrong. `npm run check lint types` runs only those.

const { spawn } = require('node:child_process')
const { cpus } = require('node:os')
const path = require('node:path')
const { ensureDependencies, home, root } = require('./setup')

ensureDependencies()

const bin = (name) => path.join(root, 'node_modules', '.bin', name)
const code = ['monitoring', 'services', 'routes', 'views', 'public/js', 'tests']

const checks = [
  {
    name: 'lint',
    what: 'ESLint',
    command: [bin('eslint'), '--max-warnings', '0', '--no-warn-ignored', '--cache', '--cache-location', 'node_modules/.cache/eslint/', '.'],
  },
  { name: 'types', what: 'types of the server', command: [bin('tsc'), '-p', 'tsconfig.json', '--noEmit', '--incremental', 'false'] },
  { name: 'types-web', what: 'types of the browser code', command: [bin('tsc'), '-p', 'tsconfig.web.json'] },
  { name: 'types-test', what: 'types of the tests', command: [bin('tsc'), '-p', 'tsconfig.test.json'] },
  {
    name: 'format',
    what: 'Prettier',
    command: [bin('prettier'), '--check', '--log-level', 'warn', '--cache', '--cache-location', 'node_modules/.cache/prettier.json', '.'],
  },
  {
    name: 'imports',
    what: 'import rules',
    command: [bin('depcruise'), '--config', '.dependency-cruiser.cjs', '--output-type', 'err-long', ...code],
  },
  {
    name: 'unused',
    what: 'unused files, exports and dependencies',
    command: [bin('knip'), '--no-progress'],
  },
  { name: 'schema', what: 'golden schema', command: [process.execPath, path.join(__dirname, 'golden.js'), '--check'], show: true },
]

function run({ name, what, command: [file, ...args], show }) {
  const begin = Date.now()
  return new Promise((resolve) => {
    let output = ''
    const child = spawn(file, args, {
      cwd: root,
      env: { ...process.env, HOME: home(), ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : { NO_COLOR: '1' }) },
    })
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
    child.on('error', (error) => (output += `${error.message}\n`))
    child.on('close', (status) => {
      const ok = status === 0
      process.stdout.write(`${ok ? 'ok  ' : 'FAIL'} ${name.padEnd(10)} ${what} (${((Date.now() - begin) / 1000).toFixed(1)} s)\n`)
      if (!ok || show) process.stdout.write(output.replace(/^(?=.)/gm, '     '))
      resolve(ok ? undefined : name)
    })
  })
}

async function main(wanted) {
  const unknown = wanted.filter((name) => !checks.some((check) => check.name === name))
  if (unknown.length > 0) {
    process.stderr.write(`There is no check called ${unknown.join(', ')}; there are ${checks.map(({ name }) => name).join(', ')}.\n`)
    process.exit(2)
  }
  const queue = checks.filter(({ name }) => wanted.length === 0 || wanted.includes(name))
  const failed = []
  const worker = async () => {
    for (let check = queue.shift(); check; check = queue.shift()) {
      const name = await run(check)
      if (name) failed.push(name)
    }
  }
  // The first in the list takes longest; the others run beside it.
  await Promise.all(Array.from({ length: Math.min(2, cpus().length) }, worker))
  process.stdout.write(failed.length === 0 ? 'Every check passed.\n' : `Failed: ${failed.join(', ')}\n`)
  process.exitCode = failed.length === 0 ? 0 : 1
}

void main(process.argv.slice(2))
