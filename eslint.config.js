'use strict'

const js = require('@eslint/js')
const { defineConfig } = require('eslint/config')
const jest = require('eslint-plugin-jest')
const ts = require('typescript-eslint')

const clock = [
  {
    selector: 'CallExpression[callee.object.name="Date"][callee.property.name="now"]',
    message: 'The time comes from ctx.now(), so that a test can move it (monitoring/context.ts reads the clock).',
  },
  {
    selector: 'NewExpression[callee.name="Date"][arguments.length=0]',
    message: 'The time comes from ctx.now(), so that a test can move it (monitoring/context.ts reads the clock).',
  },
]
const environment = [
  {
    selector: 'MemberExpression[object.name="process"][property.name="env"]',
    message: 'The environment is read in monitoring/config.ts, once.',
  },
  {
    selector: 'VariableDeclarator[init.name="process"] > ObjectPattern > Property[key.name="env"]',
    message: 'The environment is read in monitoring/config.ts, once.',
  },
  {
    selector: 'ImportDeclaration[source.value=/^(node:)?process$/]',
    message: 'The environment is read in monitoring/config.ts, once; `process` needs no import.',
  },
]
const sql = [
  { selector: 'MemberExpression[property.name="db"]', message: 'SQL lives in services/<feature>/queries.ts.' },
  { selector: 'VariableDeclarator > ObjectPattern > Property[key.name="db"]', message: 'SQL lives in services/<feature>/queries.ts.' },
  { selector: ':function > ObjectPattern > Property[key.name="db"]', message: 'SQL lives in services/<feature>/queries.ts.' },
]
const forbid = (...groups) => ({ 'no-restricted-syntax': ['error', ...groups.flat()] })

const node = Object.fromEntries(
  [
    'require',
    'module',
    'exports',
    '__dirname',
    '__filename',
    'process',
    'console',
    'Buffer',
    'URL',
    'setTimeout',
    'clearTimeout',
    'setInterval',
  ]
    .concat([
      'clearInterval',
      'setImmediate',
      'SharedArrayBuffer',
      'Atomics',
      'fetch',
      'performance',
      'AbortController',
      'AbortSignal',
      'structuredClone',
    ])
    .map((name) => [name, 'readonly']),
)

module.exports = defineConfig(
  { ignores: ['dist/', 'data/', 'coverage/', 'public/build/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [ts.configs.strictTypeChecked, ts.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { project: ['tsconfig.test.json', 'tsconfig.web.json'], tsconfigRootDir: __dirname } },
    rules: {
      'no-console': 'error',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      // A number in a sentence is what template strings are for.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true, ignoreVoidOperator: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrorsIgnorePattern: '^_' }],
      ...forbid(clock, environment),
    },
  },
  { files: ['services/**/*.ts', 'routes/**/*.ts', 'views/**/*.ts'], rules: forbid(clock, environment, sql) },
  { files: ['services/*/queries.ts'], rules: forbid(clock, environment) },
  { files: ['monitoring/config.ts'], rules: forbid(clock) },
  { files: ['monitoring/context.ts'], rules: forbid(environment) },
  { files: ['public/js/**/*.ts'], rules: { 'no-restricted-syntax': 'off' } },
  {
    files: ['tests/**/*.ts'],
    extends: [jest.configs['flat/recommended']],
    rules: {
      'no-restricted-syntax': 'off',
      'no-console': 'off',
      // A helper that asserts is named for what it expects.
      'jest/expect-expect': [
        'error',
        { assertFunctionNames: ['expect', 'expect*', '*.expect', '**.expect', '**.waitFor', '**.waitForURL'] },
      ],
      'jest/no-standalone-expect': [
        'error',
        { additionalTestBlockFunctions: ['beforeAll', 'afterAll', 'beforeEach', 'afterEach', 'inFull', 'inFull.each'] },
      ],
    },
  },
  {
    files: ['**/*.{js,cjs}'],
    languageOptions: { sourceType: 'commonjs', globals: node },
    rules: { 'no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }], eqeqeq: 'error' },
  },
)
