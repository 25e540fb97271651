// Turbo puts a <style> for its progress bar into the head as soon as it is loaded, which our policy (style-src 'self') refuses
// with an error in the console. It is turned away here, before Turbo runs; the rule stands in the console's own style sheet.
const { head } = document

head.insertBefore = <Kind extends Node>(node: Kind, before: Node | null): Kind =>
  node instanceof HTMLStyleElement ? node : (Node.prototype.insertBefore.call(head, node, before) as Kind)

/** Gives the head its own method back, once Turbo is loaded. */
export function restoreHead(): void {
  Reflect.deleteProperty(head, 'insertBefore')
}
