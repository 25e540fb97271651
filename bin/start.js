'use strict'

const { ensureBuilt, ensureDependencies } = require('./setup')

ensureDependencies()
ensureBuilt()

process.env.NODE_ENV ??= 'production'
// In this process, not in a child: a signal sent to `npm start` then reaches the server itself.
require('../dist/monitoring/dashboard/server.js')
