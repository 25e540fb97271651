'use strict'

// Real amounts of data, written straight into a database that the product has migrated: a month of a machine with twenty processes.

const { createHash, randomBytes } = require('node:crypto')
const os = require('node:os')
const path = require('node:path')
const Database = require('better-sqlite3')
const { sign } = require('cookie-signature')

const minute = 60_000
const quarter = 15 * minute
const day = 24 * 60 * minute
const month = 30 * day

const open = (dataDir) => {
  const db = new Database(path.join(dataDir, 'operations-center.db'), { timeout: 10_000 })
  db.pragma('synchronous = OFF')
  return db
}

/** The same sequence in every run. */
function numbers(seed) {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 4294967296
  }
}

const processNames = Array.from({ length: 20 }, (_, index) => `worker-${String(index + 1).padStart(2, '0')}`)

/** Common and rare types and sources, as a real log has them. */
const types = [
  'agent.finished',
  'job.finished',
  'webhook.received',
  'deploy.done',
  'process.online',
  'process.exited',
  'process.crashed',
  'backup.finished',
  'security.alert',
]
const typeShares = [0.4, 0.65, 0.85, 0.9, 0.94, 0.97, 0.985, 0.9999, 1]
const sources = Array.from({ length: 40 }, (_, index) => `source-${index + 1}`)
const severities = ['info', 'notice', 'debug', 'warning', 'error', 'critical']
const severityShares = [0.8, 0.9, 0.95, 0.98, 0.999, 1]

const pick = (list, shares, value) => list[shares.findIndex((share) => value < share)] ?? list[0]

/** Adds events, evenly over the last thirty days; the indexes are made afterwards, which is five times as fast. */
function fillEvents(db, count, org = 'home') {
  const random = numbers(7)
  const now = Date.now()
  const indexes =
    count > 50_000
      ? db.prepare(`select name, sql from sqlite_master where type = 'index' and tbl_name = 'events' and sql is not null`).all()
      : []
  for (const { name } of indexes) db.exec(`drop index ${name}`)
  const insert = db.prepare(
    'insert into events (id, org_id, host, at, received_at, type, source, subject, severity, data) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  )
  const from = now - month
  const step = (month - 2 * minute) / count
  const piece = 50_000
  const fill = db.transaction((first, last) => {
    for (let index = first; index < last; index++) {
      const at = Math.floor(from + index * step)
      const type = pick(types, typeShares, random())
      const severity = pick(severities, severityShares, random())
      const source = sources[Math.floor(random() ** 2 * sources.length)]
      const subject = processNames[Math.floor(random() * processNames.length)]
      const data = index % 3 === 0 ? `{"duration_ms":${Math.floor(random() * 90_000)},"message":"Run ${index} is done"}` : null
      insert.run(`bench-${index}`, org, os.hostname(), at, at + 5, type, source, subject, severity, data)
    }
  })
  for (let first = 0; first < count; first += piece) fill(first, Math.min(count, first + piece))
  for (const { sql } of indexes) db.exec(sql)
}

/** Thirty days of what is measured, in the tiers that the product keeps. */
function fillMetrics(db, org = 'home') {
  const random = numbers(11)
  const host = os.hostname()
  const series = [
    ['cpu.percent', ''],
    ['memory.percent', ''],
    ['swap.percent', ''],
    ['cpu.core', '0'],
    ['cpu.core', '1'],
    ['disk.percent', '/'],
    ['network.rx', 'eth0'],
    ['network.tx', 'eth0'],
    ['processes.down', ''],
    ...processNames.flatMap((name) => [
      ['process.cpu', name],
      ['process.memory', name],
    ]),
  ]
  const insert = db.prepare(
    'insert or ignore into metrics (org_id, host, name, subject, step, at, count, sum, min, max, last) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  )
  const now = Date.now()
  db.transaction(() => {
    for (const [name, subject] of series) {
      for (const [step, span] of [
        [minute, 3 * day],
        [quarter, month],
        [day, month],
      ]) {
        const first = now - span - ((now - span) % step)
        for (let at = first; at <= now - step; at += step) {
          const value = name === 'processes.down' ? 0 : 20 + random() * 40
          const count = step / 1000
          insert.run(org, host, name, subject, step, at, count, value * count, value * 0.8, value * 1.2, value)
        }
      }
    }
  })()
}

/** The readings of checks that probe every ten seconds, in all tiers, until there are so many points: 500 of them make ten millions. */
function fillPoints(db, most, org = 'home') {
  const random = numbers(13)
  const insert = db.prepare(
    'insert or ignore into metrics (org_id, host, name, subject, step, at, count, sum, min, max, last, histogram) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  )
  const now = Date.now()
  const spans = [
    [minute, 3 * day],
    [quarter, 60 * day],
    [day, 90 * day],
  ]
  const checks = Math.max(1, Math.round(most / 2 / spans.reduce((sum, [step, span]) => sum + span / step, 0)))
  const one = db.transaction((name, subject) => {
    for (const [step, span] of spans)
      for (let at = now - span - ((now - span) % step); at <= now; at += step) {
        const count = step / 10_000
        if (name === 'check.up') {
          const up = random() < 0.001 ? count - 1 : count
          insert.run(org, '', name, subject, step, at, count, up, up === count ? 1 : 0, 1, 1, null)
        } else {
          const ms = 40 + random() * 200
          const bucket = Math.ceil(Math.log(ms) / Math.log(1.1))
          const histogram = `{"${bucket}":${count - 2},"${bucket + 3}":1,"${bucket + 9}":1}`
          insert.run(org, '', name, subject, step, at, count, ms * count, ms * 0.7, ms * 2.3, ms, histogram)
        }
      }
  })
  // In the order in which they lie, or it would take ten times as long.
  for (const name of ['check.duration', 'check.up'])
    for (let index = 0; index < checks; index++) one(name, `check-${String(index).padStart(3, '0')}`)
  return checks
}

/** Users with a session each; the `Cookie` headers that they send. */
function addUsers(db, count, secret, passwordHash) {
  const org = 'home'
  const now = Date.now()
  const cookies = []
  db.transaction(() => {
    for (let index = 0; index < count; index++) {
      const id = `bench-user-${index}`
      const sid = randomBytes(24).toString('base64url')
      db.prepare(
        'insert into users (id, username, username_key, handle, password_hash, theme, created_at, password_changed_at) values (?, ?, ?, ?, ?, ?, ?, ?)',
      ).run(id, `user${index}`, `user${index}`, `user${index}`, passwordHash, 'auto', now, now)
      const role = ['viewer', 'operator', 'admin'][index % 3]
      db.prepare('insert into memberships (org_id, user_id, role, created_at) values (?, ?, ?, ?)').run(org, id, role, now)
      const data = JSON.stringify({
        cookie: { originalMaxAge: day, httpOnly: true, path: '/', sameSite: 'lax', secure: false },
        userId: id,
      })
      db.prepare('insert into sessions (id, user_id, data, created_at, seen_at, expires_at) values (?, ?, ?, ?, ?, ?)').run(
        createHash('sha256').update(sid).digest('hex'),
        id,
        data,
        now,
        now,
        now + 8 * 60 * minute,
      )
      cookies.push(`operations-center=${encodeURIComponent(`s:${sign(sid, secret)}`)}`)
    }
  })()
  return cookies
}

module.exports = { addUsers, fillEvents, fillMetrics, fillPoints, open, processNames }
