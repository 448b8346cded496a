// Reads a set of the corpus as it lies on the disk (README.md says what is in it).

import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PICTURE_BYTES, PIXELS } from './variations.mjs';

const MOST_BYTES = 1 << 30; // of one call

/** All pictures as one block of bytes. */
export function readPictures(corpus, set) {
  const path = join(corpus, set, 'pictures.u8');
  const { size } = statSync(path);
  const data = new Uint8Array(size);
  const file = openSync(path);
  for (let at = 0; at < size; ) at += readSync(file, data, at, Math.min(MOST_BYTES, size - at), at);
  closeSync(file);
  return { data, count: size / PICTURE_BYTES, width: PIXELS, height: PIXELS };
}

/** The first `count` pictures of a set. */
export const firstPictures = (pictures, count) => ({ ...pictures, data: pictures.data.subarray(0, count * PICTURE_BYTES), count });

export const readEntries = (corpus, set) => readFileSync(join(corpus, set, 'entries.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));

export const readSet = (corpus, set) => ({ pictures: readPictures(corpus, set), entries: readEntries(corpus, set) });

/** Pictures and entries at `places`, in their order. */
export function selection({ pictures, entries }, places) {
  const data = new Uint8Array(places.length * PICTURE_BYTES);
  for (const [i, place] of places.entries()) data.set(pictures.data.subarray(place * PICTURE_BYTES, (place + 1) * PICTURE_BYTES), i * PICTURE_BYTES);
  return { pictures: { ...pictures, data, count: places.length }, entries: places.map((place) => entries[place]) };
}

const VARIATIONS = ['size', 'place', 'tilt', 'mirrored', 'upsideDown', 'background'];

/** One thing in the middle, as it is. */
export const isPlain = (entry) => (entry.count ?? 1) === 1 && VARIATIONS.every((name) => entry[name] === undefined) && entry.ground !== 'white';
