import { Worker } from 'node:worker_threads'
import { inProject } from '../paths'

export interface TableSize {
  readonly name: string
  /** With its indexes. */
  readonly bytes: number
  /** About; null: not counted. */
  readonly rows: number | null
}

const patienceMs = 60_000

/** What each table of SQLite's file takes, the largest first. */
export function measureTables(file: string): Promise<TableSize[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(inProject('dist', 'monitoring', 'db', 'sizes-worker.js'), { workerData: file })
    worker.unref()
    const timer = setTimeout(() => {
      void worker.terminate()
      reject(new Error('the tables could not be measured within a minute'))
    }, patienceMs).unref()
    worker.once('message', (sizes: TableSize[]) => {
      clearTimeout(timer)
      resolve(sizes)
    })
    worker.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
  })
}
