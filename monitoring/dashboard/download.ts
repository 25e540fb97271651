import type { ServerResponse } from 'node:http'

/** A file that is made while it is sent, so that its size is bounded by nothing but the reader's patience. */
export class Download {
  constructor(
    /** Plain: letters, digits, dots and dashes. */
    readonly name: string,
    readonly type: string,
    readonly parts: AsyncIterable<string>,
  ) {}
}

/** Asks for a part when the one before has left, and for none any more when nobody reads them. */
export async function sendDownload(response: ServerResponse, { name, type, parts }: Download): Promise<void> {
  for await (const part of parts) {
    if (response.destroyed) return
    // Only now: if the first part cannot be made, a problem is answered in its place.
    if (!response.headersSent) response.writeHead(200, { 'Content-Type': type, 'Content-Disposition': `attachment; filename="${name}"` })
    if (response.req.method === 'HEAD') break
    if (!response.write(part)) await drained(response)
  }
  response.end()
}

const drained = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      response.off('drain', done).off('close', done)
      resolve()
    }
    response.on('drain', done).on('close', done)
  })
