import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startApp, type Agent, type TestApp } from './helpers/app'
import { measured, pm2Keeps, running } from './helpers/machine'
import { processesOf, startApps, stopApps } from './helpers/pm2'
import { bodyOf, expectProblem } from './helpers/routes'
import { until } from './helpers/until'

// A real PM2 with jobs, crash loops, a huge environment and names that want to be markup.
let app: TestApp
let alice: Agent
let bob: Agent
let carol: Agent

const evil = `<img src=x onerror="document.title='owned'"> & co`
const other = 'имя with spaces/and?slashes'

interface Process {
  id: string
  name: string
  pm_id: number
  status: string
  crashes_10m: number
  job: boolean
  cron: string | null
  exit_code: number | null
}

const list = async (): Promise<Process[]> =>
  bodyOf<{ items: Process[] }>(await carol.get('/api/processes?limit=500'), 'GET /api/processes').items
const named = async (name: string): Promise<Process> => {
  const found = (await list()).find((one) => one.name === name)
  if (!found) throw new Error(`there is no ${name}`)
  return found
}
const at = (id: string, path = ''): string => `/processes/${encodeURIComponent(id)}${path}`
const word = async (name: string): Promise<string> => (await carol.get(at((await named(name)).id))).text

beforeAll(async () => {
  app = await startApp({ probes: { system: false, pm2: true } })
  ;[alice, bob, carol] = await Promise.all([app.as('alice'), app.as('bob'), app.as('carol')])
  const script = (name: string, text: string): string => {
    const path = join(app.pm2Home, name)
    writeFileSync(path, text)
    return path
  }
  const stays = script('stays.js', `console.log('started'); setInterval(() => {}, 1000)`)
  const huge = Object.fromEntries(Array.from({ length: 700 }, (_, index) => [`VARIABLE_${index}`, 'x'.repeat(400)]))
  await startApps(app.pm2Home, [
    {
      name: 'plain',
      script: stays,
      args: '--port 80 --token hunter2',
      env: { CITY: 'Pune', API_TOKEN: 'hunter2', DB: 'postgres://a:hunter2@h/d' },
    },
    { name: 'huge', script: stays, env: huge },
    { name: evil, script: stays },
    { name: other, script: stays },
    { name: 'twin', script: stays },
    { name: 'twin', script: stays },
    { name: 'nightly', script: script('job.js', `console.log('done')`), autorestart: false, cron_restart: '30 20 * * *' },
    { name: 'broken-job', script: script('broken.js', `process.exit(3)`), autorestart: false },
    { name: 'looping', script: script('loop.js', `setTimeout(() => process.exit(1), 400)`), max_restarts: 8, min_uptime: 60_000 },
  ])
  await until(async () => {
    const items = await list()
    const statusOf = (name: string) => items.find((one) => one.name === name)?.status
    return items.length === 9 && statusOf('looping') === 'errored' && statusOf('nightly') === 'stopped'
  }, 30_000)
}, 60_000)

afterAll(async () => {
  await stopApps(app.platform, app.pm2Home)
  await app.close()
}, 30_000)

test('a job that has done its work is stopped between runs, which is not red; one that failed says so', async () => {
  expect(await named('nightly')).toMatchObject({ status: 'stopped', job: true, cron: '30 20 * * *', exit_code: 0, crashes_10m: 0 })
  const nightly = await word('nightly')
  for (const words of ['Stopped between runs', 'exit code 0', 'every day at 20:30', 'oc-verdict is-idle']) expect(nightly).toContain(words)
  const broken = await word('broken-job')
  for (const words of ['The last run failed', 'exit code 3', 'oc-verdict is-warn']) expect(broken).toContain(words)
})

test('a process that keeps crashing is given up, and counted by its exits; restarts by people are counted apart', async () => {
  const looping = await named('looping')
  expect(looping.status).toBe('errored')
  await until(async () => (await named('looping')).crashes_10m >= 3)
  const text = await word('looping')
  for (const words of ['oc-verdict is-err', 'looping crashed with exit code 1', 'PM2 gave looping up', 'Look at its error log'])
    expect(text).toContain(words)
  expect(text).toMatch(/Crashed \d × in 10 min/)
  const plain = await named('plain')
  await bob.post(`/api/processes/${encodeURIComponent(plain.id)}/restart`).expect(200)
  const page = await word('plain')
  expect(page).toContain('bob restarted plain')
  expect(page).toContain('No crash in the last 10 min')
  const { items } = (await carol.get('/api/events?type=process.crashed&subject=looping&limit=50')).body as {
    items: { data: { exit_code: number } }[]
  }
  expect(items.every(({ data }) => data.exit_code === 1)).toBe(true)
})

