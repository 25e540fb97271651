#!/usr/bin/env node
'use strict'

const { ensureBuilt, ensureDependencies } = require('./setup')

ensureDependencies()
ensureBuilt()

process.env.NODE_ENV ??= 'production'
require('../dist/monitoring/cli.js')
