import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-stream';
import { errorFromFile, SeedbedError } from '../errors.js';
import { kindOf } from '../files.js';
import { Dataset, type Entry } from './dataset.js';
import { isImageName } from './image-folder.js';
import { labelIndices, MemoryBudget } from './labels.js';

export const TAR_FILE = /\.tar$/;

/** All files of one base name in a tar. */
interface TarSample {
  key: string;
  image?: Uint8Array;
  label?: string;
  caption?: string;
}

/** `name-{000..012}.tar` names 13 files; a folder, all tars in it; else the file itself. */
async function shardsOf(path: string): Promise<string[]> {
  const range = /^(.*)\{(\d+)\.\.(\d+)\}(.*)$/.exec(path);
  if (range !== null) {
    const [, before = '', first = '', last = '', after = ''] = range;
    return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => before + String(Number(first) + i).padStart(first.length, '0') + after);
  }
  if ((await kindOf(path)) === 'file') return [path];
  return (await readdir(path))
    .filter((name) => TAR_FILE.test(name))
    .sort()
    .map((name) => join(path, name));
}

/** "dir/a.b.png" → key "dir/a", field "b.png": the base name ends at the first dot of the file name. */
function splitName(name: string): { key: string; field: string } {
  const file = basename(name);
  const dot = file.indexOf('.');
  const folder = dirname(name);
  const base = dot < 0 ? file : file.slice(0, dot);
  return { key: folder === '.' ? base : `${folder}/${base}`, field: dot < 0 ? '' : file.slice(dot + 1) };
}

async function readShard(path: string, budget: MemoryBudget): Promise<TarSample[]> {
  const samples = new Map<string, TarSample>();
  const extract = tar.extract();
  const source = createReadStream(path);
  source.on('error', (error) => extract.destroy(error));
  source.pipe(extract);
  try {
    for await (const entry of extract) {
      const { name, type, size } = entry.header;
      const { key, field } = splitName(name);
      const isImage = isImageName(`x.${field}`);
      if (type !== 'file' || (!isImage && field !== 'cls' && field !== 'txt')) {
        entry.resume();
        continue;
      }
      budget.take(size, path);
      const content = await buffer(entry);
      const sample = samples.get(key) ?? { key };
      if (isImage) sample.image = content;
      else if (field === 'txt') sample.caption = content.toString('utf8');
      else sample.label = content.toString('utf8').trim();
      samples.set(key, sample);
    }
  } catch (error) {
    if (error instanceof SeedbedError) throw error;
    if ((error as NodeJS.ErrnoException).code !== undefined) throw errorFromFile(error, 'read', path);
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected a tar file in '${path}', found something else (${(error as Error).message})`, { cause: error });
  }
  return [...samples.values()].filter(({ image, label }) => image !== undefined || label !== undefined); // texts alone are no samples
}

/** WebDataset shards: pictures with a `.cls` file of the same base name, a class index or name, and perhaps a caption in a `.txt` file. Held in memory, encoded. */
export async function openWebDataset(path: string, names?: readonly string[]): Promise<Dataset> {
  const budget = new MemoryBudget();
  const samples: (TarSample & { shard: string })[] = [];
  for (const shard of await shardsOf(path)) samples.push(...(await readShard(shard, budget)).map((sample) => ({ ...sample, shard: basename(shard) })));
  for (const { key, image, label, shard } of samples) {
    if (image === undefined) throw new SeedbedError('ERR_DATASET', `Expected a picture for sample '${key}' in '${shard}', found only its label`);
    if (label === undefined || label === '') throw new SeedbedError('ERR_DATASET', `Expected a label (${key}.cls) for sample '${key}' in '${shard}', found none`);
  }
  const labelled = samples.map(({ key, label = '' }) => ({ key, label }));
  const { classes, indices } = labelIndices(labelled, names ?? (labelled.every(({ label }) => /^\d+$/.test(label)) ? await namesBeside(path) : undefined));
  const entries = samples.map(({ key, image, caption }, i): Entry => ({ key, label: indices[i] as number, read: () => Promise.resolve(image as Uint8Array), caption: () => Promise.resolve(caption) }));
  return new Dataset({ name: basename(path).replace(TAR_FILE, ''), classes, entries });
}

/** The lines of `classes.txt` beside the shards, if there is one. */
async function namesBeside(path: string): Promise<string[] | undefined> {
  const folder = TAR_FILE.test(path) ? dirname(path) : path;
  const text = await readFile(join(folder, 'classes.txt'), 'utf8').catch(() => undefined);
  return text?.split('\n').filter((line) => line !== '');
}
