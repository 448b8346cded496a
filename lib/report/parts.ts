import { escape, table } from './html.js';
import type { Origin, Part } from './record.js';

// What pages of all kinds of runs have.

export const count = (value: number): string => Math.round(value).toLocaleString('en-US');

/** Program, machine and time, at the end of a page. */
export function originLine({ seedbed, created, cpu, threads }: Origin): string {
  return `<footer>seedbed ${escape(seedbed)} · ${escape(created.slice(0, 16).replace('T', ' '))} UTC · ${escape(cpu)}, ${threads} threads · every number on this page was measured in this run unless it says otherwise</footer>`;
}

/** Where the time went. */
export function timeTable(parts: readonly Part[]): string {
  const total = parts.reduce((sum, part) => sum + part.seconds, 0);
  return table(
    ['part', 'seconds'],
    [...parts.map(({ name, seconds }) => [escape(name), seconds.toFixed(1)]), ['<b>all</b>', `<b>${total.toFixed(1)}</b>`]],
  );
}