test('the environment is for those who may see it, without its secrets, and that somebody looked is written down', async () => {
  const { id } = await named('plain')
  const path = `/api/processes/${encodeURIComponent(id)}/environment`
  expectProblem(await bob.get(path), 403)
  expect((await bob.get(at(id, '/environment'))).status).toBe(403)
  const answer = await alice.get(path)
  const { variables } = bodyOf<{ variables: { name: string; value: string; masked: boolean }[] }>(
    answer,
    'GET /api/processes/:id/environment',
  )
  expect(answer.text).not.toContain('hunter2')
  expect(variables.filter(({ name }) => ['CITY', 'API_TOKEN', 'DB'].includes(name))).toEqual([
    { name: 'API_TOKEN', value: '•••••', masked: true },
    { name: 'CITY', value: 'Pune', masked: false },
    { name: 'DB', value: 'postgres://a:•••••@h/d', masked: true },
  ])
  const page = await alice.get(at(id, '/environment?q=city'))
  expect(page.text).toContain('Pune')
  expect(page.text).not.toMatch(/hunter2|API_TOKEN/)
  const rows = await app.ctx.db
    .selectFrom('audit')
    .select(['actor_name', 'subject'])
    .where('action', '=', 'processes.environment')
    .execute()
  expect(rows).toEqual([
    { actor_name: 'alice', subject: id },
    { actor_name: 'alice', subject: id },
  ])
})

test('nothing of an environment or of a secret argument is in the database or on a page', async () => {
  const rows = JSON.stringify(await app.ctx.db.selectFrom('processes').selectAll().execute())
  expect(rows).toContain('--port 80 --token •••••')
  expect(`${rows}${await word('plain')}${(await carol.get('/processes')).text}`).not.toContain('hunter2')
})

test('an environment of hundreds of kilobytes is cut, and slows nothing', async () => {
  const { id } = await named('huge')
  const answer = await alice.get(`/api/processes/${encodeURIComponent(id)}/environment`)
  const { variables, left_out } = bodyOf<{ variables: unknown[]; left_out: number }>(answer, 'GET /api/processes/:id/environment')
  expect(variables).toHaveLength(500)
  expect(left_out).toBeGreaterThan(199)
  expect(JSON.stringify(await list()).length).toBeLessThan(10_000)
})

test('names that want to be markup, or a path, are shown as they are and lead to their pages', async () => {
  for (const name of [evil, other]) {
    const { id } = await named(name)
    const index = (await carol.get('/processes')).text
    expect(index).not.toContain('<img src=x')
    expect((await carol.get(at(id))).status).toBe(200)
    expect((await carol.get(`/processes/${encodeURIComponent(name)}`)).status).toBe(200)
    expect((await carol.get(`/processes/group/${encodeURIComponent(name)}`)).headers['location']).toBe(at(id))
  }
})

test('several of one name are one group', async () => {
  const index = (await carol.get('/processes?sort=memory&order=desc')).text
  expect(index).toContain('2 of 2 online')
  const group = (await carol.get('/processes/group/twin')).text
  for (const words of ['2 of 2 online', 'Instances', 'each on average']) expect(group).toContain(words)
  expect((await carol.get('/processes/group/nobody')).status).toBe(404)
  expect((await carol.get('/processes?state=stopped')).text).not.toContain('>twin<')
  expect((await carol.get('/processes?q=zzz')).text).toContain('No process matches')
})

test('its logs are for operators, follow what is written, and are asked for by part', async () => {
  const { id } = await named('plain')
  const path = `/api/processes/${encodeURIComponent(id)}/log`
  expectProblem(await carol.get(path), 403)
  expect((await carol.get(at(id, '/logs'))).status).toBe(403)
  interface Part {
    lines: string[]
    next: string
    path: string
  }
  const read = async (query = '') => bodyOf<Part>(await bob.get(`${path}${query}`), 'GET /api/processes/:id/log')
  const first = await until(async () => {
    const part = await read()
    return part.lines.includes('started') ? part : undefined
  })
  appendFileSync(first.path, 'more\n')
  expect((await read(`?after=${first.next}`)).lines).toEqual(['more'])
  expect((await bob.get(at(id, '/logs'))).text).toContain('>more</div>')
  expectProblem(await bob.get(`${path}?after=nonsense`), 400)
  expect((await bob.get(at(id, '/logs?stream=err'))).text).toContain('Nothing has been written yet')
})

