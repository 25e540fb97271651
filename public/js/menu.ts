import Modal from './modal'

/** The phone's drawer: target `dialog`, actions `open` and `close`. */
export default class MenuController extends Modal {
  protected override listen(signal: AbortSignal): void {
    // A link to the page one is on is answered by a morph, which would leave the drawer open.
    this.dialog.addEventListener('click', (event) => event.target instanceof Element && event.target.closest('a[href]') && this.close(), {
      signal,
    })
  }
}
