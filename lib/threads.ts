import { availableParallelism } from 'node:os';
import { ArgumentError } from './errors.js';

/** Threads of a job: `requested`, else `SEEDBED_THREADS`, else the cores this process may use. */
export function threads(requested?: number): number {
  if (requested !== undefined) return requested;
  const asked = process.env['SEEDBED_THREADS'];
  if (asked === undefined || asked === '') return availableParallelism();
  const count = Number(asked);
  if (!Number.isInteger(count) || count < 1 || count > 1024) throw new ArgumentError(`Expected an integer from 1 to 1024 for SEEDBED_THREADS, received '${asked}'`);
  return count;
}
