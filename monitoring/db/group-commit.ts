import { isInsideTransaction } from '../context'
import { Unavailable } from '../errors'

interface Call<Item> {
  readonly items: readonly Item[]
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** More than this is written in several transactions, so that none of them holds the others up for long. */
const mostItems = 5000

/**
 * Collects what callers hand in during one turn of the event loop, or while the previous batch is being written,
 * and writes it in one transaction; each caller is answered after the commit. One fsync serves all of them.
 */
export function groupCommit<Item>(write: (items: readonly Item[]) => Promise<void>): (items: readonly Item[]) => Promise<void> {
  const waiting: Call<Item>[] = []
  let running = false

  function nextBatch(): Call<Item>[] {
    let count = 0
    const end = waiting.findIndex(({ items }, index) => (count += items.length) > mostItems && index > 0)
    return waiting.splice(0, end < 0 ? waiting.length : end)
  }

  async function flush(): Promise<void> {
    while (waiting.length > 0) {
      const batch = nextBatch()
      try {
        await write(batch.length === 1 && batch[0] ? batch[0].items : batch.flatMap(({ items }) => items))
        for (const { resolve } of batch) resolve()
      } catch (error) {
        // What one of them handed in must not fail the others. A database that is away fails all of them, without waiting for it again.
        if (batch.length === 1 || error instanceof Unavailable) for (const { reject } of batch) reject(error)
        else for (const { items, resolve, reject } of batch) await write(items).then(resolve, reject)
      }
    }
    running = false
  }

  return (items) =>
    new Promise((resolve, reject) => {
      // It would wait for the commit of a transaction that waits for it.
      if (isInsideTransaction()) throw new Error('Inside a transaction, write with the ctx that it was given')
      waiting.push({ items, resolve, reject })
      if (running) return
      running = true
      setImmediate(() => void flush())
    })
}
