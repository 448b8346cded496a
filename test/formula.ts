import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeSafetensors, type Tensor } from 'seedbed';
import { golden, worst } from './support.js';

/** A tensor of a golden file: every `step`-th value of the flat tensor. */
export interface Stored {
  shape: readonly number[];
  step: number;
  values: number[];
}

/** A model of a golden file: its weights' file name, the text of its config.json, its parameters' names and shapes. */
export interface StoredModel {
  file: string;
  config: string;
  parameters: [string, number[]][];
}

/** A pipeline's folder: names of its components in the golden files, and the text of all other files. */
export interface StoredFolder {
  components: { unet: string; vae: string; text: string };
  files: Record<string, string>;
}

const EMBEDDING = /(^|\.)(token|position|class)_embedding(\.weight)?$/;

const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The hash of scripts/golden/diffusers_cases/formula.py: one number in [0, 1) for each flat index. */
function uniform(name: string): (index: number) => number {
  let salt = 2166136261;
  for (const byte of Buffer.from(name)) salt = Math.imul(salt ^ byte, 16777619);
  return (index) => {
    let h = (Math.imul(index, 2654435761) + salt) | 0;
    h = Math.imul(h ^ (h >>> 15), 2246822519);
    h = Math.imul(h ^ (h >>> 13), 3266489917);
    return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
  };
}

/** Weights and inputs of scripts/golden/diffusers_cases/formula.py. */
export function fill(name: string, shape: readonly number[]): Float32Array {
  const value = uniform(name);
  const fanIn = elements(shape.slice(1));
  let scale = 1;
  let offset = 0;
  if (name.startsWith('input.')) scale = 1.7;
  else if (EMBEDDING.test(name)) scale = 0.5;
  else if (name.endsWith('.weight')) [scale, offset] = shape.length > 1 ? [Math.sqrt(3 / fanIn), 0] : [0.2, 1];
  else if (name.endsWith('.bias')) scale = 0.1;
  return Float32Array.from({ length: elements(shape) }, (_, i) => offset + scale * (2 * value(i) - 1));
}

export const filled = (name: string, shape: readonly number[]): Tensor<'float32'> => ({ data: fill(name, shape), shape, dtype: 'float32' });

/** Whole numbers from 0 up to, not including, `below`. */
export function integers(name: string, shape: readonly number[], below: number): number[] {
  const value = uniform(name);
  return Array.from({ length: elements(shape) }, (_, i) => Math.floor(value(i) * below));
}

/** Writes a model's folder: config.json and the weights, named by `rename` (null leaves one out). */
export function writeFormulaModel(folder: string, model: StoredModel, rename: (name: string) => string | null = (name) => name): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), model.config);
  const weights = model.parameters.flatMap(([name, shape]) => {
    const key = rename(name);
    return key === null ? [] : [[key, filled(name, shape)] as const];
  });
  writeSafetensors(join(folder, model.file), Object.fromEntries(weights), { format: 'pt' });
  return folder;
}

/** A component of the golden files: `storedModel('unet', 'sd1')`. */
export function storedModel(kind: 'unet' | 'vae' | 'text' | 'vision', name: string): StoredModel {
  const model = (golden(`diffusion/${kind}`) as Record<string, StoredModel>)[name];
  if (model === undefined) throw new Error(`No ${kind} '${name}' in the golden files`);
  return model;
}

/** The nets of a folder to write. */
export interface FormulaNets {
  unet: StoredModel;
  vae: StoredModel;
  text: StoredModel;
  vision?: StoredModel;
}

/** The nets of the tiny Stable Diffusion 1.x ('sd1') or 2.x ('sd2') of the golden pipelines. */
export function formulaNets(name: 'sd1' | 'sd2'): FormulaNets {
  const { unet, vae, text } = storedFolder(name).components;
  return { unet: storedModel('unet', unet), vae: storedModel('vae', vae), text: storedModel('text', text) };
}

function storedFolder(name: 'sd1' | 'sd2'): StoredFolder {
  const stored = (golden('diffusion/pipelines') as { folders: Record<string, StoredFolder> }).folders[name];
  if (stored === undefined) throw new Error(`No pipeline '${name}' in the golden files`);
  return stored;
}

/** Writes a whole diffusers folder: the tiny Stable Diffusion 1.x ('sd1') or 2.x ('sd2'), optionally with another scheduler or other nets. */
export function writeFormulaPipeline(folder: string, name: 'sd1' | 'sd2', scheduler?: Record<string, unknown>, nets: FormulaNets = formulaNets(name)): string {
  writeFormulaModel(join(folder, 'unet'), nets.unet);
  writeFormulaModel(join(folder, 'vae'), nets.vae);
  writeFormulaModel(join(folder, 'text_encoder'), nets.text);
  if (nets.vision) writeFormulaModel(join(folder, 'image_encoder'), nets.vision);
  const files: Record<string, string> = { ...storedFolder(name).files, ...(scheduler && { 'scheduler/scheduler_config.json': JSON.stringify(scheduler) }) };
  if (nets.vision) files['model_index.json'] = JSON.stringify({ ...(JSON.parse(files['model_index.json'] as string) as object), image_encoder: ['transformers', 'CLIPVisionModelWithProjection'] });
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}

/** As `worst`, against a stored tensor; infinite when the shapes differ. */
export function worstStored(actual: { data: ArrayLike<number>; shape: readonly number[] }, expected: Stored, tolerance: { rtol?: number; atol?: number } = {}): number {
  if (actual.shape.join() !== expected.shape.join() || actual.data.length !== elements(expected.shape)) return Infinity;
  const { data } = actual;
  return worst(Float64Array.from(expected.values, (_, i) => data[i * expected.step] ?? NaN), expected.values, tolerance);
}
