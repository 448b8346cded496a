// Puts the seedling into the package: the networks of scripts/train-seedling.mjs, or the UNet of its last checkpoint while that is still running.
//
//   node scripts/ship-seedling.mjs --work FOLDER [--out models/seedling]
//
// UNet and text tower in int8 with a scale for each row, the autoencoder in float16; the dual encoder whole in `clip`, in int8: that of the stage
// `towers`, else of `words`, or as it was where the work folder has no image tower. What this costs is measured by scripts/evaluate-seedling.mjs.

import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { exportDiffusion, loadDiffusion, readSafetensors, writeSafetensors } from '../dist/lib/index.js';
import { PIXELS } from './seedling/variations.mjs';

/** What `seedbed generate` takes unless told otherwise. */
const DEFAULTS = { steps: 25, guidanceScale: 2 }; // scripts/seedling/choose-sampler.mjs

const { values } = parseArgs({ options: { work: { type: 'string' }, out: { type: 'string', default: 'models/seedling' } } });
if (values.work === undefined) throw new Error('Expected --work FOLDER');
const { out } = values;
const at = (...names) => join(values.work, ...names);
const scratch = mkdtempSync(join(tmpdir(), 'seedling-'));

/** Text and image tower with their projections, which diffusers' pipelines have no place for. */
async function shipTowers(stage, model) {
  const both = join(scratch, 'both');
  mkdirSync(both);
  for (const part of ['unet', 'vae', 'scheduler']) symlinkSync(resolve(model, part), join(both, part));
  for (const part of ['text_encoder', 'tokenizer', 'image_encoder']) cpSync(at(stage, part), join(both, part), { recursive: true });
  const index = JSON.parse(readFileSync(join(model, 'model_index.json'), 'utf8'));
  writeFileSync(join(both, 'model_index.json'), JSON.stringify({ ...index, text_encoder: ['transformers', 'CLIPTextModelWithProjection'], image_encoder: ['transformers', 'CLIPVisionModelWithProjection'] }));
  const small = await saved(both, 'int8');
  for (const part of ['text_encoder', 'image_encoder']) cpSync(join(small, part), join(out, 'clip', part), { recursive: true, force: true });
  const file = join(out, 'clip', 'text_encoder', 'model.safetensors');
  const { tensors, metadata } = readSafetensors(file);
  writeSafetensors(file, tensors, { ...metadata, logit_scale: readSafetensors(at(stage, 'text_encoder', 'model.safetensors')).metadata.logit_scale });
}

let copies = 0;
async function saved(model, dtype) {
  const sd = await loadDiffusion(model, { device: 'cpu', dtype: 'float32' });
  const folder = join(scratch, `small-${copies++}`);
  await sd.save(folder, { dtype });
  sd.dispose();
  return folder;
}

try {
  const finished = existsSync(at('unet'));
  const model = finished ? at('unet') : join(scratch, 'model');
  if (!finished) await exportDiffusion(at('unet.checkpoint.safetensors'), { out: model, vae: at('vae'), clip: at('words'), side: PIXELS });
  const small = await saved(model, { unet: 'int8', textEncoder: 'int8', vae: 'float16' });
  for (const name of readdirSync(small)) cpSync(join(small, name), join(out, name), { recursive: true, force: true });
  const stage = ['towers', 'words'].find((name) => existsSync(at(name, 'image_encoder')));
  if (stage !== undefined) await shipTowers(stage, model);
  writeFileSync(join(out, 'seedbed.json'), `${JSON.stringify(DEFAULTS)}\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

const bytes = (path) => (statSync(path).isDirectory() ? readdirSync(path).reduce((sum, name) => sum + bytes(join(path, name)), 0) : statSync(path).size);
console.log(`${out}: ${(bytes(out) / 1e6).toFixed(2)} MB`);
