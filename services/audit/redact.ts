const hidden = '•••••'
const longest = 2000

/** Words that name a secret wherever they stand in a name; `key` names one only at its end: `key_id` and `keys` are no keys. */
const secretWords = /(?:^|_)(?:password|passwd|passphrase|secret|token|hash|cookie|credential|authorization|signature)s?(?:_|$)|(?:^|_)key$/

const namesSecret = (name: string): boolean => secretWords.test(name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase())

/** Text that both databases can hold, of a length that people read. */
export const plain = (text: string): string => {
  const held = text.replaceAll('\0', '\uFFFD').toWellFormed()
  return held.length > longest ? `${held.slice(0, longest).toWellFormed()}… (${held.length} characters)` : held
}

/** As JSON, without what is named like a secret, at any depth: the last gate before what can never be taken back. */
export const redacted = (said: Readonly<Record<string, unknown>>): string =>
  JSON.stringify(said, (name, value: unknown) => {
    if (value !== null && typeof value !== 'boolean' && namesSecret(name)) return hidden
    return typeof value === 'string' ? plain(value) : value
  })
