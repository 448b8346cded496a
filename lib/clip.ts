import { z } from 'zod';
import { augmentSchema } from './augment.js';
import { Dataset } from './data/dataset.js';
import { CLIP_MEAN, CLIP_STD } from './diffusion/clip-config.js';
import { readClip } from './diffusion/clip-files.js';
import { loadTokenizer, type ClipTokenizer } from './diffusion/tokenizer.js';
import { ArgumentError } from './errors.js';
import { crossEntropyOf, evaluationOf, predictionsOf, type ClassifierEvaluation, type Prediction } from './evaluation.js';
import type { Image } from './image.js';
import { checkParts, heldImage, heldImages, labelsFor, withImageSets } from './image-sets.js';
import { Job, runNative } from './job.js';
import { native, type ClipClassifierHandle, type ClipHandle, type NativeTrainResult, type TrainEvent } from './native.js';
import { abortSignal, checkOptions, defined, positiveInt, seed, share } from './options.js';
import { checkNames, sentenceFields, sentencesAbout } from './sentences.js';
import type { Tensor } from './tensor.js';
import { threads } from './threads.js';
import { nativeTrainOptions } from './train-options.js';

const VIEW = { mean: CLIP_MEAN, std: CLIP_STD, cropShare: 1 } as const;

/** The mean of several sentences stands for a class. */
const ownSentences = { ...sentenceFields, template: sentenceFields.template.default('a photo of a {class}') };

const classifierSchema = z.strictObject({ classes: z.array(z.string().min(1)).min(2), ...ownSentences });

export type ClipClassifierOptions = z.input<typeof classifierSchema>;

interface CallOptions {
  threads?: number;
  signal?: AbortSignal;
}

/** A text and an image tower that agree on what belongs together. Holds native memory: `using` or `dispose()`. */
export class Clip implements Disposable {
  readonly tokenizer: ClipTokenizer;
  readonly #handle: ClipHandle;

  /** @internal */
  constructor(handle: ClipHandle, tokenizer: ClipTokenizer) {
    this.#handle = handle;
    this.tokenizer = tokenizer;
  }

