// What a morph must not undo: typed text, drawn charts, open menus, the order under the pointer, and what script has said.
import type { TurboBeforeMorphAttributeEvent, TurboBeforeMorphElementEvent, TurboBeforeRenderEvent } from '@hotwired/turbo'
import { sayAge } from './age'
import { sayTime } from './time'

type Field = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement

// Painted by script alone, or in use: left as they are, with all they hold.
const OURS =
  '[data-controller~="live"], [data-controller~="clock"], [data-controller~="theme"], #live-banner, dialog[open], dialog turbo-frame'
const OUR_CLASSES = ['is-stale', 'is-dimmed', 'oc-flash']
const OUR_ATTRIBUTES = new Set(['aria-sort', 'aria-expanded', 'aria-pressed', 'aria-busy', 'aria-selected'])
const FLASH = 1200

const sent = new WeakSet<HTMLFormElement>()
const changed = new WeakSet<Element>()
const wanted = new WeakMap<Element, string[]>()

function isField(element: Element): element is Field {
  return element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement || element instanceof HTMLSelectElement
}

function isTyped(field: Field): boolean {
  if (field.form && sent.has(field.form)) return false
  if (field instanceof HTMLSelectElement) return [...field.options].some((option) => option.selected !== option.defaultSelected)
  if (field instanceof HTMLInputElement && field.checked !== field.defaultChecked) return true
  return field.value !== field.defaultValue
}

/** Everything but the value: a message of the server about the field (`aria-invalid`) still arrives. */
function takeAttributes(field: Element, next: Element): void {
  for (const { name } of [...field.attributes])
    if (!next.hasAttribute(name) && name !== 'value' && name !== 'checked') field.removeAttribute(name)
  for (const { name, value } of next.attributes)
    if (name !== 'value' && name !== 'checked' && name !== 'type') field.setAttribute(name, value)
}

function inUse(list: Element): boolean {
  return list.matches(':hover, :focus-within')
}

/** While the pointer or the focus is inside, rows keep their places and new ones wait at the end. */
function holdOrder(list: Element, next: Element): void {
  wanted.delete(list)
  if (!inUse(list)) return
  const places = new Map([...list.children].map((row, index) => [row.id, index]))
  const rows = [...next.children]
  wanted.set(
    list,
    rows.map((row) => row.id),
  )
  const place = (row: Element): number => places.get(row.id) ?? Infinity
  next.append(...rows.sort((a, b) => (place(a) === place(b) ? 0 : place(a) - place(b))))
}

function releaseOrder(event: Event): void {
  const list = event.target instanceof Element ? event.target.closest('[data-live-hold]') : null
  const ids = list && wanted.get(list)
  if (!list || !ids) return
  // The focus and the pointer are elsewhere only after this event.
  requestAnimationFrame(() => {
    if (inUse(list) || wanted.get(list) !== ids) return
    wanted.delete(list)
    const place = (row: Element): number => ids.indexOf(row.id)
    list.append(...[...list.children].sort((a, b) => place(a) - place(b)))
  })
}

function mergeToasts(list: Element, next: Element): void {
  const shown = new Set([...list.children].map((toast) => toast.textContent.trim()))
  list.append(...[...next.children].filter((toast) => !shown.has(toast.textContent.trim())))
}

function beforeElement(event: TurboBeforeMorphElementEvent): void {
  const current = event.target as HTMLElement
  const next = event.detail.newElement as HTMLElement | undefined
  // Without a counterpart it is about to be removed, which is right for everything the server paints.
  if (!next) return
  if (current.matches(OURS)) {
    event.preventDefault()
    return
  }
  if (current.id === 'toasts') {
    mergeToasts(current, next)
    event.preventDefault()
    return
  }
  if (isField(current) && isTyped(current)) {
    takeAttributes(current, next)
    event.preventDefault()
    return
  }
  if (current.matches('[data-live-hold]')) holdOrder(current, next)
  // Said before it is taken over, else the server's absolute time would show for a moment.
  if (next.matches('[data-controller~="time"]')) sayTime(next)
  if (next.matches('[data-controller~="age"]')) sayAge(next)
  for (const name of OUR_CLASSES) if (current.classList.contains(name)) next.classList.add(name)
  if (next.dataset['flashKey'] !== undefined && current.dataset['flashKey'] !== next.dataset['flashKey']) changed.add(current)
}

function beforeAttribute(event: TurboBeforeMorphAttributeEvent): void {
  const element = event.target as Element
  const name = event.detail.attributeName
  const kept =
    (name === 'open' && element.matches('details, dialog')) ||
    // A chart's size lives in these; setting them, even to the same, clears it.
    (element instanceof HTMLCanvasElement && ['width', 'height', 'style'].includes(name)) ||
    (OUR_ATTRIBUTES.has(name) && element.matches('[data-action], th, details > summary'))
  if (kept) event.preventDefault()
}

function afterElement(event: Event): void {
  const element = event.target as Element
  if (!changed.delete(element) || document.hidden) return
  element.classList.remove('oc-flash')
  requestAnimationFrame(() => {
    element.classList.add('oc-flash')
    window.setTimeout(() => element.classList.remove('oc-flash'), FLASH)
  })
}

/** Turbo renders the body only; what the shell says on `<html>` changes with the account. */
function takeRoot(event: TurboBeforeRenderEvent): void {
  const next = event.detail.newBody.parentElement
  const root = document.documentElement
  if (!next || next === root) return
  for (const name of ['data-timezone', 'data-theme']) {
    const value = next.getAttribute(name)
    if (value === null) root.removeAttribute(name)
    else root.setAttribute(name, value)
  }
  document.dispatchEvent(new CustomEvent('oc:theme-chosen'))
}

/** Puts the guards in place, once for the life of the page. */
export function guardMorphs(): void {
  document.addEventListener('turbo:before-morph-element', beforeElement)
  document.addEventListener('turbo:before-morph-attribute', beforeAttribute)
  document.addEventListener('turbo:morph-element', afterElement)
  document.addEventListener('turbo:before-render', takeRoot)
  for (const name of ['pointerout', 'focusout']) document.addEventListener(name, releaseOrder)
  // A form that was taken starts again: without this its text would survive the page that answers it.
  document.addEventListener('turbo:submit-end', (event) => {
    if (event.detail.success && event.target instanceof HTMLFormElement) sent.add(event.target)
  })
  document.addEventListener('input', (event) => {
    if (event.target instanceof Element && isField(event.target) && event.target.form) sent.delete(event.target.form)
  })
}
