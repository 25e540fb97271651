import type { Context } from '../../monitoring/context'

/** The process, so that another one on this machine can tell whether it lives; a process begins once. */
export const holderOf = (ctx: Context): string => `${process.pid} ${performance.timeOrigin} ${ctx.newId()}`

/** Of a holder on this machine. */
export function isGone(holder: string): boolean {
  const [pid = '', began] = holder.split(' ')
  // In a container, every process that is started may have the same number.
  if (Number(pid) === process.pid) return began !== String(performance.timeOrigin)
  if (!/^[1-9]\d*$/.test(pid)) return false
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
