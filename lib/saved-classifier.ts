import { readFile } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { z } from 'zod';
import { SeedbedError } from './errors.js';
import type { ModelConfig } from './model-options.js';
import type { NativeClassifierInfo } from './native.js';
import { nearest, positiveInt, three } from './options.js';
import { packageRoot } from './setup/find.js';

/** Preparation of pictures and names of answers; goes with the weights. */
export interface Head {
  name: string;
  classes: readonly string[];
  mean: readonly [number, number, number];
  std: readonly [number, number, number];
  cropShare: number;
}

interface Architecture {
  architecture: string;
  num_features: number;
  model_args: object;
  first_conv: string;
  classifier: string;
}

function architectureOf(info: NativeClassifierInfo): Architecture {
  switch (info.type) {
    case 'vit': {
      const model_args = { img_size: info.imageSize, patch_size: info.patchSize, embed_dim: info.width, depth: info.depth, num_heads: info.heads, mlp_ratio: info.mlpRatio };
      return { architecture: 'vit_tiny_patch16_224', num_features: info.width, model_args, first_conv: 'patch_embed.proj', classifier: 'head' };
    }
    case 'resnet': {
      const channels = [1, 2, 4, 8].map((times) => times * info.width);
      const bottleneck = info.block === 'bottleneck';
      return { architecture: bottleneck ? 'resnet50' : 'resnet18', num_features: 8 * info.width * (bottleneck ? 4 : 1), model_args: { layers: info.layers, channels }, first_conv: 'conv1', classifier: 'fc' };
    }
  }
  return info satisfies never;
}

/** timm's `config.json`, so that `timm.create_model('local-dir:FOLDER')` loads the folder: all but ResNets of a small stem or another width than 64, which timm does not have. */
export function toConfig(info: NativeClassifierInfo, head: Head): object {
  const { architecture, num_features, model_args, ...ends } = architectureOf(info);
  return {
    architecture,
    num_classes: info.classes,
    num_features,
    label_names: head.classes,
    model_args,
    pretrained_cfg: {
      num_classes: info.classes,
      input_size: [3, info.imageSize, info.imageSize],
      mean: head.mean,
      std: head.std,
      crop_pct: head.cropShare,
      interpolation: 'bicubic',
      ...ends,
    },
    seedbed: { name: head.name, ...(info.type === 'resnet' && { stem: info.stem }) },
  };
}

const shared = {
  num_classes: positiveInt,
  label_names: z.array(z.string()).optional(),
};
const viewOf = { mean: three, std: three, crop_pct: z.number().min(0.1).max(1).default(1) };

const vitConfig = z
  .object({
    ...shared,
    model_args: z.object({ img_size: positiveInt, patch_size: positiveInt, embed_dim: positiveInt, depth: positiveInt, num_heads: positiveInt, mlp_ratio: positiveInt.default(4) }),
    pretrained_cfg: z.object(viewOf),
    seedbed: z.object({ name: z.string() }).optional(),
  })
  .transform(({ model_args: m, ...rest }) => ({
    ...rest,
    model: { imageSize: m.img_size, patchSize: m.patch_size, width: m.embed_dim, depth: m.depth, heads: m.num_heads, mlpRatio: m.mlp_ratio } as ModelConfig,
  }));

const RESNETS = { resnet18: { block: 'basic', layers: [2, 2, 2, 2] }, resnet50: { block: 'bottleneck', layers: [3, 4, 6, 3] } } as const;

const four = z.tuple([positiveInt, positiveInt, positiveInt, positiveInt]);

const resnetConfig = z
  .object({
    ...shared,
    architecture: z.enum(['resnet18', 'resnet50']),
    model_args: z.object({ layers: four.optional(), channels: four.default([64, 128, 256, 512]) }).prefault({}),
    pretrained_cfg: z.object({ ...viewOf, input_size: z.tuple([z.literal(3), positiveInt, positiveInt]) }),
    seedbed: z.object({ name: z.string(), stem: z.enum(['large', 'small']) }).optional(),
  })
  .refine(({ model_args: { channels: c } }) => c.every((channels, i) => channels === c[0] * 2 ** i), { path: ['model_args', 'channels'], error: 'Expected channels that double' })
  .transform(({ architecture, model_args: { layers, channels }, ...rest }) => {
    const { block, layers: usual } = RESNETS[architecture];
    const model: ModelConfig = { type: 'resnet', imageSize: rest.pretrained_cfg.input_size[1], block, layers: layers ?? usual, width: channels[0], stem: rest.seedbed?.stem ?? 'large' };
    return { ...rest, model };
  });

export interface Saved {
  weights: string;
  model: ModelConfig;
  head: Head;
}

/** Backbones that come with the package, by name. */
export const SHIPPED_MODELS = ['fractal-resnet-nano', 'fractal-vit-nano'] as const;

/** The one to begin with where nothing else is asked for. */
export const DEFAULT_BACKBONE = 'fractal-resnet-nano' satisfies (typeof SHIPPED_MODELS)[number];

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
  const isResnet = z.object({ architecture: z.string().startsWith('resnet') }).safeParse(json).success;
  const parsed = (isResnet ? resnetConfig : vitConfig).safeParse(json);
  if (!parsed.success) throw new SeedbedError('ERR_FILE_FORMAT', `Expected a classifier's settings in '${path}': ${parsed.error.issues[0]?.path.join('.')}: ${parsed.error.issues[0]?.message}`);
  const { model, pretrained_cfg: p, num_classes: count, label_names: names, seedbed } = parsed.data;
  return {
    weights: join(folder, 'model.safetensors'),
    model,
    head: { name: seedbed?.name ?? name, classes: names ?? Array.from({ length: count }, (_, i) => String(i)), mean: p.mean, std: p.std, cropShare: p.crop_pct },
  };
}
