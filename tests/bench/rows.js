'use strict'

const { median, spreadOf } = require('./ground')

/** Rows of a figure that has a reference; `aim` is a ratio. `better`: whether more is better. */
function compared(what, unit, product, reference, { aim = null, better = 'less', note = '' } = {}) {
  const ratio = median(product) / median(reference)
  const reached = aim === null ? null : better === 'less' ? ratio <= aim : ratio >= aim
  const aimText = aim === null ? '' : `${better === 'less' ? '≤' : '≥'} ${aim.toFixed(2)} ×`
  return {
    what,
    unit,
    product: median(product),
    reference: median(reference),
    ratio,
    aim: aimText,
    reached,
    spread: spreadOf(product),
    note,
  }
}

/** Rows of a figure that stands for itself; `aim` is in its unit. */
function alone(what, unit, values, { aim = null, note = '', reference = null } = {}) {
  const product = median(values)
  const reached = aim === null ? null : product <= aim
  return {
    what,
    unit,
    product,
    reference,
    ratio: null,
    aim: aim === null ? '' : `≤ ${aim} ${unit}`,
    reached,
    spread: spreadOf(values),
    note,
  }
}

module.exports = { alone, compared }
