'use strict'

// The load: a process of its own, so that its work is never counted as the server's. Raw sockets, because a client that parses
// more than it must would be the bottleneck before the server is. Called by message, one call at a time; see `run` in ground.js.

const { randomBytes } = require('node:crypto')
const fs = require('node:fs')
const net = require('node:net')
const path = require('node:path')

const host = '127.0.0.1'
const microseconds = () => Number(process.hrtime.bigint() / 1000n)
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0

/** One kept-alive HTTP connection that sends the same bytes again and again. */
class Connection {
  constructor(port, request) {
    this.request = Buffer.from(request, 'latin1')
    this.socket = net.connect({ port, host, noDelay: true })
    this.pending = undefined
    this.left = 0
    this.bytes = 0
    this.onAnswer = () => undefined
    this.socket.on('data', (chunk) => this.#take(chunk))
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => this.onAnswer(0))
    this.ready = new Promise((resolve, reject) => {
      this.socket.once('connect', resolve)
      this.socket.once('error', reject)
    })
  }

  send() {
    this.sentAt = microseconds()
    this.socket.write(this.request)
  }

  ask() {
    return new Promise((resolve) => {
      this.onAnswer = resolve
      this.send()
    })
  }

  #take(chunk) {
    this.bytes += chunk.length
    if (this.left > 0) {
      this.left -= chunk.length
      if (this.left > 0) return
      this.onAnswer(this.status)
      return
    }
    const data = this.pending ? Buffer.concat([this.pending, chunk]) : chunk
    const end = data.indexOf('\r\n\r\n')
    if (end < 0) {
      this.pending = data
      return
    }
    this.pending = undefined
    const head = data.toString('latin1', 0, end)
    this.status = Number(head.slice(9, 12))
    const length = /\r\ncontent-length: (\d+)/i.exec(head)
    if (!length) throw new Error(`An answer without Content-Length:\n${head}`)
    this.left = end + 4 + Number(length[1]) - data.length
    if (this.left <= 0) this.onAnswer(this.status)
  }
}

const summary = (waits) => {
  const sorted = waits.sort((a, b) => a - b)
  return { p50: at(sorted, 0.5) / 1000, p95: at(sorted, 0.95) / 1000, p99: at(sorted, 0.99) / 1000 }
}

const calls = {
  /** Closed loop: every connection asks again as soon as it is answered. Connection i sends requests[i % n]. */
  async closed({ port, requests, connections, ms }) {
    const all = Array.from({ length: connections }, (_, index) => new Connection(port, requests[index % requests.length]))
    await Promise.all(all.map((one) => one.ready))
    const waits = []
    let bad = 0
    let statuses = {}
    const from = microseconds()
    const until = from + ms * 1000
    let last = from
    await Promise.all(
      all.map(
        (one) =>
          new Promise((resolve) => {
            one.onAnswer = (status) => {
              last = microseconds()
              if (status >= 200 && status < 300) waits.push(last - one.sentAt)
              else {
                bad += 1
                statuses[status] = (statuses[status] ?? 0) + 1
              }
              if (last < until && status !== 0) one.send()
              else resolve()
            }
            one.send()
          }),
      ),
    )
    const bytes = all.reduce((sum, one) => sum + one.bytes, 0)
    for (const one of all) {
      one.onAnswer = () => undefined
      one.socket.destroy()
    }
    return {
      answered: waits.length,
      bad,
      statuses,
      rate: (waits.length * 1e6) / (last - from),
      bytes: bytes / waits.length,
      ...summary(waits),
    }
  },

  /** Open loop: a fixed number of requests per second, whatever the answers do. */
  async open({ port, requests, connections, ms, rate }) {
    const idle = Array.from({ length: connections }, (_, index) => new Connection(port, requests[index % requests.length]))
    await Promise.all(idle.map((one) => one.ready))
    const waits = []
    const asked = []
    let bad = 0
    const from = microseconds()
    for (let sent = 0; sent < (rate * ms) / 1000; sent++) {
      const due = from + (sent * 1e6) / rate
      const wait = (due - microseconds()) / 1000
      if (wait > 1) await sleep(wait)
      const one = idle.shift()
      // No connection free: the answer is late already, and counts as wrong rather than being left out.
      if (!one) bad += 1
      else
        asked.push(
          one.ask().then((status) => {
            if (status >= 200 && status < 300) waits.push(microseconds() - Math.max(due, one.sentAt))
            else bad += 1
            idle.push(one)
          }),
        )
    }
    await Promise.all(asked)
    for (const one of idle) {
      one.onAnswer = () => undefined
      one.socket.destroy()
    }
    return { answered: waits.length, bad, ...summary(waits) }
  },

  /** Opens sockets that listen. `name` is for the calls below. */
  async listen({ name, port, path, headers, count }) {
    const sockets = groups.get(name) ?? groups.set(name, []).get(name)
    const first = sockets.length
    for (let index = 0; index < count; index++) sockets.push(new Listening(port, path, headers[index % headers.length]))
    await Promise.all(sockets.slice(first).map((one) => one.ready))
    return sockets.length
  },

  /** What each socket of a group got: frames with content, and their bytes; and the items in those of the first one. */
  heard({ name }) {
    const sockets = groups.get(name) ?? []
    return {
      frames: sockets.map((one) => one.frames),
      bytes: sockets.map((one) => one.bytes),
      items: sockets[0]?.items ?? 0,
      closed: sockets.filter((one) => one.closed).length,
    }
  },

  /** For fan-out: when each socket got its n-th frame after `since` frames, against the moments at which they were sent. */
  delays({ name, sent }) {
    const waits = []
    let missing = 0
    for (const one of groups.get(name) ?? []) {
      for (const [index, moment] of sent.entries()) {
        const arrived = one.moments[index]
        if (arrived === undefined) missing += 1
        else waits.push(arrived - moment)
      }
      one.moments = []
    }
    return { missing, ...summary(waits) }
  },

  leave({ name }) {
    for (const one of groups.get(name) ?? []) one.socket.destroy()
    groups.delete(name)
  },

  /** One event at a time on an idle server: from the first byte sent to the frame on a socket; and what an fsync costs meanwhile. */
  async latency({ port, events, headers, sockets, count, gapMs, folder }) {
    const listening = sockets.map(({ path }) => new Listening(port, path, headers))
    await Promise.all(listening.map((one) => one.ready))
    const file = fs.openSync(path.join(folder, 'fsync-probe'), 'w')
    const page = Buffer.alloc(4096, 'x')
    const results = sockets.map(() => [])
    const fsync = []
    const answers = []
    let missing = 0
    await sleep(500)
    for (let index = 0; index < count; index++) {
      const mark = `mark-${randomBytes(6).toString('hex')}`
      const heard = listening.map((one) => one.next(mark))
      const connection = new Connection(port, events.replaceAll('MARK-MARK-MARK-MARK', mark.padEnd(19)))
      await connection.ready
      const from = microseconds()
      const answer = connection.ask().then((status) => {
        if (status === 201) answers.push(microseconds() - from)
        else missing += 1
      })
      const moments = await Promise.race([Promise.all(heard), sleep(5000)])
      if (moments) moments.forEach((moment, which) => results[which].push(moment - from))
      else missing += 1
      await answer
      connection.onAnswer = () => undefined
      connection.socket.destroy()
      const before = microseconds()
      fs.writeSync(file, page)
      fs.fsyncSync(file)
      fsync.push(microseconds() - before)
      await sleep(gapMs)
    }
    fs.closeSync(file)
    for (const one of listening) one.socket.destroy()
    return { missing, sockets: results.map(summary), answer: summary(answers), fsync: summary(fsync) }
  },
}

