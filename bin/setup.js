'use strict'

// What every command needs before it can start: installed packages and a build. Runs before anything is installed, so it uses Node alone.

const { spawnSync } = require('node:child_process')
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const root = path.resolve(__dirname, '..')
const cache = path.join(root, 'node_modules', '.cache', 'operations-center')
const inRoot = (...parts) => path.join(root, ...parts)

/** Ends the command with a message for the person at the terminal, without a stack trace. */
function fail(message) {
  process.stderr.write(`\n${message}\n`)
  process.exit(1)
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19)) {
    fail(`Operations Center needs Node.js 20.19 or newer; this is ${process.versions.node} (${process.execPath}).`)
  }
}

function onPath(...names) {
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter(Boolean)
  for (const name of names) {
    for (const folder of folders) {
      const file = path.join(folder, name)
      try {
        fs.accessSync(file, fs.constants.X_OK)
        if (fs.statSync(file).isFile()) return file
      } catch {
        // not in this folder
      }
    }
  }
  return undefined
}

function writable(folder) {
  if (!folder) return false
  try {
    fs.accessSync(folder, fs.constants.W_OK)
    return fs.statSync(folder).isDirectory()
  } catch {
    return false
  }
}

/** The environment for npm: development packages too, Node's own headers, and a home of its own where HOME cannot be used. */
function npmEnvironment() {
  const env = { ...process.env, npm_config_update_notifier: 'false', npm_config_fund: 'false', npm_config_audit: 'false' }
  delete env.npm_config_omit
  const prefix = path.resolve(path.dirname(fs.realpathSync(process.execPath)), '..')
  if (fs.existsSync(path.join(prefix, 'include', 'node', 'node.h'))) env.npm_config_nodedir ??= prefix
  env.HOME = home()
  if (env.HOME !== process.env.HOME) env.npm_config_cache = path.join(env.HOME, '.npm')
  return env
}

/** HOME where it can be used, else a folder of our own: npm, the test compiler and Chromium all keep something there. */
function home() {
  if (writable(process.env.HOME)) return process.env.HOME
  const folder = path.join(os.tmpdir(), `operations-center-${process.getuid?.() ?? 'home'}`)
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
  // Anybody can make a folder of that name; what is installed must not come from somebody else's.
  if (process.getuid && fs.statSync(folder).uid !== process.getuid()) return fs.mkdtempSync(`${folder}-`)
  return folder
}

/** Runs npm: the one that started us where there is one, so that `npm start` needs no second npm on the PATH. */
function npm(args, options = {}) {
  const started = process.env.npm_execpath
  const script = started && /npm-cli\.js$/.test(started) && fs.existsSync(started) ? started : undefined
  const command = script ? process.execPath : onPath('npm', 'npm.cmd')
  if (!command) fail('npm was not found. It comes with Node.js: install it, then run this command again.')
  return spawnSync(command, script ? [script, ...args] : args, { cwd: root, env: npmEnvironment(), stdio: 'inherit', ...options })
}

/** One process at a time: `npm start` and `npm test` side by side must not install or build into the same folder. */
function exclusively(name, work) {
  const folder = path.join(os.tmpdir(), `operations-center-${createHash('sha1').update(root).digest('hex').slice(0, 12)}-${name}.lock`)
  const holder = path.join(folder, 'pid')
  for (let told = false; ; told = true) {
    try {
      fs.mkdirSync(folder)
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (!alive(holder, folder)) fs.rmSync(folder, { recursive: true, force: true })
    else {
      if (!told) process.stderr.write(`Waiting for another command that is busy with the ${name} …\n`)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 250)
    }
  }
  fs.writeFileSync(holder, String(process.pid))
  const release = () => fs.rmSync(folder, { recursive: true, force: true })
  process.once('exit', release)
  try {
    return work()
  } finally {
    process.removeListener('exit', release)
    release()
  }
}

function alive(holder, folder) {
  try {
    process.kill(Number(fs.readFileSync(holder, 'utf8')), 0)
    return true
  } catch (error) {
    if (error.code === 'EPERM') return true
    // The holder writes its number just after it made the folder: a young folder without one is not abandoned.
    if (error.code === 'ENOENT') return Date.now() - (fs.statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0) < 5_000
    return false
  }
}

