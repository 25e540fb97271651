import type { IncomingMessage } from 'node:http'
import type { Request } from 'express'
import type { Context } from '../context'
import { asError, Forbidden, OtherSite } from '../errors'
import type { Refusal } from '../permissions'
import type { Dashboard } from './http'
import { contextFor } from './request'
import type { Access } from './endpoint'

export type TakeRefusal = (ctx: Context, refusal: Refusal) => void

/** Tells the product when somebody who is signed in was refused. The answer does not wait for it. */
export function tellRefusal(dashboard: Dashboard, request: IncomingMessage, error: unknown): void {
  if (!(error instanceof Forbidden)) return
  const { method = '', url = '' } = request
  // Hot endpoints come without Express, and have no parameters.
  const path = ((request as Partial<Request>).route as { path: string } | undefined)?.path ?? url.replace(/\?.*/s, '')
  const reason = error instanceof OtherSite ? 'another site' : null
  dashboard.sessions
    .identify(request, { touch: false })
    .then((identity) => {
      if (!identity) return
      dashboard.refused(contextFor(dashboard, identity, request), {
        path,
        method,
        permission: permissionOf(dashboard, method, path),
        reason,
      })
    })
    .catch((error: unknown) => {
      dashboard.platform.log.warn({ err: asError(error) }, 'a refusal could not be told of')
    })
}

function permissionOf({ routes }: Dashboard, method: string, path: string): Access | null {
  for (const { pages, actions, endpoints } of routes) {
    const found =
      endpoints.find((one) => one.method === method && one.path === path) ??
      (method === 'POST' ? actions : pages).find((one) => one.path === path)
    if (found) return found.permission
  }
  return null
}
