/** What must not be shown of environments, command lines and logs: by how it is called, and by how it looks. */

export const hidden = '•••••'

/** Wherever they stand in a name, in any case: DB_PASSWORD, githubToken, APIKEY, MYSQL_PWD. */
const secretName =
  /pass(?:word|wd|phrase|code)?(?![a-z])|pwd$|secret|token|credential|cookie|authori[sz]ation|signature|hash$|salt$|(?:^|[_-])(?:pat|otp|pin|dsn|auth)$|api[_-]?key|access[_-]?key|private|key(?:_?(?:id|base64|b64|pem|file))?$/i
/** The shell's own, which end like secrets. */
const plainNames = new Set(['PWD', 'OLDPWD', 'INIT_CWD', 'SSH_AUTH_SOCK', 'XAUTHORITY'])

const namesSecret = (name: string): boolean => !plainNames.has(name) && secretName.test(name)

const addressPassword = /([a-z][a-z0-9+.-]{0,20}:\/\/[^\s:/@'"]{0,200}):[^\s/@'"]{1,500}@/gi
const addressUser = /([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s:/@'"]{16,500}@/gi
const assigned =
  /((?:[?&;\s,{(]|^|--?|["'])[\w.-]{0,60}(?:pass(?:word|wd|phrase)?|pwd|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key|signature|authorization)["']?\s{0,3}[=:]\s{0,3})(?:"[^"]{1,500}"|'[^']{1,500}'|(?:(?:Bearer|Basic)\s+)?[^\s&;,"'})]{1,500})/gi
const bearer = /\b(Bearer|Basic)\s+[\w.~+/=-]{8,4000}/gi
const pem = /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/g
const known =
  /(?<![A-Za-z0-9])(?:eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*){0,4}|A(?:KI|SI|BI|CC)A[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abeoprs]-[\w-]{10,}|[sr]k_(?:live|test)_\w{10,}|sk-[\w-]{16,}|AIza[\w-]{30,}|EAA[A-Za-z0-9]{30,}|glpat-[\w-]{16,}|npm_\w{30,})/g
const candidate = /[A-Za-z0-9+_=-]{20,}/g
/** As long as a secret key of AWS, which may have slashes in it. */
const fortyLong = /(?<![\w+/=.-])[A-Za-z0-9+][A-Za-z0-9+/]{39}(?![\w+/=.-])/g
/** A line of a key or a certificate whose beginning is not there. */
const bodyLine = /^(\s*)[A-Za-z0-9+/]{40,76}={0,2}(\s*)$/

/** Addresses that whoever knows them may write to. */
const hooks =
  /(hooks\.slack(?:-gov)?\.com\/(?:services|workflows|triggers)\/|discord(?:app)?\.com\/api\/(?:v\d+\/)?webhooks\/|webhook\.office\.com\/webhookb2\/)[^\s/"'?#)][^\s"'?#)]{0,500}/gi

const botAddress = /(api\.telegram\.org\/(?:file\/)?bot)[^\s"'/?#)]{1,500}/gi

const cookies = /((?:set-)?cookie2?["']?\s{0,3}[:=]\s{0,3})(\[[^\]\n]{1,4000}\]|"[^"\n]{1,4000}"|'[^'\n]{1,4000}'|[^"'\n[]{1,4000})/gi
const cookie = /([^\s=;,"'[\]]{1,200})=([^;"'\]\n]{1,4000})/g
const aboutCookies = new Set(['path', 'domain', 'expires', 'max-age', 'samesite', 'priority', 'version'])

const hideCookies = (_: string, head: string, values: string): string =>
  head + values.replace(cookie, (pair, name: string) => (aboutCookies.has(name.toLowerCase()) ? pair : `${name}=${hidden}`))

/** Programs that take a secret by an option which says nothing of it. */
const programs = {
  signIn: /^(?:curl|wget|lftp)$/,
  httpie: /^(?:xh|https?)$/,
  redis: /^redis-cli$/,
  sshpass: /^sshpass$/,
  mysql: /^(?:mysql|mariadb)(?!d(?:_safe)?$)[a-z-]*$/,
  mongo: /^mongo(?:sh|dump|restore|export|import)?$/,
  ldap: /^ldap[a-z]+$/,
} as const
type Program = keyof typeof programs

const mayTellSecrets =
  /(?<![\w.-])(?:curl|wget|lftp|xh|https?|redis-cli|sshpass|mysql|mariadb|mongo|ldap)[\w-]*\s|(?<![\w-])--[\w-]{0,60}(?:pass|pwd|secret|token|key|auth|credential)/i
const tokens = /\s+|(?:"[^"\n]{0,1000}"|'[^'\n]{0,1000}'|[^\s"']+|["'])+/g
const secretOption =
  /^--?(?:[\w-]*-)?(?:pass(?:word|wd|phrase)?|pwd|secret|token|api-?key|access-?key|secret-?key|auth|credentials?|private-?key)$/i

function programOf(word: string): Program | null {
  const name = /([\w-]+)$/.exec(word)?.[1] ?? ''
  for (const [program, pattern] of Object.entries(programs)) if (pattern.test(name) && !word.startsWith('-')) return program as Program
  return null
}

const unquoted = (word: string): string => word.replace(/^["']|["']$/g, '')
const hidePassword = (word: string): string => word.replace(/^([^:]{0,200}):.+$/s, `$1:${hidden}`)

/** One word of a command, by the one before it; null: nothing is known of it. */
function maskWord(word: string, before: string, program: Program | null): string | null {
  const isValue = !word.startsWith('-')
  if (program === 'signIn' || program === 'httpie') {
    const asks = program === 'signIn' ? /^(?:-[A-Za-z]*[uU]|--user|--proxy-user)$/ : /^(?:-a|--auth)$/
    if (asks.test(before)) return hidePassword(unquoted(word))
    const [, option, value] = /^(-[uUa]|--(?:user|proxy-user|auth)=)(["']?[^:=/]{1,200}:.+)$/s.exec(word) ?? []
    if (option !== undefined && value !== undefined) return option + hidePassword(unquoted(value))
  }
  if (isValue && program === 'redis' && before === '-a') return hidden
  if (isValue && program === 'sshpass' && before === '-p') return hidden
  if (isValue && program === 'mongo' && before === '-p') return hidden
  if (isValue && program === 'ldap' && before === '-w') return hidden
  // Where a space stands in between, mysql asks for it, and the next word is a database.
  if ((program === 'mysql' || program === 'sshpass') && /^-p./.test(word)) return `-p${hidden}`
  return null
}

/** The words of a command line, those hidden that are secrets by their place; the rest is for `mask`. */
function maskWords(words: readonly string[], mask: (word: string) => string): string[] {
  let program: Program | null = null
  let before = ''
  return words.map((word) => {
    if (/^\s*$/.test(word)) return word
    const masked = secretOption.test(before) && !word.startsWith('-') ? hidden : maskWord(word, before, program)
    // What sshpass runs has options of its own.
    if (program === 'sshpass' && !word.startsWith('-') && !/^-[fdpP]$/.test(before)) program = null
    program = /^(?:\||\|\||&&?|;)$/.test(word) ? null : masked === null ? (programOf(word) ?? program) : program
    before = word
    return masked ?? mask(word)
  })
}

/** A command line that stands in a text. */
function maskCommandsIn(text: string): string {
  if (!mayTellSecrets.test(text)) return text
  const inner = (word: string): string => {
    const [, open, inside, close] = /^([^"']{0,40}["'])([^]*\s[^]*)(["'])$/.exec(word) ?? []
    return open === undefined ? word : `${open}${maskCommandsIn(inside ?? '')}${close}`
  }
  return maskWords(text.match(tokens) ?? [], inner).join('')
}

/** Letters and digits mixed as no word and no path is. */
function looksRandom(text: string): boolean {
  if (!/\d/.test(text) || !/[A-Za-z]/.test(text)) return false
  if (/^[0-9a-f]{32,}$/i.test(text)) return true
  // Words with dashes or underscores between them are names: claude-opus-4-20250514, node_modules_20.
  if (/^[A-Za-z]*\d*(?:[-_=+][A-Za-z]*\d*){2,}$/.test(text) && !/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) return false
  const seen = new Map<string, number>()
  for (const letter of text) seen.set(letter, (seen.get(letter) ?? 0) + 1)
  let bits = 0
  for (const count of seen.values()) bits -= (count / text.length) * Math.log2(count / text.length)
  const turns = text.match(/[a-z](?=[A-Z0-9])|[A-Z](?=[0-9])|\d(?=[A-Za-z])/g)?.length ?? 0
  return bits >= 3.4 && turns >= text.length / 6
}

/** No path, though slashes may be in it. */
const isBody = (text: string): boolean =>
  looksRandom(text.trim()) && /[a-z]/.test(text) && /[A-Z]/.test(text) && text.split('/').length <= text.length / 10

/** Text of any kind (a line of a log, a command line) without what looks like a secret in it. */
export function maskText(text: string): string {
  return maskCommandsIn(text)
    .replace(pem, hidden)
    .replace(hooks, `$1${hidden}`)
    .replace(botAddress, `$1${hidden}`)
    .replace(cookies, hideCookies)
    .replace(addressPassword, `$1:${hidden}@`)
    .replace(addressUser, `$1${hidden}@`)
    .replace(bearer, `$1 ${hidden}`)
    .replace(assigned, `$1${hidden}`)
    .replace(known, hidden)
    .replace(fortyLong, (found) => (isBody(found) ? hidden : found))
    .replace(bodyLine, (line, before: string, after: string) => (isBody(line) ? `${before}${hidden}${after}` : line))
    .replace(candidate, (found) => (looksRandom(found) ? hidden : found))
}

/** A variable's value as it may be shown, and whether something of it is hidden. */
export function maskValue(name: string, value: string): { value: string; masked: boolean } {
  if (value !== '' && namesSecret(name)) return { value: hidden, masked: true }
  const shown = maskText(value)
  return { value: shown, masked: shown !== value }
}

/** A command line as it may be shown: also what follows an option that asks for a secret. */
export const maskCommand = (words: readonly string[]): string => maskWords(words, maskText).join(' ')

const longestKey = 200

/** Told one line after the other, whether it is inside of a private key that began on a line before. */
export function followKeys(): (line: string) => boolean {
  let left = 0
  return (line) => {
    const wasInside = left > 0
    const begins = line.search(/-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?!.*-----END)/)
    const ends = line.includes('-----END ')
    left = begins >= 0 ? longestKey : ends ? 0 : Math.max(0, left - 1)
    return wasInside && begins < 0
  }
}
