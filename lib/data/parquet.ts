import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { z } from 'zod';
import { errorFromFile, SeedbedError } from '../errors.js';
import { kindOf } from '../files.js';
import { Dataset, type Entry } from './dataset.js';
import { labelIndices, MemoryBudget } from './labels.js';
import { CAPTION_NAMES } from './metadata.js';

export const PARQUET_FILE = /\.parquet$/;

const METADATA_KEY = 'huggingface';
const IMAGE_COLUMNS = ['image', 'img', 'picture'];
const LABEL_COLUMNS = ['label', 'labels', 'class', 'fine_label'];

/** What the hub's library says of the columns. */
const featuresSchema = z.object({ info: z.object({ features: z.record(z.string(), z.looseObject({ _type: z.string(), names: z.array(z.string()).optional() })) }) });

type Features = z.output<typeof featuresSchema>['info']['features'];

interface Row {
  image: Uint8Array;
  label: string;
  caption: string | undefined;
}

async function partsOf(path: string): Promise<string[]> {
  if ((await kindOf(path)) === 'file') return [path];
  return (await readdir(path)).filter((name) => PARQUET_FILE.test(name)).sort().map((name) => join(path, name));
}

function featuresIn(metadata: readonly { key: string; value?: string }[] | undefined): Features {
  const text = metadata?.find(({ key }) => key === METADATA_KEY)?.value;
  try {
    return featuresSchema.parse(JSON.parse(text ?? 'null')).info.features;
  } catch {
    return {}; // of another program: the names of the columns decide
  }
}

/** The column of a kind: by what the file says of it, else by its name. */
function columnOf(columns: readonly string[], features: Features, type: string, usual: readonly string[]): string | undefined {
  return columns.find((name) => features[name]?._type === type) ?? usual.find((name) => columns.includes(name));
}

async function readPart(path: string, budget: MemoryBudget): Promise<{ rows: Row[]; names: string[] | undefined }> {
  try {
    const file = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(file);
    const features = featuresIn(metadata.key_value_metadata);
    const columns = topLevel(metadata.schema);
    const [image, label] = [columnOf(columns, features, 'Image', IMAGE_COLUMNS), columnOf(columns, features, 'ClassLabel', LABEL_COLUMNS)];
    if (image === undefined || label === undefined) throw new SeedbedError('ERR_DATASET', `Expected a column of pictures (${IMAGE_COLUMNS.join(', ')}) and one of labels (${LABEL_COLUMNS.join(', ')}) in '${path}', found ${columns.join(', ')}`);
    const caption = CAPTION_NAMES.find((name) => name !== label && columns.includes(name));
    const rows: Row[] = [];
    // Row group by row group: the whole file would be in memory twice.
    for (let first = 0, group = 0; group < metadata.row_groups.length; group++) {
      const last = first + Number(metadata.row_groups[group]?.num_rows ?? 0);
      const objects = await parquetReadObjects({ file, metadata, columns: [image, label, ...(caption === undefined ? [] : [caption])], rowStart: first, rowEnd: last, utf8: false });
      for (const [i, object] of objects.entries()) {
        const bytes = bytesOf(object[image]);
        if (bytes === undefined) throw new SeedbedError('ERR_DATASET', `Expected the bytes of a picture in row ${first + i} of '${path}', found none`);
        budget.take(bytes.length, path);
        rows.push({ image: bytes, label: labelText(object[label]), caption: caption && captionOf(object[caption]) });
      }
      first = last;
    }
    return { rows, names: features[label]?.names };
  } catch (error) {
    if (error instanceof SeedbedError) throw error;
    if (typeof (error as NodeJS.ErrnoException).code === 'string') throw errorFromFile(error, 'read', path);
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected a parquet file in '${path}', found something else (${(error as Error).message})`, { cause: error });
  }
}

/** Names of the root's own children: a group's children follow it. */
function topLevel(schema: readonly { name: string; num_children?: number }[]): string[] {
  const names: string[] = [];
  const skip = (i: number): number => {
    let next = i + 1;
    for (let child = 0; child < (schema[i]?.num_children ?? 0); child++) next = skip(next);
    return next;
  };
  for (let i = 1; i < schema.length; i = skip(i)) names.push(schema[i]?.name ?? '');
  return names;
}

/** A picture is its bytes, or { bytes, path }. */
function bytesOf(value: unknown): Uint8Array | undefined {
  const bytes = value instanceof Uint8Array ? value : (value as { bytes?: unknown } | null | undefined)?.bytes;
  return bytes instanceof Uint8Array && bytes.length > 0 ? bytes : undefined;
}

function captionOf(value: unknown): string | undefined {
  return typeof value === 'string' || value instanceof Uint8Array ? labelText(value) : undefined;
}

/** A label is a number or a text; anything else is none. */
function labelText(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint' ? String(value) : '';
}

/** Labelled pictures in the hub's parquet form: a file or a folder of them. Held in memory, encoded. */
export async function openParquet(path: string, names?: readonly string[]): Promise<Dataset> {
  const budget = new MemoryBudget();
  const rows: (Row & { key: string })[] = [];
  let stored: string[] | undefined;
  for (const part of await partsOf(path)) {
    const read = await readPart(part, budget);
    stored ??= read.names;
    rows.push(...read.rows.map((row, i) => ({ ...row, key: `${basename(part)}/${i}` })));
  }
  const { classes, indices } = labelIndices(rows, names ?? stored);
  return new Dataset({ name: basename(path).replace(PARQUET_FILE, ''), classes, entries: rows.map(({ key, image, caption }, i): Entry => ({ key, label: indices[i] as number, read: () => Promise.resolve(image), caption: () => Promise.resolve(caption) })) });
}
