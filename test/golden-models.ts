import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot } from '#lib/setup/find.js';
import { writeFormulaModel, type Stored, type StoredModel } from './formula.js';

/** A golden file of test/golden/diffusion. */
export function golden<T>(name: string): T {
  return JSON.parse(readFileSync(join(packageRoot, 'test', 'golden', 'diffusion', `${name}.json`), 'utf8')) as T;
}

export interface PipelineRun {
  title: string;
  kind: 'text' | 'image' | 'inpaint';
  model: 'sd1' | 'sd2';
  scheduler: Record<string, unknown>;
  seeds: number[];
  options: { width?: number; height?: number; prompt: string | string[]; negative_prompt: string | string[]; num_inference_steps: number; guidance_scale: number; eta?: number; guidance_rescale?: number; clip_skip?: number; strength?: number };
  latents: Stored;
  image: Stored;
}

interface Folder {
  components: { unet: string; vae: string; text: string };
  files: Record<string, string>;
}

export const pipelines = golden<{ folders: Record<'sd1' | 'sd2', Folder>; runs: PipelineRun[] }>('pipelines');

/** Nets of the golden files, by kind and name. */
export const nets = { unet: golden<Record<string, StoredModel>>('unet'), vae: golden<Record<string, StoredModel>>('vae'), text: golden<Record<string, StoredModel>>('text') };

/** Writes a whole tiny model, as diffusers' save_pretrained would; `scheduler` replaces its scheduler_config.json. */
export function writeTinyModel(folder: string, name: 'sd1' | 'sd2', scheduler?: Readonly<Record<string, unknown>>): string {
  const { components, files } = pipelines.folders[name];
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  if (scheduler !== undefined) writeFileSync(join(folder, 'scheduler', 'scheduler_config.json'), JSON.stringify(scheduler));
  writeFormulaModel(join(folder, 'unet'), nets.unet[components.unet] as StoredModel);
  writeFormulaModel(join(folder, 'vae'), nets.vae[components.vae] as StoredModel);
  writeFormulaModel(join(folder, 'text_encoder'), nets.text[components.text] as StoredModel);
  return folder;
}