  get info(): { parameters: number; imageSize: number; projectionDim: number; logitScale: number } {
    return native().clipInfo(this.#handle);
  }

  /** [texts, projectionDim], rows of length 1. */
  encodeTexts(texts: readonly string[], options: CallOptions = {}): Job<never, Tensor<'float32'>> {
    const ids = this.#ids(texts);
    return new Job<never, Tensor<'float32'>>(({ signal }) => runNative((listener) => native().encodeClipTexts(this.#handle, { ids, threads: threads(options.threads) }, listener), signal), options);
  }

  /** [pictures, projectionDim], rows of length 1. Pictures of any size: the square in the middle is looked at. */
  encodeImages(images: readonly Image[], options: CallOptions = {}): Job<never, Tensor<'float32'>> {
    const call = { images: images.map(heldImage), ...VIEW, threads: threads(options.threads) };
    return new Job<never, Tensor<'float32'>>(({ signal }) => runNative((listener) => native().encodeClipImages(this.#handle, call, listener), signal), options);
  }

  /** Tells classes apart by sentences about them, without having seen any picture of them ("zero-shot"). */
  classifier(options: ClipClassifierOptions): ClipClassifier {
    const { classes, ...sentences } = checkOptions(classifierSchema, options, 'classifier');
    checkNames(sentences, classes);
    const texts = classes.map((name) => sentencesAbout(name, sentences));
    return new ClipClassifier(native().createClipClassifier(this.#handle, { ids: this.#ids(texts.flat()), counts: texts.map(({ length }) => length) }), classes);
  }

  #ids(texts: readonly string[]): Tensor<'int64'> {
    if (texts.length === 0) throw new ArgumentError('Expected at least one text, received none');
    const ids = texts.flatMap((text) => this.tokenizer.encode(text).ids);
    return { data: BigInt64Array.from(ids, BigInt), shape: [texts.length, this.tokenizer.length], dtype: 'int64' };
  }

  /** Classifiers made of it stay. */
  dispose(): void {
    native().dispose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A classifier whose classes are sentences, with or without training. Holds native memory: `using` or `dispose()`. */
export class ClipClassifier implements Disposable {
  readonly classes: readonly string[];
  /** Set by `trainClipClassifier`. */
  readonly training: (NativeTrainResult & { parameters: number }) | undefined;
  readonly #handle: ClipClassifierHandle;

  /** @internal */
  constructor(handle: ClipClassifierHandle, classes: readonly string[], training?: NativeTrainResult & { parameters: number }) {
    this.#handle = handle;
    this.classes = classes;
    this.training = training;
  }

  /** @internal */
  get handle(): ClipClassifierHandle {
    return this.#handle;
  }

  /** Class scores before the softmax, float32 [pictures, classes]: the model's scale times cosines. */
  logits(images: readonly Image[], options: CallOptions = {}): Job<never, Tensor<'float32'>> {
    const call = { images: images.map(heldImage), ...VIEW, threads: threads(options.threads) };
    return new Job<never, Tensor<'float32'>>(({ signal }) => runNative((listener) => native().predictClipClassifier(this.#handle, call, listener), signal), options);
  }

  /** Names what is in each picture. */
  async predict(images: readonly Image[], options: CallOptions = {}): Promise<Prediction[]> {
    return predictionsOf(images, await this.logits(images, options), this.classes);
  }

  /** Measures on labelled pictures with the same classes. */
  evaluate(data: Dataset, options: CallOptions = {}): Job<never, ClassifierEvaluation> {
    return new Job<never, ClassifierEvaluation>(async ({ signal }) => {
      const labels = labelsFor(data, this.classes);
      const answers = await this.predict(await heldImages(data), { ...options, signal });
      return evaluationOf({ loss: crossEntropyOf(answers, labels), predictions: answers.map(({ label }) => label) }, labels, this.classes);
    }, options);
  }

  /** What was trained, by transformers' names of layers: { text, vision }, { down, up, scale } each. */
  factors(): { text: Record<string, { down: Tensor; up: Tensor; scale: number }>; vision: Record<string, { down: Tensor; up: Tensor; scale: number }> } {
    return native().clipClassifierFactors(this.#handle);
  }

  dispose(): void {
    native().dispose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

const MANY_SENTENCES = 256;

const adaptersSchema = z.strictObject({
  /** Inner width of the factors. Default 16. */
  rank: positiveInt.max(4096).default(16),
  /** Strength: changes are multiplied by alpha / rank. Default 32. */
  alpha: z.number().min(0).default(32),
  /** Ends of the names of the text tower's layers that get factors; [] leaves it as it is, which is faster. Default queries and values. */
  textTargets: z.array(z.string().min(1)).default(['q_proj', 'v_proj']),
  /** The same of the image tower. */
  visionTargets: z.array(z.string().min(1)).default(['q_proj', 'v_proj']),
});

const dataset = z.custom<Dataset>((value) => value instanceof Dataset, { error: 'a dataset' });

const trainSchema = z.strictObject({
  clip: z.custom<Clip>((value) => value instanceof Clip, { error: 'a loaded CLIP' }),
  train: dataset,
  /** Generated pictures of the same classes: half of each batch is of them. Default none. */
  synthetic: dataset.optional(),
  /** With `synthetic`: weight of the real half in the loss, lambda. Default 0.8. */
  realWeight: share.optional(),
  ...ownSentences,
  adapters: adaptersSchema.prefault({}),
  /** Default 300. */
  steps: positiveInt.default(300),
  /** Default 64. */
  batchSize: positiveInt.max(65536).default(64),
  /** Pictures, or sentences, that one thread encodes at a time; part of the result. Default 16. */
  shardSize: positiveInt.max(65536).default(16),
  /** Run the text tower again for its gradients, instead of keeping what these need: memory of a few sentences for a third more time, with the same bytes. Default: from 256 sentences on. */
  recompute: z.boolean().optional(),
  /** Default 1e-4. */
  lr: z.number().min(0).default(1e-4),
  /** At the end of the cosine. Default 1e-8. */
  minLr: z.number().min(0).default(1e-8),
  /** Updates in which the rate grows. Default a tenth of all. */
  warmupSteps: z.int().min(0).optional(),
  /** Default 1e-4. */
  weightDecay: z.number().min(0).default(1e-4),
  augment: augmentSchema.optional(),
  seed: seed.default(0),
  /** File to save the state to, and to go on from. */
  checkpoint: z.string().min(1).optional(),
  checkpointEvery: positiveInt.optional(),
  resume: z.boolean().optional(),
  threads: positiveInt.max(1024).optional(),
  signal: abortSignal.optional(),
});

export type TrainClipClassifierOptions = z.input<typeof trainSchema>;

/**
 * Trains LoRA factors in both towers of a CLIP for a classifier whose classes are sentences: cross-entropy of the scale times cosines (DataDream's classifier,
 * arXiv 2407.10910; its dropout on the factors is left out). The CLIP itself stays as it is.
 * `await trainClipClassifier({ clip, train: data, synthetic, template: 'a satellite photo of a {class}' })`.
 * Throws `ERR_INVALID_ARGUMENT`, `ERR_DATA_LEAK`, `ERR_DATASET`, `ERR_NOT_FINITE`.
 */
export function trainClipClassifier(options: TrainClipClassifierOptions): Job<TrainEvent, ClipClassifier> {
  const { clip, train, synthetic, template, domain, names, adapters, signal: _, weightDecay, ...fields } = checkOptions(trainSchema, options, 'trainClipClassifier');
  checkParts({ train, synthetic }, fields.realWeight);
  if (fields.resume === true && fields.checkpoint === undefined) throw new ArgumentError('Expected a checkpoint to resume from');
  return new Job<TrainEvent, ClipClassifier>(async ({ emit, signal }) => {
    const classifier = clip.classifier({ classes: [...train.classes], template, domain, names });
    const warmupSteps = Math.min(fields.warmupSteps ?? Math.round(fields.steps / 10), fields.steps);
    const { augment = { scale: [0.25, 1], randAugment: true } as const, realWeight, recompute = train.classes.flatMap((name) => sentencesAbout(name, { template, domain, names })).length >= MANY_SENTENCES, ...rest } = fields;
    try {
      const training = await withImageSets({ train, synthetic }, (sets) => {
        const call = { ...nativeTrainOptions({ ...rest, warmupSteps, augment, optimizer: { type: 'adamw', weightDecay } }), ...VIEW, ...adapters, recompute, ...defined({ ...sets, realWeight }) };
        return runNative<TrainEvent, NativeTrainResult & { parameters: number }>((listener) => native().trainClipClassifier(classifier.handle, call, listener), signal, emit);
      });
      return new ClipClassifier(classifier.handle, train.classes, training);
    } catch (error) {
      classifier.dispose();
      throw error;
    }
  }, options);
}

/**
 * Loads a CLIP: a folder of transformers' `CLIPModel` (with its tokenizer), a folder with `text_encoder/`, `image_encoder/` and `tokenizer/` as `trainClip` writes it, or
 * `seedling`, the small one that comes with the package. In float32 on the CPU. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_FORMAT`, `ERR_WEIGHTS`, `ERR_NOT_FINITE`.
 */
export async function loadClip(source: string): Promise<Clip> {
  if (typeof source !== 'string' || source === '') throw new ArgumentError('Expected the folder of a CLIP for loadClip');
  const { tokenizer, ...towers } = await readClip(source);
  return new Clip(native().createClip(towers), await loadTokenizer(tokenizer));
}
