import { ArgumentError } from '../errors.js';
import type { Image } from '../image.js';
import { native } from '../native.js';
import type { Tensor } from '../tensor.js';

interface Size {
  width: number;
  height: number;
}

/** Resized with Lanczos where it has another size. */
export function fitted(image: Image, { width, height }: Size): Image {
  const { data, channels } = image;
  if (channels !== 1 && channels !== 3) throw new ArgumentError(`Expected 1 or 3 channels for an image, received ${channels}`);
  const bytes = image.width * image.height * channels;
  if (data.length !== bytes) throw new ArgumentError(`Expected ${bytes} bytes for an image of ${image.width} x ${image.height} x ${channels}, received ${data.length}`);
  return image.width === width && image.height === height ? image : native().resizeImage({ image, width, height, filter: 'lanczos' });
}

/** Planes of `channels` values per picture, from `value(image, pixel, channel)`. */
function planes(images: readonly Image[], { width, height }: Size, channels: number, value: (image: Image, pixel: number, channel: number) => number): Tensor<'float32'> {
  const area = width * height;
  const data = new Float32Array(images.length * channels * area);
  images.forEach((image, i) => {
    for (let c = 0; c < channels; c++) for (let p = 0; p < area; p++) data[(i * channels + c) * area + p] = value(image, p, c);
  });
  return { data, shape: [images.length, channels, height, width], dtype: 'float32' };
}

/** Pictures, resized with Lanczos, to pixels in [-1, 1], [B, 3, H, W]. */
export function toPixels(images: readonly Image[], size: Size): Tensor<'float32'> {
  const sized = images.map((image) => fitted(image, size));
  return planes(sized, size, 3, ({ data, channels }, p, c) => (data[p * channels + (channels === 1 ? 0 : c)] ?? 0) / 127.5 - 1);
}

/** A mask's first channel, 1 where it is at least half white, [1, 1, H, W]. */
export function toMask(mask: Image, size: Size): Tensor<'float32'> {
  return planes([fitted(mask, size)], size, 1, ({ data, channels }, p) => ((data[p * channels] ?? 0) >= 128 ? 1 : 0));
}

/** Pixels in [-1, 1], [B, 3, H, W], to 8-bit pictures. */
export function toImages({ data, shape }: Tensor<'float32'>): Image[] {
  const [count = 0, channels = 3, height = 0, width = 0] = shape;
  const area = width * height;
  return Array.from({ length: count }, (_, i) => {
    const bytes = new Uint8ClampedArray(area * channels); // rounds and clamps
    for (let c = 0; c < channels; c++) for (let p = 0; p < area; p++) bytes[p * channels + c] = ((data[(i * channels + c) * area + p] ?? 0) + 1) * 127.5;
    return { data: new Uint8Array(bytes.buffer), width, height, channels };
  });
}
