'use strict'

// Builds public/build (browser files, named by their contents, compressed ahead) and dist (server code).
// `node bin/build.js assets` or `… server` builds one half; bin/dev.js calls the two functions itself.

const { spawn } = require('node:child_process')
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const path = require('node:path')
const { promisify } = require('node:util')
const zlib = require('node:zlib')
const { filesUnder, root } = require('./setup')

const out = path.join(root, 'public', 'build')
const brotli = promisify(zlib.brotliCompress)
const gzip = promisify(zlib.gzip)
const inRoot = (...parts) => path.join(root, ...parts)

const contentHash = (data) => createHash('sha256').update(data).digest('hex').slice(0, 10)

/** Writes under another name first, so that a server that reads at this moment never sees half a file. */
function writeWhole(file, data) {
  const partial = `${file}.${process.pid}.partial`
  fs.writeFileSync(partial, data)
  fs.renameSync(partial, file)
}

const compressible = /\.(?:css|js|svg|json|txt|webmanifest)$/

async function writeAsset(name, data, compress) {
  const file = path.join(out, name)
  // A name holds the hash of its contents: what is there already is right.
  if (!fs.existsSync(file)) writeWhole(file, data)
  if (!compress || !compressible.test(name)) return
  if (!fs.existsSync(`${file}.gz`)) writeWhole(`${file}.gz`, await gzip(data, { level: 9 }))
  if (!fs.existsSync(`${file}.br`)) {
    const params = { [zlib.constants.BROTLI_PARAM_QUALITY]: 11, [zlib.constants.BROTLI_PARAM_SIZE_HINT]: data.length }
    writeWhole(`${file}.br`, await brotli(data, { params }))
  }
}

/** Collects what is to be written and the names it gets; nothing is on disk before everything was built. */
class Assets {
  files = new Map()
  names = {}

  add(logical, contents) {
    const data = Buffer.from(contents)
    const { name, ext } = path.parse(logical)
    return this.put(logical, `${name}-${contentHash(data)}${ext}`, data)
  }

  put(logical, name, data) {
    this.files.set(name, data)
    this.names[logical] = name
    return name
  }
}

// ---- Scripts -------------------------------------------------------------------------------------------------------------------------

const browsers = ['chrome111', 'firefox114', 'safari16.4']

async function scripts(assets, development) {
  const esbuild = require('esbuild')
  const common = {
    absWorkingDir: root,
    bundle: true,
    write: false,
    metafile: true,
    minify: !development,
    sourcemap: development ? 'inline' : false,
    target: browsers,
    outdir: out,
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    legalComments: 'none',
    define: { 'process.env.NODE_ENV': JSON.stringify(development ? 'development' : 'production') },
    tsconfig: inRoot('tsconfig.web.json'),
    logLevel: 'warning',
  }
  const entries = [
    { entryPoints: ['public/js/app.ts'], format: 'esm', splitting: true },
    // Runs in <head> before the first paint, so it is a classic script.
    { entryPoints: ['public/js/theme.ts'], format: 'iife' },
    { entryPoints: ['public/js/docs.ts'], format: 'iife' },
  ]
  for (const entry of entries) {
    const { outputFiles, metafile } = await esbuild.build({ ...common, ...entry })
    const bytes = new Map(outputFiles.map((file) => [path.basename(file.path), file.contents]))
    for (const [file, { entryPoint }] of Object.entries(metafile.outputs)) {
      const name = path.basename(file)
      assets.put(entryPoint ? logicalName(entryPoint, entry.entryPoints) : name, name, Buffer.from(bytes.get(name)))
    }
  }
}

/** `app.js` for an entry, `chart` for a part that is loaded when it is needed. */
const logicalName = (entryPoint, entries) => path.parse(entryPoint).name + (entries.includes(entryPoint) ? '.js' : '')

// ---- Styles, fonts, pictures ---------------------------------------------------------------------------------------------------------

const fontFolders = () =>
  [require.resolve('@fontsource-variable/inter/package.json'), require.resolve('@fontsource-variable/jetbrains-mono/package.json')].map(
    (file) => path.join(path.dirname(file), 'files'),
  )

/** The last sheet this process compiled: Sass takes seconds, and `npm run dev` mostly rebuilds for other files. */
let lastSheet = { key: '', add: () => undefined }

async function styles(assets, development) {
  const times = ['public/css', 'public/img'].flatMap(filesUnder).map((file) => `${file} ${fs.statSync(inRoot(file)).mtimeMs}`)
  const key = `${development} ${times.join(' ')}`
  if (lastSheet.key !== key) lastSheet = { key, add: await compiledSheet(development) }
  lastSheet.add(assets)
}