test('its history is a chart, a table and a file', async () => {
  const { id } = await named('plain')
  const { series } = bodyOf<{ series: { name: string; points: { average: number | null }[] }[] }>(
    await carol.get(`/api/processes/${encodeURIComponent(id)}/history?range=1h`),
    'GET /api/processes/:id/history',
  )
  expect(series.map(({ name }) => name)).toEqual(['cpu', 'memory'])
  const csv = await carol.get(`/api/processes/${encodeURIComponent(id)}/history?range=1h&format=csv`)
  expect(csv.headers['content-type']).toBe('text/csv; charset=utf-8')
  expect(csv.text.split('\n')[0]).toBe('at,series,unit,average,min,max')
  for (const range of ['1h', '24h', '7d', '30d', 'nonsense']) expect((await carol.get(at(id, `?range=${range}`))).status).toBe(200)
})

test('its charts are its own, and come again once a minute', async () => {
  for (const path of [at((await named('plain')).id), '/processes/group/twin']) {
    const page = (await carol.get(path)).text
    expect([...page.matchAll(/id="([a-z_]*chart_[a-z]+)"/g)].map(([, id]) => id)).toEqual(['process_chart_cpu', 'process_chart_memory'])
    const topics = (/<live-source topics="([^"]*)"/.exec(page)?.[1] ?? '').split(',')
    expect([topics.includes('history'), topics.includes('metrics')]).toEqual([true, false])
  }
})

test('what was asked for from its page leads back there', async () => {
  const { id } = await named('plain')
  expect((await bob.get(at(id, '/restart?from=page'))).text).toContain('name="from" value="page"')
  const answer = await bob.post(at(id, '/restart')).type('form').send({ from: 'page' })
  expect(answer.headers['location']).toBe(at(id))
  const twin = await named('nightly')
  expect((await bob.post(at(twin.id, '/start')).type('form').send({ from: 'https://evil.example' })).headers['location']).toBe('/')
})

test('a daemon that hangs is said to, its pages are served, and it comes back by itself', async () => {
  const [daemon] = processesOf(app.pm2Home).filter((pid) => titleOf(pid).includes('God Daemon'))
  const { id } = await named('plain')
  app.expectLog(/PM2 is not available|PM2 did not answer/)
  process.kill(daemon ?? 0, 'SIGSTOP')
  try {
    await until(async () => (await carol.get('/processes')).text.includes('PM2 does not answer'), 15_000)
    for (const path of ['/', '/processes', at(id)]) expect((await carol.get(path)).status).toBe(200)
    expectProblem(await alice.get(`/api/processes/${encodeURIComponent(id)}/environment`), 503)
  } finally {
    process.kill(daemon ?? 0, 'SIGCONT')
  }
  await until(async () => !(await carol.get('/processes')).text.includes('PM2 does not answer'), 30_000)
}, 60_000)

test('of another machine nothing is read, and without PM2 every page says so', async () => {
  const quiet = await startApp()
  const asBob = await quiet.as('bob')
  measured(quiet)
  expect((await asBob.get('/processes')).text).toContain('Asking PM2')
  await pm2Keeps(quiet, running(1, 'web'))
  await quiet.ctx.transaction(({ db }) =>
    db
      .insertInto('processes')
      .values({ ...foreign, org_id: 'home', seen_at: quiet.ctx.now() })
      .execute(),
  )
  expectProblem(await asBob.get('/api/processes/elsewhere:1/log'), 409)
  expect((await asBob.get('/processes/elsewhere:1')).status).toBe(200)
  expect((await asBob.get('/system')).status).toBe(200)
  await quiet.close()
})

const foreign = {
  ...{ id: 'elsewhere:1', host: 'elsewhere', pm_id: 1, name: 'far', status: 'online', mode: 'fork' as const, pid: 1 },
  ...{ cpu: 1, memory: 1, port: null, restarts: 0, started_at: null, details: null },
}

const titleOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
