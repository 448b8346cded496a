// Measured rows of an evidence recipe, a JSON line each: what was measured stays measured, several runs may add to one file, and rows know the settings that they were made with.

import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { metrics } from '../../dist/lib/index.js';

/** What decides a row's figures: those of other settings are not shown as these. */
export const digestOf = (settings) => createHash('sha256').update(JSON.stringify(settings)).digest('hex').slice(0, 16);

/** Lists of those with the same key, in the order of their first ones. */
function grouped(rows, keyOf) {
  const groups = new Map();
  for (const row of rows) groups.set(keyOf(row), [...(groups.get(keyOf(row)) ?? []), row]);
  return [...groups.values()];
}

/** The rows of a folder. */
export class Rows {
  #file;

  constructor(folder) {
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, 'results.jsonl');
  }

  all() {
    return existsSync(this.#file) ? readFileSync(this.#file, 'utf8').trim().split('\n').filter(Boolean).map((line) => JSON.parse(line)) : [];
  }

  /** Of each source and shots the rows of its newest settings that there are `fewest` rows of; of the newest where there are less of all. */
  newest(fewest = 1) {
    return grouped(this.all(), ({ data, shots }) => `${data} ${shots}`).flatMap((rows) => {
      const newestFirst = grouped(rows.toReversed(), ({ settings }) => settings).map((own) => own.toReversed());
      return newestFirst.find((own) => own.length >= fewest) ?? newestFirst[0];
    });
  }

  /** Whether there is a row with all these values. */
  has(wanted) {
    return this.all().some((row) => Object.entries(wanted).every(([key, value]) => row[key] === value));
  }

  add(row) {
    appendFileSync(this.#file, `${JSON.stringify(row)}\n`);
    console.log(JSON.stringify(row));
  }
}

export const percent = (value) => (100 * value).toFixed(1);
const signed = (value) => `${value < 0 ? '−' : '+'}${Math.abs(100 * value).toFixed(1)}`;

/** Mean of paired differences with Student's 95 % interval, in points. */
export function spread(differences) {
  const { mean, low, high } = metrics.meanInterval(differences);
  return `**${signed(mean)}** (${signed(low)} to ${signed(high)})`;
}

/** Of the runs' accuracies of an arm. */
export const meanOf = (runs, arm) => metrics.mean(runs.map((run) => run.arms[arm]));

/** A table's lines. */
export const table = (heads, lines) => [`| ${heads.join(' | ')} |`, `|${'---|'.repeat(heads.length)}`, ...lines.map((cells) => `| ${cells.join(' | ')} |`)];
