import { ArgumentError } from '../errors.js';
import type { Image } from '../image.js';
import { show } from '../options.js';
import type { Tensor } from '../tensor.js';

/** Many RGB pictures of one size, one after the other: pixel rows from the top, three bytes a pixel. */
export interface PictureSet {
  /** `count * width * height * 3` bytes. Read in place: not to be changed, moved or shrunk until the job is done. */
  readonly data: Uint8Array;
  readonly count: number;
  readonly width: number;
  readonly height: number;
}

/** Pictures of one size to learn from: as one block of bytes, which is not copied, or as a list, which is. */
export type Pictures = PictureSet | readonly Image[];

/** The pictures as one tensor [count, height, width, 3]. Throws `ERR_INVALID_ARGUMENT` naming the first that does not fit. */
export function pictureTensor(pictures: Pictures, name: string): Tensor<'uint8'> {
  const { data, count, width, height } = isList(pictures) ? together(pictures, name) : checked(pictures, name);
  return { data, shape: [count, height, width, 3], dtype: 'uint8' };
}

const isList = (pictures: Pictures): pictures is readonly Image[] => Array.isArray(pictures);

function checked(set: PictureSet, name: string): PictureSet {
  const { data, count, width, height } = Object(set) as Partial<PictureSet>; // it may come from JavaScript
  if (!(data instanceof Uint8Array)) throw new ArgumentError(`Expected a list of images or { data, count, width, height } with a Uint8Array for ${name}, received ${show(set)}`);
  for (const [field, value] of Object.entries({ count, width, height })) if (!Number.isInteger(value) || (value as number) < 1) throw new ArgumentError(`Expected an integer of at least 1 for ${name}.${field}, received ${show(value)}`);
  const bytes = set.count * set.width * set.height * 3;
  if (data.length !== bytes) throw new ArgumentError(`Expected ${bytes} bytes for ${name} (${set.count} pictures of ${set.width} x ${set.height} x 3), received ${data.length}`);
  return set;
}

function together(images: readonly Image[], name: string): PictureSet {
  const first = images[0];
  if (first === undefined) throw new ArgumentError(`Expected at least one picture for ${name}, received none`);
  const { width, height } = first;
  const bytes = width * height * 3;
  const data = new Uint8Array(images.length * bytes);
  for (const [i, image] of images.entries()) {
    if (image.width !== width || image.height !== height) throw new ArgumentError(`Expected pictures of one size for ${name}, picture ${i} has ${image.width} x ${image.height}, the first ${width} x ${height}`);
    if (image.data.length !== width * height * image.channels || (image.channels !== 1 && image.channels !== 3)) throw new ArgumentError(`Expected ${width} x ${height} x 1 or 3 bytes for picture ${i} of ${name}, received ${image.data.length}`);
    if (image.channels === 3) data.set(image.data, i * bytes);
    else for (let j = 0; j < bytes; j++) data[i * bytes + j] = image.data[Math.floor(j / 3)] ?? 0;
  }
  return checked({ data, count: images.length, width, height }, name);
}
