// Puts the seedling into the package: the networks of scripts/train-seedling.mjs, or the UNet of its last checkpoint while that is still running.
//
//   node scripts/ship-seedling.mjs --work FOLDER [--out models/seedling]
//
// UNet and text encoder in int8 with a scale for each row, the autoencoder in float16; what this costs is measured by scripts/evaluate-seedling.mjs.

import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { exportDiffusion, loadDiffusion } from '../dist/lib/index.js';
import { PIXELS } from './seedling/variations.mjs';

const { values } = parseArgs({ options: { work: { type: 'string' }, out: { type: 'string', default: 'models/seedling' } } });
if (values.work === undefined) throw new Error('Expected --work FOLDER');
const at = (name) => join(values.work, name);

const scratch = mkdtempSync(join(tmpdir(), 'seedling-'));
try {
  const finished = existsSync(at('unet'));
  const model = finished ? at('unet') : join(scratch, 'model');
  if (!finished) await exportDiffusion(at('unet.checkpoint.safetensors'), { out: model, vae: at('vae'), clip: at('clip'), side: PIXELS });
  const sd = await loadDiffusion(model, { device: 'cpu', dtype: 'float32' });
  await sd.save(join(scratch, 'small'), { dtype: { unet: 'int8', textEncoder: 'int8', vae: 'float16' } });
  sd.dispose();
  for (const name of readdirSync(join(scratch, 'small'))) cpSync(join(scratch, 'small', name), join(values.out, name), { recursive: true, force: true });
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

const bytes = (path) => (statSync(path).isDirectory() ? readdirSync(path).reduce((sum, name) => sum + bytes(join(path, name)), 0) : statSync(path).size);
console.log(`${values.out}: ${(bytes(values.out) / 1e6).toFixed(2)} MB`);
