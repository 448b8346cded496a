import { readFile } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { z } from 'zod';
import { SeedbedError } from './errors.js';
import type { NativeClassifierInfo } from './native.js';
import { nearest, positiveInt } from './options.js';
import { packageRoot } from './setup/find.js';
import { three, type ModelConfig } from './train-options.js';

/** Preparation of pictures and names of answers; goes with the weights. */
export interface Head {
  name: string;
  classes: readonly string[];
  mean: readonly [number, number, number];
  std: readonly [number, number, number];
  cropShare: number;
}

/** timm's `config.json`, so that `timm.create_model('local-dir:FOLDER')` loads the folder. */
export function toConfig(info: NativeClassifierInfo, head: Head): object {
  return {
    architecture: 'vit_tiny_patch16_224',
    num_classes: info.classes,
    num_features: info.width,
    label_names: head.classes,
    model_args: { img_size: info.imageSize, patch_size: info.patchSize, embed_dim: info.width, depth: info.depth, num_heads: info.heads, mlp_ratio: info.mlpRatio },
    pretrained_cfg: {
      num_classes: info.classes,
      input_size: [3, info.imageSize, info.imageSize],
      mean: head.mean,
      std: head.std,
      crop_pct: head.cropShare,
      interpolation: 'bicubic',
      first_conv: 'patch_embed.proj',
      classifier: 'head',
    },
    seedbed: { name: head.name },
  };
}

const configSchema = z.object({
  num_classes: positiveInt,
  label_names: z.array(z.string()).optional(),
  model_args: z.object({ img_size: positiveInt, patch_size: positiveInt, embed_dim: positiveInt, depth: positiveInt, num_heads: positiveInt, mlp_ratio: positiveInt.default(4) }),
  pretrained_cfg: z.object({ mean: three, std: three, crop_pct: z.number().min(0.1).max(1).default(1) }),
  seedbed: z.object({ name: z.string() }).optional(),
});

export interface Saved {
  weights: string;
  model: ModelConfig;
  head: Head;
}

/** Backbones that come with the package, by name. */
export const SHIPPED_MODELS = ['fractal-vit-nano'] as const;

function modelFolder(name: string): string {
  if ((SHIPPED_MODELS as readonly string[]).includes(name)) return join(packageRoot, 'models', name);
  return isAbsolute(name) ? name : resolve(name);
}

/** Reads the settings of a folder written by `Classifier.save`, or of a shipped model. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_FORMAT`. */
export async function readSaved(name: string): Promise<Saved> {
  const folder = modelFolder(name);
  const path = join(folder, 'config.json');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const near = nearest(name, SHIPPED_MODELS);
    const hint = near === undefined ? '' : ` Did you mean the shipped model '${near}'?`;
    throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected a saved classifier (config.json, model.safetensors) in '${folder}', found no config.json.${hint}`, { cause: error });
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected JSON in '${path}', found something else`, { cause: error });
  }
  const parsed = configSchema.safeParse(json);
  if (!parsed.success) throw new SeedbedError('ERR_FILE_FORMAT', `Expected a classifier's settings in '${path}': ${parsed.error.issues[0]?.path.join('.')}: ${parsed.error.issues[0]?.message}`);
  const { model_args: m, pretrained_cfg: p, num_classes: count, label_names: names, seedbed } = parsed.data;
  return {
    weights: join(folder, 'model.safetensors'),
    model: { imageSize: m.img_size, patchSize: m.patch_size, width: m.embed_dim, depth: m.depth, heads: m.num_heads, mlpRatio: m.mlp_ratio },
    head: { name: seedbed?.name ?? name, classes: names ?? Array.from({ length: count }, (_, i) => String(i)), mean: p.mean, std: p.std, cropShare: p.crop_pct },
  };
}
