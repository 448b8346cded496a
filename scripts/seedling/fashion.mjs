// Fashion-MNIST: the photographic part.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

export const SIDE = 28;

/**
 * In the data set's order. Three are kept out of training, one of each difficulty: a bag has a shape of its own, a sandal is a
 * neighbour of two trained shoes, a coat is told from a pullover or a shirt by small things only.
 */
export const CLASSES = [
  { id: 'photo-t-shirt', name: 't-shirt', kind: 'count', synonyms: [] },
  { id: 'photo-trousers', name: 'trousers', kind: 'pair', synonyms: ['pants'] },
  { id: 'photo-pullover', name: 'pullover', kind: 'count', synonyms: ['sweater'] },
  { id: 'photo-dress', name: 'dress', kind: 'count', synonyms: [] },
  { id: 'photo-coat', name: 'coat', kind: 'count', synonyms: [], heldOut: true },
  { id: 'photo-sandal', name: 'sandal', kind: 'count', synonyms: [], heldOut: true, shoe: true },
  { id: 'photo-shirt', name: 'shirt', kind: 'count', synonyms: [] },
  { id: 'photo-sneaker', name: 'sneaker', kind: 'count', synonyms: [], shoe: true },
  { id: 'photo-bag', name: 'bag', kind: 'count', synonyms: [], heldOut: true },
  { id: 'photo-ankle-boot', name: 'ankle boot', kind: 'count', synonyms: [], shoe: true },
].map((entry, label) => ({ ...entry, label, tags: [], category: entry.shoe ? ['clothing', 'shoe'] : ['clothing'], group: 'photo', subgroup: 'photo' }));

/** Pictures and labels of `train` or `t10k`: bytes [N, 28, 28] and [N]. */
export function readFashion(folder, part) {
  const read = (name, header) => gunzipSync(readFileSync(join(folder, `${part}-${name}-ubyte.gz`))).subarray(header);
  return { pictures: read('images-idx3', 16), labels: read('labels-idx1', 8) };
}

/** Indices of the first `count` pictures of a class. */
export function indicesOf(labels, label, count) {
  const found = [];
  for (let i = 0; i < labels.length && found.length < count; i++) if (labels[i] === label) found.push(i);
  return found;
}
