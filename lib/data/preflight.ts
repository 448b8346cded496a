import { native } from '../native.js';
import type { Image } from '../image.js';
import type { Dataset, Skipped } from './dataset.js';

const THUMB = 16; // pixels
const ALIKE = 4; // mean difference of thumbnails, of 255
const UNEVEN = 2; // times the smallest class

/** A picture that looks like another. */
export interface Twin {
  key: string;
  of: string;
  /** Of different classes: one of the labels is wrong. */
  classes: [string, string];
}

/** What a dataset is, before it is worked on. */
export interface Preflight {
  classes: { name: string; count: number }[];
  /** Of the shorter sides, pixels; the picture with the smallest one. */
  sides: { smallest: { key: string; pixels: number }; largest: number };
  twins: Twin[];
  skipped: readonly Skipped[];
  /** What a person should know, a sentence each. */
  warnings: string[];
}

/** Colours of a picture seen from afar, a byte each, and which of its squares are lighter than their right neighbours. */
function glance(image: Image): { thumb: Uint8Array; mark: string } {
  const { data, channels } = native().resizeImage({ image, width: THUMB, height: THUMB, filter: 'bilinear' });
  const thumb = Uint8Array.from({ length: THUMB * THUMB * 3 }, (_, i) => data[channels === 3 ? i : Math.floor(i / 3)] ?? 0);
  const gray = (x: number, y: number): number => [0, 1, 2].reduce((sum, c) => sum + [0, 1].flatMap((v) => [0, 1].map((u) => thumb[((2 * y + v) * THUMB + 2 * x + u) * 3 + c] ?? 0)).reduce((a, b) => a + b), 0);
  let mark = '';
  for (let y = 0; y < THUMB / 2; y++) for (let x = 0; x + 1 < THUMB / 2; x++) mark += gray(x, y) > gray(x + 1, y) ? '1' : '0';
  return { thumb, mark };
}

const difference = (a: Uint8Array, b: Uint8Array): number => a.reduce((sum, value, i) => sum + Math.abs(value - (b[i] ?? 0)), 0) / a.length;

/** Finds pictures that look like earlier ones: the same light from square to square, nearly the same colours. */
export class TwinFinder {
  readonly #seen = new Map<string, { key: string; thumb: Uint8Array }[]>();

  /** The earlier picture that this one looks like; undefined when it is new, and it is remembered then. */
  find(key: string, image: Image): string | undefined {
    const { thumb, mark } = glance(image);
    const twin = this.#twin(thumb, mark);
    if (twin === undefined) this.#seen.set(mark, [...(this.#seen.get(mark) ?? []), { key, thumb }]);
    return twin;
  }

  /** The same, without remembering it. */
  look(image: Image): string | undefined {
    const { thumb, mark } = glance(image);
    return this.#twin(thumb, mark);
  }

  #twin(thumb: Uint8Array, mark: string): string | undefined {
    return this.#seen.get(mark)?.find((other) => difference(other.thumb, thumb) < ALIKE)?.key;
  }
}

/** Looks at all pictures once, one at a time in memory, and says what may go wrong with them. */
export async function preflight(data: Dataset, options: { signal?: AbortSignal | undefined } = {}): Promise<Preflight> {
  const classes = data.classes.map((name, i) => ({ name, count: data.counts[i] ?? 0 }));
  const finder = new TwinFinder();
  const labels = new Map<string, string>();
  const twins: Twin[] = [];
  let smallest = { key: '', pixels: data.length === 0 ? 0 : Infinity };
  let largest = 0;
  for await (const { key, image, className } of data) {
    options.signal?.throwIfAborted();
    const side = Math.min(image.width, image.height);
    if (side < smallest.pixels) smallest = { key, pixels: side };
    largest = Math.max(largest, side);
    const of = finder.find(key, image);
    if (of === undefined) labels.set(key, className);
    else twins.push({ key, of, classes: [className, labels.get(of) ?? ''] });
  }
  return { classes, sides: { smallest, largest }, twins, skipped: data.skipped, warnings: warningsOf(classes, twins, data.skipped) };
}

function warningsOf(classes: Preflight['classes'], twins: readonly Twin[], skipped: readonly Skipped[]): string[] {
  const filled = classes.filter(({ count }) => count > 0);
  const counts = filled.map(({ count }) => count);
  const single = filled.filter(({ count }) => count === 1);
  const [most, fewest] = [counts.reduce((a, b) => Math.max(a, b), 0), counts.reduce((a, b) => Math.min(a, b), Infinity)];
  const [mixed, same] = [twins.filter(({ classes: [a, b] }) => a !== b), twins.filter(({ classes: [a, b] }) => a === b)];
  const some = (list: readonly string[]): string => `${list.slice(0, 3).map((name) => `'${name}'`).join(', ')}${list.length > 3 ? ` and ${list.length - 3} more` : ''}`;
  return [
    ...(single.length > 0 ? [`${single.length} of ${filled.length} classes have one picture only (${some(single.map(({ name }) => name))}): what is generated for them will be close to it`] : []),
    ...(filled.length > 1 && most >= UNEVEN * fewest ? [`The largest class has ${most} pictures, the smallest ${fewest}: an adapter for all classes together would favour the large ones`] : []),
    ...(same.length > 0 ? [`${same.length} pictures look like another of their class (${some(same.map(({ key }) => key))})`] : []),
    ...(mixed.length > 0 ? [`${mixed.length} pictures look like one of another class (${some(mixed.map(({ key, of }) => `${key} = ${of}`))}): a label is wrong`] : []),
    ...(skipped.length > 0 ? [`${skipped.length} files were left out (${some(skipped.map(({ key }) => key))})`] : []),
  ];
}
