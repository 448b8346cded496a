import { join } from 'node:path';
import type { Dataset } from '../data/dataset.js';
import { openDataset } from '../data/open.js';
import { packageRoot } from '../setup/find.js';

/** The demo's pictures: real emoji art, two vendors to learn from, a third to test on. */
export async function openDemoData(): Promise<{ pool: Dataset; test: Dataset }> {
  const folder = join(packageRoot, 'models', 'emoji');
  return { pool: await openDataset(join(folder, 'train.tar'), { role: 'train' }), test: await openDataset(join(folder, 'test.tar'), { role: 'test' }) };
}
