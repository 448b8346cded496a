import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorFromFile, SeedbedError } from './errors.js';
import { writeFileWhole } from './files.js';
import { checkIfs, type AffineMap, type Ifs } from './ifs.js';

/** Numbers of a line: a, b, c, d, e, f and the map's chance. */
const COLUMNS = 7;

/** Writes a system as FractalDB's code does: a line a,b,c,d,e,f,p for each map. */
export async function saveCsv(path: string, ifs: Ifs): Promise<void> {
  const { affine, weights } = checkIfs(ifs);
  const lines = affine.map(([[a, b, e], [c, d, f]], j) => [a, b, c, d, e, f, weights[j] ?? 0].map((value) => value.toExponential(18)).join(','));
  await writeFileWhole(path, `${lines.join('\n')}\n`);
}

/**
 * Reads systems in FractalDB's form: a CSV file, or a folder of them in the order of their names (`csv_rate0.2_category1000`). Chances are scaled to sum
 * to 1. Throws `ERR_FILE_FORMAT` for anything else.
 */
export async function loadCsv(path: string): Promise<Ifs[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [parse(path, await readFile(path, 'utf8'))];
    const names = (await readdir(path)).filter((name) => name.endsWith('.csv')).sort();
    if (names.length === 0) throw new SeedbedError('ERR_FILE_FORMAT', `Expected CSV files of systems in '${path}', found none`);
    return await Promise.all(names.map(async (name) => parse(join(path, name), await readFile(join(path, name), 'utf8'))));
  } catch (error) {
    throw error instanceof SeedbedError ? error : errorFromFile(error, 'read', path);
  }
}

function parse(path: string, text: string): Ifs {
  const rows = text.trim().split(/\r?\n/).map((line) => line.split(',').map(Number));
  const wrong = rows.findIndex((row) => row.length !== COLUMNS || !row.every(Number.isFinite));
  if (wrong >= 0) throw new SeedbedError('ERR_FILE_FORMAT', `Expected ${COLUMNS} numbers (a,b,c,d,e,f,p) in line ${wrong + 1} of '${path}', received '${text.trim().split(/\r?\n/)[wrong]?.slice(0, 60) ?? ''}'`);
  const chances = rows.map((row) => row[6] ?? 0);
  const total = chances.reduce((sum, chance) => sum + chance, 0);
  if (!(total > 0)) throw new SeedbedError('ERR_FILE_FORMAT', `Expected chances with a sum above 0 in '${path}', received ${total}`);
  const affine = rows.map(([a = 0, b = 0, c = 0, d = 0, e = 0, f = 0]): AffineMap => [[a, b, e], [c, d, f]]);
  return checkIfs({ affine, weights: chances.map((chance) => chance / total) });
}
