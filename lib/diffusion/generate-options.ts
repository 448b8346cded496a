import { z } from 'zod';
import { ArgumentError } from '../errors.js';
import type { Image } from '../image.js';
import { abortSignal, positiveInt, seed, share } from '../options.js';
import { samplerSchema } from '../sampler-options.js';
import type { Tensor } from '../tensor.js';
import { loraScalesSchema } from '../lora/loras.js';
import { attentionSchema } from './attention.js';

const MAX_STEPS = 10_000;
const MAX_SIDE = 16_384;
export const DEFAULT_STRENGTH = 0.8;

const tensor = z.custom<Tensor>((value) => typeof value === 'object' && value !== null && 'data' in value && 'shape' in value && 'dtype' in value, { error: 'a tensor' });
export const image = z.custom<Image>((value) => typeof value === 'object' && value !== null && 'data' in value && 'width' in value && 'height' in value && 'channels' in value, { error: 'an image' });
const images = z.union([image, z.array(image).min(1)], { error: 'an image or a list of images' });
const prompts = z.union([z.string(), z.array(z.string()).min(1), tensor], { error: 'a text, a list of texts, or a tensor from encodePrompt' });

export type Prompts = z.output<typeof prompts>;
const callFields = { threads: positiveInt.max(1024).optional(), signal: abortSignal.optional() };

const freeUSchema = z.strictObject({ s1: z.number(), s2: z.number(), b1: z.number(), b2: z.number() });

/** Factors of FreeU (arXiv 2309.11497): s of the skip connections, b of the backbone, in the first two up blocks. */
export type FreeU = z.output<typeof freeUSchema>;

const featureCacheSchema = z.strictObject({
  /** The whole network runs in every so many calls. Default 3. */
  interval: positiveInt.max(1000).default(3),
  /** In the other calls: layers of the way down that run, and one more on the way up. 0 is fastest. Default 0. */
  branch: z.int().min(0).default(0),
});

const tokenMergingSchema = z.strictObject({
  /** Share of the tokens that merge, up to 0.75. Default 0.5. */
  ratio: z.number().min(0).max(0.75).default(0.5),
  /** Whether the token that others merge into is drawn in each 2 x 2 square, or is the one at the top left. Default true. */
  random: z.boolean().default(true),
});

/** DeepCache (arXiv 2312.00858): what the deep layers gave is used again in the next calls. */
export type FeatureCache = z.input<typeof featureCacheSchema>;
/** Token merging (arXiv 2303.17604): self-attention at the highest resolution sees fewer tokens. */
export type TokenMerging = z.input<typeof tokenMergingSchema>;

const guidanceFields = {
  /** What the picture shows; several texts make several pictures. Or states [prompts, 77, width], as from `encodePrompt`. */
  prompt: prompts,
  /** What it does not show. Default ''. */
  negativePrompt: prompts.optional(),
  /** Classifier-free guidance (Ho & Salimans 2022); 1: none, half the work. Default 7.5. */
  guidanceScale: z.number().min(0).max(1000).default(7.5),
  /** Against grey pictures at strong guidance (arXiv 2305.08891). Default 0. */
  guidanceRescale: share.default(0),
  /** Layers of the text encoder left out at the end, for the prompt, not the negative one. Default 0. */
  clipSkip: z.int().min(0).optional(),
  /** FreeU's four factors (arXiv 2309.11497). Default off. */
  freeU: freeUSchema.optional(),
  /** Scales of LoRA adapters for this call, by name; 0 leaves one out. Default: as they are set. */
  loras: loraScalesSchema.optional(),
};

export const generateSchema = z.strictObject({
  ...guidanceFields,
  /** Pictures per prompt. Default 1. */
  count: positiveInt.max(100_000).default(1),
  /** 1 to 10,000. Default 50 (lcm: 4), or as many as the sampler's list of timesteps or sigmas has. */
  steps: positiveInt.max(MAX_STEPS).optional(),
  /** A name or `{ type, ...options }`. Default: what the model's scheduler_config.json names. */
  sampler: samplerSchema.optional(),
  /** Picture i has the seed `seed + i`. Default 0. */
  seed: seed.default(0),
  /** Pixels, a multiple of the autoencoder's factor (8). Default: the size the model was trained at, or that of `image`. */
  width: positiveInt.max(MAX_SIDE).optional(),
  height: positiveInt.max(MAX_SIDE).optional(),
  /** Noise to begin with, standard normal [pictures, channels, height / 8, width / 8]. Default: drawn. */
  latents: tensor.optional(),
  /** A picture to begin with (image to image); resized to width x height. */
  image: images.optional(),
  /** With `image`: share of the steps that are taken; 1 forgets the picture. Default 0.8. */
  strength: share.optional(),
  /** With `image`: gray picture, white is painted anew, black is kept. */
  mask: image.optional(),
  /** Pictures per call of the network. Another value may differ by rounding. Default 4. */
  batchSize: positiveInt.max(1024).default(4),
  /** Steps between small previews in the events. Default 0: none. */
  previewEvery: z.int().min(0).default(0),
  /** Encode and decode in tiles: less memory for large pictures. Default `auto`: above twice the trained size. */
  tiled: z.union([z.boolean(), z.literal('auto')]).default('auto'),
  /** false: latents only. Default true. */
  decode: z.boolean().default(true),
  /** Control of the attention layers. Default none, which costs nothing. */
  attention: attentionSchema.optional(),
  /** Faster, with another result: deep features used again over the steps (DeepCache, arXiv 2312.00858). Default off. */
  featureCache: featureCacheSchema.optional(),
  /** Faster for large pictures, with another result: similar tokens merged (arXiv 2303.17604). Not with `attention`. Default off. */
  tokenMerging: tokenMergingSchema.optional(),
  ...callFields,
});

