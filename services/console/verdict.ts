import type { ConsoleHealth } from '../console'
import { bytes, duration, plural } from '../../monitoring/markup'

/** Something about the console itself that somebody should know. */
export interface Finding {
  readonly state: 'warn' | 'err'
  readonly title: string
  readonly detail: string
}

const megabyte = 1024 * 1024
const hour = 3_600_000
/** Above these, something holds the console up: a log that cannot be written back, a loop that nobody else gets a turn in. */
const limits = { wal: 256 * megabyte, loop: 200, lag: 1000, free: 200 * megabyte, queue: 1000 }

/** What is wrong with it, the worst first. */
export function judge({ database, process, queues, chores, troubles, at }: Omit<ConsoleHealth, 'findings'>): Finding[] {
  const found: Finding[] = []
  const { measured } = process
  if (database.free !== null && database.free < limits.free)
    found.push({
      state: 'err',
      title: `Only ${bytes(database.free)} left on the disk of the database`,
      detail: 'When there is none, nothing more is stored, and what reports gets 503. Free space now.',
    })
  for (const chore of chores)
    if (chore.failedAt !== null && (chore.endedAt === null || chore.failedAt >= chore.endedAt))
      found.push({ state: 'err', title: `“${chore.name}” fails`, detail: chore.failure ?? 'The log has the details.' })
  if (database.wal !== null && database.wal > limits.wal)
    found.push({
      state: 'warn',
      title: `The write-ahead log has grown to ${bytes(database.wal)}`,
      detail: 'A program that reads the database without an end keeps it from being written back. Find it with “fuser -v”.',
    })
  if (measured && measured.loopP99 > limits.loop)
    found.push({
      state: 'warn',
      title: `The console is late by ${duration(measured.loopP99)}`,
      detail: 'One of a hundred requests waits that long before anybody looks at it. The machine is busy, or a request asks for too much.',
    })
  if (measured?.lagP99 != null && measured.lagP99 > limits.lag)
    found.push({
      state: 'warn',
      title: `Events wait ${duration(measured.lagP99)} to be stored`,
      detail: 'The disk is slow to confirm what is written, or another program holds the database.',
    })
  for (const queue of queues)
    if (queue.name === 'Events' && queue.length > limits.queue)
      found.push({ state: 'warn', title: `${plural(queue.length, 'caller waits', 'callers wait')} for the database`, detail: queue.what })
  const recent = troubles.filter((one) => one.level !== 'warning' && one.at > at - hour).length
  if (recent > 0)
    found.push({
      state: 'warn',
      title: `${plural(recent, 'error', 'errors')} in the log within the last hour`,
      detail: 'They stand below.',
    })
  return found.sort((a, b) => (a.state === b.state ? 0 : a.state === 'err' ? -1 : 1))
}
