import { Invalid } from '../../monitoring/errors'
import type { Told } from './kinds'
import { dots, inPath, looksSecret, masked, namesSecret } from './looks'
import type { Secrets } from './seal'

/** Headers that say nothing secret; every other one may. */
const harmless =
  /^(?:accept|accept-(?:charset|encoding|language)|cache-control|content-(?:type|language)|dnt|if-(?:modified|unmodified)-since|if-(?:none-)?match|origin|pragma|range|referer|user-agent|x-requested-with)$/i
const isSecretHeader = (name: string, value: string): boolean => !harmless.test(name) || value === dots || masked(value) !== value
const hasSecret = (body: string): boolean => /pass(?:word|wd|phrase)|secret|token|api[_-]?key|credential|authorization/i.test(body)

/** Given each secret with the name of its place and the field in which people type it, answers what stands there afterwards. */
type Visit = (place: string, field: string, value: string) => string

/**
 * The password of an address; without one, what stands in its place in addresses of the web. Of its parameters those
 * named so, and of them and of a path in the web what looks so.
 */
function inAddress(url: string, visit: Visit): string {
  let nameless = 0
  return (
    url
      .replace(/^([a-z][a-z+.-]*:\/\/)([^/?#\\]*)@/i, (whole, protocol: string, person: string) => {
        const colon = person.indexOf(':')
        if (colon >= 0) return `${protocol}${person.slice(0, colon)}:${visit('url password', 'spec.url', person.slice(colon + 1))}@`
        return /^http/i.test(protocol) && person !== '' ? `${protocol}${visit('url user', 'spec.url', person)}@` : whole
      })
      .replace(/^(https?:[/\\]+[^/?#\\]*)([^?#]*)/i, (_whole, begin: string, path: string) => {
        return begin + inPath(path, (piece, index) => visit(`url path ${index}`, 'spec.url', piece))
      })
      .replace(/([?&#])([^=&#]+)=([^&#]*)/g, (whole, sign: string, name: string, value: string) =>
        value !== '' && (namesSecret(name) || looksSecret(value)) ? `${sign}${name}=${visit(`url ${name}`, 'spec.url', value)}` : whole,
      )
      // A parameter without a name is one all the same.
      .replace(/([?&])([^=&#]+)(?=&|#|$)/g, (whole, sign: string, value: string) => {
        const place = `url parameter ${++nameless}`
        return looksSecret(value) ? `${sign}${visit(place, 'spec.url', value)}` : whole
      })
  )
}

/** Walks over what is secret in what a check is told. */
function walk(check: Told, visit: Visit): Told {
  switch (check.kind) {
    case 'http': {
      const { url, headers, body } = check.spec
      return {
        kind: 'http',
        spec: {
          ...check.spec,
          url: inAddress(url, visit),
          headers: headers.map(({ name, value }, index) => ({
            name,
            value:
              value !== '' && isSecretHeader(name, value)
                ? visit(`header ${name.toLowerCase()}`, `spec.headers.${index}.value`, value)
                : value,
          })),
          body: body !== null && (hasSecret(body) || body === dots) ? visit('body', 'spec.body', body) : body,
        },
      }
    }
    case 'tcp': {
      const { send } = check.spec
      return {
        kind: 'tcp',
        spec: { ...check.spec, send: send !== null && (hasSecret(send) || send === dots) ? visit('send', 'spec.send', send) : send },
      }
    }
    case 'postgres':
      return { kind: 'postgres', spec: { ...check.spec, url: inAddress(check.spec.url, visit) } }
    case 'redis':
      return { kind: 'redis', spec: { ...check.spec, url: inAddress(check.spec.url, visit) } }
    default:
      return check
  }
}

/** As it is written into the trail: what a person typed where no secret belongs may look like one all the same. */
export function forTrail(value: unknown): unknown {
  if (typeof value === 'string') return masked(value)
  if (Array.isArray(value)) return value.map(forTrail)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, forTrail(one)]))
}

/** Takes the secrets out, and leaves dots. */
export function hide(check: Told): { hidden: Told; secrets: Secrets } {
  const secrets: Record<string, string> = {}
  const hidden = walk(check, (place, _field, value) => {
    secrets[place] = value
    return dots
  })
  return { hidden, secrets }
}

/** Puts them back. */
export const reveal = (hidden: Told, secrets: Secrets): Told =>
  walk(hidden, (place, _field, value) => (value === dots ? (secrets[place] ?? '') : value))

/** Whom a secret is told. */
function addresseeOf({ kind, spec }: Told): string {
  if (kind === 'tcp') return `${spec.host}:${spec.port}`
  if (kind !== 'http' && kind !== 'postgres' && kind !== 'redis') return kind
  return URL.canParse(spec.url) ? `${new URL(spec.url).protocol}//${new URL(spec.url).host}` : ''
}

/** What a person gave, with the secrets that are kept where they left the dots: for the same addressee only, or whoever may edit could have them. */
export function fill(given: Told, before: { hidden: Told; secrets: Secrets } | null): Told {
  return walk(given, (place, field, value) => {
    if (value !== dots) return value
    const kept = before?.secrets[place]
    if (kept === undefined) throw new Invalid([{ field, message: 'These dots stand for no secret that is kept: enter it.' }])
    if (!before || addresseeOf(before.hidden) !== addresseeOf(given))
      throw new Invalid([{ field, message: 'Enter the secret again: it is kept for another address.' }])
    return kept
  })
}
