import { createServer as createTcp, type Socket } from 'node:net'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { readPath } from '../../../monitoring/probes/checks/json-path'
import { headerProblem, probeHttp, readStatuses } from '../../../monitoring/probes/checks/http'
import type { HttpSpec, Outcome } from '../../../monitoring/probes/checks/probe'
import { pour, servers, type Listening } from '../../helpers/servers'
import { until } from '../../helpers/until'
import { expectTimeout, httpSpec, options } from './probing'

const own = servers()
afterAll(own.close)

const at = ({ port }: Listening, path = '/'): string => `http://127.0.0.1:${port}${path}`
const ask = (url: string, given: Partial<HttpSpec> = {}): Promise<Outcome> => probeHttp(httpSpec(url, given), options())

/** A server that writes these bytes whatever it is asked. */
const raw = (answer: string | Buffer | ((socket: Socket) => void)): Promise<Listening> =>
  own.listen(
    createTcp((socket) => {
      socket.once('data', () => (typeof answer === 'function' ? answer(socket) : socket.end(answer)))
    }),
  )

describe('A web check', () => {
  test('is up when the status is one of those wanted, and says how it was answered', async () => {
    const server = await own.http((_request, response) => response.writeHead(204).end())
    const outcome = await ask(at(server))
    expect(outcome).toMatchObject({
      ok: true,
      message: 'HTTP 204',
      details: { status: 204, address: '127.0.0.1', protocol: 'HTTP/1.1', redirects: 0, bytes: 0 },
    })
    expect(outcome.duration).toBeGreaterThan(0)
    expect(outcome.certificate_at).toBeUndefined()
  })

  test('is down when the status is another one, and says which was wanted', async () => {
    const server = await own.http((_request, response) => response.writeHead(503).end())
    expect(await ask(at(server))).toMatchObject({
      ok: false,
      message: 'HTTP 503, expected 200–299',
      duration: expect.any(Number) as number,
    })
    expect((await ask(at(server), { statuses: '200-299, 401' })).message).toBe('HTTP 503, expected 200–299, 401')
    expect((await ask(at(server), { statuses: '503' })).ok).toBe(true)
  })

  test('reads statuses as people write them, and refuses the rest', () => {
    expect(readStatuses('200-299, 401')).toEqual([
      [200, 299],
      [401, 401],
    ])
    expect(readStatuses('')).toEqual([[200, 299]])
    for (const text of ['2xx', '99', '600', '299-200', '200-', 'a', '200 299']) expect(() => readStatuses(text)).toThrow(/is not a status/)
  })

  test('sends its method, headers and body', async () => {
    let seen = ''
    const server = await own.http((request, response) => {
      request.setEncoding('utf8')
      let body = ''
      request.on('data', (chunk: string) => (body += chunk))
      request.on('end', () => {
        seen = [
          request.method,
          request.url,
          request.headers['x-key'],
          request.headers['content-type'],
          request.headers.authorization,
          body,
        ].join('|')
        response.end()
      })
    })
    const url = at(server, '/a?b=c').replace('http://', 'http://me:p%40ss@')
    await ask(url, {
      method: 'POST',
      headers: [
        { name: 'X-Key', value: 'one' },
        { name: 'x-key', value: 'two' },
      ],
      body: '{"ä":1}',
    })
    expect(seen).toBe(`POST|/a?b=c|one, two|application/json|Basic ${Buffer.from('me:p@ss').toString('base64')}|{"ä":1}`)
  })

  test.each(['HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('can ask with %s', async (method) => {
    const server = await own.http((request, response) => response.writeHead(request.method === method ? 200 : 400).end())
    expect((await ask(at(server), { method })).ok).toBe(true)
  })

  test.each(['CONNECT', 'TRACE', 'GET /x HTTP/1.1\r\nHost: y', ''])('cannot ask with %j', async (method) => {
    const server = await own.http((_request, response) => response.end())
    expect((await ask(at(server), { method })).message).toMatch(/is not a method that checks use/)
    expect(server.connections).toBe(0)
  })

  test.each([
    ['Transfer-Encoding', 'chunked'],
    ['content-length', '5'],
    ['Connection', 'upgrade'],
    ['Host', 'inside.example'],
    ['Upgrade', 'websocket'],
    ['Expect', '100-continue'],
    ['Proxy-Authorization', 'x'],
    ['X-Split', 'a\r\nX-Other: b'],
    ['X Space', 'a'],
    ['X-Zero', 'a\0b'],
    ['', 'a'],
  ])('cannot send the header %j: %j', async (name, value) => {
    expect(headerProblem(name, value)).not.toBeNull()
    const server = await own.http((_request, response) => response.end())
    expect((await ask(at(server), { headers: [{ name, value }] })).ok).toBe(false)
    expect(server.connections).toBe(0)
  })

  test.each(['ftp://example.com/', 'file:///etc/passwd', 'javascript:alert(1)', 'example.com', 'gopher://127.0.0.1:6379/_x', ''])(
    'refuses the URL %j',
    async (url) => {
      expect((await ask(url)).message).toMatch(/begins with http/)
    },
  )
})

