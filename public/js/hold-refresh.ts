/** A form that is under way brings a fresh page by itself; a refresh beside it would use up the words that are said only once. */
export function holdRefreshes(): void {
  let underWay = 0
  let held: HTMLElement | null = null
  document.addEventListener('turbo:submit-start', () => underWay++)
  document.addEventListener('turbo:submit-end', (event) => {
    underWay = Math.max(0, underWay - 1)
    const { fetchResponse } = event.detail
    if (!fetchResponse?.redirected && held && underWay === 0) document.body.append(held)
    held = null
  })
  document.addEventListener('turbo:before-stream-render', (event) => {
    const stream = event.target as HTMLElement
    if (underWay === 0 || stream.getAttribute('action') !== 'refresh') return
    event.preventDefault()
    held = stream.cloneNode(true) as HTMLElement
  })
}
