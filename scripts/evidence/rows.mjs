// Measured rows of an evidence recipe, a JSON line each: what was measured stays measured, several runs may add to one file, and rows know the settings that they were made with.

import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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

const linesOf = (file) => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').filter(Boolean) : []);

/** The rows of a folder and, before them, those that were kept beside the document of an earlier run. */
export class Rows {
  #file;
  #kept;

  constructor(folder, document) {
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, 'results.jsonl');
    this.#kept = document.replace(/\.md$/, '.jsonl');
  }

  all() {
    const rows = [...linesOf(this.#kept), ...linesOf(this.#file)].map((line) => JSON.parse(line));
    return [...new Map(rows.map((row) => [[row.data, row.arm, row.start, row.shots, row.seed, row.settings].join(), row])).values()];
  }

  /** Writes all rows beside the document, so that its tables can be made again without the folder. */
  keep() {
    const rows = this.all().map(({ parts: _, ...row }) => JSON.stringify(row));
    if (rows.length > 0) writeFileSync(this.#kept, `${rows.join('\n')}\n`);
  }

  /** Of each source and shots the rows of its newest settings that there are `fewest` rows of; of the newest where there are less of all. */
  newest(fewest = 1) {
    return grouped(this.all(), ({ data, shots, arm = '' }) => `${data} ${shots} ${arm}`).flatMap((rows) => {
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

/** A section of a document as lines, its heading included, and the rows of its table by their first cell: what an earlier run measured whose rows are gone. */
export function sectionOf(document, heading) {
  const lines = existsSync(document) ? readFileSync(document, 'utf8').split('\n') : [];
  const start = lines.indexOf(heading);
  if (start < 0) return { lines: [], cells: new Map() };
  const length = lines.slice(start + 1).findIndex((line) => line.startsWith('#') || line.startsWith('`'));
  const own = lines.slice(start, length < 0 ? undefined : start + 1 + length);
  const cells = own.filter((line) => line.startsWith('| ')).map((line) => line.slice(2, -2).split(' | '));
  return { lines: ['', ...own.join('\n').trimEnd().split('\n')], cells: new Map(cells.slice(1).map((row) => [row[0], row])) };
}

/** A table's lines. */
export const table = (heads, lines) => [`| ${heads.join(' | ')} |`, `|${'---|'.repeat(heads.length)}`, ...lines.map((cells) => `| ${cells.join(' | ')} |`)];