export type GenerateOptions = z.input<typeof generateSchema>;
export type CheckedGenerateOptions = z.output<typeof generateSchema>;

export const invertSchema = z.strictObject({
  ...guidanceFields,
  guidanceScale: guidanceFields.guidanceScale.default(1),
  prompt: prompts.default(''),
  /** The picture; its sides must be multiples of the autoencoder's factor. */
  image: image.optional(),
  /** Or its latents [1, channels, h, w]. */
  latents: tensor.optional(),
  /** `ddim`: deterministic, backwards. `edit-friendly`: DDPM with noises that come back exactly (arXiv 2304.06140). Default ddim. */
  kind: z.enum(['ddim', 'edit-friendly']).default('ddim'),
  steps: positiveInt.max(MAX_STEPS).default(50),
  seed: seed.default(0),
  /** Steps of edit-friendly inversion that share a call of the network. Default 4. */
  batchSize: positiveInt.max(1024).default(4),
  ...callFields,
});

export type InvertOptions = z.input<typeof invertSchema>;

const { image: _image, latents: _latents, kind: _kind, steps: _steps, seed: _seed, batchSize: _batchSize, ...replayed } = invertSchema.shape;

export const replaySchema = z.strictObject({
  ...replayed,
  /** First steps that are left out; the more, the more of the picture stays. Default 0. */
  skip: z.int().min(0).default(0),
});

export type ReplayOptions = z.input<typeof replaySchema>;

export const callSchema = z.strictObject(callFields);
const stored = z.enum(['float32', 'float16', 'bfloat16', 'int8']);

export const saveSchema = callSchema.extend({
  /**
   * What the weights are stored in, all or by network; `int8`, with a scale for each row, is for files of this package: save them anew for others. Default:
   * what the nets compute in.
   */
  dtype: z.union([stored, z.strictObject({ unet: stored, vae: stored, textEncoder: stored, imageEncoder: stored }).partial()]).optional(),
});

export type SaveOptions = z.input<typeof saveSchema>;

const side = positiveInt.max(MAX_SIDE).optional();
const timesteps = z.union([z.number(), z.array(z.number()).min(1)], { error: 'a number or a list of numbers' });

export const clipSchema = callSchema.extend({ clipSkip: z.int().min(0).default(0) });
export const tiledSchema = callSchema.extend({ tiled: z.boolean().default(false) });
export const promptSchema = clipSchema.extend({ loras: loraScalesSchema.optional(), text: z.union([z.string(), z.array(z.string()).min(1)], { error: 'a text or a list of texts' }) });
export const encodeImageSchema = tiledSchema.extend({ pictures: images, width: side, height: side });
export const predictSchema = callSchema.extend({ latents: tensor, timestep: timesteps, context: tensor, freeU: freeUSchema.optional(), attention: attentionSchema.optional(), tokenMerging: tokenMergingSchema.optional(), loras: loraScalesSchema.optional() });

/** Threads and signal of a call. */
export interface CallOptions {
  threads?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface TiledOptions extends CallOptions {
  /** In overlapping tiles: less memory for large pictures. Default false. */
  tiled?: boolean;
}

/** What the schema cannot say. Throws `ArgumentError`. */
export function checkCombination(o: CheckedGenerateOptions): void {
  if (o.attention !== undefined && o.tokenMerging !== undefined) throw new ArgumentError('Expected no attention control together with tokenMerging');
  if (o.image !== undefined) return;
  if (o.mask !== undefined) throw new ArgumentError('Expected an image with the mask');
  if (o.strength !== undefined) throw new ArgumentError('Expected an image with strength');
}
