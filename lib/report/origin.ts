import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../setup/find.js';
import { threads } from '../threads.js';
import type { Origin } from './record.js';

/** Version, machine and time, for a record. */
export async function originOf(): Promise<Origin> {
  const { version } = JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8')) as { version: string };
  return { seedbed: version, created: new Date().toISOString(), cpu: cpus()[0]?.model ?? 'unknown processor', threads: threads() };
}
