'use strict'

// Who may import whom. Each rule is named as the sentence it enforces.

const kyselyOrDriver = '^node_modules/(?:kysely|better-sqlite3|pg|@types/better-sqlite3|@types/pg)/'

const rule = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to })

module.exports = {
  forbidden: [
    rule(
      'services-know-nothing-of-the-web',
      'A service works the same for a page, the API, a job and the command line.',
      { path: '^services/' },
      { path: ['^routes/', '^public/', '^monitoring/dashboard/', '^node_modules/(?:@types/)?(?:express|ws)/'] },
    ),
    rule(
      'routes-go-through-services',
      'A route parses, calls one verb and answers; what it would find deeper belongs to a service.',
      { path: '^routes/([^/.]+)' },
      {
        path: ['^monitoring/(?:db|jobs)/', '^routes/', '^services/[^/]+/', kyselyOrDriver],
        pathNot: ['^routes/$1(?:/|\\.ts$)'],
      },
    ),
    rule(
      'a-service-folder-is-private',
      'services/x/* is imported by services/x.ts and by its neighbours in the folder only.',
      { path: '^(?:services/([^/.]+)(?:/|\\.ts$)|monitoring/|public/|views/)' },
      { path: '^services/[^/]+/', pathNot: '^services/$1/' },
    ),
    rule(
      'a-route-folder-is-private',
      'routes/x/* is imported by routes/x.ts and by its neighbours in the folder only.',
      { path: '^monitoring/' },
      { path: '^routes/[^/]+/' },
    ),
    rule(
      'sql-lives-in-queries',
      'What speaks to the database can be found in one kind of file.',
      {
        path: '^(?:monitoring|services|routes|views|public)/',
        // A check speaks to the databases of others.
        pathNot: [
          '^monitoring/db/',
          '^monitoring/context\\.ts$',
          '^services/[^/]+/queries\\.ts$',
          '^monitoring/probes/checks/postgres\\.ts$',
        ],
      },
      { path: kyselyOrDriver },
    ),
    rule(
      'the-platform-knows-no-feature',
      'monitoring/ is the ground that features stand on; only what puts the application together knows them.',
      { path: '^monitoring/', pathNot: ['^monitoring/(?:app|cli)\\.ts$', '^monitoring/[^/]+/server\\.ts$'] },
      { path: '^(?:services|routes)/' },
    ),
    rule('nothing-imports-tests', 'What ships does not need what tests it.', { pathNot: '^tests/' }, { path: '^tests/' }),
    rule(
      'no-cycles',
      'Two modules that need each other are one, or a third is missing.',
      {},
      { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    ),
    rule(
      'no-orphans',
      'A module that nothing imports and that imports nothing does nothing.',
      {
        orphan: true,
        pathNot: [
          '\\.d\\.ts$',
          '\\.test\\.ts$',
          '^public/js/(?:app|theme|docs)\\.ts$',
          '^public/rescue/rescue\\.js$',
          '^monitoring/probes/pm2-helper\\.ts$',
        ],
      },
      {},
    ),
  ],
  options: {
    doNotFollow: { path: ['^node_modules/', '^dist/'] },
    exclude: { path: ['^public/build/'] },
    // Types are imports too: a service that knows a route's types knows the web.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.test.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['types', 'require', 'node', 'default', 'import'],
      extensions: ['.ts', '.js', '.d.ts', '.json'],
    },
    cache: { folder: 'node_modules/.cache/dependency-cruiser', strategy: 'content' },
  },
}
