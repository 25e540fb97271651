import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { z } from 'zod'
import type { Context } from '../../monitoring/context'

export { dots } from './looks'

/** Secrets of one check by where they belong: `url password`, `header authorization`, `query token`, `body`, `token`. */
export type Secrets = Readonly<Record<string, string>>

const Kept = z.record(z.string(), z.string())

/** Thrown with words for people, where the key is another one than it was. */
export class CannotUnseal extends Error {}

const keyOf = (ctx: Context): { key: Buffer; name: string } =>
  ctx.platform.keep('checks.key', () => {
    const key = Buffer.from(hkdfSync('sha256', ctx.platform.config.serverSecret, '', 'secrets of checks', 32))
    return { key, name: createHash('sha256').update(key).digest('hex').slice(0, 8) }
  })

/** Encrypted for this check only: the text of one does not open as another's. */
export function seal(ctx: Context, id: string, secrets: Secrets): string | null {
  if (Object.keys(secrets).length === 0) return null
  const { key, name } = keyOf(ctx)
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(id))
  const sealed = Buffer.concat([cipher.update(JSON.stringify(secrets)), cipher.final(), cipher.getAuthTag()])
  return ['v1', name, iv.toString('base64url'), sealed.toString('base64url')].join('.')
}

export function unseal(ctx: Context, id: string, sealed: string | null): Secrets {
  if (sealed === null) return {}
  const { key, name } = keyOf(ctx)
  const [version, by = '', iv = '', text = ''] = sealed.split('.')
  if (version !== 'v1' || by !== name)
    throw new CannotUnseal(
      'Its stored secrets cannot be read, because SERVER_SECRET is not the one they were stored with. Enter them again.',
    )
  try {
    const bytes = Buffer.from(text, 'base64url')
    const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(iv, 'base64url'))
      .setAAD(Buffer.from(id))
      .setAuthTag(bytes.subarray(-16))
    return Kept.parse(JSON.parse(Buffer.concat([decipher.update(bytes.subarray(0, -16)), decipher.final()]).toString()))
  } catch {
    throw new CannotUnseal('Its stored secrets are damaged. Enter them again.')
  }
}

/** Of a heartbeat's address: who reads the database cannot ping with it. */
export const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex')

export const newToken = (): string => randomBytes(32).toString('base64url')
