import sharp from 'sharp';
import { errorFromFile, SeedbedError } from './errors.js';

/** 8-bit pixels, channels interleaved (sharp's raw layout). */
export interface Image {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  /** 1: gray, 3: RGB. */
  readonly channels: number;
}

/** Decodes a PNG, JPEG, WebP, GIF, TIFF or AVIF file's bytes; transparent places become white. Throws `ERR_IMAGE` naming `name`. */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<Image> {
  if (bytes.length === 0) throw new SeedbedError('ERR_IMAGE', `Expected an image in '${name}', found 0 bytes`);
  try {
    const pipeline = sharp(bytes, { failOn: 'error' }).rotate().flatten({ background: '#ffffff' });
    const { data, info } = await pipeline.toColourspace('srgb').raw().toBuffer({ resolveWithObject: true });
    return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), width: info.width, height: info.height, channels: info.channels };
  } catch (error) {
    throw new SeedbedError('ERR_IMAGE', `Expected an image in '${name}', found something that cannot be decoded (${(error as Error).message.split('\n')[0]})`, { cause: error });
  }
}

/** Encodes as PNG; gray images stay gray. `compressionLevel` is zlib's, 0 (fast) to 9 (small, default). */
export async function encodePng(image: Image, { compressionLevel = 9 }: { compressionLevel?: number } = {}): Promise<Buffer> {
  const pipeline = sharp(image.data, { raw: { width: image.width, height: image.height, channels: image.channels as 1 | 3 } });
  return (image.channels === 1 ? pipeline.toColourspace('b-w') : pipeline).png({ compressionLevel }).toBuffer();
}

/** Resizes with nearest neighbour for showing small pictures large, or Lanczos otherwise. */
export async function scaleImage(image: Image, width: number, kernel: 'nearest' | 'lanczos3' = 'lanczos3'): Promise<Image> {
  const { data, info } = await sharp(image.data, { raw: { width: image.width, height: image.height, channels: image.channels as 1 | 3 } })
    .resize({ width, kernel })
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), width: info.width, height: info.height, channels: info.channels };
}

/** The square in the middle. */
export function squared({ data, width, height, channels }: Image): Image {
  const side = Math.min(width, height);
  const [left, top] = [(width - side) >> 1, (height - side) >> 1];
  const out = new Uint8Array(side * side * channels);
  for (let y = 0; y < side; y++) out.set(data.subarray(((y + top) * width + left) * channels, ((y + top) * width + left + side) * channels), y * side * channels);
  return { data: out, width: side, height: side, channels };
}

/** Places equal-sized images in a grid, `columns` wide, with `gap` pixels of `background` between and around. */
export function contactSheet(images: readonly Image[], columns: number, gap = 4, background = 255): Image {
  const first = images[0];
  if (first === undefined) throw new SeedbedError('ERR_INVALID_ARGUMENT', 'Expected at least one image for a contact sheet, received none');
  const { width, height } = first;
  const rows = Math.ceil(images.length / columns);
  const sheet = { width: columns * (width + gap) + gap, height: rows * (height + gap) + gap, channels: 3 };
  const data = new Uint8Array(sheet.width * sheet.height * 3).fill(background);
  for (const [i, image] of images.entries()) {
    const left = gap + (i % columns) * (width + gap);
    const top = gap + Math.floor(i / columns) * (height + gap);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        for (let c = 0; c < 3; c++)
          data[((top + y) * sheet.width + left + x) * 3 + c] = image.data[(y * width + x) * image.channels + (image.channels === 1 ? 0 : c)] ?? 0;
  }
  return { data, ...sheet };
}

/** Reads and decodes an image file. */
export async function readImage(path: string): Promise<Image> {
  const { readFile } = await import('node:fs/promises');
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  }
  return decodeImage(bytes, path);
}

/** The image inside a frame of one colour, `width` pixels wide. */
export function framed(image: Image, width: number, colour: readonly [number, number, number]): Image {
  const size = { width: image.width + 2 * width, height: image.height + 2 * width, channels: 3 };
  const data = new Uint8Array(size.width * size.height * 3);
  for (let y = 0; y < size.height; y++)
    for (let x = 0; x < size.width; x++)
      for (let c = 0; c < 3; c++) {
        const inX = x - width;
        const inY = y - width;
        const inside = inX >= 0 && inY >= 0 && inX < image.width && inY < image.height;
        data[(y * size.width + x) * 3 + c] = inside ? (image.data[(inY * image.width + inX) * image.channels + (image.channels === 1 ? 0 : c)] ?? 0) : (colour[c] ?? 0);
      }
  return { data, ...size };
}

/** A picture as the source of an HTML image. */
export async function dataUri(image: Image): Promise<string> {
  return `data:image/png;base64,${(await encodePng(image)).toString('base64')}`;
}
