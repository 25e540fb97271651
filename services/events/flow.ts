import type { Context } from '../../monitoring/context'

/** What waits to be committed, and how long the last ones took from being handed in to being answered for. */
export interface Flow {
  waiting: number
  /** Milliseconds, since somebody last took them; bounded. */
  took: number[]
}

const most = 2000

export const flowOf = (ctx: Pick<Context, 'platform'>): Flow => ctx.platform.keep('events.flow', () => ({ waiting: 0, took: [] }))

/** Counts `work` as waiting until it has ended. */
export async function counted<T>(ctx: Pick<Context, 'platform'>, work: () => Promise<T>): Promise<T> {
  const flow = flowOf(ctx)
  const from = performance.now()
  flow.waiting += 1
  try {
    const result = await work()
    if (flow.took.length < most) flow.took.push(performance.now() - from)
    return result
  } finally {
    flow.waiting -= 1
  }
}