describe('A keyword', () => {
  test('is looked for in the answer, or must be absent', async () => {
    const server = await own.http((_request, response) => response.end('All systems are good'))
    expect((await ask(at(server), { keyword: 'are good' })).ok).toBe(true)
    expect((await ask(at(server), { keyword: 'bad' })).message).toBe('“bad” is not in the answer')
    expect((await ask(at(server), { keyword: 'bad', keyword_absent: true })).ok).toBe(true)
    expect((await ask(at(server), { keyword: 'good', keyword_absent: true })).message).toBe('“good” is in the answer, and should not be')
  })

  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ] as const)('is found in an answer packed with %s', async (encoding, pack) => {
    const server = await own.http((_request, response) =>
      response.writeHead(200, { 'content-encoding': encoding }).end(pack('needle '.repeat(1_000))),
    )
    expect((await ask(at(server), { keyword: 'needle' })).ok).toBe(true)
  })

  test('is found in the character set that the answer names', async () => {
    const server = await own.http((_request, response) =>
      response.writeHead(200, { 'content-type': 'text/html; charset=ISO-8859-1' }).end(Buffer.from('Größe', 'latin1')),
    )
    expect((await ask(at(server), { keyword: 'Größe' })).ok).toBe(true)
  })

  test('beyond the first 512 kB is not found, and the message says so', async () => {
    const server = await own.http((_request, response) => response.end(`${'x'.repeat(600_000)}needle`))
    expect((await ask(at(server), { keyword: 'needle' })).message).toBe('“needle” is not in the first 512 kB of the answer')
  })

  test('in an answer that is not packed as it says, or unknown, is not guessed', async () => {
    const wrong = await own.http((_request, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('plain text'))
    expect((await ask(at(wrong), { keyword: 'plain' })).message).toMatch(/cannot be unpacked/)
    expect((await ask(at(wrong))).ok).toBe(true)
    const unknown = await own.http((_request, response) => response.writeHead(200, { 'content-encoding': 'gzip, gzip' }).end('x'))
    expect((await ask(at(unknown), { keyword: 'x' })).message).toMatch(/not read here \(gzip, gzip\)/)
  })
})

