// A worker: paints its share of a set's pictures straight into the file.

import { closeSync, openSync, writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { DRAWING } from './drawings.mjs';
import { SIDE } from './fashion.mjs';
import { paintPicture } from './painting.mjs';
import { PICTURE_BYTES, PIXELS } from './variations.mjs';

const { path, jobs, drawings, textures, photos } = workerData;

/** A grey photo as an opaque drawing; its ground is black, and white when inverted. */
function photo(index, ground) {
  const pixels = new Uint8Array(SIDE * SIDE * 4).fill(255);
  for (let i = 0; i < SIDE * SIDE; i++) {
    const value = photos[index * SIDE * SIDE + i];
    pixels.fill(ground === 'white' ? 255 - value : value, i * 4, i * 4 + 3);
  }
  return { pixels, side: SIDE };
}

const file = openSync(path, 'r+');
for (const { index, variation, drawing, photo: photoIndex } of jobs) {
  const size = DRAWING * DRAWING * 4;
  const source = photoIndex === undefined ? { pixels: drawings.subarray(drawing * size, (drawing + 1) * size), side: DRAWING } : photo(photoIndex, variation.ground);
  const texture = variation.background?.texture;
  const picture = paintPicture(variation, source, texture === undefined ? undefined : textures.subarray(texture * PIXELS * PIXELS, (texture + 1) * PIXELS * PIXELS));
  writeSync(file, picture, 0, PICTURE_BYTES, index * PICTURE_BYTES);
}
closeSync(file);
