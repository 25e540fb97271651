import type { Kind } from '../../services/checks'

export interface KindWords {
  readonly label: string
  readonly icon: string
  readonly does: string
  readonly group: string
  /** It asks over the network, so the address is looked at first. */
  readonly net: boolean
  /** It can be tried before it is saved. */
  readonly test: boolean
  readonly hints: readonly Hint[]
}

export interface Hint {
  readonly icon: string
  readonly title: string
  readonly text: string
}

const sites = 'Sites and servers'
const data = 'Databases'
const here = 'This machine'
const outside = 'From outside'

const secrets: Hint = {
  icon: 'eye-slash',
  title: 'Secrets are not shown again',
  text: 'Passwords and tokens are stored encrypted. Dots stand for them; leave the dots, and they stay.',
}
const retries: Hint = {
  icon: 'arrow-repeat',
  title: 'One failure is no incident',
  text: 'It is tried again as often as you say. Until then it shows as failing, and nobody is called.',
}

export const kindWords: Readonly<Record<Kind, KindWords>> = {
  http: {
    ...{ label: 'Site or API (HTTP)', icon: 'globe2', group: sites, net: true, test: true },
    does: 'Asks an address and looks at the status, the text, a value in its JSON and the certificate',
    hints: [
      {
        icon: 'search',
        title: 'A status alone can lie',
        text: 'An error page with status 200 is found by a word that must, or must not, be in the answer.',
      },
      retries,
      secrets,
      { icon: 'file-earmark-text', title: 'The first 512 kB are read', text: 'A word or a value further down is not found.' },
    ],
  },
  tcp: {
    ...{ label: 'Port (TCP)', icon: 'hdd-network', group: sites, net: true, test: true },
    does: 'Opens a connection; can send a line and wait for an answer',
    hints: [
      { icon: 'hdd-network', title: 'What it tells', text: 'That something accepts connections there, or answers what you expect.' },
      retries,
    ],
  },
  dns: {
    ...{ label: 'Name (DNS)', icon: 'signpost-split', group: sites, net: true, test: true },
    does: 'Looks a name up, and compares the answer',
    hints: [
      {
        icon: 'signpost-split',
        title: 'Which server is asked',
        text: 'The resolver of this machine, or one that you name: 1.1.1.1, or the one that owns the name.',
      },
      retries,
    ],
  },
  postgres: {
    ...{ label: 'PostgreSQL', icon: 'database', group: data, net: true, test: true },
    does: 'Signs in, and runs one query that reads',
    hints: [
      secrets,
      {
        icon: 'person-lock',
        title: 'Use an account that may only read',
        text: 'The query runs in a read-only transaction, and is cut off with the time limit.',
      },
      retries,
    ],
  },
  redis: {
    ...{ label: 'Redis', icon: 'lightning-charge', group: data, net: true, test: true },
    does: 'Signs in and sends PING',
    hints: [secrets, retries],
  },
  database: {
    ...{ label: 'The console’s own database', icon: 'database-check', group: data, net: false, test: true },
    does: 'Reads one row, as every page of this console does',
    hints: [
      { icon: 'speedometer2', title: 'Its response time', text: 'What every page waits for: when it climbs, everything here gets slow.' },
    ],
  },
  process: {
    ...{ label: 'PM2 process', icon: 'cpu', group: here, net: false, test: true },
    does: 'Whether a process that PM2 keeps is online',
    hints: [{ icon: 'diagram-2', title: 'Several of one name', text: 'All of them have to be online.' }, retries],
  },
  disk: {
    ...{ label: 'Disk', icon: 'device-hdd', group: here, net: false, test: true },
    does: 'Whether a mount is fuller than you want',
    hints: [
      {
        icon: 'device-hdd',
        title: 'Beside the built-in limit',
        text: 'The overview warns by itself when a disk is nearly full; this gives one mount a limit of its own, and incidents.',
      },
    ],
  },
  command: {
    ...{ label: 'Command', icon: 'terminal', group: here, net: false, test: true },
    does: 'Runs a program that whoever administers the machine has allowed',
    hints: [
      {
        icon: 'shield-lock',
        title: 'Never typed here',
        text: 'Commands stand in a file on the machine, and are chosen by name. They run without a shell, and are ended with the time limit.',
      },
      retries,
    ],
  },
  heartbeat: {
    ...{ label: 'Heartbeat', icon: 'heart-pulse', group: outside, net: false, test: false },
    does: 'Waits for a ping from a job, a backup or a machine that cannot be reached',
    hints: [
      {
        icon: 'link-45deg',
        title: 'You get an address',
        text: 'The job calls it when it is done: curl, wget, or one line in any language.',
      },
      {
        icon: 'clock-history',
        title: 'Late, then down',
        text: 'After the period it is late, after the grace it is down. Until the first ping, nothing is expected.',
      },
    ],
  },
}

const builtinIcons: Readonly<Record<string, string>> = { whatsapp: 'whatsapp', sheets: 'table', webhook: 'broadcast' }

export const iconOf = ({ kind, builtin }: { kind: Kind; builtin: string | null }): string =>
  (builtin === null ? undefined : builtinIcons[builtin]) ?? kindWords[kind].icon
