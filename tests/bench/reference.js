'use strict'

// Bare servers to measure against, each as well made as such a server can be: `node reference.js page|json|post|ws`, with the
// figures that make it comparable by message.

const { createHash } = require('node:crypto')
const { createServer } = require('node:http')
const { gzipSync } = require('node:zlib')
const ejs = require('ejs')
const express = require('express')
const session = require('express-session')
const helmet = require('helmet')
const { WebSocketServer } = require('ws')

const microseconds = () => Number(process.hrtime.bigint() / 1000n)

const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' }
const escape = (value) => {
  const text = value === null || value === undefined ? '' : String(value)
  return /[&<>"']/.test(text) ? text.replace(/[&<>"']/g, (character) => entities[character]) : text
}

const style =
  'body{margin:0;font:14px/1.5 system-ui,sans-serif;background:#f6f7f9;color:#16191d}header,nav{padding:12px 20px;background:#fff;border-bottom:1px solid #dde1e7}' +
  'main{padding:20px;max-width:1200px;margin:auto}table{width:100%;border-collapse:collapse;background:#fff}td,th{padding:6px 10px;text-align:left;border-bottom:1px solid #e8ebef}' +
  '.ok{color:#137a3e}.bad{color:#b4231f}h1{font-size:20px}'
const script =
  'const socket=new WebSocket(location.origin.replace("http","ws")+"/live");socket.onmessage=(event)=>{document.title=event.data.slice(0,20)}'

const page = ejs.compile(
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><title><%= it.title %></title><link rel="icon" href="data:,"><link rel="stylesheet" href="/assets/app.css"><script type="module" src="/assets/app.js"></script></head><body>
<header><h1><%= it.title %></h1><span><%= it.user %></span></header><nav><% for (const one of it.nav) { %><a href="<%= one.href %>"><%= one.label %></a> <% } %></nav>
<main><p><%= it.sentence %></p><table><thead><tr><th>Id</th><th>Name</th><th>State</th><th>CPU</th><th>Memory</th><th>Since</th><th>Restarts</th></tr></thead><tbody>
<% for (const row of it.rows) { %><tr id="row-<%= row.id %>" class="<%= row.state %>"><td><%= row.id %></td><td><a href="/jobs/<%= row.id %>"><%= row.name %></a></td><td class="<%= row.state %>"><%= row.word %></td><td><%= row.cpu %>%</td><td><%= row.memory %> MB</td><td><time datetime="<%= row.since %>"><%= row.since %></time></td><td><%= row.restarts %></td></tr>
<% } %></tbody></table></main></body></html>`,
  { strict: true, destructuredLocals: ['it'], escape },
)

const rowsOf = (count) =>
  Array.from({ length: count }, (_, id) => ({
    id,
    name: `worker-${(id * 7919) % 1000}`,
    state: id % 9 === 0 ? 'bad' : 'ok',
    word: id % 9 === 0 ? 'Errored' : 'Online',
    cpu: ((id * 37) % 1000) / 10,
    memory: (id * 131) % 900,
    since: new Date(1_780_000_000_000 - id * 86_400_17).toISOString(),
    restarts: id % 13,
  }))

const renderWith = (rows) =>
  page({
    it: {
      title: 'Overview',
      user: 'bench',
      nav: [
        { href: '/', label: 'Overview' },
        { href: '/profile', label: 'Profile' },
        { href: '/settings', label: 'Settings' },
      ],
      sentence: 'All systems operational: 20 of 20 processes are online.',
      rows,
    },
  })

/** As many rows as give a page of this size. */
function rowsFor(bytes) {
  const [none, many] = [renderWith([]).length, renderWith(rowsOf(200)).length]
  return rowsOf(Math.max(1, Math.round(((bytes - none) * 200) / (many - none))))
}

function withSession(app) {
  app.disable('x-powered-by')
  app.disable('etag')
  app.use(session({ secret: 'a reference has no secrets', resave: false, saveUninitialized: false }))
  app.get('/sign-in', (request, response) => {
    request.session.user = 'bench'
    response.status(204).end()
  })
  return app
}

const signedIn = (request, response, next) => {
  if (request.session.user) next()
  else response.status(401).end()
}

const servers = {
  page({ bytes }) {
    const rows = rowsFor(bytes)
    const app = express()
    app.use('/assets', (request, response) => {
      const [type, text] = request.url.endsWith('.css') ? ['text/css', style] : ['text/javascript', script]
      response.setHeader('Cache-Control', 'public, max-age=31536000, immutable')
      response.setHeader('Content-Type', type)
      response.end(text)
    })
    app.use(helmet({ contentSecurityPolicy: { directives: { 'upgrade-insecure-requests': null } } }))
    withSession(app).get('/', signedIn, (_request, response) => {
      const body = gzipSync(renderWith(rows), { level: 1 })
      response.setHeader('Content-Type', 'text/html; charset=utf-8')
      response.setHeader('Content-Encoding', 'gzip')
      response.setHeader('Content-Length', body.length)
      response.end(body)
    })
    return app
  },

  json({ body }) {
    return withSession(express()).get('/api/health', signedIn, (_request, response) => {
      response.json(body)
    })
  },

  post() {
    const app = express()
    app.disable('x-powered-by')
    app.disable('etag')
    app.post('/api/events', express.json({ limit: '1mb' }), (request, response) => {
      response.status(201).json({ accepted: request.body.events.length })
    })
    return app
  },

  ws: () => (_request, response) => response.writeHead(404).end(),
}

const [kind] = process.argv.slice(2)
let wss

process.on('message', ({ id, call, options }) => {
  if (call === 'start') {
    const server = createServer(servers[kind](options))
    // The page has a socket too, so that a browser finds what it looks for.
    wss = new WebSocketServer({ server, perMessageDeflate: false })
    server.listen(0, '127.0.0.1', () => process.send({ id, result: server.address().port }))
  } else if (call === 'size') process.send({ id, result: renderWith(rowsFor(options.bytes)).length })
  else if (call === 'broadcast') {
    const sent = microseconds()
    const frame = textFrame(
      `\n${createHash('sha256')
        .update(String(sent))
        .digest('hex')
        .padEnd(options.bytes - 1, 'x')}`,
    )
    for (const client of wss.clients) client._socket.write(frame)
    process.send({ id, result: sent })
  }
})
process.on('disconnect', () => process.exit(0))

function textFrame(text) {
  const body = Buffer.from(text)
  const head = body.length < 126 ? Buffer.from([0x81, body.length]) : Buffer.from([0x81, 126, body.length >> 8, body.length & 255])
  return Buffer.concat([head, body])
}
