import { totalmem } from 'node:os';
import { z } from 'zod';
import { ArgumentError, SeedbedError } from '../errors.js';
import type { Image } from '../image.js';
import { Job, runNative } from '../job.js';
import { native, type ClipEncoding, type DiffusionHandle, type NativeDiffusionInfo } from '../native.js';
import { abortSignal, checkOptions, defined, positiveInt, seed, share } from '../options.js';
import { samplerSchema, type SamplerName } from '../sampler-options.js';
import { resolveSampler, type ResolvedSampler, type SchedulerConfig } from '../scheduler-config.js';
import type { Tensor } from '../tensor.js';
import { threads } from '../threads.js';
import type { DiffusionConfig } from './config.js';
import { toImages, toMask, toPixels } from './pixels.js';
import type { GenerationSettings } from './png-metadata.js';
import { saveFolder, type SaveEvent } from './save.js';
import type { ClipTokenizer } from './tokenizer.js';

const MAX_STEPS = 10_000;
const MAX_SIDE = 16_384;
const DEFAULT_STRENGTH = 0.8;

const tensor = z.custom<Tensor>((value) => typeof value === 'object' && value !== null && 'data' in value && 'shape' in value && 'dtype' in value, { error: 'a tensor' });
const image = z.custom<Image>((value) => typeof value === 'object' && value !== null && 'data' in value && 'width' in value && 'height' in value && 'channels' in value, { error: 'an image' });
const images = z.union([image, z.array(image).min(1)], { error: 'an image or a list of images' });
const prompts = z.union([z.string(), z.array(z.string()).min(1), tensor], { error: 'a text, a list of texts, or a tensor from encodePrompt' });

type Prompts = z.output<typeof prompts>;
const callFields = { threads: positiveInt.max(1024).optional(), signal: abortSignal.optional() };

const freeUSchema = z.strictObject({ s1: z.number(), s2: z.number(), b1: z.number(), b2: z.number() });

/** Factors of FreeU (arXiv 2309.11497): s of the skip connections, b of the backbone, in the first two up blocks. */
export type FreeU = z.output<typeof freeUSchema>;

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
};

const generateSchema = z.strictObject({
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
  /** Decode in tiles: less memory for large pictures. Default `auto`: above twice the trained size. */
  tiled: z.union([z.boolean(), z.literal('auto')]).default('auto'),
  /** false: latents only. Default true. */
  decode: z.boolean().default(true),
  ...callFields,
});

export type GenerateOptions = z.input<typeof generateSchema>;

