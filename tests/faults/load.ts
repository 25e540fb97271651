import { Agent, request } from 'node:http'

export interface Load {
  readonly acknowledged: Set<string>
  /** What else happened, counted: `503`, `refused`, `cut` (the request was sent and no answer came). */
  readonly others: Map<string, number>
  stop(): Promise<void>
}

/**
 * Clients that post one event after the other, each over its own connection. One that gets no answer sends the same event
 * again, as a reporter does that cannot know whether it was stored.
 */
export function startLoad(url: string, headers: Readonly<Record<string, string>>, clients = 16): Load {
  const acknowledged = new Set<string>()
  const others = new Map<string, number>()
  const count = (what: string) => others.set(what, (others.get(what) ?? 0) + 1)
  const state: { running: boolean } = { running: true }
  const stopped = (): boolean => !state.running

  async function client(number: number): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let index = 0; state.running; index++) {
      const id = `client-${number}-${index}`
      for (;;) {
        const status = await post(`${url}/api/events`, agent, headers, id)
        if (status === '201') {
          acknowledged.add(id)
          break
        }
        count(status)
        // At the end nobody may be there any more.
        if (stopped()) break
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }
    agent.destroy()
  }

  const all = Promise.all(Array.from({ length: clients }, (_, number) => client(number)))
  return {
    acknowledged,
    others,
    async stop() {
      state.running = false
      await all
    },
  }
}

function post(url: string, agent: Agent, headers: Readonly<Record<string, string>>, id: string): Promise<string> {
  const body = JSON.stringify({ events: [{ id, type: 'load', source: 'faults', data: { filler: 'x'.repeat(200) } }] })
  return new Promise((resolve) => {
    const sent = request(url, {
      method: 'POST',
      agent,
      headers: { ...headers, 'Content-Type': 'application/json', 'Content-Length': body.length },
    })
    sent.once('response', (response) => {
      response.resume()
      response.once('end', () => {
        resolve(String(response.statusCode))
      })
      response.once('error', () => {
        resolve('cut')
      })
    })
    sent.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'ECONNREFUSED' ? 'refused' : 'cut')
    })
    sent.end(body)
  })
}
