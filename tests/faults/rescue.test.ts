import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { sqliteFile } from '../../monitoring/db/open'
import { until } from '../helpers/until'
import { isReady, launch, makeGround, signIn, startConsole, type Console, type Ground } from './console'

type Started = Omit<Console, 'readyMs'>

/** Each wait ends when what is waited for is there; these are for machines that do ten other things. */
const patience = 60_000
const deadline = 240_000

let ground: Ground
let current: Started | undefined
beforeEach(async () => {
  ground = await makeGround()
})
afterEach(async () => {
  current?.child.kill('SIGKILL')
  await current?.ended
  current = undefined
  ground.clear()
})

const file = () => sqliteFile(ground.dataDir)

/** An installation that somebody uses: an admin, and one event. */
async function installed(): Promise<void> {
  current = await startConsole(ground)
  const headers = await signIn(ground.url)
  const answer = await fetch(`${ground.url}/api/events`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ events: [{ id: 'before', type: 'test', source: 'rescue', subject: 'the-event-before' }] }),
  })
  expect(answer.status).toBe(201)
  await until(() => readFileSync(join(ground.dataDir, 'last-events'), 'utf8').includes('the-event-before'), patience)
  await stop()
}

async function stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  current?.child.kill(signal)
  await current?.ended
  current = undefined
}

/** As an older version left it: the last migration is missing, so that the next start makes a copy. */
async function upgraded(): Promise<string> {
  await installed()
  const db = new Database(file())
  db.exec(`drop table status_pages; drop table snapshots; drop table maintenances; drop table incident_notes; drop table incidents; drop table checks;
    alter table metrics drop column histogram; alter table processes drop column details; drop index events_age;
    delete from migrations where name >= '0003'`)
  db.close()
  current = await startConsole(ground)
  await stop()
  const copy = readdirSync(ground.dataDir).find((name) => name.includes('.before-'))
  if (copy === undefined) throw new Error('No copy was made')
  return join(ground.dataDir, copy)
}

interface Rescued {
  readonly link: string
  readonly get: (path: string) => Promise<Response>
  readonly post: (path: string, fields?: Record<string, string>) => Promise<Response>
  /** Goes in by the link. */
  readonly enter: () => Promise<void>
}

/** Starts the console and waits until it is in rescue mode. */
async function rescue(): Promise<Rescued> {
  const started = launch(ground)
  current = started
  const said = await until(() => {
    if (started.child.exitCode !== null) throw new Error(`The console ended:\n${started.output()}`)
    return /http\S+\/rescue\?token=\S+/.exec(started.output())?.[0]
  }, patience)
  let cookie = ''
  const headers = () => ({ Cookie: cookie, Origin: ground.url })
  const post = (path: string, fields: Record<string, string> = {}) =>
    fetch(ground.url + path, { method: 'POST', headers: headers(), body: new URLSearchParams(fields), redirect: 'manual' })
  return {
    link: said,
    post,
    get: (path) => fetch(ground.url + path, { headers: headers(), redirect: 'manual' }),
    async enter() {
      const answer = await post('/rescue', { token: new URL(said).searchParams.get('token') ?? '' })
      expect(answer.status).toBe(303)
      cookie = answer.headers.getSetCookie()[0]?.split(';')[0] ?? ''
    },
  }
}

/** Registered by `npm run faults` only: each starts several consoles, and the suite keeps one of each kind. */
const never = Object.assign(() => undefined, { each: () => () => undefined }) as unknown as typeof test
const inFull = process.env['FAULT_CYCLES'] === undefined ? never : test

const ready = () => until(() => isReady(ground.url), patience)

async function eventIds(): Promise<string[]> {
  const answer = await fetch(`${ground.url}/api/events?source=rescue`, { headers: await signIn(ground.url) })
  return ((await answer.json()) as { items: { id: string }[] }).items.map(({ id }) => id)
}

