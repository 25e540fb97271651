'use strict'

// PM2 keeps the environment of whoever starts it and shows it to everybody who may list processes, so secrets stay out of it:
// under PM2 they come from .env or from a file named by NAME_FILE. PM2 drops every variable whose name contains one of these names.
const secrets = Object.keys(process.env).filter(
  (name) => /SECRET|PASSWORD|TOKEN|CREDENTIAL|PRIVATE|_KEY$/i.test(name) && !name.endsWith('_FILE'),
)

// Dropped in silence it would open another database than the one that was asked for.
if (/:\/\/[^/@]*:[^/@]*@/.test(process.env.DATABASE_URL ?? '')) {
  throw new Error(
    'DATABASE_URL holds a password, which `pm2 list` would show. Write it to .env, or to a file named by DATABASE_URL_FILE, and unset it.',
  )
}

module.exports = {
  apps: [
    {
      name: 'monitoring-dashboard',
      script: 'dist/monitoring/dashboard/server.js',
      cwd: __dirname,
      // Cluster mode even for one instance: `pm2 reload` then starts the new process beside the old one, and no connection is refused.
      exec_mode: 'cluster',
      instances: 1,
      autorestart: true,
      watch: false,
      wait_ready: true,
      listen_timeout: 20_000,
      kill_timeout: 10_000,
      filter_env: [...secrets, 'npm_'],
      env: {
        NODE_ENV: 'production',
        PORT: process.env.PORT ?? 8080,
      },
    },
  ],
}
