import type { Server } from 'node:http'
import { Server as NetServer } from 'node:net'

/** Long enough for a client that sends one request after the other to be told; each is told with its next answer. */
const tellMs = 300
/** Longer than any answer takes, and shorter than PM2 waits. */
const patienceMs = 6000

/**
 * Stops accepting and lets every request that has been sent be answered. Node's own `close()` cuts connections that are idle
 * at that moment, on which the next request may already be on its way; here each is told first that its answer is the last one.
 */
export async function stopServing(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    NetServer.prototype.close.call(server, () => {
      resolve()
    })
  })
  server.prependListener('request', (_request, response) => response.setHeader('Connection', 'close'))
  let idle: NodeJS.Timeout | undefined
  const told = setTimeout(() => {
    idle = setInterval(() => {
      // Closes those that are idle, and does nothing else a second time.
      server.close()
    }, 50)
  }, tellMs)
  // A client that never finishes must not keep the process from ending.
  const impatient = setTimeout(() => {
    server.closeAllConnections()
  }, patienceMs)
  await closed
  for (const timer of [told, idle, impatient]) clearTimeout(timer)
  // Node's own, for the timer that it keeps.
  server.close()
}
