'use strict'

/* global document, location */
// Asks whether the console is back, and goes there when it is. Everything on the page works without.
if (document.documentElement.hasAttribute('data-watch')) {
  setInterval(() => {
    fetch('/healthz', { cache: 'no-store' }).then(
      (answer) => answer.ok && location.replace('/'),
      () => undefined,
    )
  }, 3000)
}
