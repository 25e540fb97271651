'use strict'

// Where the browser for the tests comes from. Plain JavaScript, because bin/test.js uses it before anything is compiled.

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { npm, onPath, root } = require('../../bin/setup')

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome']

/**
 * Finds or installs a Chromium: CHROMIUM_PATH, else one on the PATH, else Debian's when root, else one from npm.
 * Answers { path, from } (with `libraries` where it brings its own), or { reason } when none can be had.
 */
function findChromium() {
  const given = process.env.CHROMIUM_PATH
  if (given) return runs(given) ? { path: given, from: 'CHROMIUM_PATH' } : { reason: `CHROMIUM_PATH names ${given}, which does not start` }
  const found = installedChromium()
  if (found) return found
  return debianChromium() ?? npmChromium() ?? { reason: 'no Chromium or Chrome was found, and neither apt-get nor npm could bring one' }
}

function installedChromium() {
  const found = onPath(...names)
  return found && runs(found) ? { path: found, from: 'this machine' } : undefined
}

function runs(file, env = {}) {
  return spawnSync(file, ['--version'], { env: { ...process.env, ...env }, timeout: 30_000, stdio: 'ignore' }).status === 0
}

function debianChromium() {
  if (process.getuid?.() !== 0 || !onPath('apt-get')) return undefined
  process.stderr.write('Installing Chromium for the browser tests (apt-get) …\n')
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, stdio: ['ignore', 'ignore', 'inherit'] }
  spawnSync('apt-get', ['update', '-qq'], options)
  const { status } = spawnSync('apt-get', ['install', '-qq', '-y', '--no-install-recommends', 'chromium'], options)
  return status === 0 ? installedChromium() : undefined
}

/** A Chromium that is made for servers without one; kept outside the lock file, because few machines need its 73 MB. */
function npmChromium() {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  const folder = path.join(root, 'node_modules', '.cache', 'chromium')
  const modules = path.join(folder, 'node_modules', '@sparticuz', 'chromium')
  if (!fs.existsSync(path.join(modules, 'bin'))) {
    process.stderr.write('Installing Chromium for the browser tests (npm) …\n')
    fs.mkdirSync(folder, { recursive: true })
    if (!fs.existsSync(path.join(folder, 'package.json'))) fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n')
    npm(['install', '--no-save', '--no-package-lock', '--no-progress', '--loglevel=error', '@sparticuz/chromium@147.0.0'], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    if (!fs.existsSync(path.join(modules, 'bin'))) return undefined
  }
  const unpacked = path.join(folder, 'unpacked')
  const file = path.join(unpacked, 'chromium')
  const libraries = path.join(unpacked, 'al2023', 'lib')
  const env = { LD_LIBRARY_PATH: [libraries, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':') }
  if (!fs.existsSync(file)) {
    // The package unpacks into the temporary folder of whoever asks, and its libraries only where it believes to be in a function service.
    fs.mkdirSync(unpacked, { recursive: true })
    const script = `import('${path.join(modules, 'build', 'esm', 'index.js')}').then((m) => m.default.executablePath())`
    const unpack = {
      cwd: folder,
      env: { ...process.env, TMPDIR: unpacked, AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs20.x' },
      stdio: ['ignore', 'ignore', 'inherit'],
    }
    spawnSync(process.execPath, ['-e', script], unpack)
  }
  if (!fs.existsSync(file)) return undefined
  if (runs(file)) return { path: file, from: 'npm' }
  return runs(file, env) ? { path: file, from: 'npm', libraries: env.LD_LIBRARY_PATH } : undefined
}

/** What Playwright starts it with: no sandbox for root and in containers, and nothing that looks for the network by itself. */
const launchOptions = () => ({
  executablePath: process.env.CHROMIUM_PATH ?? 'chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
})

module.exports = { findChromium, launchOptions }
