import { isDeepStrictEqual } from 'node:util';
import { escape, table } from './html.js';
import type { Comparison } from '../experiment/few-shot.js';
import type { Choice } from '../methods/data-dream/choose.js';
import { PLAIN } from '../methods/data-dream/options.js';
import type { Origin, Part } from './record.js';

// What pages of all kinds of runs have.

export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
export const points = (share: number): string => `${share < 0 ? '−' : '+'}${Math.abs(100 * share).toFixed(1)}`;
/** Of one run there is none; JSON has no infinity, and gives null. */
export const interval = ({ low, high }: { low: number | null; high: number | null }): string => (Number.isFinite(low) && Number.isFinite(high) ? `${points(low as number)} to ${points(high as number)}` : 'none from one run');
/** How sure a paired difference is. */
export const sureness = ({ interval: own, differences }: Comparison): string => (differences.length === 1 ? 'one run: it decides nothing' : `95 % interval ${interval(own)}, ${differences.length} paired runs`);
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

/** What a difference with this interval allows one to say. */
export function verdict({ interval: { mean, low, high } }: Comparison): 'better' | 'worse' | 'undecided' {
  return low > 0 && mean > 0 ? 'better' : high < 0 && mean < 0 ? 'worse' : 'undecided';
}

/** What a comparison's verdict says; of one run nothing. */
export const saying = (one: Comparison, says: Record<ReturnType<typeof verdict>, string>): string => (one.differences.length === 1 ? '' : says[verdict(one)]);

/** A setting as it is read. */
export const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

export function settingsTable(settings: Readonly<Record<string, unknown>>): string {
  const rows = Object.entries(settings).map(([name, value]) => [escape(name), Array.isArray(value) ? value.map((one) => escape(text(one))).join(', ') : escape(text(value))]);
  return table(['option', 'value'], rows, 'text');
}

/** What was chosen for classifiers of real and generated pictures. */
export function choiceText({ ways, asked }: Choice): string {
  const texts = { augment: isDeepStrictEqual(ways.augment, PLAIN) ? 'plain views' : 'varied views', realWeight: ways.realWeight === 1 ? 'no generated pictures' : `weight ${ways.realWeight} of the real ones` };
  return asked.map((what) => texts[what]).join(', ');
}
