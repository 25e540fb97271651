// How figures of a chart are said. Pure.

const NAMES = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

function bytes(value: number): string {
  let size = Math.abs(value)
  let step = 0
  while (size >= 999.5 && step < NAMES.length - 1) {
    size /= 1024
    step += 1
  }
  return `${size.toLocaleString('en-GB', { maximumFractionDigits: size < 10 ? 1 : 0 })} ${NAMES[step] ?? ''}`
}

/** "61%", "142 MB", "1.2 MB/s", "40 ms", "0.4". */
export function sayFigure(value: number, unit: string): string {
  if (unit === 'bytes') return bytes(value)
  if (unit === 'bytes/s') return `${bytes(value)}/s`
  const figure = value.toLocaleString('en-GB', { maximumFractionDigits: Math.abs(value) < 1 && unit !== '%' ? 2 : 1 })
  return unit === '%' ? `${figure}%` : unit ? `${figure} ${unit}` : figure
}
