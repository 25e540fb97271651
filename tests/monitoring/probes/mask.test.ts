import { followKeys, hidden, maskCommand, maskText, maskValue } from '../../../monitoring/probes/mask'

const shown = (name: string, value: string): string => maskValue(name, value).value

test('what is called a secret is not shown, whatever it is', () => {
  for (const name of [
    ...['DB_PASSWORD', 'PASSWORD', 'password', 'MYSQL_PWD', 'PGPASS', 'SMTP_PASS', 'githubToken', 'GITHUB_TOKEN', 'APIKEY', 'apiKey'],
    ...['WHATSAPP_ACCESS_TOKEN', 'STRIPE_KEY', 'PRIVATE_KEY', 'SERVER_SECRET', 'client_secret', 'SESSION_COOKIE', 'SENTRY_DSN', 'GH_PAT'],
    ...['AWS_SECRET_ACCESS_KEY', 'AWS_ACCESS_KEY_ID', 'PASSWORD_SALT', 'GOOGLE_CREDENTIALS', 'BASIC_AUTH', 'WEBHOOK_SIGNATURE'],
  ])
    expect([name, shown(name, 'short')]).toEqual([name, hidden])
})

test('what is no secret is shown as it is', () => {
  for (const [name, value] of [
    ['PWD', '/srv/app'],
    ['OLDPWD', '/srv'],
    ['PATH', '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/home/ops/.nvm/versions/node/v20.19.4/bin'],
    ['NODE_ENV', 'production'],
    ['PORT', '3000'],
    ['HOSTNAME', 'ip-10-20-30-40.ap-south-1.compute.internal'],
    ['MODEL', 'claude-opus-4-20250514'],
    ['SPREADSHEET', 'Analytics'],
    ['LS_COLORS', 'rs=0:di=01;34:ln=01;36:mh=00:pi=40;33'],
    ['URL', 'https://example.com/health?range=24h'],
    ['MONKEYS', 'three'],
    ['PASSENGERS', '4'],
    ['EMPTY_TOKEN', ''],
  ] as const)
    expect([name, shown(name, value)]).toEqual([name, value])
})

