import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'
import type { TableSize } from './sizes'

// Every page of the database is read for this, which takes seconds when it is large: in a thread of its own, behind all others.
setPriority(0, 10)

const db = new Database(workerData as string, { readonly: true, timeout: 1000 })
db.pragma('cache_size = -4000')
const rows = db
  .prepare(
    `select tables.tbl_name as name, sum(pages.pgsize) as bytes
    from dbstat as pages join sqlite_master as tables on tables.name = pages.name where pages.aggregate = 1 group by 1 order by 2 desc`,
  )
  .all() as Omit<TableSize, 'rows'>[]
const counts = new Map(
  (hasStatistics() ? (db.prepare('select tbl, stat from sqlite_stat1').all() as { tbl: string; stat: string }[]) : []).map(
    ({ tbl, stat }) => [tbl, Number(stat.split(' ')[0])],
  ),
)
db.close()
parentPort?.postMessage(rows.map((row): TableSize => ({ ...row, rows: counts.get(row.name) ?? null })))

function hasStatistics(): boolean {
  return db.prepare(`select 1 from sqlite_master where name = 'sqlite_stat1'`).get() !== undefined
}
