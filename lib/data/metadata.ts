import { basename, join } from 'node:path';
import { SeedbedError } from '../errors.js';
import { Dataset } from './dataset.js';
import { readBytes } from './image-folder.js';

export const METADATA_FILE = 'metadata.jsonl';

interface Row {
  file_name: string;
  label: string | number;
  caption: string | undefined;
}

/** The rows of a `metadata.jsonl`, one object a line. `rowOf` gives undefined for one that lacks what is `expected`. Throws `ERR_FILE_FORMAT` naming the line. */
export async function readMetadata<Row>(path: string, rowOf: (value: Readonly<Record<string, unknown>>) => Row | undefined, expected: string): Promise<Row[]> {
  const text = Buffer.from(await readBytes(path)).toString('utf8');
  return text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return [];
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (error) {
      throw new SeedbedError('ERR_FILE_FORMAT', `Expected a JSON object in line ${i + 1} of '${path}', found something else`, { cause: error });
    }
    const row = rowOf((value ?? {}) as Record<string, unknown>);
    if (row === undefined) throw new SeedbedError('ERR_FILE_FORMAT', `Expected ${expected} in line ${i + 1} of '${path}'`);
    return [row];
  });
}

/** What a picture's caption is called in the hub's image folders and tables, the usual name first. */
export const CAPTION_NAMES = ['text', 'caption', 'prompt'];

/** What a row says of its picture. */
export function captionIn(row: Readonly<Record<string, unknown>>): string | undefined {
  return CAPTION_NAMES.map((name) => row[name]).find((value) => typeof value === 'string');
}

function rowOf(row: Readonly<Record<string, unknown>>): Row | undefined {
  const { file_name: file, label } = row;
  return typeof file === 'string' && (typeof label === 'string' || typeof label === 'number') ? { file_name: file, label, caption: captionIn(row) } : undefined;
}

/** A folder with `metadata.jsonl`: one object a line, `file_name` relative to the folder, `label` (name or number), and perhaps `text`, a caption. */
export async function openMetadata(root: string): Promise<Dataset> {
  const path = join(root, METADATA_FILE);
  const rows = await readMetadata(path, rowOf, '"file_name" and "label"');
  const numeric = rows.every(({ label }) => typeof label === 'number');
  const classes = [...new Set(rows.map(({ label }) => label))].sort((a, b) => (numeric ? Number(a) - Number(b) : String(a) < String(b) ? -1 : 1)).map(String);
  const places = new Map(classes.map((name, i) => [name, i]));
  const entries = rows.map((row) => ({ key: row.file_name, label: places.get(String(row.label)) as number, read: () => readBytes(join(root, row.file_name)), caption: () => Promise.resolve(row.caption) }));
  return new Dataset({ name: basename(root), classes, entries });
}
