import { randomBytes, timingSafeEqual } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Context } from '../../monitoring/context'

const fileOf = (ctx: Context): string => join(ctx.platform.config.dataDir, 'claim-token')

/** The one-time token of an unclaimed console: the same after a restart, gone with the claim. */
export function claimToken(ctx: Context): string {
  try {
    writeFileSync(fileOf(ctx), randomBytes(24).toString('base64url'), { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return readFileSync(fileOf(ctx), 'utf8').trim()
}

/** Makes none: after the claim that won there is no token, also for the one that came second. */
export function isClaimToken(ctx: Context, token: string): boolean {
  const file = fileOf(ctx)
  const expected = Buffer.from(existsSync(file) ? readFileSync(file, 'utf8').trim() : '')
  const given = Buffer.from(token)
  return expected.length > 0 && given.length === expected.length && timingSafeEqual(given, expected)
}

export function dropClaimToken(ctx: Context): void {
  rmSync(fileOf(ctx), { force: true })
}
