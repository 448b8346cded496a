import { SeedbedError } from '../errors.js';
import type { Sample } from './dataset.js';

const pixelsOf = ({ image }: Sample): string => `${image.width}x${image.height}:${Buffer.from(image.data.buffer, image.data.byteOffset, image.data.byteLength).toString('latin1')}`;

/** The pictures themselves decide: the same pixels under two names are found too. Throws `ERR_DATA_LEAK` naming the first that both have. */
export function checkNoOverlap(some: readonly Sample[], others: readonly Sample[], names: string): void {
  const seen = new Map(some.map((sample) => [pixelsOf(sample), sample.key]));
  const twin = others.find((sample) => seen.has(pixelsOf(sample)));
  if (twin !== undefined) throw new SeedbedError('ERR_DATA_LEAK', `Expected no picture in both ${names}, found '${twin.key}' and '${seen.get(pixelsOf(twin))}'`);
}