const groups = new Map()

/** A WebSocket that only listens. Frames of servers are unmasked, so what they hold can be read where it lies. */
class Listening {
  constructor(port, path, headers) {
    this.frames = 0
    this.bytes = 0
    this.items = 0
    this.moments = []
    this.closed = false
    this.waiting = undefined
    this.program = path.startsWith('/ws/')
    this.buffer = Buffer.alloc(0)
    this.open = false
    this.socket = net.connect({ port, host, noDelay: true })
    this.socket.write(
      `GET ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
        `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n${headers}\r\n`,
    )
    this.ready = new Promise((resolve, reject) => {
      this.opened = resolve
      this.socket.on('error', reject)
      this.socket.on('close', () => {
        this.closed = true
        reject(new Error(`A socket on ${path} was closed:\n${this.buffer.toString('latin1', 0, 400)}`))
      })
    })
    this.ready.catch(() => undefined)
    this.socket.on('data', (chunk) => this.#take(chunk))
  }

  /** The moment at which a frame that holds `mark` arrives. */
  next(mark) {
    return new Promise((resolve) => {
      this.waiting = { mark, resolve }
    })
  }

  #take(chunk) {
    const moment = microseconds()
    let data = this.buffer.length > 0 ? Buffer.concat([this.buffer, chunk]) : chunk
    if (!this.open) {
      const end = data.indexOf('\r\n\r\n')
      if (end < 0) {
        this.buffer = data
        return
      }
      if (!data.toString('latin1', 0, 12).endsWith('101')) {
        this.buffer = data
        this.socket.destroy()
        return
      }
      this.open = true
      this.opened()
      data = data.subarray(end + 4)
    }
    for (;;) {
      if (data.length < 2) break
      const short = data[1] & 127
      const header = short < 126 ? 2 : short === 126 ? 4 : 10
      if (data.length < header) break
      const length = short < 126 ? short : short === 126 ? data.readUInt16BE(2) : Number(data.readBigUInt64BE(2))
      if (data.length < header + length) break
      this.#frame(data[0] & 15, data.subarray(header, header + length), moment)
      data = data.subarray(header + length)
    }
    this.buffer = data.length > 0 ? Buffer.from(data) : data
  }

  #frame(kind, payload, moment) {
    if (kind === 9) {
      // An empty masked pong.
      this.socket.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0]))
      return
    }
    // The beat, and the greeting: nothing was painted for them.
    if (kind !== 1 || payload[0] === 126 || payload.length < 20 || (this.program && payload.includes('"hello":true'))) return
    this.frames += 1
    this.bytes += payload.length
    if (this.moments) this.moments.push(moment)
    if (this.program && this.counted) this.items += JSON.parse(payload.toString()).changes.reduce((sum, { items }) => sum + items.length, 0)
    if (this.waiting && payload.includes(this.waiting.mark)) {
      this.waiting.resolve(moment)
      this.waiting = undefined
    }
  }
}

// Counting what is in a frame takes longer than receiving it: only the first of a group does, and keeps the others' bytes company.
const listen = calls.listen
calls.listen = async (options) => {
  const count = await listen(options)
  const [first] = groups.get(options.name)
  first.counted = true
  return count
}

process.on('message', ({ id, call, options }) => {
  Promise.resolve()
    .then(() => calls[call](options))
    .then(
      (result) => process.send({ id, result }),
      (error) => process.send({ id, error: error.stack }),
    )
})
process.on('disconnect', () => process.exit(0))
