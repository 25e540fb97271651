// The page's one sense of time: the server's clock, the zone of its reader, and one tick a second for whoever shows it.

const root = document.documentElement

function offsetAtLoad(): number {
  const printed = Number(root.dataset['now'])
  if (!printed) return 0
  const navigation = performance.getEntriesByType('navigation')[0] as PerformanceNavigationTiming | undefined
  return printed - (performance.timeOrigin + (navigation?.responseStart ?? 0))
}

let offset = offsetAtLoad()

/** Epoch milliseconds by the server's clock: ages are wrong by minutes on machines whose own clock is. */
export function now(): number {
  return Date.now() + offset
}

/** Takes the server's clock over from a beat. */
export function setClock(serverNow: number): void {
  const sample = serverNow - Date.now()
  // A beat that was long on its way makes the server look slow, so small steps back are not taken.
  if (sample > offset || offset - sample > 500) offset = sample
}

/** The zone in which this page says its times. */
export function zone(): string {
  return root.dataset['timezone'] ?? Intl.DateTimeFormat().resolvedOptions().timeZone
}

const listeners = new Set<() => void>()
let timer: number | undefined

function tick(): void {
  schedule()
  for (const listener of listeners) listener()
}

function schedule(): void {
  window.clearTimeout(timer)
  timer = undefined
  if (listeners.size === 0 || document.hidden) return
  // Just after the full second of the server's clock, so that "20:41" turns when it is 20:41.
  timer = window.setTimeout(tick, 1010 - (((now() % 1000) + 1000) % 1000))
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) schedule()
  else tick()
})

/** Calls `listener` every second while the tab is seen; returns what ends it. */
export function onTick(listener: () => void): () => void {
  listeners.add(listener)
  if (timer === undefined) schedule()
  return () => {
    listeners.delete(listener)
    if (listeners.size === 0) schedule()
  }
}
