import { z } from 'zod'
import { Routes, view } from './endpoint'
import { documentOf } from './openapi'

declare module '../../views/views' {
  interface Views {
    'docs/swagger': { assets: Readonly<Record<string, string>> }
    'docs/redoc': { assets: Readonly<Record<string, string>> }
  }
}

/** ReDoc writes style elements and starts a worker from a blob; nothing else on this console may. */
const redocPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** The API described by itself: as a document, and two ways to read it. Public: it says nothing that the source does not. */
export function docsOf(features: readonly Routes[], assets: Readonly<Record<string, string>>, version: string): Routes {
  const docs = new Routes('documentation')
  let document: ReturnType<typeof documentOf> | undefined
  docs.endpoint(
    'GET /openapi.json',
    { summary: 'This document', permission: 'public', response: z.looseObject({ openapi: z.string() }) },
    () => Promise.resolve((document ??= documentOf([...features, docs], version))),
  )
  docs.page('/docs', { permission: 'public' }, () => view('docs/swagger', { assets }, { title: 'API' }))
  docs.page('/redoc', { permission: 'public', contentSecurityPolicy: redocPolicy }, () => view('docs/redoc', { assets }, { title: 'API' }))
  return docs
}
