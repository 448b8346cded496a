import { existsSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { parseClipTextConfig, parseUnetConfig, parseVaeConfig, toDiffusersConfig, type DiffusionConfig, type UnetConfig } from '../diffusion/config.js';
import { readComponent } from '../diffusion/layout.js';
import type { WarningEvent } from '../diffusion/results.js';
import { TOKENIZER_FILES } from '../diffusion/save.js';
import { loadTokenizer } from '../diffusion/tokenizer.js';
import { ArgumentError } from '../errors.js';
import { expectNewFolder, writeFileWhole, writeFolderWhole } from '../files.js';
import { Job, runNative } from '../job.js';
import { native, type CaptionCheck, type DiffusionTrainEvent, type NativeDiffusionResult } from '../native.js';
import { checkOptions, defined, positiveInt } from '../options.js';
import { readSafetensors, writeSafetensors } from '../safetensors.js';
import { resolveSampler } from '../scheduler-config.js';
import type { Tensor } from '../tensor.js';
import { integerTensor, readCaptions, type Captions } from './captions.js';
import { nativeUpdates, updateFields, updateSettings } from './options.js';
import { pictureTensor, type Pictures } from './pictures.js';

const configSchema = z.strictObject({
  /** Channels at each resolution, the finest first; each level but the last halves the sides. Default [64, 128, 192]. */
  blockOutChannels: z.array(positiveInt.max(8192)).min(1).max(8).default([64, 128, 192]),
  /** Which levels attend to themselves and to the prompt; the middle always does. Default: all but the finest. */
  attention: z.array(z.boolean()).optional(),
  /** Residual blocks at each resolution. Default 1. */
  layersPerBlock: positiveInt.max(16).default(1),
  /** Width of an attention head, a divisor of all widths. Default 32. */
  headSize: positiveInt.default(32),
  /** Groups of the norms, a divisor of all widths. Default 32. */
  normGroups: positiveInt.default(32),
});

const shown = z.strictObject({
  pictures: z.custom<Pictures>((value) => typeof value === 'object' && value !== null, 'pictures'),
  captions: z.custom<Captions>((value) => Array.isArray(value), 'a list of texts or of lists of texts'),
});

const { lr, ...sameFields } = updateFields;

const schema = z.strictObject({
  ...sameFields,
  /** Highest learning rate. Default 6e-4. */
  lr: lr.unwrap().default(6e-4),
  /** Folder of the autoencoder, as `trainAutoencoder` writes it. */
  vae: z.string().min(1),
  /** Folder with `text_encoder/` and `tokenizer/`, as `trainClip` writes it. */
  clip: z.string().min(1),
  config: configSchema.optional(),
  /** A diffusers folder of a UNet (`model/unet`) to begin with, in place of random weights and of `config`. */
  start: z.string().min(1).optional(),
  /** What the network predicts. Default velocity (arXiv 2202.00512). */
  prediction: z.enum(['epsilon', 'v_prediction', 'sample']).default('v_prediction'),
  /** No signal at all at the last timestep (arXiv 2305.08891), so that all of a picture, its brightness too, follows from the prompt. Default true but for `epsilon`. */
  zeroSnr: z.boolean().optional(),
  /** Pictures per update. Default 64. */
  batchSize: positiveInt.max(65536).default(64),
  /** Pictures whose gradient one thread computes at a time. Part of the result: equal seeds with another value differ by rounding. Default 32. */
  shardSize: positiveInt.max(65536).default(32),
  /** Share of uses with the empty caption, for guidance. Default 0.1. */
  captionDropout: z.number().min(0).max(1).default(0.1),
  /**
   * Weight of errors at different noise, with s = clamp(snr, lowest, highest): s / (snr + 1) of velocity, s / snr of noise, s of pictures. `lowest` 0 is
   * min-SNR (arXiv 2303.09556), which for velocity leaves nothing where the prompt decides most. Default [1, 5]; [0, 0]: all equal.
   */
  snrWeight: z.tuple([z.number().min(0), z.number().min(0)]).default([1, 5]),
  /** Share of noise that is the same everywhere. Default 0. */
  noiseOffset: z.number().min(0).max(10).default(0),
  /** How often a pass over the pictures shows each; one integer for each picture. Default: once. */
  repeats: z.custom<readonly number[]>((value) => Array.isArray(value), 'a list of integers').optional(),
  /** Updates between checks, which say whether captions are read. Default 0: at the end only. */
  checkEvery: z.int().min(0).default(0),
  /** Pictures to check on, 128 at most. Default: the first of those trained on. */
  checked: shown.optional(),
  /** Compute blocks again for their gradients instead of keeping what they need. Default false. */
  recompute: z.boolean().default(false),
});

export type TrainDiffusionOptions = z.input<typeof schema>;

/** A finished run; the model lies in `folder`. */
export interface DiffusionTraining {
  folder: string;
  config: DiffusionConfig;
  steps: number;
  samples: number;
  /** Of each update. */
  losses: number[];
  check: CaptionCheck;
  /** What the run was told, with the defaults that were filled in. */
  settings: Record<string, unknown>;
}

/**
 * Trains the UNet of a latent diffusion model on pictures with captions, one or several each, of which one is drawn at each use; autoencoder and text
 * encoder stay as they are. Writes a whole model in diffusers' layout, which `loadDiffusion` reads. Trains in float32.
 * `await trainDiffusion(images, captions, { out: 'model', vae: 'vae', clip: 'clip', steps: 100_000 })`.
 * Throws `ERR_INVALID_ARGUMENT`, `ERR_FILE_NOT_FOUND`, `ERR_FILE_WRITE`, `ERR_WEIGHTS`, `ERR_NOT_FINITE`; a run that diverges leaves its last checkpoint.
 */
export function trainDiffusion(pictures: Pictures, captions: Captions, options: TrainDiffusionOptions): Job<DiffusionTrainEvent | WarningEvent, DiffusionTraining> {
  const o = checkOptions(schema, options, 'trainDiffusion');
  const updates = nativeUpdates(o);
  const tensor = pictureTensor(pictures, 'pictures');
  const checked = o.checked && { ...o.checked, tensor: pictureTensor(o.checked.pictures, 'checked.pictures') };
  if (o.start !== undefined && o.config !== undefined) throw new ArgumentError('Expected either start or config, received both');
  const [lowest, highest] = o.snrWeight;
  if (highest > 0 && lowest > highest) throw new ArgumentError(`Expected [lowest, highest] for snrWeight, received [${lowest}, ${highest}]`);
  const scheduler = schedulerJson(o);
  return new Job<DiffusionTrainEvent | WarningEvent, DiffusionTraining>(async ({ emit, signal }) => {
    await expectNewFolder(o.out);
    const vae = await readComponent(o.vae, 'vae', parseVaeConfig);
    const text = await readComponent(join(o.clip, 'text_encoder'), 'text_encoder', parseClipTextConfig);
    const start = o.start === undefined ? undefined : await readComponent(o.start, 'unet', parseUnetConfig);
    const tokenizerFolder = join(o.clip, 'tokenizer');
    const tokenizer = await loadTokenizer(tokenizerFolder);
    const warn = (message: string): void => emit({ type: 'warning', message });
    const read = async (images: Tensor<'uint8'>, texts: Captions, name: string): Promise<Record<string, unknown>> => {
      const [count = 0] = images.shape;
      return { pictures: images, ...(await readCaptions(texts, count, tokenizer, name, warn, signal, tokenizer.length)) };
    };
    const [count = 0, height = 1, width = 1] = tensor.shape;
    const data = { ...(await read(tensor, captions, '')), ...(o.repeats && { repeats: integerTensor(o.repeats, count, 'repeats') }) };
    const held = checked && (await read(checked.tensor, checked.captions, 'checked.'));
    const factor = 2 ** (vae.config.blockOutChannels.length - 1);
    const unet: UnetConfig = start?.config ?? newConfig(configSchema.parse(o.config ?? {}), vae.config.latentChannels, text.config.width, Math.max(height, width) / factor);
    const { batchSize, shardSize, captionDropout, noiseOffset, recompute, checkEvery } = o;
    const settings = { ...updateSettings(o), batchSize, shardSize, captionDropout, noiseOffset, snrWeight: o.snrWeight, prediction: o.prediction, zeroSnr: scheduler['rescale_betas_zero_snr'] };
    const call = defined({
      ...updates, batchSize, shardSize, captionDropout, noiseOffset, recompute, checkEvery, data, checked: held, config: unet, files: start?.weights,
      snrWeight: { lowest, highest },
      schedule: resolveSampler({ schedulerConfig: scheduler }).schedule,
      emptyCaption: { data: BigInt64Array.from(tokenizer.encode('').ids, BigInt), shape: [tokenizer.length], dtype: 'int64' },
      vae: { config: vae.config, files: vae.weights },
      textEncoder: { config: text.config, files: text.weights },
      latents: o.checkpoint === undefined ? undefined : `${o.checkpoint}.latents`,
    });
    const { weights, ...result } = await runNative<DiffusionTrainEvent, NativeDiffusionResult>((listener) => native().trainDiffusion(call, listener), signal, emit);
    // Without the projection: diffusers would take what it gives for the states that the UNet reads.
    const { projectionDim: _, ...textEncoder } = text.config;
    const config: DiffusionConfig = { unet, vae: vae.config, textEncoder };
    await mkdir(dirname(resolve(o.out)), { recursive: true });
    await writeFolderWhole(o.out, async (temporary) => {
      for (const [path, json] of Object.entries(toDiffusersConfig(config, scheduler))) {
        await mkdir(dirname(join(temporary, path)), { recursive: true });
        await writeFileWhole(join(temporary, path), `${JSON.stringify(json, null, 2)}\n`);
      }
      await mkdir(join(temporary, 'tokenizer'));
      for (const name of TOKENIZER_FILES) if (existsSync(join(tokenizerFolder, name))) await copyFile(join(tokenizerFolder, name), join(temporary, 'tokenizer', name));
      for (const path of vae.weights) await copyFile(path, join(temporary, 'vae', basename(path)));
      for (const path of text.weights) {
        const { tensors, metadata } = readSafetensors(path);
        const states = Object.fromEntries(Object.entries(tensors).filter(([name]) => !name.startsWith('text_projection.')));
        writeSafetensors(join(temporary, 'text_encoder', basename(path)), states, metadata);
      }
      writeSafetensors(join(temporary, 'unet', 'diffusion_pytorch_model.safetensors'), weights, { format: 'pt', 'seedbed.training': JSON.stringify(settings) });
    });
    return { folder: o.out, config, ...result, settings };
  }, o);
}

/** The scheduler_config.json of a model that is trained so. */
function schedulerJson(o: z.output<typeof schema>): Record<string, unknown> & { _class_name: string } {
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
  if (attention.length !== blockOutChannels.length) throw new ArgumentError(`Expected one of config.attention for each of ${blockOutChannels.length} levels, received ${attention.length}`);
  for (const channels of blockOutChannels)
    for (const [name, divisor] of Object.entries({ headSize, normGroups }))
      if (channels % divisor !== 0) throw new ArgumentError(`Expected widths that are multiples of ${name} ${divisor} for config.blockOutChannels, received ${channels}`);
  return {
    sampleSize,
    inChannels: latentChannels,
    outChannels: latentChannels,
    downBlockTypes: attention.map((attends) => (attends ? 'CrossAttnDownBlock2D' : 'DownBlock2D')),
    upBlockTypes: attention.map((attends) => (attends ? ('CrossAttnUpBlock2D' as const) : ('UpBlock2D' as const))).reverse(),
    midBlockType: 'UNetMidBlock2DCrossAttn',
    blockOutChannels,
    layersPerBlock,
    crossAttentionDim: promptWidth,
    attentionHeads: blockOutChannels.map((channels) => channels / headSize),
    useLinearProjection: true,
    upcastAttention: false,
    onlyCrossAttention: false,
    normGroups,
    normEps: 1e-5,
    actFn: 'silu',
    flipSinToCos: true,
    freqShift: 0,
    downsamplePadding: 1,
    midBlockScaleFactor: 1,
  };
}
