// Fractal backgrounds, from the package's own renderer.

import sharp from 'sharp';
import { fractals } from '../../dist/lib/index.js';
import { PIXELS } from './variations.mjs';

export const TEXTURES = 24;
const RENDERED = 256;
const SOFTENED = 3; // sigma in pixels of the rendering: detail of the size of the drawings' own would hide them

/** Grey pictures of TEXTURES x 64 x 64 bytes. */
export async function makeTextures(seed) {
  const systems = Array.from({ length: TEXTURES }, (_, i) => fractals.sample({ maps: 3 + (i % 3), sigmaFactor: 4.2 + (i % 5) * 0.3, seed: seed * 1000 + i }));
  const { data } = await fractals.render(systems, { size: RENDERED, points: 200_000, padding: 0, draw: 'patch', mask: 'fill', value: 255, threads: 1 });
  const textures = new Uint8Array(TEXTURES * PIXELS * PIXELS);
  for (let i = 0; i < TEXTURES; i++) {
    const gray = data.subarray(i * RENDERED * RENDERED, (i + 1) * RENDERED * RENDERED);
    const small = await sharp(gray, { raw: { width: RENDERED, height: RENDERED, channels: 1 } }).blur(SOFTENED).resize(PIXELS, PIXELS).normalise().toColourspace('b-w').raw().toBuffer();
    textures.set(small.subarray(0, PIXELS * PIXELS), i * PIXELS * PIXELS);
  }
  return textures;
}
