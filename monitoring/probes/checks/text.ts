/** What a form can hold of what a protocol speaks: \r \n \t \0 \xHH and \\. */
export function bytesOf(text: string): Buffer {
  const named: Record<string, string> = { r: '\r', n: '\n', t: '\t', '0': '\0', '\\': '\\' }
  const parts: Buffer[] = []
  for (const [part, name, hex] of text.matchAll(/\\([rnt0\\])|\\x([0-9a-f]{2})|\\|[^\\]+/gi)) {
    if (hex !== undefined) parts.push(Buffer.from(hex, 'hex'))
    else parts.push(Buffer.from(name === undefined ? part : (named[name.toLowerCase()] ?? part)))
  }
  return Buffer.concat(parts)
}