const read = (file) => {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** Whether node_modules already holds what the lock file names, so that packages installed by hand are not installed again. */
function installed() {
  const [wanted, present] = ['package-lock.json', 'node_modules/.package-lock.json'].map((file) => read(inRoot(file)))
  if (!wanted || !present) return false
  const have = JSON.parse(present).packages
  const complete = Object.entries(JSON.parse(wanted).packages).every(
    ([folder, { version, optional, peer }]) =>
      folder === '' || (have[folder] ? have[folder].version === version : Boolean(optional ?? peer)),
  )
  // Tried in a process of its own, because a module built for another Node can end the process that loads it.
  return complete && spawnSync(process.execPath, ['-e', "new (require('better-sqlite3'))(':memory:').close()"], { cwd: root }).status === 0
}

/** Installs the packages of package-lock.json where they are missing, or where the lock file or Node's major version changed since. */
function ensureDependencies() {
  checkNode()
  const lock = read(inRoot('package-lock.json'))
  if (lock === undefined) fail(`package-lock.json is missing in ${root}: this is not a complete copy of Operations Center.`)
  const wanted = createHash('sha256').update(`${lock} ${process.versions.modules} ${process.platform} ${process.arch}`).digest('hex')
  const stamp = path.join(cache, 'installed')
  if (read(stamp) === wanted) return
  exclusively('packages', () => {
    if (read(stamp) === wanted) return
    if (!installed()) {
      process.stderr.write('Installing packages (a few minutes, once) …\n')
      const { status, error } = npm(['ci', '--include=dev', '--no-progress', '--loglevel=error'])
      if (status !== 0) fail(whyNot(error))
    }
    fs.mkdirSync(cache, { recursive: true })
    fs.writeFileSync(stamp, wanted)
  })
}

function whyNot(error) {
  const missing = [
    onPath('c++', 'g++', 'clang++') ? undefined : 'a C++ compiler',
    onPath('make', 'gmake') ? undefined : 'make',
    onPath('python3', 'python') ? undefined : 'Python 3',
  ].filter(Boolean)
  const first = `The packages could not be installed${error ? ` (${error.message})` : '; npm says why above'}.`
  if (missing.length === 0) return first
  return `${first}\nThis machine lacks ${missing.join(' and ')}, which better-sqlite3 is built with where no ready-made binary fits.\nOn Debian or Ubuntu: apt-get install build-essential python3`
}

const inputs = ['public', 'views', 'monitoring', 'services', 'routes', 'package-lock.json', 'tsconfig.json', 'bin/build.js']
const outputs = ['public/build/assets.json', 'dist/monitoring/dashboard/server.js']

/** Every file under `name`, as paths relative to the repository, in a fixed order. */
function filesUnder(name) {
  const stats = fs.statSync(inRoot(name), { throwIfNoEntry: false })
  if (!stats) return []
  if (!stats.isDirectory()) return [name]
  return fs
    .readdirSync(inRoot(name), { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const child = `${name}/${entry.name}`
      if (entry.isDirectory()) return child === 'public/build' ? [] : filesUnder(child)
      return [child]
    })
}

/** Two stamps of everything that goes into a build: a cheap one from sizes and times, and one from the contents. */
function stamps() {
  const files = inputs.flatMap(filesUnder)
  const cheap = createHash('sha256')
  for (const file of files) {
    const { size, mtimeMs } = fs.statSync(inRoot(file))
    cheap.update(`${file} ${size} ${mtimeMs}\n`)
  }
  return {
    cheap: cheap.digest('hex'),
    contents: () => {
      const hash = createHash('sha256')
      for (const file of files) hash.update(`${file}\n`).update(fs.readFileSync(inRoot(file)))
      return hash.digest('hex')
    },
  }
}

/** Builds what the server runs from where a source changed since the last build; costs a few milliseconds where none did. */
function ensureBuilt() {
  const stamp = path.join(cache, 'built.json')
  const fresh = () => {
    if (!outputs.every((file) => fs.existsSync(inRoot(file)))) return false
    const last = JSON.parse(read(stamp) ?? '{}')
    const now = stamps()
    if (last.cheap === now.cheap) return true
    if (last.contents !== now.contents()) return false
    fs.writeFileSync(stamp, JSON.stringify({ cheap: now.cheap, contents: last.contents }))
    return true
  }
  if (fresh()) return
  exclusively('build', () => {
    if (fresh()) return
    // Taken before the build: what is saved while it runs is built the next time.
    const now = stamps()
    const contents = now.contents()
    process.stderr.write('Building …\n')
    const { status } = spawnSync(process.execPath, [path.join(__dirname, 'build.js')], { cwd: root, stdio: ['ignore', 2, 2] })
    if (status !== 0) fail('The build failed; what is wrong stands above.')
    fs.mkdirSync(cache, { recursive: true })
    fs.writeFileSync(stamp, JSON.stringify({ cheap: now.cheap, contents }))
  })
}

module.exports = { cache, ensureBuilt, ensureDependencies, fail, filesUnder, home, npm, onPath, root }
