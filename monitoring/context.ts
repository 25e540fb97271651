import { AsyncLocalStorage } from 'node:async_hooks'
import type { Kysely, KyselyPlugin, Transaction } from 'kysely'
import { uuidv7 } from 'uuidv7'
import type { Config, Secrets } from './config'
import type { Store } from './db/open'
import type { Schema } from './db/schema'
import type { Log } from './log'
import { rightsOf, rightsTo, type Rights } from './permissions'
import type { Pm2Probe } from './probes/pm2'
import type { SystemProbe } from './probes/system'

export type OrgId = string

/** Who is acting: a person, by a key of theirs or not, or the system itself (probes, start-up, chores). */
export interface Actor {
  readonly kind: 'user' | 'system'
  readonly id: string
  readonly name: string
  readonly rights: Rights
  /** The API key that a program sent in the person's name. */
  readonly key: { readonly id: string; readonly name: string } | null
  /** Where the request came from; null for the system. */
  readonly address: string | null
  /** The browser or program, as it calls itself, where somebody tries to sign in with it. */
  readonly agent?: string | null
}

/** What the process was started with. One per application, so that a test can start ten side by side. */
export interface Platform {
  readonly config: Config & Secrets
  readonly log: Log
  readonly store: Store
  readonly now: () => number
  readonly version: string
  readonly startedAt: number
  readonly probes: { system?: SystemProbe; pm2?: Pm2Probe }
  /** Sends what is worthless a second later to whoever listens now; it is never stored. Set by the live hub. */
  publish: (topic: string, org: OrgId, subject: string) => void
  /** Keeps one value per application and key, for what a service must remember between calls. */
  keep<T>(key: string, make: () => T): T
}

/** Who is acting, when, and on what. The first argument of every service function. */
export interface Context {
  readonly actor: Actor
  /** The organisation this happens in: the actor's, or the row's. */
  readonly org: OrgId
  readonly db: Kysely<Schema>
  /** Epoch milliseconds. */
  readonly now: () => number
  /** A UUIDv7: sorts by the time it was made. */
  readonly newId: () => string
  readonly log: Log
  readonly platform: Platform
  /** Records that `subject` changed; the rows are written as the transaction's last statement, open pages repainted after it commits. */
  changed(topic: string, subject: string): void
  /** Runs `work` in one transaction, with a context whose `db` is that transaction. */
  transaction<T>(work: (ctx: Context) => Promise<T>): Promise<T>
}

const insideTransaction = new AsyncLocalStorage<true>()

/** A write past the open transaction would wait for ever on SQLite and escape it on PostgreSQL, so it throws. */
const guard: KyselyPlugin = {
  transformQuery({ node }) {
    if (node.kind !== 'SelectQueryNode' && insideTransaction.getStore())
      throw new Error('This write goes around the open transaction: use the ctx that the transaction was given')
    return node
  },
  transformResult: ({ result }) => Promise.resolve(result),
}

export const isInsideTransaction = (): boolean => insideTransaction.getStore() === true

const guarded = new WeakMap<Store, Kysely<Schema>>()

function guardedDb(store: Store): Kysely<Schema> {
  let db = guarded.get(store)
  if (!db) guarded.set(store, (db = store.db.withPlugin(guard)))
  return db
}

/** The context of one request, probe or chore. */
export function contextOf(platform: Platform, actor: Actor, org: OrgId): Context {
  const ctx: Context = {
    actor,
    org,
    db: guardedDb(platform.store),
    now: platform.now,
    newId: uuidv7,
    log: platform.log,
    platform,
    changed() {
      throw new Error('changed() belongs inside ctx.transaction, with the data it tells of')
    },
    // `this`: a context that was spread to say another actor or organisation begins its transactions with those.
    transaction(work) {
      return transact(this, work)
    },
  }
  return ctx
}

async function transact<T>(outer: Context, work: (ctx: Context) => Promise<T>): Promise<T> {
  if (insideTransaction.getStore()) throw new Error('A transaction is open: use the ctx that it was given')
  const { store } = outer.platform
  const changes = new Map<string, { topic: string; subject: string }>()
  const result = await insideTransaction.run(true, () =>
    store.db.transaction().execute(async (db: Transaction<Schema>) => {
      const ctx: Context = {
        ...outer,
        db,
        changed: (topic, subject) => void changes.set(`${topic} ${subject}`, { topic, subject }),
        transaction(inner) {
          return inner(this)
        },
      }
      const value = await work(ctx)
      if (changes.size > 0) {
        // Identity numbers are not commit order on PostgreSQL: taking the lock only now keeps writers apart for one statement.
        await store.dialect.lockChanges(db)
        const at = outer.now()
        await db
          .insertInto('changes')
          .values([...changes.values()].map((change) => ({ org_id: outer.org, at, ...change })))
          .execute()
      }
      return value
    }),
  )
  if (changes.size > 0) store.bell.ring()
  return result
}

/** The only place that reads the clock; tests put their own in its place. */
export const systemClock = (): number => Date.now()

export const systemActor: Actor = {
  kind: 'system',
  id: 'system',
  name: 'the console',
  rights: rightsOf.admin,
  key: null,
  address: null,
}

/** Whoever has not said who they are. */
export const visitor = (address: string | null, agent: string | null = null): Actor => ({
  kind: 'system',
  id: 'nobody',
  name: 'nobody',
  rights: rightsTo([]),
  key: null,
  address,
  agent,
})

/** The organisation that owns what belongs to the machine: its processes, metrics and logs. */
export const home: OrgId = 'home'
