'use strict'

// Runs the cases on one stage and prints the table. What is not fast enough is a figure; what answered wrongly is a failure.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { openChromium } = require('./browser')
const { cases } = require('./cases')
const { cpus, endAll, folder, startNode, taskset } = require('./ground')
const { setTheStage, startProduct } = require('./product')

/** Options: only (names), rounds, quick, full, json, profile. Answers the exit code. */
async function run(options) {
  const names = options.only.length > 0 ? options.only : Object.keys(cases)
  const unknown = names.filter((name) => !(name in cases))
  if (unknown.length > 0) throw new Error(`There is no case ${unknown.join(', ')}; there are ${Object.keys(cases).join(', ')}`)
  const wrongs = []
  const rows = []
  const tell = (text) => process.stderr.write(text)
  try {
    tell('Setting the stage …\n')
    const bench = await benchOf(options, (what) => wrongs.push(what))
    for (const name of names) {
      tell(`${name} …\n`)
      const profile = options.profile && ['page', 'health', 'ingest'].includes(name) ? folder('profile') : undefined
      if (profile) await bench.noProduct()
      bench.profile = profile
      try {
        const measured = await cases[name](bench)
        rows.push(...measured.map((row) => ({ case: name, ...row })))
        if (!options.json)
          process.stdout.write(
            table(
              measured.map((row) => ({ case: name, ...row })),
              rows.length === measured.length,
            ),
          )
      } catch (error) {
        wrongs.push(`${name}: ${error.stack}`)
      }
      if (profile) {
        await bench.noProduct()
        tell(`Where the time of the console went (${name}):\n${hottest(profile)}\n`)
      }
    }
    await bench.close()
  } finally {
    await endAll()
  }
  if (options.json) process.stdout.write(`${JSON.stringify({ machine: machine(), options, rows, wrongs }, null, 2)}\n`)
  else
    process.stdout.write(
      `\n${Object.entries(machine())
        .map(([name, value]) => `${name}: ${value}`)
        .join(' · ')}\n`,
    )
  for (const wrong of wrongs) tell(`WRONG: ${wrong}\n`)
  return wrongs.length > 0 ? 1 : 0
}

async function benchOf(options, wrong) {
  const stage = await setTheStage()
  const [load, sockets] = [1, 2].map(() => startNode(path.join(__dirname, 'load.js'), [], { cpu: cpus.rest }))
  let product
  let chromium
  const bench = {
    ...options,
    stage,
    load,
    sockets,
    wrong,
    profile: undefined,
    async product() {
      product ??= await startProduct(stage, { profile: bench.profile })
      return product
    },
    async noProduct() {
      await product?.stop()
      product = undefined
    },
    async chromium() {
      chromium ??= await openChromium()
      return chromium
    },
    async close() {
      await chromium?.browser?.close()
      await bench.noProduct()
    },
  }
  return bench
}

const machine = () => ({
  node: process.version,
  processors: `${os.cpus().length} × ${os.cpus()[0]?.model ?? 'unknown'}`,
  'load average': os
    .loadavg()
    .map((value) => value.toFixed(1))
    .join(' '),
  pinned: taskset ? 'yes' : 'no',
})

// ---- The table

const figure = (value, unit) =>
  value === null || value === undefined
    ? ''
    : `${value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(value >= 10 ? 1 : 2)} ${unit}`
const share = (value) => (value === null ? '' : `${Math.round(value * 100)}%`)

const columns = [
  ['what', 62, ({ what }) => what],
  ['product', 14, ({ product, unit }) => figure(product, unit)],
  ['reference', 14, ({ reference, unit }) => figure(reference, unit)],
  ['ratio', 7, ({ ratio }) => (ratio === null ? '' : `${ratio.toFixed(2)}×`)],
  ['aim', 14, ({ aim }) => aim],
  ['reached', 8, ({ reached }) => (reached === null ? '' : reached ? 'yes' : 'NO')],
  ['spread', 7, ({ spread }) => share(spread)],
]

function table(rows, head) {
  const line = (cells) =>
    `${cells.map((cell, index) => (index === 0 ? cell.padEnd(columns[0][1]) : cell.padStart(columns[index][1]))).join(' ')}\n`
  return (
    (head ? `\n${line(columns.map(([name]) => name))}` : '') +
    rows.map((row) => line(columns.map(([, , cell]) => cell(row))) + (row.note ? `    ${row.note}\n` : '')).join('')
  )
}

// ---- The profile

/** The functions with the most time of their own in the newest profile of a folder. */
function hottest(from, count = 22) {
  const [file] = fs.readdirSync(from).filter((name) => name.endsWith('.cpuprofile'))
  if (!file) return 'no profile was written'
  const { nodes, samples, timeDeltas } = JSON.parse(fs.readFileSync(path.join(from, file), 'utf8'))
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const own = new Map()
  let total = 0
  samples.forEach((id, index) => {
    const { functionName, url, lineNumber } = byId.get(id).callFrame
    if (functionName === '(idle)') return
    const name = `${functionName || '(anonymous)'} ${url.replace(/^.*\/(node_modules|dist)\//, '')}${lineNumber > 0 ? `:${lineNumber + 1}` : ''}`
    own.set(name, (own.get(name) ?? 0) + timeDeltas[index])
    total += timeDeltas[index]
  })
  return [...own]
    .sort((a, b) => b[1] - a[1])
    .slice(0, count)
    .map(([name, time]) => `${((time * 100) / total).toFixed(1).padStart(6)}%  ${name}`)
    .join('\n')
}

module.exports = { endAll, names: Object.keys(cases), run }
