import { existsSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { parseClipTextConfig, parseUnetConfig, parseVaeConfig, toDiffusersConfig, usualUnet, type ClipTextConfig, type UnetConfig, type VaeConfig } from '../diffusion/config.js';
import { readComponent } from '../diffusion/layout.js';
import { TOKENIZER_FILES } from '../diffusion/save.js';
import { ArgumentError } from '../errors.js';
import { writeFileWhole, writeFolderWhole } from '../files.js';
import { positiveInt } from '../options.js';
import { readSafetensors, writeSafetensors } from '../safetensors.js';
import type { Tensor } from '../tensor.js';

const configSchema = z.strictObject({
  /** Channels at each resolution, the finest first; each level but the last halves the sides. Default [64, 128, 192]. */
  blockOutChannels: z.array(positiveInt.max(8192)).min(1).max(8).default([64, 128, 192]),
  /** Which levels attend to themselves and to the prompt; the middle always does. Default: all but the finest. */
  attention: z.array(z.boolean()).optional(),
  /** Residual blocks at each resolution, one number or one for each. Default 1. */
  layersPerBlock: z.union([positiveInt.max(16), z.array(positiveInt.max(16))], { error: 'a number or a list of numbers' }).default(1),
  /** Width of an attention head, a divisor of all widths. Default 32. */
  headSize: positiveInt.default(32),
  /** Groups of the norms, a divisor of all widths. Default 32. */
  normGroups: positiveInt.default(32),
});

/** What a model is, beside its UNet's weights. */
export const modelFields = {
  /** Folder of the autoencoder, as `trainAutoencoder` writes it. */
  vae: z.string().min(1),
  /** Folder with `text_encoder/` and `tokenizer/`, as `trainClip` writes it. */
  clip: z.string().min(1),
  config: configSchema.optional(),
  /**
   * A diffusers folder of a UNet (`model/unet`) to begin with, in place of random weights and of `config`. Of a model whose text encoder learnt along, give `clip: 'model'` too.
   */
  start: z.string().min(1).optional(),
  /** What the network predicts. Default velocity (arXiv 2202.00512). */
  prediction: z.enum(['epsilon', 'v_prediction', 'sample']).default('v_prediction'),
  /** No signal at all at the last timestep (arXiv 2305.08891), so that all of a picture, its brightness too, follows from the prompt. Default true but for `epsilon`. */
  zeroSnr: z.boolean().optional(),
};

export type ModelOptions = z.output<z.ZodObject<typeof modelFields>>;

export function checkModel(o: ModelOptions): void {
  if (o.start !== undefined && o.config !== undefined) throw new ArgumentError('Expected either start or config, received both');
}

export interface Parts {
  unet: UnetConfig;
  vae: { config: VaeConfig; weights: string[] };
  text: { config: ClipTextConfig; weights: string[] };
  start: { weights: string[] } | undefined;
  tokenizerFolder: string;
}

export async function readParts(o: ModelOptions, side: number): Promise<Parts> {
  const vae = await readComponent(o.vae, 'vae', parseVaeConfig);
  const text = await readComponent(join(o.clip, 'text_encoder'), 'text_encoder', parseClipTextConfig);
  const start = o.start === undefined ? undefined : await readComponent(o.start, 'unet', parseUnetConfig);
  const unet = start?.config ?? newConfig(configSchema.parse(o.config ?? {}), vae.config.latentChannels, text.config.width, side / 2 ** (vae.config.blockOutChannels.length - 1));
  return { unet, vae, text, start, tokenizerFolder: join(o.clip, 'tokenizer') };
}

/** A folder in diffusers' layout. The text encoder's own weights are copied where `weights.text` is empty. */
export async function writeModel(out: string, { unet, vae, text, tokenizerFolder }: Parts, scheduler: Readonly<Record<string, unknown>>, weights: Readonly<Record<'unet' | 'text', Readonly<Record<string, Tensor>>>>, metadata: Readonly<Record<string, string>>): Promise<void> {
  // Without the projection: diffusers would take what it gives for the states that the UNet reads.
  const { projectionDim: _, ...textEncoder } = text.config;
  await mkdir(dirname(resolve(out)), { recursive: true });
  await writeFolderWhole(out, async (temporary) => {
    for (const [path, json] of Object.entries(toDiffusersConfig({ unet, vae: vae.config, textEncoder }, scheduler))) {
      await mkdir(dirname(join(temporary, path)), { recursive: true });
      await writeFileWhole(join(temporary, path), `${JSON.stringify(json, null, 2)}\n`);
    }
    await mkdir(join(temporary, 'tokenizer'));
    for (const name of TOKENIZER_FILES) if (existsSync(join(tokenizerFolder, name))) await copyFile(join(tokenizerFolder, name), join(temporary, 'tokenizer', name));
    for (const path of vae.weights) await copyFile(path, join(temporary, 'vae', basename(path)));
    if (Object.keys(weights.text).length > 0) writeSafetensors(join(temporary, 'text_encoder', 'model.safetensors'), weights.text, { format: 'pt', ...metadata });
    else for (const path of text.weights) {
      const { tensors, metadata: own } = readSafetensors(path);
      const states = Object.fromEntries(Object.entries(tensors).filter(([name]) => !name.startsWith('text_projection.')));
      writeSafetensors(join(temporary, 'text_encoder', basename(path)), states, own);
    }
    writeSafetensors(join(temporary, 'unet', 'diffusion_pytorch_model.safetensors'), weights.unet, { format: 'pt', ...metadata });
  });
}

/** The scheduler_config.json of a model that is trained so. */
export function schedulerJson(o: ModelOptions): Record<string, unknown> & { _class_name: string } {
  const zeroSnr = o.zeroSnr ?? o.prediction !== 'epsilon';
  if (zeroSnr && o.prediction === 'epsilon') throw new ArgumentError("Expected prediction 'v_prediction' or 'sample' with zeroSnr: where there is no signal, noise says nothing of the picture");
  return {
    _class_name: 'DDIMScheduler',
    num_train_timesteps: 1000,
    beta_start: 0.00085,
    beta_end: 0.012,
    beta_schedule: 'scaled_linear',
    prediction_type: o.prediction,
    rescale_betas_zero_snr: zeroSnr,
    timestep_spacing: 'trailing',
    clip_sample: false,
    set_alpha_to_one: true,
    steps_offset: 0,
  };
}

function newConfig(config: z.output<typeof configSchema>, latentChannels: number, promptWidth: number, sampleSize: number): UnetConfig {
  const { blockOutChannels, layersPerBlock, headSize, normGroups } = config;
  const attention = config.attention ?? blockOutChannels.map((_, level) => level > 0 || blockOutChannels.length === 1);
  const layers = typeof layersPerBlock === 'number' ? blockOutChannels.map(() => layersPerBlock) : layersPerBlock;
  if (layers.length !== blockOutChannels.length) throw new ArgumentError(`Expected one of config.layersPerBlock for each of ${blockOutChannels.length} levels, received ${layers.length}`);
  if (attention.length !== blockOutChannels.length) throw new ArgumentError(`Expected one of config.attention for each of ${blockOutChannels.length} levels, received ${attention.length}`);
  for (const channels of blockOutChannels)
    for (const [name, divisor] of Object.entries({ headSize, normGroups }))
      if (channels % divisor !== 0) throw new ArgumentError(`Expected widths that are multiples of ${name} ${divisor} for config.blockOutChannels, received ${channels}`);
  return {
    ...usualUnet(attention),
    sampleSize,
    inChannels: latentChannels,
    outChannels: latentChannels,
    blockOutChannels,
    layersPerBlock: layers,
    crossAttentionDim: promptWidth,
    attentionHeads: blockOutChannels.map((channels) => channels / headSize),
    useLinearProjection: true,
    upcastAttention: false,
    normGroups,
  };
}
