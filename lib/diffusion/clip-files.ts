import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { SeedbedError } from '../errors.js';
import { positiveInt } from '../options.js';
import { packageRoot } from '../setup/find.js';
import { parseClipTextConfig, parseClipVisionConfig, type ClipTextConfig, type ClipVisionConfig } from './clip-config.js';
import { parseFile } from './json-file.js';
import { readComponent } from './layout.js';
import { readSafetensorsHeaderSync } from './safetensors-header.js';

const USUAL_SCALE = 100;

/** A text and an image tower as they lie on the disk. */
export interface ClipFiles {
  text: ClipTextConfig;
  vision: ClipVisionConfig;
  files: string[];
  /** What similarities (cosines) are multiplied by, unless the weights say otherwise. */
  logitScale: number;
  /** Folder. */
  tokenizer: string;
}

/** Dual encoders that come with the package, by name. */
export const shippedClips = (): string[] => ['seedling'].filter((name) => existsSync(join(packageRoot, 'models', name, 'clip', 'text_encoder', 'config.json')));

/** A folder of transformers' `CLIPModel`, one with `text_encoder/` and `image_encoder/`, or a shipped name. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_FORMAT`. */
export async function readClip(source: string): Promise<ClipFiles> {
  const folder = shippedClips().includes(source) && !existsSync(source) ? join(packageRoot, 'models', source, 'clip') : source;
  const files = existsSync(join(folder, 'config.json')) ? await oneFile(folder) : await twoTowers(folder);
  if (files.text.projectionDim === undefined || files.vision.projectionDim === undefined) throw new SeedbedError('ERR_FILE_FORMAT', `Expected towers with projections in '${folder}' (CLIPTextModelWithProjection, CLIPVisionModelWithProjection), found ones without`);
  return files;
}

const bothSchema = z.looseObject({ text_config: z.record(z.string(), z.unknown()), vision_config: z.record(z.string(), z.unknown()), projection_dim: positiveInt.default(512) });

/** transformers' CLIPModel. */
async function oneFile(folder: string): Promise<ClipFiles> {
  const { config, weights } = await readComponent(folder, 'text_encoder', (json, path) => parseFile(bothSchema, json, path));
  const path = join(folder, 'config.json');
  const tower = (own: Record<string, unknown>, name: string): Record<string, unknown> => ({ ...own, architectures: [name], projection_dim: config.projection_dim });
  return {
    text: parseClipTextConfig(tower(config.text_config, 'CLIPTextModelWithProjection'), path),
    vision: parseClipVisionConfig(tower(config.vision_config, 'CLIPVisionModelWithProjection'), path),
    files: weights, logitScale: USUAL_SCALE, tokenizer: folder,
  };
}

async function twoTowers(folder: string): Promise<ClipFiles> {
  const text = await readComponent(join(folder, 'text_encoder'), 'text_encoder', parseClipTextConfig);
  const vision = await readComponent(join(folder, 'image_encoder'), 'image_encoder', parseClipVisionConfig);
  const scale = Number(readSafetensorsHeaderSync(text.weights[0] as string).metadata['logit_scale']);
  const inside = join(folder, 'tokenizer');
  return { text: text.config, vision: vision.config, files: [...text.weights, ...vision.weights], logitScale: scale > 0 ? scale : USUAL_SCALE, tokenizer: existsSync(inside) ? inside : join(folder, '..', 'tokenizer') };
}
