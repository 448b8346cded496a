import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { captionBeside, isImageName } from '../data/image-folder.js';
import { captionIn, METADATA_FILE, readMetadata } from '../data/metadata.js';
import { ArgumentError, errorFromFile, SeedbedError } from '../errors.js';
import { readImage, type Image } from '../image.js';
import { native } from '../native.js';

/** A picture to train on, RGB, and what it shows. */
export interface CaptionedImage {
  image: Image;
  prompt: string;
}

const LEAST_SIDE = 8;
const LONGEST = 64; // times the short side

/**
 * Pictures of a folder (sorted as people count: 2 before 10) or as given, their short side brought to `size` pixels; `center`
 * also cuts them square. Of a picture more than 64 times as long as wide the middle is taken. A caption of its own wins over `prompt`.
 */
export async function loadTrainingImages(source: string | readonly Image[], prompt: string | readonly string[] | undefined, options: { size: number; crop: 'random' | 'center' }): Promise<CaptionedImage[]> {
  const found = typeof source === 'string' ? await readFolder(source) : source.map((image, i) => ({ name: `image ${i}`, image, caption: undefined }));
  if (Array.isArray(prompt) && prompt.length !== found.length) throw new ArgumentError(`Expected ${found.length} texts for prompt, one for each picture, received ${prompt.length}`);
  return found.map(({ name, image, caption }, i) => {
    const text = caption ?? (typeof prompt === 'string' ? prompt : prompt?.[i]);
    if (text === undefined) throw new ArgumentError(`Expected a prompt, since '${name}' has no caption`);
    return { image: trainingImage(image, name, options), prompt: text };
  });
}

interface Found {
  name: string;
  image: Image;
  caption: string | undefined;
}

async function readFolder(folder: string): Promise<Found[]> {
  let names: string[];
  try {
    names = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isFile() && !entry.name.startsWith('.')).map(({ name }) => name);
  } catch (error) {
    throw errorFromFile(error, 'read', folder);
  }
  const images = names.filter(isImageName).sort(new Intl.Collator('en', { numeric: true }).compare);
  const captions = new Map(names.includes(METADATA_FILE) ? await readMetadata(join(folder, METADATA_FILE), captionOf, '"file_name" and "text"') : []);
  const other = names.find((name) => !isImageName(name) && name !== METADATA_FILE && extname(name) !== '.txt');
  if (images.length === 0) throw new SeedbedError('ERR_IMAGE', `Expected pictures in '${folder}', found ${other === undefined ? 'none' : `none beside '${other}'`}`);
  if (other !== undefined) throw new SeedbedError('ERR_IMAGE', `Expected only pictures, captions and ${METADATA_FILE} in '${folder}', found '${other}'`);
  const beside = new Set(names);
  return Promise.all(images.map(async (name) => ({ name, image: await readImage(join(folder, name)), caption: captions.get(name) ?? (await captionBeside(folder, name, beside)) })));
}

/** A picture's caption, as the hub's image folders have it: { "file_name": ..., "text": ... }. */
function captionOf(row: Readonly<Record<string, unknown>>): [string, string] | undefined {
  const [file, caption] = [row['file_name'], captionIn(row)];
  return typeof file === 'string' && caption !== undefined ? [file, caption] : undefined;
}

/** A picture as it is learnt from: no larger than it must be. Of such a one the same comes out again. */
export function trainingImage(image: Image, name: string, { size, crop }: { size: number; crop: 'random' | 'center' }): Image {
  const short = Math.min(image.width, image.height);
  if (short < LEAST_SIDE) throw new SeedbedError('ERR_IMAGE', `Expected pictures of at least ${LEAST_SIDE} pixels a side, '${name}' has ${image.width} x ${image.height}`);
  const whole = middle(image, LONGEST * short);
  const side = (length: number): number => Math.max(size, Math.round((length * size) / short));
  const scaled = short === size ? whole : native().resizeImage({ image: whole, width: side(whole.width), height: side(whole.height), filter: 'bilinear' });
  return middle(scaled, crop === 'center' ? size : Infinity);
}

/** The part in the middle, with sides of at most `longest`, in three channels. */
function middle(image: Image, longest: number): Image {
  const width = Math.min(longest, image.width);
  const height = Math.min(longest, image.height);
  if (image.channels === 3 && width === image.width && height === image.height) return image;
  const left = (image.width - width) >> 1;
  const top = (image.height - height) >> 1;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++) data[(y * width + x) * 3 + c] = image.data[((y + top) * image.width + x + left) * image.channels + (image.channels === 1 ? 0 : c)] ?? 0;
  return { data, width, height, channels: 3 };
}