describe('A JSON path', () => {
  const answering = (document: unknown): Promise<Listening> => own.http((_request, response) => response.end(JSON.stringify(document)))

  test('must lead to something, or to what is expected', async () => {
    const server = await answering({
      status: 'ok',
      parts: [
        { name: 'db', up: true, lag: 3 },
        { name: 'cache', up: false },
      ],
      nothing: null,
    })
    const path = (json_path: string, json_equals: string | null = null): Promise<Outcome> => ask(at(server), { json_path, json_equals })
    expect((await path('$.status')).ok).toBe(true)
    expect((await path('$.status', 'ok')).ok).toBe(true)
    expect((await path('$.status', 'down')).message).toBe('$.status is ok, expected down')
    expect((await path('$.parts[0].up', 'true')).ok).toBe(true)
    expect((await path('$.parts[0].lag', '3')).ok).toBe(true)
    expect((await path('$.nothing', 'null')).ok).toBe(true)
    expect((await path('$.parts[?@.name == "cache"].up', 'false')).ok).toBe(true)
    expect((await path('$..lag', '3')).ok).toBe(true)
    expect((await path('$.missing')).message).toBe('The answer holds nothing at $.missing')
    expect((await path('$.toString')).message).toBe('The answer holds nothing at $.toString')
    expect((await path('$.constructor.constructor')).ok).toBe(false)
  })

  test('of what is not JSON, or too large, says so', async () => {
    const server = await own.http((request, response) => response.end(request.url === '/large' ? `[${'1,'.repeat(300_000)}1]` : '<html>'))
    expect((await ask(at(server), { json_path: '$.a' })).message).toBe('The answer is not JSON')
    expect((await ask(at(server, '/large'), { json_path: '$[0]' })).message).toMatch(/larger than 512 kB/)
  })

  test.each([
    '$..*..*..*',
    '$[0,0,0,0][0,0,0,0]',
    '$[?@ == $]',
    '$[?@.a == @.b]',
    '$[?match(@.a, "(a+)+$")]',
    '$[?search(@, "(a+)+$")]',
    '$[?count(@..*) > 1]',
    '$[?@..a]',
    '$[?@[?@.a]]',
    '$[?!(@.a && @[*])]',
    '',
    'a.b',
    '$.'.repeat(300),
    `$[?${'('.repeat(200)}@.a${')'.repeat(200)}$]`,
  ])('like %j is refused before anything is asked', async (json_path) => {
    expect(() => readPath(json_path)).toThrow(/JSON path/)
    const server = await answering({})
    expect((await ask(at(server), { json_path })).message).toMatch(/JSON path/)
    expect(server.connections).toBe(0)
  })

  test.each([
    ['many values', `[${'1,'.repeat(200_000)}1]`],
    ['many empty lists', `[${'[],'.repeat(150_000)}[]]`],
    ['one list in another, a quarter of a million times', `${'['.repeat(250_000)}${']'.repeat(250_000)}`],
    ['many of one name', `{${'"a":{"a":1},'.repeat(30_000)}"a":1}`],
  ])('takes no time to speak of on an answer of %s', async (_what, document) => {
    const server = await own.http((_request, response) => response.end(document))
    for (const json_path of ['$..a', '$[*][*]', '$..[?@.a > 5]', '$[?@.b].c', '$.a.b.c']) {
      const began = performance.now()
      await ask(at(server), { json_path })
      expect(performance.now() - began).toBeLessThan(1_000)
    }
  })
})

