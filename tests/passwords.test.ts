import { Worker } from 'node:worker_threads'
import { password, startApp, type Agent, type TestApp } from './helpers/app'
import { addPerson, basicOf, sessionOf } from './helpers/people'
import { bodyOf, fieldsOf } from './helpers/routes'

let app: TestApp
let person: Agent
beforeAll(async () => {
  app = await startApp()
  await addPerson(app, 'Margaret')
  person = await sessionOf(app, 'margaret')
})
afterAll(() => app.close())

let current = password
const change = (given: string) => person.post('/api/me/password').send({ current, password: given })
const works = async (given: string): Promise<boolean> => {
  app.advance(61_000)
  return (await basicOf(app, 'margaret', given).get('/api/health')).status === 200
}

test.each([
  ['password1', 'among those that everybody knows, and too short'],
  ['12345678', 'seven of a row and one'],
  ['seven 7', 'seven characters'],
  ['qwertyuiop', 'a row of keys'],
  ['1234567890', 'a row of digits'],
  ['password12', 'the word itself'],
  ['aaaaaaaaaaaa', 'one sign'],
  ['abcabcabcabc', 'the same again and again'],
  ['margaret123', 'the own name with a number'],
  ['Margaret2024', 'the own name with a year'],
  ['teragraM12', 'the own name backwards'],
  ['operations1', 'what this is'],
  ['P@ssw0rd123', 'the word in a thin disguise'],
])('“%s” is refused: %s', async (given) => {
  expect(fieldsOf(await change(given), 422)).toEqual(['password'])
  expect(await works(password)).toBe(true)
})

test('an own name says nothing against a password of somebody else', async () => {
  expect(
    (await (await sessionOf(app, 'carol')).post('/api/me/password').send({ current: password, password: 'Margaret-of-the-hills' })).status,
  ).toBe(200)
})

test.each([
  ['spaces around it', '  leading and trailing  ', ['leading and trailing']],
  ['emoji', '🦊🍇🛶🎷🧭🪁🧶🪐 and a fox', ['🦊🍇🛶🎷🧭🪁🧶 and a fox']],
  ['letters of every case and script', 'Straße Ωmega 東京 tower', ['strasse ωmega 東京 tower']],
  ['a tab, a newline and a NUL', 'tab\tline\nnul\0 and the end', ['tab\tline\nnul']],
  [
    '64 characters',
    'Fox jumps over 64 lazy dogs near the river bank at noon today ok!',
    ['Fox jumps over 64 lazy dogs near the river bank at noon today ok'],
  ],
  [
    '128 characters',
    `${'Brown bears fish for salmon. '.repeat(5).slice(0, 127)}!`,
    ['Brown bears fish for salmon. '.repeat(5).slice(0, 128)],
  ],
])('%s are kept exactly', async (_what, given, others) => {
  bodyOf(await change(given), 'POST /api/me/password')
  current = given
  expect(await works(given)).toBe(true)
  for (const other of others) expect(await works(other)).toBe(false)
})

test('two passwords that share 72 bytes are two passwords', async () => {
  const shared = 'Wild geese fly south over the frozen lakes of Karelia every late autumn.'
  expect(Buffer.byteLength(shared)).toBe(72)
  bodyOf(await change(`${shared} One`), 'POST /api/me/password')
  current = `${shared} One`
  expect([await works(`${shared} Two`), await works(shared), await works(`${shared} One`)]).toEqual([false, false, true])
})

test('a new one is looked for in the thread of the hashes, which nobody waits for, and after the current one was right', async () => {
  const asked = jest.spyOn(Worker.prototype, 'postMessage')
  const guesses = () => asked.mock.calls.flatMap(([message]) => (message as { question: { guess?: string } }).question.guess ?? [])
  app.advance(61_000)
  expect(fieldsOf(await person.post('/api/me/password').send({ current: 'wrong', password: 'qwertyuiop' }), 422)).toEqual(['current'])
  expect(guesses()).toEqual([])
  app.advance(61_000)
  const disguised = 'P@$$w0rd!Adm1n$3cr3t'.repeat(4).slice(0, 64)
  expect((await change(disguised)).status).toBe(200)
  current = disguised
  expect(guesses()).toEqual([disguised])
  asked.mockRestore()
})
