import { readdir } from 'node:fs/promises';
import { z } from 'zod';
import { SeedbedError } from '../errors.js';
import { kindOf } from '../files.js';
import { checkOptions } from '../options.js';
import type { Dataset } from './dataset.js';
import { IDX_FILE, openIdx } from './idx.js';
import { openImageFolder } from './image-folder.js';
import { METADATA_FILE, openMetadata } from './metadata.js';
import { openParquet, PARQUET_FILE } from './parquet.js';
import { openWebDataset, TAR_FILE } from './webdataset.js';

const openSchema = z.strictObject({
  /** `auto` (default) looks: *.tar is WebDataset, *.parquet that, *-ubyte is IDX, a metadata.jsonl inside is that, else an image folder. */
  kind: z.enum(['auto', 'imagefolder', 'webdataset', 'parquet', 'idx', 'metadata']).optional(),
  /** What to do with files that are no images or cannot be decoded: name them in an error (default), or leave them out. */
  onCorrupt: z.enum(['error', 'skip']).optional(),
  /** Names of the classes, where the files have only numbers. */
  classes: z.array(z.string().min(1)).min(1).optional(),
  /** IDX folders hold two parts. Default `train`. */
  part: z.enum(['train', 'test']).optional(),
  /** What the data may be used for; training refuses `test`. */
  role: z.enum(['train', 'validation', 'test']).optional(),
});

export type OpenDatasetOptions = z.input<typeof openSchema>;
export type DatasetKind = 'imagefolder' | 'webdataset' | 'parquet' | 'idx' | 'metadata';

async function detect(path: string): Promise<DatasetKind> {
  if (TAR_FILE.test(path)) return 'webdataset';
  if (PARQUET_FILE.test(path)) return 'parquet';
  if (IDX_FILE.test(path)) return 'idx';
  if ((await kindOf(path)) === 'file') throw new SeedbedError('ERR_DATASET', `Expected a folder, a .tar, a .parquet or an IDX file at '${path}', found another file`);
  const names = await readdir(path);
  if (names.includes(METADATA_FILE)) return 'metadata';
  if (names.some((name) => IDX_FILE.test(name))) return 'idx';
  if (names.some((name) => PARQUET_FILE.test(name))) return 'parquet';
  return names.some((name) => TAR_FILE.test(name)) ? 'webdataset' : 'imagefolder';
}

/**
 * Opens labelled pictures: a folder with one folder per class, WebDataset tars (a file, a folder of them, or a pattern
 * `name-{000..012}.tar`), the hub's parquet files, IDX files, or a folder with `metadata.jsonl`.
 * Throws `ERR_DATASET` when there is nothing to learn from, `ERR_IMAGE` for files that are no images.
 */
export async function openDataset(path: string, options: OpenDatasetOptions = {}): Promise<Dataset> {
  const { kind = 'auto', onCorrupt = 'error', classes, part = 'train', role } = checkOptions(openSchema, options, 'openDataset');
  const open = {
    imagefolder: () => openImageFolder(path, onCorrupt),
    webdataset: () => openWebDataset(path, classes),
    parquet: () => openParquet(path, classes),
    idx: () => openIdx(path, part, classes),
    metadata: () => openMetadata(path),
  } satisfies Record<DatasetKind, () => Promise<Dataset>>;
  const opened = await open[kind === 'auto' ? await detect(path) : kind]();
  if (opened.length === 0) throw new SeedbedError('ERR_DATASET', `Expected pictures in '${path}', found none${opened.skipped.length > 0 ? ` (${opened.skipped.length} files are no images)` : ''}`);
  if (opened.classes.length < 2) throw new SeedbedError('ERR_DATASET', `Expected at least 2 classes in '${path}', found ${opened.classes.map((c) => `'${c}'`).join('')}`);
  const readable = onCorrupt === 'skip' ? await opened.withoutCorrupt() : opened;
  return role === undefined ? readable : readable.as(role);
}
