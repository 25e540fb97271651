// The order matters: the first import must run before Turbo does.
import { restoreHead } from './no-inline-style'
import { config, session } from '@hotwired/turbo'
import { Application } from '@hotwired/stimulus'
import { holdRefreshes } from './hold-refresh'
import { guardMorphs } from './morph'
import { LiveSource } from './live-source'
import { showToast } from './toast'
import AgeController from './age'
import BulkController from './bulk'
import ChartController from './chart'
import HistoryController from './chart-history'
import ClockController from './clock'
import CopyController from './copy'
import DetailsMenuController from './details-menu'
import DialogController from './dialog'
import LiveController from './live'
import MenuController from './menu'
import OnceController from './once'
import PaletteController from './palette'
import PasswordController from './password'
import TableController from './table'
import TailController from './tail'
import ThemeController from './theme-toggle'
import TimeController from './time'
import ToastController from './toast'

restoreHead()
guardMorphs()
holdRefreshes()

// A disabled button loses the focus; one that says it is disabled keeps it.
config.forms.submitter = 'aria-disabled'

const application = Application.start()
application.register('age', AgeController)
application.register('bulk', BulkController)
application.register('chart', ChartController)
application.register('clock', ClockController)
application.register('copy', CopyController)
application.register('details-menu', DetailsMenuController)
application.register('dialog', DialogController)
application.register('history', HistoryController)
application.register('live', LiveController)
application.register('menu', MenuController)
application.register('once', OnceController)
application.register('palette', PaletteController)
application.register('password', PasswordController)
application.register('table', TableController)
application.register('tail', TailController)
application.register('theme', ThemeController)
application.register('time', TimeController)
application.register('toast', ToastController)
if (!customElements.get('live-source')) customElements.define('live-source', LiveSource)

// An answer that is not the frame that was asked for (signed out, an error page) is shown as the page it is.
document.addEventListener('turbo:frame-missing', (event) => {
  const { response, visit } = event.detail
  event.preventDefault()
  void visit(response, {})
})

// Turbo would load the address for real, and put the browser's own error page in the place of the last known state.
document.addEventListener('turbo:fetch-request-error', (event) => {
  event.preventDefault()
  showToast('The console cannot be reached. This page stays as it was.', 'warn')
  const adapter = session.adapter as { visitFailed?: (visit?: unknown) => void; formSubmissionFinished?: (form?: unknown) => void }
  adapter.visitFailed?.()
  adapter.formSubmissionFinished?.()
})

// Without an export esbuild takes a file of this CommonJS package for CommonJS, and wraps everything it imports.
export {}
