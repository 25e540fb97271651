'use strict'

// Four projects: the product on SQLite, what touches the database again on PostgreSQL, the pages in Chromium, and a short slice of the
// fault tests. A test learns its dialect from the global TEST_DIALECT; tests/helpers/setup.ts also puts it into process.env.

const fs = require('node:fs')
const path = require('node:path')

const present = (folders) => folders.filter((folder) => fs.existsSync(path.join(__dirname, folder)))

const covered = ['monitoring/**/*.ts', 'services/**/*.ts', 'routes/**/*.ts', '!**/*.d.ts']

const shared = {
  rootDir: __dirname,
  testEnvironment: 'node',
  // The product's folders too, so that a file that no test loads counts as uncovered.
  roots: present(['tests', 'monitoring', 'services', 'routes', 'views']).map((folder) => `<rootDir>/${folder}`),
  transform: {
    '^.+\\.(ts|js|mjs)$': [
      '@swc/jest',
      {
        jsc: { target: 'es2023', parser: { syntax: 'typescript' }, keepClassNames: true },
        module: { type: 'commonjs', strictMode: true },
        sourceMaps: 'inline',
      },
    ],
  },
  moduleFileExtensions: ['ts', 'js', 'mjs', 'cjs', 'json', 'node'],
  setupFilesAfterEnv: ['<rootDir>/tests/helpers/setup.ts'],
  collectCoverageFrom: covered,
}

const project = (displayName, dialect, testMatch, folders = [], files = []) => ({
  ...shared,
  displayName,
  globals: { TEST_DIALECT: dialect, TEST_PROJECT: displayName },
  testMatch: testMatch.map((glob) => `<rootDir>/tests/${glob}`),
  testPathIgnorePatterns: [
    '/node_modules/',
    ...folders.map((folder) => `<rootDir>/tests/${folder}/`),
    ...files.map((file) => `<rootDir>/tests/${file}\\.test\\.ts$`),
  ],
})

/** The same code as on SQLite, whose run counts what is covered: to count it again would cost a fifth of the time. */
const uncounted = (one) => ({ ...one, coveragePathIgnorePatterns: ['/'] })

module.exports = {
  projects: [
    project('sqlite', 'sqlite', ['**/*.test.ts'], ['browser', 'faults', 'bench']),
    uncounted(
      project(
        'postgres',
        'postgres',
        ['*.test.ts', 'monitoring/dashboard/**/*.test.ts', 'monitoring/db/**/*.test.ts'],
        [],
        // Of these, the database sees nothing that other tests do not ask of it as well.
        [
          ...['config', 'cors', 'keys-forged', 'passwords', 'security', 'throttle', 'views', 'holes', 'fuzz', 'metrics-histogram'],
          ...['holes-flood', 'checks-engine', 'checks-forms', 'access', 'api', 'settings', 'overview-rights'],
          ...['me', 'keys-rights', 'input', 'profile'],
          ...['checks-state', 'checks-holds', 'processes-log', 'processes-pages', 'system'],
        ],
      ),
    ),
    project('browser', 'sqlite', ['browser/**/*.test.ts']),
    project('faults', 'sqlite', ['faults/*.test.ts']),
  ],
  testTimeout: 30_000,
  maxWorkers: 2,
  workerIdleMemoryLimit: '512MB',
  reporters: ['<rootDir>/tests/helpers/reporter.js'],
  // Counts branches of code that no test called, unlike v8.
  coverageProvider: 'babel',
  collectCoverageFrom: covered,
  coverageReporters: ['text-summary', 'json-summary', 'lcovonly'],
  coverageDirectory: 'coverage',
  coverageThreshold: Object.fromEntries(present(['services', 'routes']).map((folder) => [`./${folder}/`, { lines: 85, branches: 80 }])),
}
