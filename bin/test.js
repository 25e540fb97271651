'use strict'

// npm test [-- files, or --project name, or any option of Jest]

const { spawn } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { findChromium } = require('../tests/helpers/chromium')
const { findPostgres } = require('../tests/helpers/postgres')
const { ensureBuilt, ensureDependencies, home, root } = require('./setup')

const projects = ['sqlite', 'postgres', 'browser', 'faults']

const settings = [
  'PORT',
  'HOST',
  'DATA_DIR',
  'DATABASE_URL',
  'ADMIN_USERNAME',
  'ADMIN_PASSWORD',
  'SESSION_SECRET',
  'PM2_HOME',
  'PUBLIC_URL',
  'TRUST_PROXY',
  'TIMEZONE',
]

/** Which projects were asked for, and what is left for Jest. */
function parse(argv) {
  const chosen = []
  const rest = []
  for (let i = 0; i < argv.length; i++) {
    const [flag, value] = argv[i].split('=')
    if (flag === '--project') chosen.push(value ?? argv[++i])
    else rest.push(argv[i])
  }
  const unknown = chosen.find((name) => !projects.includes(name))
  if (unknown !== undefined) {
    process.stderr.write(`There is no project '${unknown}'; there are ${projects.join(', ')}.\n`)
    process.exit(2)
  }
  return { chosen: chosen.length > 0 ? chosen : projects, rest, whole: chosen.length === 0 && rest.length === 0 }
}

async function main() {
  ensureDependencies()
  ensureBuilt()
  const { chosen, rest, whole } = parse(process.argv.slice(2))
  const env = { ...process.env, NODE_ENV: 'test', HOME: home() }
  // The settings of an installation on this machine must not reach the application under test.
  for (const name of settings) delete env[name]
  const files = rest.filter((argument) => /\.test\.ts$/.test(argument))
  const touches = (folder) => files.length === 0 || files.some((file) => file.includes(`${folder}/`))

  let postgres
  if (chosen.includes('postgres') && (files.length === 0 || files.some((file) => !/browser\/|faults\//.test(file)))) {
    postgres = await findPostgres()
    if (postgres.url) {
      env.TEST_DATABASE_URL = postgres.url
      process.stdout.write(`PostgreSQL: ${postgres.from}\n`)
    } else env.TEST_SKIP_POSTGRES = postgres.reason
  }
  if (chosen.includes('browser') && touches('browser')) {
    const browser = findChromium()
    if (browser.path) {
      env.CHROMIUM_PATH = browser.path
      if (browser.libraries) env.LD_LIBRARY_PATH = browser.libraries
      process.stdout.write(`Browser: ${browser.path} (${browser.from})\n`)
    } else env.TEST_SKIP_BROWSER = browser.reason
  }

  const summary = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'operations-center-test-')), 'summary.json')
  env.TEST_SUMMARY_FILE = summary
  // The projects come last, because this option takes every word that follows it.
  const jest = [path.join(root, 'node_modules', 'jest', 'bin', 'jest.js'), ...rest]
  // A single file covers little by nature: the thresholds hold for the whole suite.
  if (whole) jest.push('--coverage')
  const child = spawn(process.execPath, [...jest, '--selectProjects', ...chosen], { cwd: root, env, stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  const status = await new Promise((resolve) => child.once('close', (code) => resolve(code ?? 1)))

  await postgres?.stop?.()
  let counts = { passed: 0, failed: 1, skipped: 0 }
  if (fs.existsSync(summary)) counts = JSON.parse(fs.readFileSync(summary, 'utf8'))
  fs.rmSync(path.dirname(summary), { recursive: true, force: true })
  if (status !== 0 && counts.failed === 0) {
    if (counts.passed === 0) counts.failed = 1
    else process.stdout.write('\nEvery test passed, but the run failed: the reason stands above.\n')
  }
  process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`)
  process.exitCode = status
}

void main()
