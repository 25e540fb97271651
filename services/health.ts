import { home, type Context } from '../monitoring/context'
import { percent } from '../monitoring/markup'
import { problems, type Problem } from './health/problems'
import { fullest, sampleOf, type State } from './health/sample'
import * as processes from './processes'

export { forecastOf } from './health/forecast'
export { histories, history, type History } from './health/history'
export { marks, type Mark } from './health/marks'
export { groups, panels } from './health/panels'
export { problems, review, type Problem } from './health/problems'
export { rememberHost, takeSample, type State } from './health/sample'
export { charts, tiles, tilesNow, type Chart, type Tile } from './health/tiles'

export interface Verdict {
  state: State
  title: string
  detail: string
  since: number | null
  checkedAt: number
  action: { label: string; href: string } | null
}

/** One sentence that answers "is it fine, and do I have to do something?", and what is not affected. */
export async function verdict(ctx: Context, found?: readonly Problem[], list?: processes.ProcessList): Promise<Verdict> {
  const { items, state } = list ?? (await processes.list(ctx))
  const all = found ?? (await problems(ctx, list))
  const sample = sampleOf(ctx)
  const checkedAt = sample?.at ?? ctx.now()
  const online = items.filter((one) => one.status === 'online').length
  const rest = [
    state === 'ok' && items.length > 0 ? `${online} of ${items.length} processes are online` : null,
    sample?.cpu.percent == null ? null : `CPU ${percent(sample.cpu.percent)}`,
    sample ? `memory ${percent(sample.memory.percent)}` : null,
    sample && fullest(sample) ? `disk ${percent(fullest(sample)?.percent ?? 0)}` : null,
  ].filter((part) => part !== null)
  const [worst] = all
  if (!worst) {
    if (ctx.org !== home)
      return {
        state: 'ok',
        title: 'All systems operational',
        detail: 'No machine belongs to this organisation.',
        since: null,
        checkedAt,
        action: null,
      }
    if (!sample)
      return {
        state: 'run',
        title: 'Taking the first measurements',
        detail: 'The figures of this machine are here in a moment.',
        since: null,
        checkedAt,
        action: null,
      }
    return { state: 'ok', title: 'All systems operational', detail: `${sentence(rest)}.`, since: null, checkedAt, action: null }
  }
  const others = all.length - 1
  return {
    state: worst.state,
    title: `${worst.state === 'err' ? 'Urgent' : 'Attention'}: ${worst.title}`,
    detail: `${worst.detail}${others > 0 ? ` ${others} more ${others === 1 ? 'thing needs' : 'things need'} you.` : ''}${rest.length > 0 ? ` Otherwise: ${rest.join(', ')}.` : ''}`,
    since: worst.since,
    checkedAt,
    action: worst.href ? { label: worst.label ?? 'Show', href: worst.href } : null,
  }
}

const sentence = (parts: readonly string[]): string => {
  const text = parts.join(', ')
  return text ? text.charAt(0).toUpperCase() + text.slice(1) : 'Nothing is out of order'
}

/** One word for every page's foot. */
export async function summary(ctx: Context): Promise<{ state: State; word: string; count: number }> {
  const all = await problems(ctx)
  const worst = all[0]?.state
  return { state: worst ?? 'ok', word: worst === 'err' ? 'Urgent' : worst === 'warn' ? 'Attention' : 'All operational', count: all.length }
}

/** The machine in one answer, for programs. */
export async function report(ctx: Context) {
  const sample = sampleOf(ctx) ?? null
  const list = await processes.list(ctx)
  const { items, state, at } = list
  const all = await problems(ctx, list)
  const { title, detail } = await verdict(ctx, all, list)
  return {
    status: all[0]?.state ?? ('ok' as const),
    title,
    detail,
    host: ctx.platform.config.hostName,
    at: sample ? new Date(sample.at).toISOString() : null,
    problems: all.map(({ key, state, title, detail, since }) => ({
      key,
      state,
      title,
      detail,
      since: since === null ? null : new Date(since).toISOString(),
    })),
    cpu: sample && { percent: sample.cpu.percent, cores: sample.cpu.cores, load: sample.cpu.load },
    memory: sample && {
      total_bytes: sample.memory.total,
      used_bytes: sample.memory.used,
      available_bytes: sample.memory.available,
      percent: sample.memory.percent,
    },
    swap: sample && { total_bytes: sample.swap.total, used_bytes: sample.swap.used, percent: sample.swap.percent },
    disks:
      sample?.disks.map(({ mount, total, used, free, percent }) => ({
        mount,
        total_bytes: total,
        used_bytes: used,
        free_bytes: free,
        percent,
      })) ?? [],
    network: sample?.network.map(({ name, rx, tx }) => ({ name, rx_bytes_per_s: rx, tx_bytes_per_s: tx })) ?? [],
    uptime_s: sample?.uptime ?? null,
    processes: {
      state,
      at: at === null ? null : new Date(at).toISOString(),
      online: items.filter((one) => one.status === 'online').length,
      total: items.length,
    },
  }
}
