import { createHash } from 'node:crypto';
import { SeedbedError } from '../errors.js';
import type { Image } from '../image.js';
import type { Sample } from './dataset.js';

/** Tells pictures with other pixels apart. */
export function pixelDigest({ data, width, height, channels }: Image): string {
  return createHash('sha256').update(`${width}x${height}x${channels}:`).update(data).digest('base64');
}

/** A picture's name and what tells its pixels from others. */
export interface Digested {
  key: string;
  digest: string;
}

const digested = ({ key, image }: Sample): Digested => ({ key, digest: pixelDigest(image) });

/** Keys of pictures by their pixels: the same picture under two names is found too. */
export class PixelIndex {
  readonly #keys = new Map<string, string>();

  add({ key, digest }: Digested): void {
    this.#keys.set(digest, key);
  }

  /** Throws `ERR_DATA_LEAK` for a picture that was added; `names` say what must share none. */
  refuse({ key, digest }: Digested, names: string): void {
    const twin = this.#keys.get(digest);
    if (twin !== undefined) throw new SeedbedError('ERR_DATA_LEAK', `Expected no picture in both ${names}, found '${key}' and '${twin}'`);
  }
}

/** Throws `ERR_DATA_LEAK` naming the first picture that both have. One picture at a time is in memory. */
export async function checkNoOverlap(some: AsyncIterable<Sample>, others: AsyncIterable<Sample>, names: string): Promise<void> {
  const index = new PixelIndex();
  for await (const sample of some) index.add(digested(sample));
  for await (const sample of others) index.refuse(digested(sample), names);
}