describe('Redirects', () => {
  test('are followed as far as wanted, and are the answer where none is wanted', async () => {
    const server = await own.http((request, response) => {
      const step = Number(request.url?.slice(1))
      if (step >= 3) response.end('arrived')
      else response.writeHead(302, { location: `/${step + 1}` }).end()
    })
    expect(await ask(at(server, '/0'), { keyword: 'arrived' })).toMatchObject({ ok: true, details: { redirects: 3 } })
    expect((await ask(at(server, '/0'), { redirects: 2 })).message).toMatch(/^More than 2 redirects/)
    expect((await ask(at(server, '/0'), { redirects: 0 })).message).toBe('HTTP 302, expected 200–299')
    expect((await ask(at(server, '/0'), { redirects: 0, statuses: '302' })).ok).toBe(true)
  })

  test('that never end are given up', async () => {
    const server = await own.http((request, response) => response.writeHead(301, { location: `${request.url}x` }).end())
    expect((await ask(at(server), { redirects: 10 })).message).toMatch(/^More than 10 redirects/)
    expect(server.connections).toBe(11)
  })

  test.each([
    'http://127.0.0.2',
    'http://127.1.1.1',
    'http://[::1]',
    'http://10.0.0.1',
    'http://169.254.169.254',
    'http://0x7f000002',
    'http://[::ffff:127.0.0.2]',
    '//127.0.0.2',
  ])('to %s are refused', async (target) => {
    const inside = await own.http((_request, response) => response.end(), '127.0.0.2')
    const server = await own.http((_request, response) => response.writeHead(302, { location: `${target}:${inside.port}/` }).end())
    expect((await ask(at(server))).message).toMatch(/no administrator has allowed it/)
    expect(inside.connections).toBe(0)
  })

  test.each(['file:///etc/passwd', 'gopher://127.0.0.1/', 'javascript:1', 'http://', 'http://a b/'])(
    'to %j are refused',
    async (location) => {
      const server = await own.http((_request, response) => response.writeHead(302, { location }).end())
      expect((await ask(at(server))).ok).toBe(false)
      expect(server.connections).toBe(1)
    },
  )

  test('do not take what is secret to another origin, nor back again', async () => {
    const seen: (string | undefined)[] = []
    const first: Listening = await own.http((request, response) => {
      seen.push(request.headers.authorization, request.headers['x-api-key'] as string | undefined, request.headers.accept)
      if (request.url === '/back') response.end('back')
      else response.writeHead(302, { location: `http://127.0.0.1:${second.port}/` }).end()
    })
    const second: Listening = await own.http((request, response) => {
      seen.push(
        request.headers.authorization,
        request.headers['x-api-key'] as string | undefined,
        request.headers.cookie,
        request.headers.accept,
      )
      response.writeHead(302, { location: at(first, '/back') }).end()
    })
    const headers = [
      { name: 'X-Api-Key', value: 'S3CR3T' },
      { name: 'Cookie', value: 'S3CR3T' },
      { name: 'Accept', value: 'text/html' },
    ]
    const outcome = await ask(at(first).replace('http://', 'http://user:S3CR3T@'), { headers, keyword: 'back' })
    expect(outcome.ok).toBe(true)
    const basic = `Basic ${Buffer.from('user:S3CR3T').toString('base64')}`
    expect(seen).toEqual([basic, 'S3CR3T', 'text/html', undefined, undefined, undefined, 'text/html', undefined, undefined, 'text/html'])
    expect(JSON.stringify(outcome)).not.toContain('S3CR3T')
  })

  test('keep what is secret within one origin', async () => {
    const seen: (string | undefined)[] = []
    const server = await own.http((request, response) => {
      seen.push(request.headers.authorization)
      if (request.url === '/end') response.end()
      else response.writeHead(302, { location: '/end' }).end()
    })
    await ask(at(server), { headers: [{ name: 'Authorization', value: 'Bearer x' }] })
    expect(seen).toEqual(['Bearer x', 'Bearer x'])
  })

  test.each([307, 308])('with %i do not send a body on to another origin', async (status) => {
    const other = await own.http((_request, response) => response.end())
    const server = await own.http((_request, response) => response.writeHead(status, { location: at(other) }).end())
    const outcome = await ask(at(server), { method: 'POST', body: 'S3CR3T' })
    expect(outcome.message).toMatch(/what is sent to one server is not sent on to another/)
    expect(other.connections).toBe(0)
  })

  test('turn a POST into a GET without a body, except 307 and 308', async () => {
    const seen: string[] = []
    const server = await own.http((request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => (body += chunk.toString()))
      request.on('end', () => {
        seen.push(`${request.method} ${request.url} ${body}`)
        if (request.url === '/end') response.end()
        else response.writeHead(Number(request.url?.slice(1)), { location: '/end' }).end()
      })
    })
    for (const status of [302, 303, 307]) await ask(at(server, `/${status}`), { method: 'POST', body: 'b' })
    expect(seen).toEqual(['POST /302 b', 'GET /end ', 'POST /303 b', 'GET /end ', 'POST /307 b', 'POST /end b'])
  })
})

