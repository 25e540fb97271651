// Runs in <head> before the first paint, as a classic script. The account's choice comes from the server; "auto" follows
// this browser's own choice if there is one, else the system.
;(() => {
  const root = document.documentElement
  const dark = matchMedia('(prefers-color-scheme: dark)')

  function chosen(): string {
    const account = root.dataset['theme']
    if (account === 'light' || account === 'dark') return account
    try {
      const own = localStorage.getItem('oc-theme')
      if (own === 'light' || own === 'dark') return own
    } catch {
      // Storage is closed in some private windows; the system's choice is then good enough.
    }
    return dark.matches ? 'dark' : 'light'
  }

  function apply(): void {
    const theme = chosen()
    if (root.dataset['bsTheme'] === theme) return
    root.dataset['bsTheme'] = theme
    document.dispatchEvent(new CustomEvent('oc:theme'))
  }

  apply()
  dark.addEventListener('change', apply)
  document.addEventListener('oc:theme-chosen', apply)
})()