test(
  'an empty file where an installation was is no fresh install: it is said, and nothing is touched',
  async () => {
    await installed()
    truncateSync(file(), 0)
    const names = readdirSync(ground.dataDir)
    const { get, enter, link } = await rescue()
    expect((await get('/livez')).status).toBe(200)
    expect((await get('/healthz')).status).toBe(503)
    const api = await get('/api/events')
    expect([api.status, api.headers.get('retry-after'), api.headers.get('content-type')]).toEqual([
      503,
      '15',
      'application/problem+json; charset=utf-8',
    ])
    // Strangers learn that it is so, and nothing of why.
    const outside = await get('/')
    expect(outside.status).toBe(503)
    expect(await outside.text()).not.toMatch(/is gone|the-event-before|operations-center\.db|oc-faults/)
    expect((await get('/rescue?token=wrong')).status).toBe(403)
    expect(statSync(join(ground.dataDir, 'rescue-token')).mode & 0o777).toBe(0o600)
    // Looking at the link does not use it up; going in does.
    expect((await get(new URL(link).pathname + new URL(link).search)).status).toBe(200)
    await enter()
    const page = await (await get('/rescue')).text()
    expect(page).toContain('The database is gone')
    expect(page).toContain('the-event-before')
    expect((await fetch(link)).status).toBe(403)
    expect(statSync(file()).size).toBe(0)
    expect(readdirSync(ground.dataDir).filter((name) => !names.includes(name) && !name.startsWith('console.'))).toEqual(['rescue-token'])
  },
  deadline,
)

inFull(
  'a database that is gone is not begun anew unless somebody says so twice; the old secrets stay',
  async () => {
    await installed()
    for (const name of readdirSync(ground.dataDir)) if (name.startsWith('operations-center.db')) rmSync(join(ground.dataDir, name))
    const secret = readFileSync(join(ground.dataDir, 'server-secret'), 'utf8')
    const { enter, post, get } = await rescue()
    expect((await post('/rescue/begin', { word: 'begin' })).status).toBe(503)
    expect(existsSync(file())).toBe(false)
    await enter()
    expect((await get('/rescue/begin')).status).toBe(200)
    expect((await post('/rescue/begin', { word: 'no' })).status).toBe(422)
    expect(existsSync(file())).toBe(false)
    expect((await post('/rescue/begin', { word: 'begin' })).status).toBe(200)
    await ready()
    expect(await eventIds()).toEqual([])
    expect(readFileSync(join(ground.dataDir, 'server-secret'), 'utf8')).toBe(secret)
  },
  deadline,
)

inFull(
  'a first start that is killed may simply be begun again',
  async () => {
    for (const ms of [0, 250, 600, 900]) {
      const started = launch(ground)
      await until(() => ms === 0 || existsSync(ground.dataDir), patience)
      await new Promise((resolve) => setTimeout(resolve, ms))
      started.child.kill('SIGKILL')
      await started.ended
    }
    current = await startConsole(ground)
    expect(current.output()).not.toContain('rescue')
  },
  deadline,
)

inFull.each([
  ['no database at all', (path: string) => writeFileSync(path, 'this is a letter to my aunt\n'.repeat(400)), 'The database is damaged'],
  [
    'a page of garbage at its beginning',
    (path: string) => {
      const whole = readFileSync(path)
      whole.fill(0x5a, 40, 4000)
      writeFileSync(path, whole)
    },
    'The database is damaged',
  ],
  [
    'the database of another program',
    (path: string) => {
      rmSync(path)
      const db = new Database(path)
      db.exec('create table recipes (name text)')
      db.close()
    },
    'This is not the console’s database',
  ],
])(
  'with %s it serves rescue mode, keeps the file as it is, and puts the copy back when told to',
  async (_what, spoil, title) => {
    const copy = await upgraded()
    spoil(file())
    const spoilt = readFileSync(file())
    const { enter, get, post } = await rescue()
    await enter()
    const page = await (await get('/rescue')).text()
    expect(page).toContain(title)
    expect(page).toContain('Read whole, and sound')
    expect(readFileSync(file()).equals(spoilt)).toBe(true)
    const answer = await post(`/rescue/copies/${copy.split('/').at(-1) ?? ''}`, { word: 'restore' })
    expect(answer.status).toBe(200)
    await ready()
    expect(await eventIds()).toEqual(['before'])
    const aside = readdirSync(ground.dataDir).find((name) => /\.aside-[\dTZ-]+$/.test(name)) ?? ''
    expect(readFileSync(join(ground.dataDir, aside)).equals(spoilt)).toBe(true)
    expect(existsSync(copy)).toBe(true)
    expect(existsSync(join(ground.dataDir, 'rescue-token'))).toBe(false)
  },
  deadline,
)

