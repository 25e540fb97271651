'use strict'

// Compares what is made from the source with what is kept of it: the schema of both databases with tests/golden, and the tables of
// docs/security.md with the permissions and routes. `--write` keeps the new ones.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { findPostgres } = require('../tests/helpers/postgres')
const { ensureBuilt, ensureDependencies, root } = require('./setup')

ensureDependencies()
ensureBuilt()

const write = process.argv.includes('--write')
const golden = (dialect) => path.join(root, 'tests', 'golden', `schema.${dialect}.sql`)

function compare(dialect, schema) {
  const file = golden(dialect)
  const name = path.relative(root, file)
  const kept = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : ''
  if (kept === schema) return console.log(`${name}: as the migrations make it`)
  if (write) {
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, schema)
    return console.log(`${name}: written`)
  }
  const lines = { kept: kept.split('\n'), made: schema.split('\n') }
  console.error(`${name}: the migrations make another schema (node bin/golden.js --write keeps it)`)
  for (const line of lines.kept) if (!lines.made.includes(line)) console.error(`  - ${line}`)
  for (const line of lines.made) if (!lines.kept.includes(line)) console.error(`  + ${line}`)
  process.exitCode = 1
}

/** Each table stands between `<!-- name -->` and `<!-- /name -->`. */
function compareTables() {
  const { actionTable, routeTable } = require('../dist/monitoring/dashboard/permits.js')
  const { declared } = require('../dist/monitoring/app.js')
  const file = path.join(root, 'docs', 'security.md')
  const kept = fs.readFileSync(file, 'utf8')
  const tables = { actions: actionTable(), routes: routeTable(declared) }
  const made = Object.entries(tables).reduce(
    (text, [name, table]) =>
      text.replace(new RegExp(`(<!-- ${name} -->\\n)[^]*?(\\n<!-- /${name} -->)`), (_, before, after) => before + table + after),
    kept,
  )
  if (made === kept) return console.log('docs/security.md: its tables are as the source has them')
  if (write) {
    fs.writeFileSync(file, made)
    return console.log('docs/security.md: written')
  }
  console.error('docs/security.md: the source has other permissions or routes (node bin/golden.js --write keeps them)')
  process.exitCode = 1
}

async function main() {
  compareTables()
  const { dumpSchema } = require('../dist/monitoring/db/golden.js')
  const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'operations-center-golden-'))
  try {
    compare('sqlite', await dumpSchema({ dataDir }))
  } finally {
    fs.rmSync(dataDir, { recursive: true, force: true })
  }
  const server = await findPostgres()
  if (!server.url) return console.log(`tests/golden/schema.postgres.sql: skipped, ${server.reason}`)
  try {
    compare('postgres', await onEmptyDatabase(server.url, (databaseUrl) => dumpSchema({ databaseUrl })))
  } finally {
    await server.stop()
  }
}

async function onEmptyDatabase(url, work) {
  const { Client } = require('pg')
  const name = `golden_${process.pid}`
  const admin = new Client({ connectionString: url })
  await admin.connect()
  try {
    await admin.query(`create database ${name}`)
    const target = new URL(url)
    target.pathname = `/${name}`
    return await work(target.href)
  } finally {
    await admin.query(`drop database if exists ${name} with (force)`)
    await admin.end()
  }
}

void main()