describe('A server', () => {
  test('that refuses the connection is down at once', async () => {
    const server = await own.http(() => undefined)
    await own.close()
    expect(await ask(at(server))).toMatchObject({ ok: false, message: 'Connection refused', duration: null })
  })

  test('that accepts and never answers is given up when the time is over, and the connection is closed', async () => {
    const server = await own.tcp(() => undefined)
    await expectTimeout((given) => probeHttp(httpSpec(at(server)), given), /^No answer within 400 ms$/)
    await until(() => server.open === 0)
  })

  test('that sends a byte now and then is given up when the time is over', async () => {
    const body = await raw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      pour(socket, Buffer.from('x'), 20)
    })
    await expectTimeout((given) => probeHttp(httpSpec(at(body)), given), /^HTTP 200, but no end of the answer within 400 ms$/)
    const headers = await raw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nX-Long: ')
      pour(socket, Buffer.from('x'), 20)
    })
    await expectTimeout((given) => probeHttp(httpSpec(at(headers)), given), /^No answer within 400 ms$/)
    await until(() => body.open === 0 && headers.open === 0)
  })

  test('that sends 100 MB is read for 512 kB and left', async () => {
    const server = await own.http((_request, response) => {
      response.writeHead(200, { 'content-length': 100 * 1024 * 1024 })
      pour(response, Buffer.alloc(64 * 1024, 'x'))
    })
    const before = process.memoryUsage().rss
    const outcome = await ask(at(server))
    expect(outcome).toMatchObject({ ok: true, message: 'HTTP 200' })
    expect(outcome.details?.['bytes']).toBeLessThan(700_000)
    expect(process.memoryUsage().rss - before).toBeLessThan(50 * 1024 * 1024)
    await until(() => server.open === 0)
  })

  test('that sends a gzip bomb is unpacked for 512 kB and left', async () => {
    const bomb = gzipSync(Buffer.alloc(300 * 1024 * 1024))
    const server = await own.http((_request, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb))
    const before = process.memoryUsage().rss
    const outcome = await ask(at(server), { keyword: 'needle' })
    expect(outcome.message).toMatch(/first 512 kB/)
    expect(process.memoryUsage().rss - before).toBeLessThan(80 * 1024 * 1024)
  })

  test('that sends headers without end is left', async () => {
    const flood = await raw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n')
      pour(socket, Buffer.from(`X-Flood: ${'x'.repeat(1_000)}\r\n`))
    })
    expect((await ask(at(flood))).message).toMatch(/headers of the answer are larger than 16 kB/)
    const small = await raw(`HTTP/1.1 200 OK\r\n${'a:b\r\n'.repeat(3_000)}content-length: 0\r\n\r\n`)
    expect((await ask(at(small))).ok).toBe(true)
    await until(() => flood.open === 0)
  })

  test('that announces an answer for ever is left', async () => {
    const server = await raw((socket) => pour(socket, Buffer.from('HTTP/1.1 103 Early Hints\r\n\r\n')))
    expect((await ask(at(server))).message).toMatch(/announces an answer again and again/)
    await until(() => server.open === 0)
  })

  test.each([
    ['nonsense', 'SSH-2.0-OpenSSH_9.2p1\r\n'],
    ['nothing', ''],
    ['half an answer', 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf'],
    ['half a chunk', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf'],
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabc'],
    ['a length and chunks', 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['an upgrade', 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
    ['a status of letters', 'HTTP/1.1 abc OK\r\n\r\n'],
    ['zeros', Buffer.alloc(2_000)],
  ])('that answers with %s is down, and no more than that', async (_what, answer) => {
    const outcome = await ask(at(await raw(answer)), { statuses: '100-599' })
    expect(outcome.ok).toBe(false)
    expect(outcome.message).toMatch(/broken off|not HTTP|middle of the answer|HTTP 101|aborted/)
  })

  test('cannot write into the message what hides or turns round text', async () => {
    const server = await own.http((_request, response) => response.end(JSON.stringify({ a: `x\u001b[2J\u202e\r\ny${'z'.repeat(5_000)}` })))
    const { message } = await ask(at(server), { json_path: '$.a', json_equals: 'b' })
    expect(message).toMatch(/^[\P{C}]+$/u)
    expect(message.length).toBeLessThan(300)
  })
})

test('A stall of this machine is not taken for one of the target', async () => {
  const server = await own.http((_request, response) => response.end())
  const probing = probeHttp(httpSpec(at(server)), options({ timeout: 300 }))
  await until(() => server.connections === 1)
  const end = performance.now() + 600
  while (performance.now() < end);
  expect((await probing).ok).toBe(true)
})

test('A probe that is called off ends at once, and leaves no connection', async () => {
  const server = await own.tcp(() => undefined)
  const off = new AbortController()
  const probing = probeHttp(httpSpec(at(server)), options({ signal: off.signal }))
  await until(() => server.open === 1)
  off.abort()
  expect(await probing).toMatchObject({ ok: false, message: 'Stopped before it ended' })
  await until(() => server.open === 0)
  expect(await probeHttp(httpSpec(at(server)), options({ signal: off.signal }))).toMatchObject({ ok: false })
  expect(server.connections).toBe(1)
})
