import { ArgumentError } from '../errors.js';
import type { Image } from '../image.js';
import { Job, runNative } from '../job.js';
import { Loras } from '../lora/loras.js';
import { native, type ClipEncoding } from '../native.js';
import { checkOptions, defined } from '../options.js';
import type { SamplerOptions } from '../sampler-options.js';
import { resolveSampler, type ResolvedSampler } from '../scheduler-config.js';
import type { Tensor } from '../tensor.js';
import { nativeAttention, type AttentionOptions, type AttentionRecord } from './attention.js';
import {
  callSchema,
  checkCombination,
  clipSchema,
  DEFAULT_STRENGTH,
  encodeImageSchema,
  generateSchema,
  invertSchema,
  predictSchema,
  promptSchema,
  replaySchema,
  saveSchema,
  tiledSchema,
  type CallOptions,
  type CheckedGenerateOptions,
  type FreeU,
  type GenerateOptions,
  type InvertOptions,
  type ReplayOptions,
  type SaveOptions,
  type TiledOptions,
  type TokenMerging,
} from './generate-options.js';
import { keepParts, nativeCall, type DiffusionParts } from './parts.js';
import { toImages, toMask, toPixels } from './pixels.js';
import { asList, encodeTexts, guidanceOf, promptCount, promptText } from './prompts.js';
import type { DiffusionInfo, Generated, GenerateEvent, GenerationPlan, Inversion, NoisePrediction, StepProgress, WarningEvent } from './results.js';
import { saveFolder, type SaveEvent } from './save.js';
import { checkAutoencoderMemory, checkMemory, factorOf, sizeOf, trainedSide } from './size.js';
import type { ClipTokenizer } from './tokenizer.js';

/** A plan and what the addon needs beside it. */
interface Planned extends GenerationPlan {
  resolved: ResolvedSampler;
  tiled: boolean;
}

/** A loaded diffusion model. Holds native memory: `using`, `await using` or `dispose()`. Calls queue; each has its own signal. */
export class Diffusion implements Disposable, AsyncDisposable {
  readonly #parts: DiffusionParts;
  /** The nets alone, tensors in and out. */
  readonly components;
  /** Its LoRA adapters. */
  readonly loras: Loras;

