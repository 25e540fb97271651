import type { Views, Health, NavItem, Shell } from '../../views/views'
import type { Platform } from '../context'
import { initials } from '../markup'
import { may, type Rights } from '../permissions'
import { openTemplates, type Templates } from '../templates'
import { readAssets } from './assets'
import type { Answer, Flash } from './endpoint'
import type { Compressed } from './gzip'
import { openTo, type NavEntry } from './nav'
import type { Principal } from './session'

/** A view with its body rendered, ready to be put into the page around it. */
export type Page = Extract<Answer, { kind: 'view' }> & { readonly body: string; readonly seq: number; readonly compressedBody?: Compressed }

export interface Renderer {
  readonly assets: Readonly<Record<string, string>>
  readonly templates: Templates
  /** What stands around every page is asked for again: organisations, or something else that everybody sees, were changed. */
  forget(): void
  body(answer: Extract<Answer, { kind: 'view' }>): string
  /** The page around a body, in three parts: the body of a shared page is not copied, nor compressed, for each who asks. */
  page(
    page: Page,
    principal: Principal | undefined,
    path: string,
    flash: Flash | null,
  ): Promise<{ before: string; body: string; after: string }>
}

/** Where the body goes; no text of ours or of anybody else contains it. */
const place = '\u0001body\u0001'

/** For whoever comes from outside, also when somebody is signed in in the same browser. */
const isEntrance = (name: keyof Views): boolean => /^(session|invites|resets)\/|^status\/show$/.test(name)

const whole = (html: string) => ({ before: html, body: '', after: '' })

/** Topics that every page follows whose viewer may: the state at the foot of the sidebar. */
const everywhere = ['health']

/** Shorter than anybody notices, and long enough that a page asked for hundreds of times a second does not ask the database as often. */
const sharedMs = 250

export function openRenderer(
  platform: Platform,
  nav: readonly NavEntry[],
  product: {
    health(org: string): Promise<Health>
    organisationsOf(userId: string): Promise<readonly { id: string; name: string }[]>
    organisations(): Promise<number>
    mayFollow(rights: Rights, topic: string): boolean
  },
): Renderer {
  const assets = readAssets()
  const templates = openTemplates(assets, platform.config.timezone)
  const { port, hostName, timezone: homeZone } = platform.config
  const instance = `${hostName} · port ${port}`
  const surroundings = new Map<string, { until: number; known: Promise<readonly [Health, number]> }>()

  /** What the frame of every page asks the database; the same for everybody of an organisation who asks within the same moment. */
  function around(org: string): Promise<readonly [Health, number]> {
    const now = performance.now()
    const last = surroundings.get(org)
    if (last && last.until > now) return last.known
    const known = Promise.all([product.health(org), product.organisations()])
    surroundings.set(org, { until: now + sharedMs, known })
    known.catch(() => surroundings.delete(org))
    return known
  }

  async function organisationFor({ id, org_id, org_name }: Principal): Promise<Shell['organisation']> {
    const others = (await product.organisationsOf(id)).filter((one) => one.id !== org_id)
    return { current: org_name, others }
  }

  return {
    assets,
    templates,
    forget: () => {
      surroundings.clear()
    },
    body: ({ name, props }) => templates.render(name, props as Views[typeof name]),
    async page({ name, title, body, live, seq }, principal, path, flash) {
      if (name.startsWith('docs/')) return whole(body)
      if (!principal || isEntrance(name)) return whole(templates.render('shared/plain', { title, body, assets, theme: 'auto' }))
      const timezone = principal.timezone ?? homeZone
      const now = platform.now()
      const [health, organisations] = await around(principal.org_id)
      const topics = [...new Set([...everywhere, ...(live ?? [])])].filter((topic) => product.mayFollow(principal.rights, topic))
      const frame = templates.render('shared/shell', {
        title,
        body: place,
        // A question that was opened as a page has the frame of the dialog in itself.
        dialog: !name.endsWith('/confirm'),
        assets,
        theme: principal.theme,
        path,
        user: { id: principal.id, name: principal.username, initials: initials(principal.username), role: principal.role },
        organisation: organisations > 1 ? await organisationFor(principal) : null,
        nav: navFor(openTo(nav, principal.rights, principal.org_id), path),
        health: may(principal, 'health.read') ? health : null,
        timezone,
        zone: zoneName(timezone, now),
        now,
        instance,
        live: topics.length > 0 ? { topics, since: seq } : null,
        flash,
      })
      const at = frame.indexOf(place)
      return { before: frame.slice(0, at), body, after: frame.slice(at + place.length) }
    },
  }
}

const navFor = (entries: readonly NavEntry[], path: string): { label: string; items: NavItem[] }[] =>
  (['Watch', 'Act', 'Manage'] as const)
    .map((label) => ({
      label,
      items: entries
        .filter(({ group }) => group === label)
        .map(({ label, href, icon, tab }) => ({
          label,
          href,
          icon,
          tab,
          current: href === path || (href !== '/' && path.startsWith(`${href}/`)),
        })),
    }))
    .filter(({ items }) => items.length > 0)

const zoneNames = new Map<string, string>()

/** "IST", "UTC" or "GMT+2"; kept for an hour's worth of pages, since formatting costs more than the rest of the shell. */
function zoneName(zone: string, at: number): string {
  const key = `${zone} ${Math.floor(at / 3_600_000)}`
  let name = zoneNames.get(key)
  if (name === undefined) {
    const formatted = new Intl.DateTimeFormat(zone === 'Asia/Kolkata' ? 'en-IN' : 'en', {
      timeZone: zone,
      timeZoneName: 'short',
    }).formatToParts(at)
    name = formatted.find(({ type }) => type === 'timeZoneName')?.value ?? zone
    if (zoneNames.size > 500) zoneNames.clear()
    zoneNames.set(key, name)
  }
  return name
}