/** Compiles the sheet and answers what adds it, with the fonts and pictures that it names, to the assets. */
async function compiledSheet(development) {
  const sass = require('sass')
  const esbuild = require('esbuild')
  const source = inRoot('public', 'css', 'app.scss')
  const { css } = sass.compile(source, {
    loadPaths: [inRoot('node_modules'), inRoot('public', 'css')],
    style: development ? 'expanded' : 'compressed',
    quietDeps: true,
    // Bootstrap 5.3 is still written with these.
    silenceDeprecations: ['import', 'global-builtin', 'color-functions', 'if-function'],
    sourceMap: false,
  })
  const referenced = new Assets()
  const rewritten = css.replace(/url\(\s*(["']?)([^"')]+)\1\s*\)/g, (whole, _quote, url) => {
    if (/^(?:data:|#)/.test(url)) return whole
    const [file] = url.split(/[?#]/)
    const found = [...fontFolders(), path.dirname(source), inRoot('public', 'img')]
      .flatMap((folder) => [path.resolve(folder, file), path.join(folder, path.basename(file))])
      .find((candidate) => fs.existsSync(candidate))
    if (!found) throw new Error(`public/css: url(${url}) was found neither among the fonts nor in public/img`)
    return `url(${referenced.add(path.basename(found), fs.readFileSync(found))})`
  })
  const { code } = await esbuild.transform(rewritten, { loader: 'css', minify: !development, target: browsers, legalComments: 'none' })
  referenced.add('app.css', code)
  return (assets) => {
    for (const [logical, name] of Object.entries(referenced.names)) assets.put(logical, name, referenced.files.get(name))
  }
}

function pictures(assets) {
  for (const file of filesUnder('public/img')) assets.add(path.basename(file), fs.readFileSync(inRoot(file)))
}

// ---- Icons ---------------------------------------------------------------------------------------------------------------------------

const own = {
  run: '<symbol id="i-run" viewBox="0 0 16 16"><circle cx="8" cy="8" r="6.2" fill="none" stroke="currentColor" stroke-width="2" opacity=".28"/><path d="M8 1.8a6.2 6.2 0 0 1 6.2 6.2" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round"/></symbol>',
  idle: '<symbol id="i-idle" viewBox="0 0 16 16"><circle cx="8" cy="8" r="5.6" fill="none" stroke="currentColor" stroke-width="1.6"/></symbol>',
  mark: '<symbol id="i-mark" viewBox="0 0 26 26"><rect width="26" height="26" rx="6" fill="#3451d1"/><path d="M5 15.5h4l2.6-8 3.6 11 2.2-5.5H21" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></symbol>',
}

const quotedWord = /(['"])([a-z0-9][a-z0-9-]*)\1/
const quoted = new RegExp(quotedWord, 'g')
// icon('bell'), h.icon(open ? 'x-lg' : 'list', 'lg'), icon: 'bell', icon = "bell", and tables of icons: const stateIcons = { ok: 'check' }
const uses = [
  /\bicon\(((?:[^,()]|\([^()]*\))*)/g,
  /\bicon\??:\s*((?:[^,;\n}]|\n\s*[?:])*)/g,
  /\bicons?\w*\s*(?::[^=\n]+)?=\s*(["'][^"']*["'])/gi,
  /\b\w*icons\b[^={\n]*(?:[<][^=]*[>][^=]*)?=\s*(?:Object\.freeze\()?\{([^}]*)\}/gi,
]

/** The names of the icons that a source file uses, each with its line. */
function iconsIn(text) {
  const names = []
  for (const use of uses) {
    for (const match of text.matchAll(use)) {
      // What is compared with is not a name: icon(state === 'ok' ? 'check' : 'x')
      const argument = match[1].replace(/[!=]==?\s*(['"])[^'"]*\1/g, '').replace(/(['"])[^'"]*\1\s*(?=[!=]==?|\])/g, '')
      for (const [, , name] of argument.matchAll(quoted)) names.push({ name, line: text.slice(0, match.index).split('\n').length })
    }
  }
  // for (const [value, label, icon] of [['light', 'Light', 'sun'], …])
  for (const match of text.matchAll(/\[([^\][]*\bicon\b[^\][]*)\]\s+of\s+(\[\s*\[[\s\S]*?\]\s*\])/g)) {
    const place = match[1].split(',').findIndex((name) => name.trim() === 'icon')
    for (const [, row] of match[2].matchAll(/\[([^\][]*)\]/g)) {
      const name = quotedWord.exec(row.split(',')[place] ?? '')?.[2]
      if (name) names.push({ name, line: text.slice(0, match.index).split('\n').length })
    }
  }
  return names
}

function icons(assets) {
  const folder = path.join(path.dirname(require.resolve('bootstrap-icons/package.json')), 'icons')
  const used = new Map()
  for (const file of ['views', 'monitoring', 'services', 'routes', 'public/js'].flatMap(filesUnder)) {
    if (!/\.(?:ejs|ts)$/.test(file)) continue
    for (const { name, line } of iconsIn(fs.readFileSync(inRoot(file), 'utf8'))) if (!used.has(name)) used.set(name, `${file}:${line}`)
  }
  // Drawn by the server where a name comes from data, so always there.
  for (const name of Object.keys(own)) if (!used.has(name)) used.set(name, 'bin/build.js')
  const unknown = [...used].filter(([name]) => !own[name] && !fs.existsSync(path.join(folder, `${name}.svg`)))
  if (unknown.length > 0) throw new Error(unknown.map(([name, where]) => `${where}: there is no icon called '${name}'`).join('\n'))
  const symbols = [...used.keys()]
    .sort()
    .map((name) => own[name] ?? symbol(name, fs.readFileSync(path.join(folder, `${name}.svg`), 'utf8')))
  assets.add('icons.svg', `<svg xmlns="http://www.w3.org/2000/svg">${symbols.join('')}</svg>`)
}

function symbol(name, svg) {
  const box = /viewBox="([^"]+)"/.exec(svg)[1]
  const body = svg
    .replace(/^[\s\S]*?<svg[^>]*>/, '')
    .replace('</svg>', '')
    .replace(/\s*\n\s*/g, '')
  return `<symbol id="i-${name}" viewBox="${box}" fill="currentColor">${body}</symbol>`
}

// ---- The API's pages -----------------------------------------------------------------------------------------------------------------

function apiPages(assets) {
  const swagger = path.dirname(require.resolve('swagger-ui-dist/package.json'))
  assets.add('swagger-ui.css', fs.readFileSync(path.join(swagger, 'swagger-ui.css')))
  assets.add('swagger-ui.js', fs.readFileSync(path.join(swagger, 'swagger-ui-bundle.js')))
  // It would fetch its maker's logo from the maker's server; nothing of this console leaves the machine.
  const redoc = path.join(path.dirname(require.resolve('redoc/package.json')), 'bundles', 'redoc.standalone.js')
  assets.add('redoc.js', Buffer.from(fs.readFileSync(redoc, 'utf8').replaceAll(/https:\/\/cdn\.redoc\.ly\/[\w./-]+/g, 'data:,')))
}

// ---- The two halves ------------------------------------------------------------------------------------------------------------------

/** Builds public/build. In development nothing is compressed or minified, which takes a tenth of the time. */
async function buildAssets({ development = false } = {}) {
  const assets = new Assets()
  await scripts(assets, development)
  await styles(assets, development)
  pictures(assets)
  icons(assets)
  apiPages(assets)
  fs.mkdirSync(out, { recursive: true })
  const manifest = path.join(out, 'assets.json')
  const before = fs.existsSync(manifest) ? JSON.parse(fs.readFileSync(manifest, 'utf8')) : {}
  await Promise.all([...assets.files].map(([name, data]) => writeAsset(name, data, !development)))
  const names = Object.fromEntries(Object.entries(assets.names).sort(([a], [b]) => (a < b ? -1 : 1)))
  writeWhole(manifest, `${JSON.stringify(names, null, 2)}\n`)
  // A server that still runs from the build before this one goes on serving its files; only what is older than that goes.
  const kept = new Set(['assets.json', ...assets.files.keys(), ...Object.values(before)])
  for (const file of fs.readdirSync(out)) if (!kept.has(file.replace(/\.(?:br|gz)$/, ''))) fs.rmSync(path.join(out, file), { force: true })
  return names
}

/** Compiles the server to dist; false when a type is wrong. */
async function buildServer() {
  const dist = inRoot('dist')
  const info = inRoot('node_modules', '.cache', 'tsc', 'server.tsbuildinfo')
  // The compiler believes its notes and would not write again what somebody has deleted.
  if (!fs.existsSync(path.join(dist, 'monitoring', 'dashboard', 'server.js'))) fs.rmSync(info, { force: true })
  const status = await run(process.execPath, [
    path.join(path.dirname(require.resolve('@typescript/native/package.json')), 'bin', 'tsc'),
    '-p',
    'tsconfig.json',
  ])
  if (status !== 0) return false
  removeOrphans(dist)
  return true
}

/** Deletes compiled files whose source is gone, so that nothing runs that cannot be read. */
function removeOrphans(folder) {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name)
    if (entry.isDirectory()) {
      removeOrphans(file)
      if (fs.readdirSync(file).length === 0) fs.rmdirSync(file)
      continue
    }
    const source = inRoot(path.relative(inRoot('dist'), file).replace(/\.js(?:\.map)?$/, '.ts'))
    if (!fs.existsSync(source)) fs.rmSync(file)
  }
}

function run(command, args) {
  return new Promise((resolve, reject) => {
    spawn(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
      .on('error', reject)
      .on('exit', (status) => resolve(status ?? 1))
  })
}

async function main([half]) {
  const begin = Date.now()
  const jobs = []
  if (half !== 'assets') jobs.push(buildServer())
  if (half !== 'server') {
    jobs.push(
      buildAssets().then(
        () => true,
        (error) => {
          // esbuild has printed its own errors already.
          if (!error.errors) process.stderr.write(`${error.sassMessage ? String(error) : error.message}\n`)
          return false
        },
      ),
    )
  }
  const results = await Promise.all(jobs)
  if (results.includes(false)) process.exitCode = 1
  else process.stdout.write(`Built in ${((Date.now() - begin) / 1000).toFixed(1)} s\n`)
}

module.exports = { buildAssets, buildServer, iconsIn }

if (require.main === module) void main(process.argv.slice(2))
