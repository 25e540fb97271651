import Bowser from 'bowser'

/** "Firefox on Linux", as far as the browser says so. */
export function deviceOf(userAgent: string | null): string {
  if (!userAgent) return 'Unknown device'
  const { browser, os } = Bowser.parse(userAgent)
  if (browser.name) return os.name ? `${browser.name} on ${os.name}` : browser.name
  // Programs call themselves "curl/8.5.0".
  return /^[\w.-]{1,40}/.exec(userAgent)?.[0] ?? 'Unknown device'
}
