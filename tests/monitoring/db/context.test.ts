import { sql } from 'kysely'
import type { Context } from '../../../monitoring/context'
import { startApp, type TestApp } from '../../helpers/app'
import { until } from '../../helpers/until'

describe('a transaction', () => {
  let app: TestApp
  let ctx: Context
  beforeAll(async () => {
    app = await startApp()
    ctx = app.ctx
  })
  afterAll(() => app.close())

  const insert = ({ db }: Context, name: string) => db.insertInto('facts').values({ name, value: '', at: 0 }).execute()
  const stored = async (name: string) => (await ctx.db.selectFrom('facts').select('name').where('name', '=', name).execute()).length === 1
  const changesOf = async (topic: string) =>
    (await ctx.db.selectFrom('changes').select('subject').where('topic', '=', topic).orderBy('seq').execute()).map(({ subject }) => subject)

  test('does not keep others from reading, and shows them nothing before its commit', async () => {
    await ctx.transaction(async (inner) => {
      await insert(inner, 'unseen')
      const seen = await new Promise<boolean>((resolve, reject) => setImmediate(() => void stored('unseen').then(resolve, reject)))
      expect(seen).toBe(false)
    })
    expect(await stored('unseen')).toBe(true)
  })

  test('leaves nothing when it fails, neither data nor change, and the next one works', async () => {
    await expect(
      ctx.transaction(async (inner) => {
        await insert(inner, 'undone')
        inner.changed('undone', 'x')
        throw new Error('on purpose')
      }),
    ).rejects.toThrow('on purpose')
    expect(await stored('undone')).toBe(false)
    expect(await changesOf('undone')).toEqual([])
    await ctx.transaction((inner) => insert(inner, 'after'))
    expect(await stored('after')).toBe(true)
  })

  test('refuses a write, and another transaction, that goes around it', async () => {
    const around = ctx.transaction(async () => {
      await insert(ctx, 'around')
    })
    await expect(around).rejects.toThrow(/goes around the open transaction/)
    await expect(ctx.transaction(() => ctx.transaction(() => Promise.resolve()))).rejects.toThrow(/A transaction is open/)
    expect(await stored('around')).toBe(false)
  })

  test('that is begun inside another one joins it, and stands or falls with it', async () => {
    await expect(
      ctx.transaction(async (outer) => {
        await outer.transaction(async (inner) => {
          await insert(inner, 'joined')
          inner.changed('joined', 'x')
        })
        throw new Error('on purpose')
      }),
    ).rejects.toThrow('on purpose')
    expect(await stored('joined')).toBe(false)
    expect(await changesOf('joined')).toEqual([])
  })

  test('writes one change per subject, last, and rings after the commit', async () => {
    let seenAtRing: Promise<string[]> | undefined
    const stop = app.platform.store.bell.onRing(() => void (seenAtRing ??= changesOf('ringing')))
    await ctx.transaction(async (inner) => {
      inner.changed('ringing', 'a')
      inner.changed('ringing', 'b')
      inner.changed('ringing', 'a')
      await insert(inner, 'ringing')
    })
    stop()
    expect(await seenAtRing).toEqual(['a', 'b'])
  })

  test('is the only place where a change can be told', () => {
    expect(() => {
      ctx.changed('facts', 'x')
    }).toThrow(/belongs inside ctx.transaction/)
  })

  test('that fails in its last statement leaves nothing', async () => {
    const [fail, mend] =
      TEST_DIALECT === 'sqlite'
        ? [sql`create trigger refuse before insert on changes begin select raise(abort, 'refused'); end`, sql`drop trigger refuse`]
        : [sql`alter table changes add constraint refuse check (topic <> 'refused')`, sql`alter table changes drop constraint refuse`]
    await fail.execute(app.platform.store.db)
    const write = () =>
      ctx.transaction(async (inner) => {
        await insert(inner, 'refused')
        inner.changed('refused', 'x')
      })
    // As text: under Jest the driver's error can be of another file's realm.
    expect(await write().catch(String)).toMatch(/refuse/)
    expect(await stored('refused')).toBe(false)
    await mend.execute(app.platform.store.db)
    await write()
    expect(await stored('refused')).toBe(true)
  })

  test('numbers its changes in the order of the commits, with twenty writing at once', async () => {
    let seen = 0
    const missed: number[] = []
    const known = new Set<number>()
    // A reader that only looks beyond the last number it saw must see every number.
    const reading = { on: true }
    const reader = (async () => {
      while (reading.on) {
        const rows = await ctx.db.selectFrom('changes').select('seq').where('seq', '>', seen).orderBy('seq').execute()
        for (const { seq } of rows) known.add(seq)
        seen = rows.at(-1)?.seq ?? seen
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    await Promise.all(
      Array.from({ length: 20 }, async (_, writer) => {
        for (let round = 0; round < 10; round++)
          await ctx.transaction(async (inner) => {
            inner.changed('order', `${writer}-${round}`)
            // Some take longer between their first statement and their commit.
            await insert(inner, `order-${writer}-${round}`)
            if ((writer + round) % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 2))
          })
      }),
    )
    const all = (await ctx.db.selectFrom('changes').select('seq').execute()).map(({ seq }) => seq)
    await until(() => seen === Math.max(...all))
    reading.on = false
    await reader
    for (const seq of all) if (!known.has(seq)) missed.push(seq)
    expect(all.length).toBeGreaterThanOrEqual(200)
    expect(missed).toEqual([])
  })
})