inFull(
  'a copy that is damaged is shown as such, and cannot be put back',
  async () => {
    const copy = await upgraded()
    const whole = readFileSync(copy)
    whole.fill(0, 8192, 40_000)
    writeFileSync(copy, whole)
    truncateSync(file(), 0)
    const { enter, get, post } = await rescue()
    await enter()
    expect(await (await get('/rescue')).text()).toContain('Not usable: it is damaged')
    const answer = await post(`/rescue/copies/${copy.split('/').at(-1) ?? ''}`, { word: 'restore' })
    expect(answer.status).toBe(303)
    expect(await (await get('/rescue')).text()).toContain('That did not work')
    expect(statSync(file()).size).toBe(0)
    expect(readdirSync(ground.dataDir).some((name) => name.includes('.restoring') || name.includes('.aside-'))).toBe(false)
  },
  deadline,
)

inFull(
  'a log that belongs to another database is never written into the one that is put back',
  async () => {
    const copy = await upgraded()
    current = await startConsole(ground)
    await stop('SIGKILL')
    // What was written last is only in the log now; the database itself is lost.
    expect(statSync(`${file()}-wal`).size).toBeGreaterThan(0)
    const log = readFileSync(`${file()}-wal`)
    truncateSync(file(), 0)
    const { enter, post } = await rescue()
    expect(readFileSync(`${file()}-wal`).equals(log)).toBe(true)
    await enter()
    expect((await post(`/rescue/copies/${copy.split('/').at(-1) ?? ''}`, { word: 'restore' })).status).toBe(200)
    await ready()
    const aside = readdirSync(ground.dataDir).find((name) => name.endsWith('-wal') && name.includes('.aside-')) ?? ''
    expect(readFileSync(join(ground.dataDir, aside)).equals(log)).toBe(true)
    expect(await eventIds()).toEqual(['before'])
    const db = new Database(file(), { readonly: true })
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
    db.close()
  },
  deadline,
)

test(
  'a database of a newer version is not opened; the copy from before the upgrade is offered',
  async () => {
    await upgraded()
    const db = new Database(file())
    db.prepare('insert into migrations (name, applied_at) values (?, 0)').run('9999_future')
    db.close()
    const { enter, get } = await rescue()
    await enter()
    const page = await (await get('/rescue')).text()
    expect(page).toContain('A newer version wrote this database')
    expect(page).toContain('9999_future')
    expect(page).toContain('Put back')
  },
  deadline,
)

inFull(
  'an upgrade that fails leaves the database as it was and says which step it was',
  async () => {
    await installed()
    const db = new Database(file())
    // The last migration finds its table there already.
    db.exec(`delete from migrations where name >= '0003'`)
    db.close()
    const { enter, get, post } = await rescue()
    await enter()
    const page = await (await get('/rescue')).text()
    expect(page).toContain('The upgrade of the database failed')
    expect(page).toContain('0003_health')
    // Mended elsewhere, “try again” is enough.
    const again = new Database(file())
    again.prepare('insert into migrations (name, applied_at) values (?, 0)').run('0003_health')
    again.close()
    expect((await post('/rescue/again')).status).toBe(200)
    await ready()
    expect(await eventIds()).toEqual(['before'])
  },
  deadline,
)

test(
  'a database that is locked is tried again by itself until it is free',
  async () => {
    await installed()
    const other = new Database(file())
    other.pragma('locking_mode = exclusive')
    other.exec('begin exclusive')
    const { enter, get } = await rescue()
    await enter()
    expect(await (await get('/rescue')).text()).toContain('Another program has locked the database')
    other.exec('commit')
    other.close()
    await ready()
    expect(await eventIds()).toEqual(['before'])
    expect(current?.output()).toMatch(/^Operations Center \d/m)
  },
  deadline,
)

