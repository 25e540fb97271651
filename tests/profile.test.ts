import { cookieOf, listen, password, startApp, type TestApp } from './helpers/app'

let app: TestApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

const signIn = async (username: string, given = password) =>
  (await app.as(null)).post('/sign-in').type('form').send({ username, password: given })
/** Requests of a new session. */
const sessionOf = async (username: string, given = password) => {
  const headers = { Cookie: cookieOf(await signIn(username, given)), Origin: app.url }
  const nobody = await app.as(null)
  return {
    headers,
    get: (path: string) => nobody.get(path).set(headers),
    change: (current: string, next: string, repeat = next) =>
      nobody.post('/profile/password').set(headers).type('form').send({ current, password: next, repeat }),
  }
}
const basic = async (username: string, given: string) =>
  (await (await app.as(null)).get('/api/health').set('Authorization', `Basic ${Buffer.from(`${username}:${given}`).toString('base64')}`))
    .status

describe('a new password', () => {
  test('ends every other session, Basic at once and sockets within five seconds, and keeps this one', async () => {
    const [here, elsewhere] = [await sessionOf('bob'), await sessionOf('bob')]
    const socket = await listen(`${app.url.replace('http', 'ws')}/live?topics=health`, elsewhere.headers)
    const closed = new Promise((resolve) => socket.socket.once('close', resolve))
    expect((await elsewhere.get('/profile')).status).toBe(200)
    expect(await basic('bob', password)).toBe(200)

    const answer = await here.change(password, 'another long password')
    expect([answer.status, answer.headers['location']]).toEqual([303, '/profile'])
    expect([(await elsewhere.get('/profile')).status, (await here.get('/profile')).status]).toEqual([303, 200])
    expect(await basic('bob', password)).toBe(401)
    expect(await basic('bob', 'another long password')).toBe(200)
    expect((await signIn('bob')).status).toBe(401)
    const page = await here.get('/profile').set('Cookie', `${here.headers.Cookie}; ${cookieOf(answer)}`)
    expect(page.text).toContain('One other session was ended.')

    const rows = await app.ctx.db.selectFrom('audit').selectAll().where('action', '=', 'password.change').execute()
    expect(rows).toMatchObject([
      { actor_id: 'user-bob', actor_name: 'bob', address: '127.0.0.1', subject: 'user-bob', data: '{"sessions_ended":1}' },
    ])
    expect(await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 6000, 'still open').unref())])).toBe(4401)
  })

  test('counts in every byte and in one composition: beyond 72 bytes, beyond a NUL', async () => {
    const long = `caf\u00e9 ${'x'.repeat(80)}\u0000end`
    expect((await (await sessionOf('dave')).change(password, long)).status).toBe(303)
    for (const other of [
      long.slice(0, 72),
      `${long}x`,
      long.replace('end', 'END'),
      long.replace('xx', 'xy'),
      ` ${long}`,
      long.toUpperCase(),
    ]) {
      expect((await signIn('dave', other)).status).toBe(401)
      app.advance(120_000)
    }
    expect((await signIn('dave', long.normalize('NFD'))).status).toBe(303)
    expect((await signIn('dave', long)).status).toBe(303)
  })

  test.each([
    ['without the current one', 'wrong', 'another long password', undefined, 'current', 'not your current password'],
    ['that is too short', password, 'too short', undefined, 'password', 'at least 10'],
    ['that is endless', password, 'x'.repeat(1025), undefined, 'password', '1,024'],
    ['that was repeated differently', password, 'another long password', 'another long passwort', 'repeat', 'not the same'],
  ])('%s is refused, and the field says why', async (_what, current, next, repeat, field, message) => {
    const carol = await sessionOf('carol')
    const answer = await carol.change(current, next, repeat)
    expect(answer.status).toBe(422)
    expect(answer.text).toContain(`id="${field}-error"`)
    expect(answer.text).toContain(message)
    for (const typed of [next, 'passwort']) expect(answer.text).not.toContain(`value="${typed}`)
    expect((await carol.get('/profile')).status).toBe(200)
    expect(await basic('carol', password)).toBe(200)
  })

  test('cannot be guessed with somebody’s open session', async () => {
    const alice = await sessionOf('alice')
    // On a busy machine the first waits are over before the next try is compared; they double.
    let answer
    let tries = 0
    do answer = await alice.change(`guess ${tries++}`, 'another long password')
    while (answer.status === 422 && tries < 12)
    expect(answer.status).toBe(429)
    expect(tries).toBeGreaterThan(5)
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
    app.advance(60_000)
  })
})

describe('a theme and a time zone', () => {
  const save = async (form: Record<string, string>) => (await app.as('carol')).post('/profile').type('form').send(form)
  const page = async () => (await (await app.as('carol')).get('/profile')).text

  test('are kept, and the next page has them already', async () => {
    expect(await page()).toContain('<option value="" selected>Like the console</option>')
    expect(await page()).toContain('data-timezone="Asia/Kolkata"')
    for (const [theme, timezone] of [
      ['dark', 'Europe/Berlin'],
      ['light', 'Asia/Kolkata'],
      ['auto', 'UTC'],
    ] as const) {
      expect((await save({ theme, timezone })).status).toBe(303)
      const text = await page()
      const { timeZone } = new Intl.DateTimeFormat('en', { timeZone: timezone }).resolvedOptions()
      expect(text).toContain(`data-theme="${theme}"`)
      expect(text).toContain(`data-timezone="${timeZone}"`)
      expect(text).toContain(`<option selected>${timeZone}</option>`)
    }
    const rows = await app.ctx.db.selectFrom('audit').selectAll().where('action', '=', 'profile.change').orderBy('at').execute()
    expect(rows[0]).toMatchObject({
      actor_name: 'carol',
      subject: 'user-carol',
      data: '{"before":{"theme":"auto","timezone":null},"after":{"theme":"dark","timezone":"Europe/Berlin"}}',
    })
  })

  test('that there are not are refused, and nothing is kept', async () => {
    const before = await app.ctx.db.selectFrom('users').selectAll().orderBy('id').execute()
    const answer = await save({ theme: 'pink', timezone: '<b>Mars' })
    expect(answer.status).toBe(422)
    expect(answer.text).toContain('There is no such zone.')
    expect(answer.text).toContain('Choose one of the three.')
    expect(answer.text).not.toContain('<b>Mars')
    expect(await app.ctx.db.selectFrom('users').selectAll().orderBy('id').execute()).toEqual(before)
  })

  test('can be set alone: the theme, from the button in the bar', async () => {
    const dave = await app.basic('dave').post('/profile/theme').type('form').send({ theme: 'dark' })
    expect(dave.status).toBe(401)
    const carol = await app.as('carol')
    expect((await carol.post('/profile/theme').type('form').send({ theme: 'dark' })).status).toBe(303)
    expect(await page()).toContain('data-theme="dark"')
    expect(await page()).toContain('data-timezone="UTC"')
  })
})
