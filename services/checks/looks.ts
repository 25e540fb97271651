import { maskText, maskValue } from '../../monitoring/probes/mask'

/** What stands in place of a secret, wherever people see a check. */
export const dots = '•••••'

const alsoSecret = /(?:^|[^a-z])(?:auth|key|sig|session|sid|credentials?|proof|hmac|otp|pin)s?(?:$|[^a-z])/

/** `apiKey`, `accesstoken`, `appsecret_proof` and `x-api-key`, but not `keyboard`. */
export const namesSecret = (name: string): boolean =>
  maskValue(name, 'x').masked || alsoSecret.test(name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase())

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** A piece of an address that only whoever was given it can know: the end of a hook, the id of a document. */
export function looksSecret(piece: string): boolean {
  const text = decoded(piece)
  if (text === dots) return true
  if (text.length < 12) return false
  if (maskText(text) !== text) return true
  return (text.match(/[A-Za-z0-9]{16,}/g) ?? []).some((run) => {
    if (/^[0-9a-f]{24,}$/i.test(run) && /\d/.test(run)) return true
    const turns = run.match(/[a-z](?=[A-Z0-9])|[A-Z](?=[0-9])|[0-9](?=[A-Za-z])/g)?.length ?? 0
    return turns >= run.length / 5
  })
}

/** Each piece of an address' path, where it looks secret, replaced by what `visit` answers. */
export const inPath = (path: string, visit: (piece: string, index: number) => string): string =>
  path
    .split(/([/\\])/)
    .map((piece, index) => (index % 2 === 0 && looksSecret(piece) ? visit(piece, index / 2) : piece))
    .join('')

/** Any text of a check for people: without what looks like a secret, and without those that are known. */
export function masked(text: string, known: readonly string[] = []): string {
  let shown = text
  for (const secret of known) if (secret.length >= 6) shown = shown.replaceAll(secret, dots)
  return maskText(shown)
}
