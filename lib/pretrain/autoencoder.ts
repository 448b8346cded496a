import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { readComponent } from '../diffusion/layout.js';
import { parseVaeConfig, vaeJson, type VaeConfig } from '../diffusion/vae-config.js';
import { ArgumentError } from '../errors.js';
import { expectNewFolder, writeFileWhole, writeFolderWhole } from '../files.js';
import { Job, runNative } from '../job.js';
import { native, type AutoencoderTrainEvent, type NativeAutoencoderResult, type QualityEvent } from '../native.js';
import { checkOptions, defined, positiveInt } from '../options.js';
import { writeSafetensors } from '../safetensors.js';
import { nativeUpdates, updateFields, updateSettings } from './options.js';
import { pictureTensor, type Pictures } from './pictures.js';

const configSchema = z.strictObject({
  /** Channels at each resolution, the finest first; each level but the last halves the sides. Default [32, 64, 128]. */
  blockOutChannels: z.array(positiveInt.max(4096)).min(1).max(8).default([32, 64, 128]),
  /** Residual blocks at each resolution. Default 1. */
  layersPerBlock: positiveInt.max(16).default(1),
  /** Default 4. */
  latentChannels: positiveInt.max(256).default(4),
  /** Groups of the norms, a divisor of all widths. Default 8. */
  normGroups: positiveInt.default(8),
  /** Self-attention at the coarsest resolution. Default false. */
  midBlockAddAttention: z.boolean().default(false),
});

const schema = z.strictObject({
  ...updateFields,
  config: configSchema.optional(),
  /** Pictures per update. Default 64. */
  batchSize: positiveInt.max(65536).default(64),
  /** Pictures whose gradient one thread computes at a time. Part of the result: equal seeds with another value differ by rounding. Default 16. */
  shardSize: positiveInt.max(65536).default(16),
  /** Side of random squares to learn from, pixels; several times faster than whole pictures. Default: whole pictures. */
  crop: positiveInt.optional(),
  /** Of the last updates, which see whole pictures. Default: a quarter of all with `crop`. */
  wholeSteps: z.int().min(0).optional(),
  /** Of the error of differences between neighbouring pixels, beside that of pixels. Default 0.5. */
  edgeWeight: z.number().min(0).max(1000).default(0.5),
  /** Of the distance between the latents' distribution and a normal one. Default 5e-4. */
  klWeight: z.number().min(0).max(1000).default(5e-4),
  /** Pictures to measure on. Default none. */
  validation: z.custom<Pictures>((value) => typeof value === 'object' && value !== null, 'pictures').optional(),
  /** Folder of an autoencoder to begin with, in place of random weights and of `config`. */
  start: z.string().min(1).optional(),
});

export type TrainAutoencoderOptions = z.input<typeof schema>;

/** A finished run; the autoencoder itself lies in `folder`. */
export interface AutoencoderTraining {
  folder: string;
  config: VaeConfig;
  steps: number;
  samples: number;
  /** Of each update. */
  losses: number[];
  evaluations: QualityEvent[];
  /** Mean and standard deviation of each channel of the latents, before both were folded into the weights. */
  latents: { mean: number[]; std: number[] };
  /** What the run was told, with the defaults that were filled in. */
  settings: Record<string, unknown>;
}

/**
 * Trains a latent diffusion autoencoder (diffusers' AutoencoderKL) on pictures of one size and writes its folder, `config.json` and
 * weights. The loss is the mean error of pixels in [-1, 1], `edgeWeight` times that of differences between neighbours, and `klWeight` times the
 * latents' KL divergence per element. The latents are normalised: each channel has mean 0 and deviation 1, `scaling_factor` is 1. Trains in float32.
 * `await trainAutoencoder(images, { out: 'model/vae', steps: 10_000, crop: 32 })`.
 * Throws `ERR_INVALID_ARGUMENT`, `ERR_FILE_WRITE`, `ERR_WEIGHTS`, `ERR_NOT_FINITE`; a run that diverges leaves its last checkpoint.
 */
export function trainAutoencoder(pictures: Pictures, options: TrainAutoencoderOptions): Job<AutoencoderTrainEvent, AutoencoderTraining> {
  const o = checkOptions(schema, options, 'trainAutoencoder');
  const tensor = pictureTensor(pictures, 'pictures');
  const validation = o.validation === undefined ? undefined : pictureTensor(o.validation, 'validation');
  const updates = nativeUpdates(o);
  if (o.start !== undefined && o.config !== undefined) throw new ArgumentError('Expected either start or config, received both');
  const { steps, crop, batchSize, shardSize, edgeWeight, klWeight } = o;
  const wholeSteps = Math.min(o.wholeSteps ?? (crop === undefined ? 0 : Math.floor(steps / 4)), steps);
  return new Job<AutoencoderTrainEvent, AutoencoderTraining>(async ({ emit, signal }) => {
    await expectNewFolder(o.out);
    const [, height = 1, width = 1] = tensor.shape;
    const start = o.start === undefined ? undefined : await readComponent(o.start, 'vae', parseVaeConfig);
    const config = { ...(start?.config ?? newConfig(configSchema.parse(o.config ?? {}))), sampleSize: Math.max(width, height), scalingFactor: 1, shiftFactor: 0 };
    const settings = { ...updateSettings(o), batchSize, shardSize, crop, wholeSteps, edgeWeight, klWeight };
    const call = defined({ ...updates, batchSize, shardSize, crop, wholeSteps, edgeWeight, klWeight, config, files: start?.weights, pictures: tensor, validation });
    const result = await runNative<AutoencoderTrainEvent, NativeAutoencoderResult>((listener) => native().trainAutoencoder(call, listener), signal, emit);
    await mkdir(dirname(resolve(o.out)), { recursive: true });
    await writeFolderWhole(o.out, async (temporary) => {
      await writeFileWhole(join(temporary, 'config.json'), `${JSON.stringify(vaeJson(config), null, 2)}\n`);
      writeSafetensors(join(temporary, 'diffusion_pytorch_model.safetensors'), result.weights, { format: 'pt', 'seedbed.training': JSON.stringify(settings) });
    });
    return { folder: o.out, config, ...result.training, latents: { mean: result.mean, std: result.deviation }, settings };
  }, o);
}

function newConfig(config: z.output<typeof configSchema>): VaeConfig {
  const { blockOutChannels, normGroups } = config;
  for (const channels of blockOutChannels) if (channels % normGroups !== 0) throw new ArgumentError(`Expected widths that are multiples of normGroups ${normGroups} for config.blockOutChannels, received ${channels}`);
  return { inChannels: 3, outChannels: 3, ...config, scalingFactor: 1, sampleSize: 1, useQuantConv: true, usePostQuantConv: true, forceUpcast: false };
}
