import { readFile } from 'node:fs/promises';
import type { z } from 'zod';
import { errorFromFile, SeedbedError } from '../errors.js';
import { show } from '../options.js';

/** A file's JSON. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_READ`, `ERR_FILE_FORMAT` (a Git LFS pointer is named as such). */
export async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  }
  refuseLfsPointer(text, path);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected JSON in '${path}', found ${text.trim() === '' ? 'an empty file' : 'something else'}`, { cause: error });
  }
}

const LFS_POINTER = 'version https://git-lfs';

/** Throws `ERR_FILE_FORMAT` when a file begins as the text that Git leaves where Git LFS was not installed. */
export function refuseLfsPointer(beginning: string, path: string): void {
  if (!beginning.startsWith(LFS_POINTER)) return;
  throw new SeedbedError('ERR_FILE_FORMAT', `'${path}' is a Git LFS pointer, not the file itself; run 'git lfs pull' in its repository`);
}

/** Checks JSON against a schema. Throws `ERR_FILE_FORMAT` with file, field, and value. */
export function parseFile<S extends z.ZodType>(schema: S, value: unknown, path: string): z.output<S> {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = issue?.path.join('.') ?? '';
  throw new SeedbedError('ERR_FILE_FORMAT', `Wrong value in '${path}'${field === '' ? '' : `, field '${field}'`}: ${issue?.message}, received ${show(issue?.input)}`);
}