const mayMount = process.platform === 'linux' && process.getuid?.() === 0

;(mayMount ? describe : describe.skip)(
  'a disk that is full when the console starts (a small file system, which only root may mount)',
  () => {
    beforeEach(() => {
      mkdirSync(ground.dataDir)
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=12m,mode=700', 'tmpfs', ground.dataDir])
    })
    afterEach(async () => {
      await stop('SIGKILL')
      execFileSync('umount', [ground.dataDir])
    })

    const fill = () => {
      try {
        for (let size = 1 << 20; size >= 512; size >>= 1)
          for (let no = 0; ; no++)
            try {
              writeFileSync(join(ground.dataDir, `ballast-${size}-${no}`), Buffer.alloc(size), { flag: 'wx' })
            } catch {
              rmSync(join(ground.dataDir, `ballast-${size}-${no}`), { force: true })
              break
            }
      } catch {
        // Full.
      }
    }

    test(
      'is said with the bytes that each step frees; when one made room, the console starts with everything that was there',
      async () => {
        const copy = await upgraded()
        writeFileSync(`${copy}.old`, '')
        rmSync(`${copy}.old`)
        fill()
        const { enter, get, post } = await rescue()
        await enter()
        const page = await (await get('/rescue')).text()
        expect(page).toContain('The disk is full')
        expect(page).toMatch(/Delete the newest copy<\/b>[\s\S]*?<span class="num">\d+ kB/)
        expect((await post('/rescue/steps/copy')).status).toBe(200)
        await ready()
        expect(await eventIds()).toEqual(['before'])
      },
      deadline,
    )

    inFull(
      'the console comes back by itself when space returns, and the last events were kept all the while',
      async () => {
        await installed()
        fill()
        const { enter, get } = await rescue()
        await enter()
        expect(await (await get('/rescue')).text()).toContain('the-event-before')
        for (const name of readdirSync(ground.dataDir)) if (name.startsWith('ballast')) rmSync(join(ground.dataDir, name))
        await ready()
        expect(await eventIds()).toEqual(['before'])
      },
      deadline,
    )

    inFull(
      'one without room for another file is told as full, and the console comes back when there is room',
      async () => {
        await installed()
        let made = 0
        const spare = (no: number) => join(ground.dataDir, `spare-${no}`)
        execFileSync('mount', ['-o', `remount,nr_inodes=${readdirSync(ground.dataDir).length + 20}`, ground.dataDir])
        expect(() => {
          for (; made < 1000; made++) writeFileSync(spare(made), '', { flag: 'wx' })
        }).toThrow('ENOSPC')
        const { enter, get } = await rescue()
        await enter()
        expect(await (await get('/rescue')).text()).toContain('The disk is full')
        for (let no = 0; no < made; no++) rmSync(spare(no))
        await ready()
        expect(await eventIds()).toEqual(['before'])
      },
      deadline,
    )

    inFull(
      'one that is mounted read-only is told as such, leaves everything as it is, and is used when it can be written',
      async () => {
        await installed()
        const names = readdirSync(ground.dataDir)
        execFileSync('mount', ['-o', 'remount,ro', ground.dataDir])
        const { enter, get, link } = await rescue()
        // No file can say where to go: the log does.
        await enter()
        const page = await (await get('/rescue')).text()
        expect(page).toContain('The data folder cannot be written')
        expect(page).toContain('the-event-before')
        expect((await fetch(link)).status).toBe(403)
        expect(current?.output().match(/\/rescue\?token=\S+/g)).toHaveLength(2)
        expect(readdirSync(ground.dataDir)).toEqual(names)
        execFileSync('mount', ['-o', 'remount,rw', ground.dataDir])
        await ready()
        expect(await eventIds()).toEqual(['before'])
      },
      deadline,
    )
  },
)
