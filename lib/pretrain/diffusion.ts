import { z } from 'zod';
import type { DiffusionConfig } from '../diffusion/config.js';
import type { WarningEvent } from '../diffusion/results.js';
import { loadTokenizer } from '../diffusion/tokenizer.js';
import { ArgumentError, SeedbedError } from '../errors.js';
import { expectNewFolder } from '../files.js';
import { Job, runNative } from '../job.js';
import { native, type CaptionCheck, type DiffusionTrainEvent, type NativeDiffusionResult } from '../native.js';
import { checkOptions, defined, positiveInt } from '../options.js';
import { readSafetensors } from '../safetensors.js';
import { resolveSampler } from '../scheduler-config.js';
import type { Tensor } from '../tensor.js';
import { integerTensor, readCaptions, type Captions } from './captions.js';
import { checkModel, modelFields, readParts, schedulerJson, writeModel } from './model.js';
import { nativeUpdates, precision, updateFields, updateSettings } from './options.js';
import { pictureTensor, type Pictures } from './pictures.js';

const shown = z.strictObject({
  pictures: z.custom<Pictures>((value) => typeof value === 'object' && value !== null, 'pictures'),
  captions: z.custom<Captions>((value) => Array.isArray(value), 'a list of texts or of lists of texts'),
});

const { lr, ...sameFields } = updateFields;

const schema = z.strictObject({
  ...sameFields,
  precision,
  ...modelFields,
  /** Highest learning rate. Default 6e-4. */
  lr: lr.unwrap().default(6e-4),
  /**
   * Highest learning rate of the text encoder, which follows the UNet's schedule. Default 0: it stays as it is. An encoder that already tells the captions apart gains
   * from a tenth to a fifth of `lr`; one that does not is better trained longer by `trainClip` first.
   */
  textLr: z.number().min(0).max(1e3).default(0),
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

const exportSchema = z.strictObject({
  ...modelFields,
  /** Folder to write, new or empty. */
  out: z.string().min(1),
  /** Height and width of the pictures that were trained on. */
  side: positiveInt,
});

export type ExportDiffusionOptions = z.input<typeof exportSchema>;

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
 * Trains the UNet of a latent diffusion model on pictures with captions, one or several each, of which one is drawn at each use; the autoencoder
 * stays as it is, and so does the text encoder unless it has a rate (`textLr`). Writes a whole model in diffusers' layout, which `loadDiffusion` reads. Weights are float32; `precision` says in what products are.
 * `await trainDiffusion(images, captions, { out: 'model', vae: 'vae', clip: 'clip', steps: 100_000 })`.
 * Throws `ERR_INVALID_ARGUMENT`, `ERR_FILE_NOT_FOUND`, `ERR_FILE_WRITE`, `ERR_WEIGHTS`, `ERR_NOT_FINITE`; a run that diverges leaves its last checkpoint.
 */
export function trainDiffusion(pictures: Pictures, captions: Captions, options: TrainDiffusionOptions): Job<DiffusionTrainEvent | WarningEvent, DiffusionTraining> {
  const o = checkOptions(schema, options, 'trainDiffusion');
  const updates = nativeUpdates(o);
  const tensor = pictureTensor(pictures, 'pictures');
  const checked = o.checked && { ...o.checked, tensor: pictureTensor(o.checked.pictures, 'checked.pictures') };
  checkModel(o);
  const [lowest, highest] = o.snrWeight;
  if (highest > 0 && lowest > highest) throw new ArgumentError(`Expected [lowest, highest] for snrWeight, received [${lowest}, ${highest}]`);
  const scheduler = schedulerJson(o);
  return new Job<DiffusionTrainEvent | WarningEvent, DiffusionTraining>(async ({ emit, signal }) => {
    await expectNewFolder(o.out);
    const [count = 0, height = 1, width = 1] = tensor.shape;
    const parts = await readParts(o, Math.max(height, width));
    const { unet, vae, text, start, tokenizerFolder } = parts;
    const tokenizer = await loadTokenizer(tokenizerFolder);
    const warn = (message: string): void => emit({ type: 'warning', message });
    const read = async (images: Tensor<'uint8'>, texts: Captions, name: string): Promise<Record<string, unknown>> => {
      const [count = 0] = images.shape;
      return { pictures: images, ...(await readCaptions(texts, count, tokenizer, name, warn, signal, tokenizer.length)) };
    };
    const data = { ...(await read(tensor, captions, '')), ...(o.repeats && { repeats: integerTensor(o.repeats, count, 'repeats') }) };
    const held = checked && (await read(checked.tensor, checked.captions, 'checked.'));
    const { batchSize, shardSize, textLr, captionDropout, noiseOffset, recompute, checkEvery } = o;
    const settings = { ...updateSettings(o), batchSize, shardSize, textLr, captionDropout, noiseOffset, snrWeight: o.snrWeight, prediction: o.prediction, zeroSnr: scheduler['rescale_betas_zero_snr'] };
    const call = defined({
      ...updates, batchSize, shardSize, textLr, captionDropout, noiseOffset, recompute, checkEvery, data, checked: held, config: unet, files: start?.weights,
      snrWeight: { lowest, highest },
      schedule: resolveSampler({ schedulerConfig: scheduler }).schedule,
      emptyCaption: { data: BigInt64Array.from(tokenizer.encode('').ids, BigInt), shape: [tokenizer.length], dtype: 'int64' },
      vae: { config: vae.config, files: vae.weights },
      textEncoder: { config: text.config, files: text.weights },
      latents: o.checkpoint === undefined ? undefined : `${o.checkpoint}.latents`,
    });
    const { weights, textWeights, ...result } = await runNative<DiffusionTrainEvent, NativeDiffusionResult>((listener) => native().trainDiffusion(call, listener), signal, emit);
    await writeModel(o.out, parts, scheduler, { unet: weights, text: textWeights }, { 'seedbed.training': JSON.stringify(settings) });
    const config: DiffusionConfig = { unet, vae: vae.config, textEncoder: text.config };
    return { folder: o.out, config, ...result, settings };
  }, o);
}

/**
 * Writes the model of a run as it stands at its last checkpoint: the averaged weights if there are any. For a look at it, or to go on from the weights
 * alone. The options that say what the model is are those of the run. Throws `ERR_FILE_FORMAT` for other files.
 */
export async function exportDiffusion(checkpoint: string, options: ExportDiffusionOptions): Promise<void> {
  const o = checkOptions(exportSchema, options, 'exportDiffusion');
  checkModel(o);
  await expectNewFolder(o.out);
  const { tensors } = readSafetensors(checkpoint);
  const named = (prefix: string): Record<string, Tensor> => Object.fromEntries(Object.entries(tensors).flatMap(([name, value]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [])));
  const averages = named('average.');
  const weights = Object.entries(Object.keys(averages).length > 0 ? averages : named('model.'));
  const part = (text: boolean): Record<string, Tensor> => Object.fromEntries(weights.filter(([name]) => name.startsWith('text_model.') === text));
  const unet = part(false);
  if (unet['conv_in.weight'] === undefined) throw new SeedbedError('ERR_FILE_FORMAT', `Expected a checkpoint of trainDiffusion, '${checkpoint}' is none`);
  await writeModel(o.out, await readParts(o, o.side), schedulerJson(o), { unet, text: part(true) }, {});
}
