import { mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ArgumentError, errorFromFile, SeedbedError } from './errors.js';

const LONGEST_NAME = 200; // file systems take 255 bytes, and endings come behind it

let written = 0; // so that two writers of one file in this process have names of their own

/** Writes a file whole or not at all: a temporary name beside it, fsync, rename. */
export async function writeFileWhole(path: string, content: string | Uint8Array | AsyncIterable<string>): Promise<void> {
  const temporary = `${path}.${process.pid}-${written++}.tmp`;
  try {
    const file = await open(temporary, 'w');
    try {
      if (typeof content === 'string' || content instanceof Uint8Array) await file.writeFile(content);
      else for await (const part of content) await file.appendFile(part);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw errorFromFile(error, 'write', path);
  }
}

/** Throws `ERR_FILE_WRITE` when `folder` exists and is not empty, or is a file. */
export async function expectNewFolder(folder: string): Promise<void> {
  const existing = await readdir(folder).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') throw new SeedbedError('ERR_FILE_WRITE', `Expected '${folder}' to be a folder, new or empty, it is a file`);
    return [];
  });
  if (existing.length > 0) throw new SeedbedError('ERR_FILE_WRITE', `Expected '${folder}' to be new or empty, it holds ${existing.length} entries`);
}

/**
 * Fills a new folder whole or not at all: `fill` writes into a temporary one beside it, which is then renamed.
 * Throws `ERR_FILE_WRITE` when `folder` exists and is not empty.
 */
export async function writeFolderWhole(folder: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  await expectNewFolder(folder);
  let temporary: string | undefined;
  try {
    temporary = await mkdtemp(join(dirname(folder), `.${basename(folder)}-`));
    await fill(temporary);
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder);
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true });
    throw errorFromFile(error, 'write', folder);
  }
}

/** What lies at a path. Throws `ERR_FILE_NOT_FOUND`. */
export async function kindOf(path: string): Promise<'file' | 'folder'> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file';
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  }
}

/** A file name that says any text, reversibly (`decodeURIComponent`), on any system. Throws `ERR_INVALID_ARGUMENT` when it would be too long. */
export function fileNameOf(text: string): string {
  const name = encoded(text).replace(/[*'().!~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  if (name === '' || name.length > LONGEST_NAME) throw new ArgumentError(`Expected a name that makes a file name of 1 to ${LONGEST_NAME} characters, received '${text.slice(0, 40)}', which makes ${name.length}`);
  return name;
}

function encoded(text: string): string {
  try {
    return encodeURIComponent(text);
  } catch (error) {
    throw new ArgumentError('Expected a name of whole characters, received half of one', { cause: error });
  }
}
