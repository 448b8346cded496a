import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { z } from 'zod';
import { errorFromFile, SeedbedError } from '../errors.js';
import { refuseLfsPointer } from './json-file.js';

const LENGTH_BYTES = 8;
const BEGINNING = 64; // enough to tell kinds of files apart
const LARGEST_HEADER = 100e6; // the format's own limit

export interface TensorEntry {
  dtype: string;
  shape: number[];
  /** First and last + 1 byte, counted from the end of the header. */
  offsets: [number, number];
}

export interface SafetensorsHeader {
  tensors: ReadonlyMap<string, TensorEntry>;
  metadata: Readonly<Record<string, string>>;
  /** Where the tensors' bytes begin. */
  begin: number;
}

const entrySchema = z.object({ dtype: z.string(), shape: z.array(z.int().min(0)), data_offsets: z.tuple([z.int().min(0), z.int().min(0)]) });
const metadataSchema = z.record(z.string(), z.string());

/** Opens a file for reading. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_READ` (a folder too), `ERR_FILE_FORMAT` when it is empty or an LFS pointer. */
async function openWeights(path: string): Promise<{ file: FileHandle; size: number; beginning: Buffer }> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(BEGINNING), 0, BEGINNING, 0);
    const beginning = buffer.subarray(0, bytesRead);
    checkBeginning(beginning, size, path);
    return { file, size, beginning };
  } catch (error) {
    await file?.close();
    throw errorFromFile(error, 'read', path);
  }
}

function checkBeginning(beginning: Buffer, size: number, path: string): void {
  if (size === 0) throw new SeedbedError('ERR_FILE_FORMAT', `Expected weights in '${path}', found an empty file; was its download interrupted?`);
  refuseLfsPointer(beginning.toString('latin1'), path);
}

const isSafetensors = (beginning: Buffer, size: number): boolean =>
  beginning.length > LENGTH_BYTES && beginning[LENGTH_BYTES] === 0x7b && beginning.readBigUInt64LE(0) <= Math.min(LARGEST_HEADER, size - LENGTH_BYTES);

function notSafetensors(beginning: Buffer, path: string): SeedbedError {
  const text = beginning.toString('latin1');
  const pickle = text.startsWith('PK') || text.startsWith('\x80');
  const found = pickle ? 'a pickle' : text.startsWith('GGUF') ? 'a GGUF file' : /^\s*<(!doctype|html)/i.test(text) ? 'a web page' : 'something else, or a part of one';
  return new SeedbedError('ERR_FILE_FORMAT', `Expected a safetensors file in '${path}', found ${found}`);
}

/** Looks at a weight file's first bytes only. Throws what `readSafetensorsHeader` throws for another kind of file. */
export async function checkWeights(path: string): Promise<void> {
  const { file, size, beginning } = await openWeights(path);
  await file.close();
  if (!isSafetensors(beginning, size)) throw notSafetensors(beginning, path);
}

/**
 * The names, types and shapes in a safetensors file, without its data; loading checks the whole.
 * Throws `ERR_FILE_FORMAT`, `ERR_FILE_NOT_FOUND`, `ERR_FILE_READ`.
 */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsHeader> {
  const { file, size, beginning } = await openWeights(path);
  try {
    if (!isSafetensors(beginning, size)) throw notSafetensors(beginning, path);
    const length = Number(beginning.readBigUInt64LE(0));
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, LENGTH_BYTES);
    return { ...parseHeader(buffer.toString('utf8'), path), begin: LENGTH_BYTES + length };
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  } finally {
    await file.close();
  }
}

/** As `readSafetensorsHeader`, for functions that answer at once. */
export function readSafetensorsHeaderSync(path: string): SafetensorsHeader {
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    const { size } = fstatSync(file);
    const beginning = Buffer.alloc(BEGINNING);
    const read = beginning.subarray(0, readSync(file, beginning, 0, BEGINNING, 0));
    checkBeginning(read, size, path);
    if (!isSafetensors(read, size)) throw notSafetensors(read, path);
    const header = Buffer.alloc(Number(read.readBigUInt64LE(0)));
    readSync(file, header, 0, header.length, LENGTH_BYTES);
    return { ...parseHeader(header.toString('utf8'), path), begin: LENGTH_BYTES + header.length };
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function parseHeader(text: string, path: string): Omit<SafetensorsHeader, 'begin'> {
  try {
    const { __metadata__: metadata = {}, ...entries } = JSON.parse(text) as Record<string, unknown>;
    const tensors = Object.entries(entries).map(([name, value]): [string, TensorEntry] => {
      const { dtype, shape, data_offsets: offsets } = entrySchema.parse(value);
      return [name, { dtype, shape, offsets }];
    });
    return { tensors: new Map(tensors), metadata: metadataSchema.parse(metadata) };
  } catch (error) {
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected a safetensors header in '${path}', found a damaged one`, { cause: error });
  }
}

/** Reads the numbers of one small F32, F16 or BF16 tensor; undefined when it is not there or of another type. */
export async function readSmallTensor(path: string, { tensors, begin }: SafetensorsHeader, name: string): Promise<number[] | undefined> {
  const entry = tensors.get(name);
  const decode = entry === undefined ? undefined : DECODE[entry.dtype];
  if (entry === undefined || decode === undefined) return undefined;
  const [first, end] = entry.offsets;
  const file = await open(path, 'r').catch((error: unknown) => {
    throw errorFromFile(error, 'read', path);
  });
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(end - first), 0, end - first, begin + first);
    const width = entry.dtype === 'F32' ? 4 : 2;
    return Array.from({ length: Math.floor(bytesRead / width) }, (_, i) => decode(buffer, i * width));
  } finally {
    await file.close();
  }
}

const DECODE: Readonly<Record<string, (bytes: Buffer, at: number) => number>> = {
  F32: (bytes, at) => bytes.readFloatLE(at),
  F16: (bytes, at) => halfToNumber(bytes.readUInt16LE(at)),
  BF16: (bytes, at) => Buffer.from([0, 0, bytes.readUInt8(at), bytes.readUInt8(at + 1)]).readFloatLE(0),
};

function halfToNumber(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction === 0 ? Infinity : NaN) : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return (bits & 0x8000) === 0 ? magnitude : -magnitude;
}
