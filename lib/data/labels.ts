import { SeedbedError } from '../errors.js';

const MAX_BYTES = 4 * 2 ** 30;

/** Encoded pictures that are held in memory. */
export class MemoryBudget {
  #bytes = 0;

  /** Throws `ERR_OUT_OF_MEMORY`. */
  take(bytes: number, path: string): void {
    this.#bytes += bytes;
    if (this.#bytes > MAX_BYTES) throw new SeedbedError('ERR_OUT_OF_MEMORY', `Expected at most ${MAX_BYTES / 2 ** 30} GiB of pictures in '${path}' and the files before it; open fewer files`);
  }
}

/** Classes from labels that are all numbers, or names: those given, else those that occur. Throws `ERR_DATASET` for a label that is no class. */
export function labelIndices(samples: readonly { key: string; label: string }[], names: readonly string[] | undefined): { classes: readonly string[]; indices: number[] } {
  const numeric = samples.every(({ label }) => /^\d+$/.test(label));
  const classes = names ?? classNames(samples.map(({ label }) => label), numeric);
  const places = new Map(classes.map((name, i) => [name, i]));
  const indices = samples.map(({ key, label }) => {
    const index = numeric ? Number(label) : (places.get(label) ?? -1);
    if (index < 0 || index >= classes.length) throw new SeedbedError('ERR_DATASET', `Expected a class from 0 to ${classes.length - 1} for sample '${key}', found '${label}'`);
    return index;
  });
  return { classes, indices };
}

function classNames(labels: readonly string[], numeric: boolean): string[] {
  if (!numeric) return [...new Set(labels)].sort();
  const highest = labels.reduce((max, label) => Math.max(max, Number(label)), -1);
  return Array.from({ length: highest + 1 }, (_, i) => String(i));
}
