import { readdir, readFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { errorFromFile, SeedbedError } from '../errors.js';
import { Dataset, type Entry, type Skipped } from './dataset.js';

export const IMAGE_EXTENSIONS: ReadonlySet<string> = new Set(['.png', '.jpg', '.jpeg', '.webp', '.gif', '.tif', '.tiff', '.avif', '.bmp']);

export const isImageName = (name: string): boolean => IMAGE_EXTENSIONS.has(extname(name).toLowerCase());

const hidden = (name: string): boolean => name.startsWith('.');

/** Reads a file for a dataset entry, with an error of ours. */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  }
}

async function namesIn(folder: string): Promise<{ folders: string[]; files: string[] }> {
  try {
    const entries = (await readdir(folder, { withFileTypes: true })).filter(({ name }) => !hidden(name));
    const names = (wanted: (typeof entries)[number][]): string[] => wanted.map(({ name }) => name).sort();
    return { folders: names(entries.filter((e) => e.isDirectory())), files: names(entries.filter((e) => !e.isDirectory())) };
  } catch (error) {
    throw errorFromFile(error, 'read', folder);
  }
}

/** The name of the text file about a picture. */
const captionName = (image: string): string => `${basename(image, extname(image))}.txt`;

/** The text about the picture `name` of a folder, if the folder's `names` have one. */
export async function captionBeside(folder: string, name: string, names: ReadonlySet<string>): Promise<string | undefined> {
  const file = captionName(name);
  return names.has(file) ? Buffer.from(await readBytes(join(folder, file))).toString('utf8').trim() : undefined;
}

/** One folder per class, pictures inside (at any depth), with captions in `name.txt` beside `name.png` if there are any. Names are sorted; hidden files do not count. */
export async function openImageFolder(root: string, onCorrupt: 'error' | 'skip'): Promise<Dataset> {
  const { folders: classes, files: stray } = await namesIn(root);
  const entries: Entry[] = [];
  const skipped: Skipped[] = stray.map((name) => ({ key: name, reason: 'it lies beside the class folders' }));
  const walk = async (below: string, label: number): Promise<void> => {
    const { folders, files } = await namesIn(join(root, below));
    const names = new Set(files);
    const texts = new Set(files.filter(isImageName).map(captionName));
    for (const name of files) {
      const key = `${below}/${name}`;
      if (isImageName(name)) entries.push({ key, label, read: () => readBytes(join(root, key)), caption: () => captionBeside(join(root, below), name, names) });
      else if (!texts.has(name)) skipped.push({ key, reason: 'its name has no image extension' });
    }
    for (const name of folders) await walk(`${below}/${name}`, label);
  };
  for (const [label, name] of classes.entries()) await walk(name, label);
  const [first] = skipped;
  if (first !== undefined && onCorrupt === 'error' && entries.length > 0) {
    const count = skipped.length === 1 ? '' : ` (and ${skipped.length - 1} more)`;
    throw new SeedbedError('ERR_IMAGE', `Expected only pictures in '${root}', found '${first.key}': ${first.reason}${count}; use onCorrupt: 'skip' to leave such files out`);
  }
  return new Dataset({ name: basename(root), classes, entries, skipped });
}