test('what looks like a secret is not shown, however it is called', () => {
  expect(shown('DATABASE_URL', 'postgres://ops:hunter2@db.internal:5432/ops')).toBe(`postgres://ops:${hidden}@db.internal:5432/ops`)
  expect(shown('REDIS', 'redis://:s3cr3t@127.0.0.1:6379/0')).toBe(`redis://:${hidden}@127.0.0.1:6379/0`)
  expect(shown('CALLBACK', 'https://example.com/cb?token=abc&x=1')).toBe(`https://example.com/cb?token=${hidden}&x=1`)
  expect(shown('A', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVPmB92')).toBe(hidden)
  expect(shown('B', 'ghp_0123456789abcdefghijABCDEFGHIJ456789')).toBe(hidden)
  expect(shown('C', '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08')).toBe(hidden)
  expect(shown('D', 'Zk3Qp9Lx2Vb7Nw5Rt8Ym1Hd4')).toBe(hidden)
  expect(shown('E', '-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----')).toBe(hidden)
  expect(shown('F', '{"client_email":"a@b.c","private_key":"short one"}')).toBe(`{"client_email":"a@b.c","private_key":${hidden}}`)
})

test('a command line keeps its shape and loses its secrets', () => {
  expect(maskCommand(['curl', '-H', 'Authorization: Bearer abcdefgh12345', 'https://x.y'])).toBe(
    `curl -H Authorization: ${hidden} https://x.y`,
  )
  expect(maskCommand(['app', '--password', 'hunter2', '--port', '80'])).toBe(`app --password ${hidden} --port 80`)
  expect(maskCommand(['app', '--db-password=hunter2', '-v'])).toBe(`app --db-password=${hidden} -v`)
  expect(maskCommand(['/usr/bin/mysql', '-uroot', '-phunter2', 'ops'])).toBe(`/usr/bin/mysql -uroot -p${hidden} ops`)
  expect(maskCommand(['node', '/srv/app/dist/server.js', '--inspect'])).toBe('node /srv/app/dist/server.js --inspect')
})

test.each([
  [['curl', '-sSu', 'ops:hunter2', 'https://x.y'], `curl -sSu ops:${hidden} https://x.y`],
  [['/usr/bin/curl', '-uops:hunter2', 'https://x.y'], `/usr/bin/curl -uops:${hidden} https://x.y`],
  [['curl', '--user=ops:hunter2', 'https://x.y'], `curl --user=ops:${hidden} https://x.y`],
  [['http', '-a', 'ops:hunter2', 'x.y'], `http -a ops:${hidden} x.y`],
  [['redis-cli', '-h', 'cache', '-a', 'hunter2', 'info'], `redis-cli -h cache -a ${hidden} info`],
  [['sshpass', '-p', 'hunter2', 'ssh', '-p', '22', 'ops@vm'], `sshpass -p ${hidden} ssh -p 22 ops@vm`],
  [['sshpass', '-phunter2', 'scp', 'a', 'b'], `sshpass -p${hidden} scp a b`],
  [['nice', 'mysqldump', '-uroot', '-phunter2', 'ops'], `nice mysqldump -uroot -p${hidden} ops`],
  [
    ['sh', '-c', 'curl -u ops:hunter2 https://x.y | redis-cli -a hunter2'],
    `sh -c curl -u ops:${hidden} https://x.y | redis-cli -a ${hidden}`,
  ],
  [['mongosh', '-u', 'root', '-p', 'hunter2'], `mongosh -u root -p ${hidden}`],
])('of %j only what is no secret is shown, as a command line and in a log', (words, shown) => {
  expect(maskCommand(words)).toBe(shown)
  expect(maskText(`+ ${words.join(' ')}`)).toBe(`+ ${shown}`)
})

test('a command in quotes in a log is read too', () => {
  expect(maskText(`run: sh -c "curl -u 'ops:hunter2 x' https://x.y"`)).not.toContain('hunter2')
  expect(maskText('started app --db-password hunter2 --port 80')).toBe(`started app --db-password ${hidden} --port 80`)
})

test.each([
  ['https://hooks.slack.com/services/T000/B000/abcdef', `https://hooks.slack.com/services/${hidden}`],
  ['post "https://discord.com/api/webhooks/123/abc-def" 204', `post "https://discord.com/api/webhooks/${hidden}" 204`],
  ['https://api.telegram.org/bot123:AAabc/sendMessage', `https://api.telegram.org/bot${hidden}/sendMessage`],
  [
    'Set-Cookie: sid=abc; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT; HttpOnly',
    `Set-Cookie: sid=${hidden}; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT; HttpOnly`,
  ],
  ['cookie: a=1; theme=dark', `cookie: a=${hidden}; theme=${hidden}`],
  ['{"cookie":"sid=abc","host":"x"}', `{"cookie":"sid=${hidden}","host":"x"}`],
  [`'set-cookie': [ 'sid=abc; Path=/', 'b=c' ], status: 200`, `'set-cookie': [ 'sid=${hidden}; Path=/', 'b=${hidden}' ], status: 200`],
  ['id ASIAIOSFODNN7EXAMPLE secret wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY', `id ${hidden} secret ${hidden}`],
  ['jwt_eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjft_J-Ze/next', `jwt_${hidden}/next`],
  ['MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7/VJTUt9Us8cKj', hidden],
])('of %s the secret is hidden, and the rest is readable', (text, shown) => {
  expect(maskText(text)).toBe(shown)
})

test.each([
  ...[
    'docker run -u 1000:1000 -p 8080:80 redis',
    'ls -a /srv',
    'ssh -p 22 ops@vm',
    'mkdir -p /srv/app',
    'mysql -u root -p ops',
    'tar -u a:b',
  ],
  ...['curl -s -o /dev/null https://example.com:8443/health', 'curl -A agent:1 https://x.y', 'redis-cli -h 127.0.0.1 -p 6379 ping'],
  ...['GET https://x.y/a 200 in 12 ms', 'https -> http redirect', 'http server listens on 0.0.0.0:3000', 'mysql2 pool: 10 connections'],
  ...['cookie: missing', 'the cookie was not set', 'https://discord.com/api/v10/gateway', 'https://api.telegram.org/ is slow'],
  ...[
    '/home/ops/projects/Server2/releases/current/App1',
    '2026-11-21T10:00:00.000Z INFO Server started on port 3000',
    'usr/local/lib/node/modules/typescript/libs',
  ],
  ...['commit 2256678 by ops', 'token expired', 'password check passed'],
])('%s stays as it is', (text) => {
  expect(maskText(text)).toBe(text)
  expect(maskCommand(text.split(' '))).toBe(text)
})

test('a private key is followed over its lines, and what comes after it is not hidden', () => {
  const lines = ['a', 'key: -----BEGIN PRIVATE KEY-----', 'MIIEvQ', '-----END PRIVATE KEY-----', 'b', '-----BEGIN CERTIFICATE-----', 'c']
  expect(lines.map(followKeys())).toEqual([false, false, true, true, false, false, false])
})

test('a long line costs little, whatever is in it', () => {
  const began = performance.now()
  for (const piece of [
    'a',
    '--',
    '://',
    'password',
    '="',
    'A1b2',
    'Bearer ',
    '-----BEGIN PRIVATE KEY-----',
    '\u001b[31m',
    'curl -u ',
    'cookie: a=',
    '--token "',
    'mysql ',
  ])
    maskText(piece.repeat(Math.ceil(20_000 / piece.length)))
  expect(performance.now() - began).toBeLessThan(1500)
})
