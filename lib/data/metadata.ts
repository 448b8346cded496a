import { basename, join } from 'node:path';
import { SeedbedError } from '../errors.js';
import { Dataset } from './dataset.js';
import { readBytes } from './image-folder.js';

export const METADATA_FILE = 'metadata.jsonl';

interface Row {
  file_name: string;
  label: string | number;
}

function parseRow(line: string, number: number, path: string): Row {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch (error) {
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected a JSON object in line ${number} of '${path}', found something else`, { cause: error });
  }
  const { file_name: file, label } = (row ?? {}) as Partial<Row>;
  if (typeof file !== 'string' || (typeof label !== 'string' && typeof label !== 'number'))
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected "file_name" and "label" in line ${number} of '${path}'`);
  return { file_name: file, label };
}

/** A folder with `metadata.jsonl`: one object a line, `file_name` relative to the folder and `label` (name or number). */
export async function openMetadata(root: string): Promise<Dataset> {
  const path = join(root, METADATA_FILE);
  const text = Buffer.from(await readBytes(path)).toString('utf8');
  const rows = text.split('\n').flatMap((line, i) => (line.trim() === '' ? [] : [parseRow(line, i + 1, path)]));
  const numeric = rows.every(({ label }) => typeof label === 'number');
  const classes = [...new Set(rows.map(({ label }) => label))].sort((a, b) => (numeric ? Number(a) - Number(b) : String(a) < String(b) ? -1 : 1)).map(String);
  const entries = rows.map((row) => ({ key: row.file_name, label: classes.indexOf(String(row.label)), read: () => readBytes(join(root, row.file_name)) }));
  return new Dataset({ name: basename(root), classes, entries });
}
