// Features of pictures by the judge, kept on the disk: real pictures are the same at each run.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gradientFeatures, loadJudge } from '../../../dist/lib/index.js';

const PART = 256; // pictures whose features are written together

export const digest = (...parts) => parts.reduce((hash, part) => hash.update(part).update('\n'), createHash('sha256')).digest('hex').slice(0, 24);

export function writeWhole(path, data) {
  writeFileSync(`${path}.part`, data);
  renameSync(`${path}.part`, path);
}

const FALLBACK = { name: 'gradients and colours in 8 x 8 cells (no network)', features: (block) => gradientFeatures(block), dispose: () => {} };

/** The judge of a file, or the fallback without one: `{ name, features(block) }`, whose features are rows of one float32 tensor. */
export function openJudge(path, work, threads) {
  const judge = path === undefined ? FALLBACK : loadJudge(path);
  const version = path === undefined ? 'gradients' : digest(readFileSync(path));
  const folder = join(work, 'features');
  mkdirSync(folder, { recursive: true });

  async function part(block) {
    const file = join(folder, `${digest(version, block.data)}.f32`);
    if (existsSync(file)) {
      const bytes = readFileSync(file);
      return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    }
    const { data } = await judge.features(block, ...(path === undefined ? [] : [threads]));
    writeWhole(file, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return data;
  }

  async function features(block) {
    const bytes = block.data.length / block.count;
    const parts = [];
    for (let first = 0; first < block.count; first += PART) {
      const count = Math.min(PART, block.count - first);
      parts.push(await part({ ...block, count, data: block.data.subarray(first * bytes, (first + count) * bytes) }));
    }
    const width = (parts[0]?.length ?? 0) / Math.min(PART, block.count);
    const data = new Float32Array(block.count * width);
    let at = 0;
    for (const values of parts) {
      data.set(values, at);
      at += values.length;
    }
    return { data, shape: [block.count, width], dtype: 'float32' };
  }
  return { name: judge.name, features, dispose: () => judge.dispose() };
}

/** Rows of features, in this order. */
export function rowsOf({ data, shape }, places) {
  const [, width] = shape;
  const out = new Float32Array(places.length * width);
  for (const [i, place] of places.entries()) out.set(data.subarray(place * width, (place + 1) * width), i * width);
  return { data: out, shape: [places.length, width], dtype: 'float32' };
}
