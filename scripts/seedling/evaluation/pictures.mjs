// Blocks of pictures, [count, 64, 64, 3] in bytes, and the corpus' plain ones by style.

import { openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { isPlain, readEntries } from '../sets.mjs';
import { PICTURE_BYTES, PIXELS } from '../variations.mjs';

export const blockOf = (data) => ({ data, count: data.length / PICTURE_BYTES, width: PIXELS, height: PIXELS });
export const pictureAt = ({ data }, i) => data.subarray(i * PICTURE_BYTES, (i + 1) * PICTURE_BYTES);
export const joined = (pictures) => {
  const data = new Uint8Array(pictures.length * PICTURE_BYTES);
  for (const [i, picture] of pictures.entries()) data.set(picture, i * PICTURE_BYTES);
  return blockOf(data);
};
export const imagesOf = (block) => Array.from({ length: block.count }, (_, i) => ({ data: pictureAt(block, i), width: PIXELS, height: PIXELS, channels: 3 }));

/** Half the side, by means of four pixels. */
export function halved(picture, side = PIXELS) {
  const half = side / 2;
  const out = new Uint8Array(half * half * 3);
  for (let y = 0; y < half; y++)
    for (let x = 0; x < half; x++)
      for (let c = 0; c < 3; c++) {
        const at = (2 * y * side + 2 * x) * 3 + c;
        out[(y * half + x) * 3 + c] = Math.round((picture[at] + picture[at + 3] + picture[at + side * 3] + picture[at + side * 3 + 3]) / 4);
      }
  return out;
}

const PLAIN_SETS = ['train', 'heldout-pairs', 'heldout-concepts', 'twemoji'];

/** A set whose pictures are read one by one: most are never asked for. */
export function openSet(corpus, name) {
  const file = openSync(join(corpus, name, 'pictures.u8'));
  const read = (first, count) => {
    const data = new Uint8Array(count * PICTURE_BYTES);
    for (let at = 0; at < data.length; ) at += readSync(file, data, at, data.length - at, first * PICTURE_BYTES + at);
    return blockOf(data);
  };
  return { name, entries: readEntries(corpus, name), read, picture: (i) => read(i, 1).data };
}

/** The corpus: its sets, its concepts by id, and the plain drawings `{ style, concept, set, caption, picture }` of each style, one for each concept. */
export function openCorpus(folder) {
  const sets = Object.fromEntries([...PLAIN_SETS, 'fashion-test'].map((name) => [name, openSet(folder, name)]));
  const concepts = new Map(JSON.parse(readFileSync(join(folder, 'concepts.json'), 'utf8')).map((concept) => [concept.id, concept]));
  const drawings = {};
  for (const set of PLAIN_SETS)
    for (const [i, entry] of sets[set].entries.entries()) {
      if (entry.style === 'photo' || !isPlain(entry)) continue;
      (drawings[entry.style] ??= []).push({ style: entry.style, concept: entry.concept, set, caption: entry.captions[0], picture: sets[set].picture(i) });
    }
  for (const list of Object.values(drawings)) list.sort((a, b) => (a.concept < b.concept ? -1 : 1));
  return { sets, concepts, drawings };
}