  /** @internal */
  constructor(parts: DiffusionParts) {
    this.#parts = parts;
    keepParts(this, parts);
    this.loras = new Loras(parts);
    const part = (name: 'unet' | 'vae' | 'textEncoder' | 'imageEncoder') => (): Record<string, Tensor> => native().diffusionWeights(parts.handle, name);
    this.components = {
      unet: { config: parts.config.unet, weights: part('unet') },
      vae: {
        config: parts.config.vae,
        weights: part('vae'),
        /** Latents as the autoencoder knows them (not scaled) to pixels in [-1, 1], [B, 3, H, W]; `tiled`: less memory for large pictures. */
        decode: (z: Tensor, options: TiledOptions = {}) => {
          const { tiled, ...call } = checkOptions(tiledSchema, options, 'decode');
          return this.#call<Tensor<'float32'>>('decodeLatents', { latents: z, scaled: false, tiled }, call);
        },
        /** Pixels in [-1, 1], [B, 3, H, W], to mean and log variance of the (unscaled) latents; `tiled` as for `decode`. */
        encode: (pixels: Tensor, options: TiledOptions = {}) => {
          const { tiled, ...call } = checkOptions(tiledSchema, options, 'encode');
          return this.#call<{ mean: Tensor<'float32'>; logVariance: Tensor<'float32'> }>('encodePixels', { pixels, tiled }, call);
        },
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
      predictionType: (schedule['prediction'] as string | undefined) ?? 'epsilon',
      imageSize: trainedSide(config),
      factor: factorOf(config),
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
    const o = checkOptions(generateSchema, this.#withDefaults(options), 'generate');
    const { width, height, seeds, settings, resolved, tiled } = this.#plan(o);
    const size = { width, height };
    const common = nativeCall(this.#parts, o);
    return new Job<GenerateEvent, Generated>(async ({ emit, signal }) => {
      const call = defined({
        ...(await guidanceOf(this.#parts, o, o.count, common, { emit, signal })),
        seeds,
        ...size,
        sampler: resolved.sampler,
        schedule: resolved.schedule,
        latents: o.latents,
        image: o.image && toPixels(asImages(o.image), size),
        mask: o.mask && toMask(o.mask, size),
        strength: o.strength ?? DEFAULT_STRENGTH,
        batchSize: o.batchSize,
        previewEvery: o.previewEvery,
        tiled,
        decode: o.decode,
        attention: o.attention && nativeAttention(o.attention),
        featureCache: o.featureCache,
        tokenMerging: o.tokenMerging,
      });
      const { images, latents, attention } = await runNative<StepProgress, { images: Image[]; latents: Tensor<'float32'>; attention: AttentionRecord[] }>(
        (listener) => native().generate(this.#parts.handle, call, listener),
        signal,
        emit,
      );
      return { images, latents, seeds, settings, ...(o.attention?.record && { attention }) };
    }, o);
  }

  /** What `generate` would do with these options: sizes, seeds, and the settings it would return. Throws what it would throw. */
  plan(options: GenerateOptions): GenerationPlan {
    const { resolved: _, tiled: __, ...plan } = this.#plan(checkOptions(generateSchema, this.#withDefaults(options), 'generate'));
    return plan;
  }

  /** The states of a text that the UNet reads, [texts, 77, width]. */
  encodePrompt(text: string | readonly string[], options: CallOptions & { clipSkip?: number } = {}): Job<WarningEvent, Tensor<'float32'>> {
    const { text: texts, ...o } = checkOptions(promptSchema, { ...options, text }, 'encodePrompt');
    const call = { ...nativeCall(this.#parts, o), clipSkip: o.clipSkip };
    return new Job<WarningEvent, Tensor<'float32'>>((context) => encodeTexts(this.#parts, asList(texts), call, context), o);
  }

  /** One call of the UNet, without guidance: latents [B, C, h, w], timestep a number or one per row, context [B or 1, L, D]. */
  predictNoise(options: CallOptions & { latents: Tensor; timestep: number | readonly number[]; context: Tensor; freeU?: FreeU; attention?: AttentionOptions; tokenMerging?: TokenMerging; loras?: Record<string, number> }): Job<never, NoisePrediction> {
    const { latents, timestep, context, freeU, attention, tokenMerging, ...o } = checkOptions(predictSchema, options, 'predictNoise');
    const timesteps = typeof timestep === 'number' ? [timestep] : timestep;
    const call = defined({
      latents,
      context,
      timestep: { data: Float32Array.from(timesteps), shape: [timesteps.length], dtype: 'float32' },
      freeU,
      tokenMerging,
      attention: attention && nativeAttention(attention),
      ...nativeCall(this.#parts, o),
    });
    return new Job<never, NoisePrediction>(async ({ signal }) => {
      const { noise, attention: records } = await runNative<never, { noise: Tensor<'float32'>; attention: AttentionRecord[] }>((listener) => native().predictNoise(this.#parts.handle, call, listener), signal);
      return { ...noise, ...(attention?.record && { attention: records }) };
    }, o);
  }

  /** Latents of pictures as the UNet knows them, [pictures, C, h, w]: the mean of the encoder's distribution. */
  encodeImage(pictures: Image | readonly Image[], options: TiledOptions & { width?: number; height?: number } = {}): Job<never, Tensor<'float32'>> {
    const { pictures: given, ...o } = checkOptions(encodeImageSchema, { ...options, pictures }, 'encodeImage');
    const all = asImages(given);
    return new Job<never, Tensor<'float32'>>(async ({ signal }) => {
      const { config, handle } = this.#parts;
      const size = sizeOf(config, { ...o, image: all });
      checkAutoencoderMemory(config, size, o.tiled, all.length);
      const pixels = toPixels(all, size);
      const call = { pixels, tiled: o.tiled, ...nativeCall(this.#parts, o) };
      const { mean } = await runNative<never, { mean: Tensor<'float32'> }>((listener) => native().encodePixels(handle, call, listener), signal);
      const { scalingFactor, shiftFactor = 0 } = config.vae;
      return { ...mean, data: mean.data.map((value) => (value - shiftFactor) * scalingFactor) };
    }, o);
  }

  /** Pictures of latents [B, C, h, w]. */
  decodeLatents(latents: Tensor, options: TiledOptions = {}): Job<never, Image[]> {
    const o = checkOptions(tiledSchema, options, 'decodeLatents');
    return new Job<never, Image[]>(async ({ signal }) => {
      const [batch = 1, , height = 1, width = 1] = latents.shape;
      const factor = factorOf(this.#parts.config);
      checkAutoencoderMemory(this.#parts.config, { width: factor * width, height: factor * height }, o.tiled, batch);
      const call = { latents, tiled: o.tiled, ...nativeCall(this.#parts, o) };
      return toImages(await runNative<never, Tensor<'float32'>>((listener) => native().decodeLatents(this.#parts.handle, call, listener), signal));
    }, o);
  }

  /** The noise that leads to a picture. */
  invert(options: InvertOptions): Job<StepProgress | WarningEvent, Inversion> {
    const o = checkOptions(invertSchema, options, 'invert');
    if ((o.image === undefined) === (o.latents === undefined)) throw new ArgumentError('Expected one of image and latents for invert');
    const common = nativeCall(this.#parts, o);
    return new Job<StepProgress | WarningEvent, Inversion>(async ({ emit, signal }) => {
      const latents = o.latents ?? (await this.encodeImage(o.image as Image, { signal }));
      const seeds = Array.from({ length: latents.shape[0] ?? 1 }, (_, i) => o.seed + i);
      const guidance = await guidanceOf(this.#parts, o, 1, common, { emit, signal });
      const call = { ...guidance, latents, kind: o.kind, steps: o.steps, schedule: this.#resolve({ sampler: 'ddim' }).schedule, seeds, batchSize: o.batchSize };
      const found = await runNative<StepProgress, Omit<Inversion, 'kind' | 'steps'>>((listener) => native().invert(this.#parts.handle, call, listener), signal, emit);
      return { kind: o.kind, steps: o.steps, ...found };
    }, o);
  }

  /** Down again from an edit-friendly inversion, with another prompt or guidance: the edit. */
  replay(inversion: Inversion, options: ReplayOptions): Job<StepProgress | WarningEvent, Tensor<'float32'>> {
    const o = checkOptions(replaySchema, options, 'replay');
    if (inversion.kind !== 'edit-friendly') throw new ArgumentError("Expected an inversion of the kind 'edit-friendly' for replay");
    const latents = inversion.latents[o.skip];
    if (latents === undefined) throw new ArgumentError(`Expected an integer from 0 to ${inversion.steps - 1} for skip, received ${o.skip}`);
    const common = nativeCall(this.#parts, o);
    return new Job<StepProgress | WarningEvent, Tensor<'float32'>>(async ({ emit, signal }) => {
      const guidance = await guidanceOf(this.#parts, o, 1, common, { emit, signal });
      const call = { ...guidance, latents, noises: inversion.noises, first: o.skip, schedule: this.#resolve({ sampler: 'ddim' }).schedule };
      return runNative<StepProgress, Tensor<'float32'>>((listener) => native().replayInversion(this.#parts.handle, call, listener), signal, emit);
    }, o);
  }

  /**
   * Writes a diffusers folder, whole or not at all, that this package and diffusers load. The tokenizer is copied from where the model was
   * loaded. Throws `ERR_FILE_WRITE` when the folder exists and is not empty, `ERR_DISK_FULL`.
   */
  save(folder: string, options: SaveOptions = {}): Job<SaveEvent, void> {
    const { dtype, ...o } = checkOptions(saveSchema, options, 'save');
    const own = native().diffusionInfo(this.#parts.handle).dtype;
    const dtypes = typeof dtype === 'string' ? { other: dtype } : { other: own, ...defined(dtype ?? {}) };
    if (typeof folder !== 'string' || folder === '') throw new ArgumentError('Expected the path of a folder for save');
    const call = nativeCall(this.#parts, o);
    return new Job<SaveEvent, void>(({ emit, signal }) => saveFolder(this.#parts, folder, { dtypes, ...call }, emit, signal), o);
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

  /** Of adapters that act in a call with these scales of its own; undefined when there are none. */
  #loraScales(own: Readonly<Record<string, number>> = {}): Record<string, number> | undefined {
    const scales = this.loras.list().flatMap(({ name, scale }) => ((own[name] ?? scale) === 0 ? [] : [[name, own[name] ?? scale] as const]));
    return scales.length === 0 ? undefined : Object.fromEntries(scales);
  }

  #resolve({ sampler, steps }: { sampler?: SamplerOptions | SamplerOptions['type'] | undefined; steps?: number | undefined }): ResolvedSampler {
    return resolveSampler({ sampler, steps, schedulerConfig: this.#parts.schedulerConfig });
  }

  #plan(o: CheckedGenerateOptions): Planned {
    const { config, name: model } = this.#parts;
    checkCombination(o);
    const size = sizeOf(config, o);
    const pictures = promptCount(o.prompt) * o.count;
    const tiled = o.tiled === 'auto' ? Math.max(size.width, size.height) > 2 * trainedSide(config) : o.tiled;
    const { dtype, device } = native().diffusionInfo(this.#parts.handle);
    if (device === 'cpu') checkMemory(config, size, tiled, Math.min(o.batchSize, pictures));
    const resolved = this.#resolve(o);
    const sampler = resolved.sampler as { steps?: number; customTimesteps?: number[]; customSigmas?: number[] };
    const steps = sampler.steps ?? sampler.customTimesteps?.length ?? (sampler.customSigmas?.length ?? 1) - 1;
    const seeds = Array.from({ length: pictures }, (_, i) => o.seed + i);
    const common = defined({
      steps,
      sampler: o.sampler ?? resolved.name,
      guidanceScale: o.guidanceScale,
      guidanceRescale: o.guidanceRescale || undefined,
      ...size,
      strength: o.image && (o.strength ?? DEFAULT_STRENGTH),
      clipSkip: o.clipSkip,
      freeU: o.freeU,
      attention: o.attention,
      featureCache: o.featureCache,
      tokenMerging: o.tokenMerging,
      loras: this.#loraScales(o.loras),
      dtype,
      model,
    });
    const settings = seeds.map((seed, i) => ({ prompt: promptText(o.prompt, Math.floor(i / o.count)), negativePrompt: promptText(o.negativePrompt ?? '', Math.floor(i / o.count)), seed, ...common }));
    return { steps, ...size, seeds, settings, resolved, tiled };
  }

  #withDefaults(options: GenerateOptions): GenerateOptions {
    const given: unknown = options; // from JavaScript it may be anything
    return typeof given === 'object' && given !== null ? { ...defined(this.#parts.defaults), ...options } : options;
  }

  #call<Result>(name: 'encodeText' | 'encodeVision' | 'encodePixels' | 'decodeLatents', call: Record<string, unknown>, options: CallOptions): Job<never, Result> {
    const full = { ...call, ...nativeCall(this.#parts, options) };
    return new Job<never, Result>(({ signal }) => runNative<never, Result>((listener) => native()[name](this.#parts.handle, full, listener as never), signal), options);
  }
}

const asImages = (value: Image | readonly Image[]): readonly Image[] => (Array.isArray(value) ? (value as readonly Image[]) : [value as Image]);
