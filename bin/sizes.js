'use strict'

// npm run sizes: how long files and functions are, per folder, and the longest ten. A look, not a limit.

const fs = require('node:fs')
const path = require('node:path')
const { ensureDependencies, filesUnder, root } = require('./setup')

ensureDependencies()
const ts = require('typescript')

const folders = ['monitoring', 'services', 'routes', 'views', 'public/js', 'public/css', 'tests', 'bin']
const sizes = []

for (const folder of folders) {
  for (const file of filesUnder(folder)) {
    if (!/\.(?:ts|js|ejs|scss)$/.test(file)) continue
    const text = fs.readFileSync(path.join(root, file), 'utf8')
    sizes.push({ folder, kind: 'file', name: file, lines: text.split('\n').length - 1 })
    if (/\.(?:ts|js)$/.test(file)) sizes.push(...functionsIn(folder, file, text))
  }
}

function functionsIn(folder, file, text) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  const found = []
  const line = (position) => source.getLineAndCharacterOfPosition(position).line + 1
  const visit = (node) => {
    if (ts.isFunctionLike(node) && node.body) {
      const first = line(node.getStart(source))
      found.push({ folder, kind: 'function', name: `${file}:${first} ${nameOf(node)}`, lines: line(node.end) - first + 1 })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

function nameOf(node) {
  const named = node.name ?? (ts.isVariableDeclaration(node.parent) || ts.isPropertyAssignment(node.parent) ? node.parent.name : undefined)
  return named?.getText() ?? ''
}

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]

for (const kind of ['file', 'function']) {
  console.log(`\nLines per ${kind}`.padEnd(24) + ['count', 'p50', 'p95', 'max'].map((word) => word.padStart(7)).join(''))
  for (const folder of folders) {
    const lines = sizes
      .filter((size) => size.folder === folder && size.kind === kind)
      .map((size) => size.lines)
      .sort((a, b) => a - b)
    if (lines.length === 0) continue
    const row = [lines.length, at(lines, 0.5), at(lines, 0.95), lines.at(-1)]
    console.log(`  ${folder}`.padEnd(23) + row.map((value) => String(value).padStart(7)).join(''))
  }
  const longest = sizes.filter((size) => size.kind === kind).sort((a, b) => b.lines - a.lines)
  for (const { name, lines } of longest.slice(0, 10)) console.log(`${String(lines).padStart(7)}  ${name}`)
}
