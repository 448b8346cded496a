import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { SeedbedError } from '../errors.js';
import { kindOf } from '../files.js';
import { Dataset } from './dataset.js';
import { readBytes } from './image-folder.js';

/** Names of IDX files: `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte.gz` … */
export const IDX_FILE = /(images|labels)[-.]idx[13]-ubyte(\.gz)?$/;

const UNSIGNED_BYTE = 8;

interface Idx {
  shape: number[];
  data: Uint8Array;
}

/** An IDX file (big endian): 0, 0, element type, dimensions, their sizes, data. Throws `ERR_FILE_FORMAT`. */
async function readIdx(path: string, dimensions: number): Promise<Idx> {
  const raw = Buffer.from(await readBytes(path));
  const bytes = path.endsWith('.gz') ? gunzip(raw, path) : raw;
  const begin = 4 + 4 * dimensions;
  if (bytes.length < begin || bytes.readUInt16BE(0) !== 0 || bytes[2] !== UNSIGNED_BYTE || bytes[3] !== dimensions)
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected an IDX file of bytes with ${dimensions} dimensions in '${path}', found another header`);
  const shape = Array.from({ length: dimensions }, (_, i) => bytes.readUInt32BE(4 + 4 * i));
  const expected = shape.reduce((product, size) => product * size, 1);
  if (bytes.length - begin !== expected) throw new SeedbedError('ERR_FILE_FORMAT', `Expected ${expected} bytes of data in '${path}', found ${bytes.length - begin}`);
  return { shape, data: bytes.subarray(begin) };
}

function gunzip(raw: Buffer, path: string): Buffer {
  try {
    return gunzipSync(raw);
  } catch (error) {
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected gzip data in '${path}', found something else`, { cause: error });
  }
}

async function findFiles(path: string, part: 'train' | 'test'): Promise<{ images: string; labels: string }> {
  const folder = (await kindOf(path)) === 'folder' ? path : dirname(path);
  const prefix = folder === path ? (part === 'train' ? /^train/ : /^(t10k|test)/) : new RegExp(`^${basename(path).split(/[-.]/)[0]}`);
  const names = (await readdir(folder)).filter((name) => IDX_FILE.test(name) && prefix.test(name));
  const find = (kind: string): string => {
    const name = names.find((candidate) => candidate.includes(kind));
    if (name === undefined) throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected an IDX file of ${kind} for the ${part} part in '${folder}', found none`);
    return join(folder, name);
  };
  return { images: find('images'), labels: find('labels') };
}

/** The MNIST family's files: gray pictures and byte labels. */
export async function openIdx(path: string, part: 'train' | 'test', names?: readonly string[]): Promise<Dataset> {
  const files = await findFiles(path, part);
  const [images, labels] = await Promise.all([readIdx(files.images, 3), readIdx(files.labels, 1)]);
  const [count = 0, height = 0, width = 0] = images.shape;
  if (labels.data.length !== count) throw new SeedbedError('ERR_DATASET', `Expected ${count} labels in '${files.labels}', found ${labels.data.length}`);
  const classes = names ?? Array.from({ length: Math.max(-1, ...new Set(labels.data)) + 1 }, (_, i) => String(i));
  const digits = String(count).length;
  const entries = Array.from({ length: count }, (_, i) => ({
    key: `${part}/${String(i).padStart(digits, '0')}`,
    label: labels.data[i] ?? 0,
    read: () => Promise.resolve({ data: images.data.subarray(i * height * width, (i + 1) * height * width), width, height, channels: 1 }),
  }));
  return new Dataset({ name: basename(path), classes, entries, ...(part === 'test' && { role: 'test' as const }) });
}