const invertSchema = z.strictObject({
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

const callSchema = z.strictObject(callFields);
const saveSchema = callSchema.extend({
  /** What the weights are stored in. Default: what the nets compute in. */
  dtype: z.enum(['float32', 'float16', 'bfloat16']).optional(),
});
const side = positiveInt.max(MAX_SIDE).optional();
const clipSchema = callSchema.extend({ clipSkip: z.int().min(0).default(0) });
const decodeSchema = callSchema.extend({ tiled: z.boolean().default(false) });
const promptSchema = clipSchema.extend({ text: z.union([z.string(), z.array(z.string()).min(1)], { error: 'a text or a list of texts' }) });
const encodeImageSchema = callSchema.extend({ pictures: images, width: side, height: side });
const timesteps = z.union([z.number(), z.array(z.number()).min(1)], { error: 'a number or a list of numbers' });
const predictSchema = callSchema.extend({ latents: tensor, timestep: timesteps, context: tensor, freeU: freeUSchema.optional() });

export interface StepProgress {
  type: 'step';
  /** Finished steps of all batches. */
  step: number;
  steps: number;
  /** Noise left, standard deviation over the signal's scale. */
  sigma: number;
  /** With `previewEvery`. */
  preview?: Image[];
}

export interface WarningEvent {
  type: 'warning';
  message: string;
}

export type GenerateEvent = StepProgress | WarningEvent;

export interface Generated {
  images: Image[];
  /** [pictures, channels, h, w] before decoding. */
  latents: Tensor<'float32'>;
  /** Of each picture. */
  seeds: number[];
  /** What made each picture; `writeGenerationSettings` puts it into a PNG file. */
  settings: GenerationSettings[];
}

export interface Inversion {
  kind: 'ddim' | 'edit-friendly';
  steps: number;
  /** Timestep of each of `latents`. */
  timesteps: number[];
  /** x at each timestep, [1, channels, h, w] each; ddim: from the least noise to the most; edit-friendly: from the most to the least. */
  latents: Tensor<'float32'>[];
  /** edit-friendly: the noise of each step. */
  noises: Tensor<'float32'>[];
}

export interface DiffusionInfo extends NativeDiffusionInfo {
  model: string;
  device: 'cpu';
  /** What the UNet predicts: epsilon, v_prediction or sample. */
  predictionType: string;
  /** Pixels the model was trained at. */
  imageSize: number;
  /** Pixels per latent. */
  factor: number;
  latentChannels: number;
  crossAttentionDim: number;
  /** What `generate` uses unless told otherwise. */
  sampler: SamplerName;
}

/** What a loaded model is made of. @internal */
export interface DiffusionParts {
  name: string;
  handle: DiffusionHandle;
  config: DiffusionConfig;
  tokenizer: ClipTokenizer;
  tokenizerFolder: string;
  schedulerConfig: SchedulerConfig;
  threads: number | undefined;
}

const list = (value: string | readonly string[]): readonly string[] => (typeof value === 'string' ? [value] : value);
const isTexts = (value: Prompts): value is string | string[] => typeof value === 'string' || Array.isArray(value);
/** The text of prompt `i`; empty where states were given. */
const textOf = (value: Prompts, i: number): string => (isTexts(value) ? (list(value)[i] ?? list(value)[0] ?? '') : '');
const countOf = (value: Prompts): number => (isTexts(value) ? list(value).length : (value.shape[0] ?? 0));

/** Each row `count` times in turn; one row stays one, which serves all pictures. */
function repeatRows(states: Tensor<'float32'>, count: number): Tensor<'float32'> {
  const [rows = 0, ...rest] = states.shape;
  if (rows === 1 || count === 1) return states;
  const length = states.data.length / rows;
  const data = new Float32Array(states.data.length * count);
  for (let i = 0; i < rows * count; i++) data.set(states.data.subarray(Math.floor(i / count) * length, (Math.floor(i / count) + 1) * length), i * length);
  return { data, shape: [rows * count, ...rest], dtype: 'float32' };
}

/** A loaded diffusion model. Holds native memory: `using`, `await using` or `dispose()`. Calls queue; each has its own signal. */
export class Diffusion implements Disposable, AsyncDisposable {
  readonly #parts: DiffusionParts;
  /** The nets alone, tensors in and out. */
  readonly components;

  /** @internal */
  constructor(parts: DiffusionParts) {
    this.#parts = parts;
    const part = (name: 'unet' | 'vae' | 'textEncoder' | 'imageEncoder') => (): Record<string, Tensor> => native().diffusionWeights(parts.handle, name);
    this.components = {
      unet: { config: parts.config.unet, weights: part('unet') },
      vae: {
        config: parts.config.vae,
        weights: part('vae'),
        /** Latents as the autoencoder knows them (not scaled) to pixels in [-1, 1], [B, 3, H, W]; `tiled`: less memory for large pictures. */
        decode: (z: Tensor, options: CallOptions & { tiled?: boolean } = {}) => {
          const { tiled, ...call } = checkOptions(decodeSchema, options, 'decode');
          return this.#call<Tensor<'float32'>>('decodeLatents', { latents: z, scaled: false, tiled }, call);
        },
        /** Pixels in [-1, 1], [B, 3, H, W], to mean and log variance of the (unscaled) latents. */
        encode: (pixels: Tensor, options: CallOptions = {}) => this.#call<{ mean: Tensor<'float32'>; logVariance: Tensor<'float32'> }>('encodePixels', { pixels }, checkOptions(callSchema, options, 'encode')),
      },
      textEncoder: {
        config: parts.config.textEncoder,
        weights: part('textEncoder'),
        /** Token ids [B, 77] (int64). */
        encode: (ids: Tensor<'int64'>, options: CallOptions & { clipSkip?: number } = {}) => {
          const { clipSkip, ...call } = checkOptions(clipSchema, options, 'encode');
          return this.#call<ClipEncoding>('encodeText', { ids, skippedLayers: clipSkip }, call);
        },
      },
      imageEncoder: {
        config: parts.config.imageEncoder,
        weights: part('imageEncoder'),
        /** Normalised pixels [B, 3, size, size]. */
        encode: (pixels: Tensor, options: CallOptions = {}) => this.#call<ClipEncoding>('encodeVision', { pixels }, checkOptions(callSchema, options, 'encode')),
      },
    };
  }

  get info(): DiffusionInfo {
    const { name, handle, config } = this.#parts;
    const { name: sampler, schedule } = this.#resolve({});
    return {
      ...native().diffusionInfo(handle),
      model: name,
      device: 'cpu',
      predictionType: (schedule['prediction'] as string | undefined) ?? 'epsilon',
      imageSize: config.unet.sampleSize * this.#factor,
      factor: this.#factor,
      latentChannels: config.vae.latentChannels,
      crossAttentionDim: config.unet.crossAttentionDim,
      sampler,
    };
  }

  get tokenizer(): ClipTokenizer {
    return this.#parts.tokenizer;
  }

  /** Pictures from a prompt, from noise of given seeds, perhaps beginning with a picture. */
  generate(options: GenerateOptions): Job<GenerateEvent, Generated> {
    const o = checkOptions(generateSchema, options, 'generate');
    const pictures = countOf(o.prompt) * o.count;
    const size = this.#sizeOf(o);
    const tiled = o.tiled === 'auto' ? Math.max(size.width, size.height) > 2 * this.info.imageSize : o.tiled;
    checkCombination(o);
    this.#checkMemory(size, tiled, Math.min(o.batchSize, pictures));
    const { name: sampler, ...resolved } = this.#resolve(o);
    const planned = resolved.sampler as { steps?: number; customTimesteps?: number[]; customSigmas?: number[] };
    const steps = planned.steps ?? planned.customTimesteps?.length ?? (planned.customSigmas?.length ?? 1) - 1;
    const seeds = Array.from({ length: pictures }, (_, i) => o.seed + i);
    return new Job<GenerateEvent, Generated>(
      async ({ emit, signal }) => {
        const guidance = await this.#guidance(o, o.count, emit, signal);
        const call = defined({
          ...guidance,
          seeds,
          ...size,
          sampler: resolved.sampler,
          schedule: resolved.schedule,
          latents: o.latents,
          image: o.image && toPixels(Array.isArray(o.image) ? o.image : [o.image], size),
          mask: o.mask && toMask(o.mask, size),
          strength: o.strength ?? DEFAULT_STRENGTH,
          batchSize: o.batchSize,
          previewEvery: o.previewEvery,
          tiled,
          decode: o.decode,
          threads: this.#threads(o),
        });
        const { images, latents } = await runNative<StepProgress, { images: Image[]; latents: Tensor<'float32'> }>((listener) => native().generate(this.#parts.handle, call, listener), signal, emit);
        const { guidanceScale, clipSkip, freeU } = o;
        const common = defined({ steps, sampler: o.sampler ?? sampler, guidanceScale, guidanceRescale: o.guidanceRescale || undefined, ...size, strength: o.image && (o.strength ?? DEFAULT_STRENGTH), clipSkip, freeU, model: this.#parts.name });
        const settings = seeds.map((seed, i) => ({ prompt: textOf(o.prompt, Math.floor(i / o.count)), negativePrompt: textOf(o.negativePrompt ?? '', Math.floor(i / o.count)), seed, ...common }));
        return { images, latents, seeds, settings };
      },
      o,
    );
  }

  /** The states of a text that the UNet reads, [texts, 77, width]. */
  encodePrompt(text: string | readonly string[], options: CallOptions & { clipSkip?: number } = {}): Job<WarningEvent, Tensor<'float32'>> {
    const { text: texts, ...o } = checkOptions(promptSchema, { ...options, text }, 'encodePrompt');
    return new Job<WarningEvent, Tensor<'float32'>>(async ({ emit, signal }) => this.#encode(list(texts), o, emit, signal), o);
  }

  /** One call of the UNet, without guidance: latents [B, C, h, w], timestep a number or one per row, context [B or 1, L, D]. */
  predictNoise(options: CallOptions & { latents: Tensor; timestep: number | readonly number[]; context: Tensor; freeU?: FreeU }): Job<never, Tensor<'float32'>> {
    const { latents, timestep, context, freeU, ...call } = checkOptions(predictSchema, options, 'predictNoise');
    const timesteps = typeof timestep === 'number' ? [timestep] : timestep;
    return this.#call('predictNoise', { latents, context, timestep: { data: Float32Array.from(timesteps), shape: [timesteps.length], dtype: 'float32' }, freeU }, call);
  }

  /** Latents of pictures as the UNet knows them, [pictures, C, h, w]: the mean of the encoder's distribution. */
  encodeImage(pictures: Image | readonly Image[], options: CallOptions & { width?: number; height?: number } = {}): Job<never, Tensor<'float32'>> {
    const { pictures: given, ...o } = checkOptions(encodeImageSchema, { ...options, pictures }, 'encodeImage');
    const all = Array.isArray(given) ? given : [given];
    return new Job<never, Tensor<'float32'>>(async ({ signal }) => {
      const pixels = toPixels(all, this.#sizeOf({ ...o, image: all }));
      const call = { pixels, threads: this.#threads(o) };
      const { mean } = await runNative<never, { mean: Tensor<'float32'> }>((listener) => native().encodePixels(this.#parts.handle, call, listener), signal);
      const { scalingFactor, shiftFactor = 0 } = this.#parts.config.vae;
      return { ...mean, data: mean.data.map((value) => (value - shiftFactor) * scalingFactor) };
    }, o);
  }

  /** Pictures of latents [B, C, h, w]. */
  decodeLatents(latents: Tensor, options: CallOptions & { tiled?: boolean } = {}): Job<never, Image[]> {
    const o = checkOptions(decodeSchema, options, 'decodeLatents');
    return new Job<never, Image[]>(async ({ signal }) => {
      const call = { latents, tiled: o.tiled, threads: this.#threads(o) };
      return toImages(await runNative<never, Tensor<'float32'>>((listener) => native().decodeLatents(this.#parts.handle, call, listener), signal));
    }, o);
  }

  /** The noise that leads to a picture. */
  invert(options: InvertOptions): Job<StepProgress | WarningEvent, Inversion> {
    const o = checkOptions(invertSchema, options, 'invert');
    if ((o.image === undefined) === (o.latents === undefined)) throw new ArgumentError('Expected one of image and latents for invert');
    return new Job<StepProgress | WarningEvent, Inversion>(
      async ({ emit, signal }) => {
        const latents = o.latents ?? (await this.encodeImage(o.image as Image, { signal }));
        const pictures = latents.shape[0] ?? 1;
        const guidance = await this.#guidance(o, 1, emit, signal);
        const call = { ...guidance, latents, kind: o.kind, steps: o.steps, schedule: this.#resolve({ sampler: 'ddim' }).schedule, seeds: Array.from({ length: pictures }, (_, i) => o.seed + i), batchSize: o.batchSize, threads: this.#threads(o) };
        const found = await runNative<StepProgress, Omit<Inversion, 'kind' | 'steps'>>((listener) => native().invert(this.#parts.handle, call, listener), signal, emit);
        return { kind: o.kind, steps: o.steps, ...found };
      },
      o,
    );
  }

  /** Down again from an edit-friendly inversion, with another prompt or guidance: the edit. `skip` first steps are left out and keep more of the picture. */
  replay(inversion: Inversion, options: Omit<InvertOptions, 'image' | 'latents' | 'kind' | 'steps' | 'seed' | 'batchSize'> & { skip?: number }): Job<StepProgress | WarningEvent, Tensor<'float32'>> {
    const { skip = 0, ...rest } = options;
    const { image: _, latents: __, kind: ___, ...fields } = invertSchema.shape;
    const o = checkOptions(z.strictObject(fields), rest, 'replay');
    if (inversion.kind !== 'edit-friendly') throw new ArgumentError("Expected an inversion of the kind 'edit-friendly' for replay");
    const latents = inversion.latents[skip];
    if (latents === undefined) throw new ArgumentError(`Expected an integer from 0 to ${inversion.steps - 1} for skip, received ${skip}`);
    return new Job<StepProgress | WarningEvent, Tensor<'float32'>>(
      async ({ emit, signal }) => {
        const guidance = await this.#guidance(o, 1, emit, signal);
        const call = { ...guidance, latents, noises: inversion.noises, first: skip, schedule: this.#resolve({ sampler: 'ddim' }).schedule, threads: this.#threads(o) };
        return runNative<StepProgress, Tensor<'float32'>>((listener) => native().replayInversion(this.#parts.handle, call, listener), signal, emit);
      },
      o,
    );
  }

  /**
   * Writes a diffusers folder, whole or not at all, that this package and diffusers load. The tokenizer is copied from where the model was
   * loaded. Throws `ERR_FILE_WRITE` when the folder exists and is not empty, `ERR_DISK_FULL`.
   */
  save(folder: string, options: z.input<typeof saveSchema> = {}): Job<SaveEvent, void> {
    const { dtype = this.info.dtype, ...o } = checkOptions(saveSchema, options, 'save');
    if (typeof folder !== 'string' || folder === '') throw new ArgumentError('Expected the path of a folder for save');
    return new Job<SaveEvent, void>(({ emit, signal }) => saveFolder(this.#parts, folder, { dtype, threads: this.#threads(o) }, emit, signal), o);
  }

  /** Gives the native memory back; calls that run go on. May be called twice. */
  dispose(): void {
    native().dispose(this.#parts.handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
    return Promise.resolve();
  }

  get #factor(): number {
    return 2 ** (this.#parts.config.vae.blockOutChannels.length - 1);
  }

  #resolve({ sampler, steps }: { sampler?: z.output<typeof samplerSchema> | undefined; steps?: number | undefined }): ResolvedSampler {
    return resolveSampler({ sampler, steps, schedulerConfig: this.#parts.schedulerConfig });
  }

  #threads(options: { threads?: number | undefined }): number {
    return threads(options.threads ?? this.#parts.threads);
  }

  #call<Result>(name: 'encodeText' | 'encodeVision' | 'predictNoise' | 'encodePixels' | 'decodeLatents', call: Record<string, unknown>, options: CallOptions): Job<never, Result> {
    const full = defined({ ...call, threads: this.#threads(options) });
    return new Job<never, Result>(({ signal }) => runNative<never, Result>((listener) => native()[name](this.#parts.handle, full, listener as never), signal), options);
  }

  async #encode(text: readonly string[], { clipSkip = 0, ...options }: CallOptions & { clipSkip?: number | undefined }, emit: (event: WarningEvent) => void, signal: AbortSignal): Promise<Tensor<'float32'>> {
    const { tokenizer, handle } = this.#parts;
    const ids = text.flatMap((one) => {
      const { ids, truncated } = tokenizer.encode(one);
      if (truncated !== undefined) emit({ type: 'warning', message: `The text encoder reads ${tokenizer.length} tokens; this part of the prompt is lost: '${truncated}'` });
      return ids;
    });
    const call = { ids: { data: BigInt64Array.from(ids, BigInt), shape: [text.length, tokenizer.length], dtype: 'int64' }, skippedLayers: clipSkip, threads: this.#threads(options) };
    const { states } = await runNative<never, ClipEncoding>((listener) => native().encodeText(handle, call, listener), signal);
    return states;
  }

  /** Prompts as states, each for `count` pictures, and how strongly they guide. */
  async #guidance(
    o: { prompt: Prompts; negativePrompt?: Prompts | undefined; guidanceScale: number; guidanceRescale: number; freeU?: FreeU | undefined; clipSkip?: number | undefined },
    count: number,
    emit: (event: WarningEvent) => void,
    signal: AbortSignal,
  ): Promise<Record<string, unknown>> {
    const { guidanceScale, guidanceRescale, freeU, clipSkip, negativePrompt: negative = '' } = o;
    const [texts, negatives] = [countOf(o.prompt), countOf(negative)];
    if (negatives !== 1 && negatives !== texts) throw new ArgumentError(`Expected 1 or ${texts} texts for negativePrompt, received ${negatives}`);
    const states = async (input: Prompts, options: { clipSkip?: number | undefined }): Promise<Tensor<'float32'>> =>
      repeatRows(isTexts(input) ? await this.#encode(list(input), options, emit, signal) : (input as Tensor<'float32'>), count);
    const prompt = await states(o.prompt, { clipSkip });
    // faithful: diffusers leaves layers out for the prompt only
    const negativePrompt = guidanceScale === 1 ? undefined : await states(negative, {});
    return defined({ prompt, negativePrompt, guidanceScale, guidanceRescale, freeU });
  }

  /** Width and height as asked for, else of the picture to begin with, else as trained. */
  #sizeOf({ width, height, image: given }: { width?: number | undefined; height?: number | undefined; image?: Image | Image[] | undefined }): { width: number; height: number } {
    const f = this.#factor;
    const picture = Array.isArray(given) ? given[0] : given;
    const trained = this.#parts.config.unet.sampleSize * f;
    const fallback = (side: number | undefined): number => (side === undefined ? trained : Math.max(f, Math.floor(side / f) * f));
    const size = { width: width ?? fallback(picture?.width), height: height ?? fallback(picture?.height) };
    for (const [name, side] of Object.entries(size)) if (side % f !== 0) throw new ArgumentError(`Expected a multiple of ${f} for ${name}, received ${side}`);
    return size;
  }

  /** A refusal is better than a process that the system kills. Decoding needs the most: a few maps of the widest channels at full size. */
  #checkMemory({ width, height }: { width: number; height: number }, tiled: boolean, batch: number): void {
    const { unet, vae } = this.#parts.config;
    const bytes = 4;
    const maps = 4;
    const decodeSide = tiled ? Math.min(vae.sampleSize, Math.max(width, height)) : undefined;
    const decode = maps * bytes * (decodeSide === undefined ? width * height : decodeSide ** 2) * (vae.blockOutChannels[1] ?? vae.blockOutChannels[0] ?? 1) + 3 * bytes * width * height;
    const denoise = 2 * batch * maps * bytes * ((width * height) / this.#factor ** 2) * 8 * (unet.blockOutChannels[0] ?? 1);
    const needed = Math.max(decode, denoise);
    if (needed <= totalmem()) return;
    const gigabytes = (value: number): string => `${(value / 1e9).toFixed(1)} GB`;
    throw new SeedbedError('ERR_OUT_OF_MEMORY', `Expected pictures that fit into memory, ${width} x ${height} needs about ${gigabytes(needed)} of ${gigabytes(totalmem())}; make it smaller${tiled ? '' : ', or set tiled'}`);
  }
}

/** Threads and signal of a call. */
export interface CallOptions {
  threads?: number | undefined;
  signal?: AbortSignal | undefined;
}

function checkCombination(o: z.output<typeof generateSchema>): void {
  if (o.image !== undefined) return;
  if (o.mask !== undefined) throw new ArgumentError('Expected an image with the mask');
  if (o.strength !== undefined) throw new ArgumentError('Expected an image with strength');
}
