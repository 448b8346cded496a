import { mkdir, readFile } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { z } from 'zod';
import type { Dataset, Sample } from './data/dataset.js';
import { ArgumentError, errorFromFile, SeedbedError } from './errors.js';
import { writeFileWhole } from './files.js';
import type { Image } from './image.js';
import { Job, runNative, type JobContext } from './job.js';
import { wilson, type Interval } from './metrics.js';
import { native, type ClassifierHandle, type ImageSetHandle, type NativeClassifierInfo, type NativeTrainResult, type TrainEvent } from './native.js';
import { abortSignal, checkOptions, defined, nearest, positiveInt, seed, share } from './options.js';
import { packageRoot } from './setup/find.js';
import type { Tensor } from './tensor.js';
import { threads } from './threads.js';

/** Architectures by name. The first three are timm's; the others are the same design for small pictures. */
export const MODEL_NAMES = [
  'vit_base_patch16_224',
  'vit_small_patch16_224',
  'vit_tiny_patch16_224',
  'vit_tiny_patch8_64',
  'vit_mini_patch8_64',
  'vit_mini_patch4_32',
  'vit_nano_patch4_32',
  'vit_micro_patch4_32',
] as const;

export type ModelName = (typeof MODEL_NAMES)[number];

const modelSchema = z.strictObject({
  /** Pixels, both sides; a multiple of `patchSize`. */
  imageSize: positiveInt,
  patchSize: positiveInt,
  /** Token width, a multiple of `heads`. */
  width: positiveInt,
  /** Blocks. */
  depth: positiveInt,
  heads: positiveInt,
  /** Hidden width of the MLP over `width`. Default 4. */
  mlpRatio: positiveInt.optional(),
});

export type ModelConfig = z.input<typeof modelSchema>;

const range = z.tuple([z.number(), z.number()]).readonly();
const three = z.tuple([z.number(), z.number(), z.number()]).readonly();

const randAugmentSchema = z.strictObject({
  /** Operations per picture. Default 2. */
  ops: z.int().min(0).max(15).optional(),
  /** 0 to 10, default 9. */
  magnitude: z.number().min(0).max(10).optional(),
  /** Spread of the magnitude. Default 0.5. */
  magnitudeStd: z.number().min(0).optional(),
  /** Chance of each operation. Default 0.5. */
  probability: share.optional(),
  /** Gray level of what geometry uncovers. Default 128. */
  fill: z.int().min(0).max(255).optional(),
});

const randomErasingSchema = z.strictObject({
  probability: share.optional(),
  minArea: share.optional(),
  maxArea: share.optional(),
  minAspect: z.number().min(0.01).max(1).optional(),
});

const augmentSchema = z.strictObject({
  /** Area of the random crop, share of the picture. Default [0.08, 1]. */
  scale: range.optional(),
  /** Width over height of the crop. Default [3/4, 4/3]. */
  ratio: range.optional(),
  /** Chance of a left-right flip. Default 0.5. */
  flip: share.optional(),
  /** Chance of a top-bottom flip. Default 0. */
  flipVertical: share.optional(),
  /** Chance that a gray picture gets two random colours, one for black and one for white. Default 0. */
  colourise: share.optional(),
  /** timm's `rand-m9-mstd0.5-inc1`, or its numbers. Default off. */
  randAugment: z.union([z.boolean(), randAugmentSchema]).optional(),
  /** Noise in a random box (Zhong et al. 2017). Default off. */
  randomErasing: z.union([z.boolean(), randomErasingSchema]).optional(),
});

const mixupSchema = z.strictObject({
  /** Beta parameter of mixup, 0: off. Default 0.8. */
  mixupAlpha: z.number().min(0).optional(),
  /** Beta parameter of CutMix, 0: off. Default 1. */
  cutmixAlpha: z.number().min(0).optional(),
  /** Chance that a batch is mixed. Default 1. */
  probability: share.optional(),
  /** Chance of CutMix when both are on. Default 0.5. */
  switchToCutmix: share.optional(),
});

const optimizerSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('adamw'),
    /** Default 0.05; on parameters with more than one dimension. */
    weightDecay: z.number().min(0).optional(),
    beta1: z.number().min(0).max(0.999999).optional(),
    beta2: z.number().min(0).max(0.999999).optional(),
    eps: z.number().min(0).optional(),
  }),
  z.strictObject({
    type: z.literal('sgd'),
    weightDecay: z.number().min(0).optional(),
    /** Nesterov. Default 0.9. */
    momentum: z.number().min(0).max(0.999999).optional(),
  }),
]);

/** Options of training, without the data. */
export const trainFields = {
  /** Optimiser steps. Default 1000. */
  steps: positiveInt.max(100_000_000).optional(),
  /** Pictures per step; may exceed the dataset. Default 64. */
  batchSize: positiveInt.max(65536).optional(),
  /** Pictures whose gradient one thread computes at a time. Part of the result: equal seeds with another value differ by rounding. Default 16. */
  shardSize: positiveInt.max(65536).optional(),
  /** Highest learning rate. Default 1e-3. */
  lr: z.number().min(0).optional(),
  /** Rate at step 0 of the warm-up. Default 1e-6. */
  warmupLr: z.number().min(0).optional(),
  /** Rate at the end of the cosine. Default 1e-5. */
  minLr: z.number().min(0).optional(),
  /** Default 0. */
  warmupSteps: z.int().min(0).optional(),
  /** Default `{ type: 'adamw' }`. */
  optimizer: optimizerSchema.optional(),
  /** Default 0. */
  labelSmoothing: z.number().min(0).max(0.999).optional(),
  /** Mixup and CutMix; `true` for the defaults. Default off. */
  mixup: z.union([z.boolean(), mixupSchema]).optional(),
  augment: augmentSchema.optional(),
  /** Stochastic depth of the last block (Huang et al. 2016). Default 0. */
  dropPath: z.number().min(0).max(0.99).optional(),
  /** Largest norm of the whole gradient, 0: no limit. Default 0. */
  clipNorm: z.number().min(0).optional(),
  /** `bfloat16`: autocast. Default `float32`; `seedbed doctor` says which is faster here. */
  precision: z.enum(['float32', 'bfloat16']).optional(),
  /** Per channel, of pixels in [0, 1]. Default 0.5. */
  mean: three.optional(),
  std: three.optional(),
  /** Share of the resized picture that evaluation looks at. Default 1. */
  cropShare: z.number().min(0.1).max(1).optional(),
  /** Everything random follows from it. Default 0. */
  seed: seed.optional(),
  /** Steps between evaluations on `validate`. Default 0: at the end only. */
  evaluateEvery: z.int().min(0).optional(),
  /** Weights to keep: the `last` (default) or those with the `best` validation accuracy. */
  keep: z.enum(['last', 'best']).optional(),
  /** A file to save the state of the run to, and to go on from. */
  checkpoint: z.string().min(1).optional(),
  /** Steps between checkpoints. Default 500. */
  checkpointEvery: positiveInt.optional(),
  /** Go on from `checkpoint` if it exists; the result equals an unbroken run bit for bit. Default false. */
  resume: z.boolean().optional(),
  /** Threads; the result does not depend on them. Default: all cores. */
  threads: positiveInt.max(1024).optional(),
  signal: abortSignal.optional(),
};

const trainSchema = z.strictObject({
  /** Architecture by name or numbers. Default: that of `init`, else `vit_mini_patch4_32`. */
  model: z.union([z.enum(MODEL_NAMES), modelSchema]).optional(),
  /** Weights to start from: a classifier, a folder written by `save`, or the name of a shipped one; its head is replaced. Default: random. */
  init: z.union([z.string().min(1), z.custom<Classifier>((value) => value instanceof Classifier, { error: 'a folder, a name or a classifier' })]).optional(),
  train: z.custom<Dataset>((value) => isDataset(value), { error: 'a dataset' }),
  /** Data to watch the training on and to choose by; never the test part. */
  validate: z.custom<Dataset>((value) => isDataset(value), { error: 'a dataset' }).optional(),
  ...trainFields,
});

export type TrainClassifierOptions = z.input<typeof trainSchema>;

function isDataset(value: unknown): value is Dataset {
  return typeof value === 'object' && value !== null && 'classes' in value && 'load' in value;
}

/** How a classifier was made. */
export type TrainingRecord = NativeTrainResult;

/** Preparation of pictures and names of answers; goes with the weights. */
interface Head {
  name: string;
  classes: readonly string[];
  mean: readonly [number, number, number];
  std: readonly [number, number, number];
  cropShare: number;
}

export interface Prediction {
  label: number;
  className: string;
  /** Per class, in [0, 1], sum 1. */
  probabilities: Float32Array;
}

export interface ClassifierEvaluation {
  /** Share of right answers. */
  accuracy: number;
  /** 95 % Wilson interval of the accuracy over pictures. */
  interval: Interval;
  /** Mean cross-entropy, nats. */
  loss: number;
  /** Mean over classes of the share of right answers. */
  balancedAccuracy: number;
  /** confusion[i][j]: pictures of class i called j. */
  confusion: number[][];
  predictions: number[];
  count: number;
}

const HALF = [0.5, 0.5, 0.5] as const;

/** A trained (or new) image classifier. Holds native memory: `using` or `dispose()`. */
export class Classifier implements Disposable {
  readonly classes: readonly string[];
  readonly name: string;
  /** Set by `trainClassifier`. */
  readonly training: TrainingRecord | undefined;
  readonly #handle: ClassifierHandle;
  readonly #head: Head;

  /** @internal */
  constructor(handle: ClassifierHandle, head: Head, training?: TrainingRecord) {
    this.#handle = handle;
    this.#head = head;
    this.classes = head.classes;
    this.name = head.name;
    this.training = training;
  }

  /** Sizes of the network and its number of parameters. */
  get info(): NativeClassifierInfo {
    return native().classifierInfo(this.#handle);
  }

  /** Parameters by timm's names, as copies. */
  weights(): Record<string, Tensor> {
    return native().classifierWeights(this.#handle);
  }

  /** Class scores before the softmax, float32 [pictures, classes]. */
  logits(images: readonly Image[], options: { threads?: number; signal?: AbortSignal } = {}): Job<never, Tensor<'float32'>> {
    const call = { images, ...view(this.#head), threads: threads(options.threads) };
    return new Job<never, Tensor<'float32'>>((context) => runNative((listener) => native().predictClassifier(this.#handle, call, listener), context.signal), options);
  }

  /** Names what is in each picture. */
  async predict(images: readonly Image[], options: { threads?: number; signal?: AbortSignal } = {}): Promise<Prediction[]> {
    const logits = await this.logits(images, options);
    const count = this.classes.length;
    return images.map((_, i) => {
      const probabilities = softmax(logits.data.subarray(i * count, (i + 1) * count));
      const label = probabilities.indexOf(Math.max(...probabilities));
      return { label, className: this.classes[label] ?? '', probabilities };
    });
  }

  /** Measures on labelled pictures with the same classes. */
  evaluate(data: Dataset, options: { threads?: number; signal?: AbortSignal } = {}): Job<never, ClassifierEvaluation> {
    return new Job<never, ClassifierEvaluation>(async (context) => {
      const labels = labelsFor(data, this.classes);
      const set = await toImageSet(data, this.classes);
      try {
        const call = { data: set, ...view(this.#head), threads: threads(options.threads) };
        const { loss, accuracy, predictions } = await runNative<never, { loss: number; accuracy: number; predictions: number[] }>(
          (listener) => native().evaluateClassifier(this.#handle, call, listener),
          context.signal,
        );
        const confusion = this.classes.map(() => this.classes.map(() => 0));
        for (const [i, label] of labels.entries()) {
          const line = confusion[label];
          if (line !== undefined) line[predictions[i] ?? 0] = (line[predictions[i] ?? 0] ?? 0) + 1;
        }
        return { accuracy, interval: wilson(Math.round(accuracy * labels.length), labels.length), loss, balancedAccuracy: balanced(confusion), confusion, predictions, count: labels.length };
      } finally {
        native().dispose(set);
      }
    }, options);
  }

  /** Writes `model.safetensors` and `config.json` (timm's layout) into a folder; each file whole or not at all. */
  async save(folder: string, options: { dtype?: 'float32' | 'float16' | 'bfloat16' } = {}): Promise<void> {
    try {
      await mkdir(folder, { recursive: true });
    } catch (error) {
      throw errorFromFile(error, 'write', folder);
    }
    native().saveClassifier(this.#handle, { path: join(folder, 'model.safetensors'), dtype: options.dtype ?? 'float32' });
    await writeFileWhole(join(folder, 'config.json'), `${JSON.stringify(toConfig(this.info, this.#head), null, 2)}\n`);
  }

  /** A new network of the same sizes with this one's weights and a new head. @internal */
  successor(extra: Record<string, unknown>): { handle: ClassifierHandle; name: string } {
    const { parameters: _, ...sizes } = this.info;
    return { handle: native().createClassifier({ ...sizes, ...extra, source: this.#handle, newHead: true }), name: this.name };
  }

  dispose(): void {
    native().dispose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function view(head: Pick<Head, 'mean' | 'std' | 'cropShare'>): { mean: readonly number[]; std: readonly number[]; cropShare: number } {
  return { mean: head.mean, std: head.std, cropShare: head.cropShare };
}

function softmax(scores: Float32Array): Float32Array {
  const highest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - highest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function balanced(confusion: readonly (readonly number[])[]): number {
  const shares = confusion.flatMap((line, i) => {
    const count = line.reduce((a, b) => a + b, 0);
    return count === 0 ? [] : [(line[i] ?? 0) / count];
  });
  return shares.reduce((a, b) => a + b, 0) / shares.length;
}

/** The dataset's labels as indices into `classes`, matched by name. */
function labelsFor(data: Dataset, classes: readonly string[]): number[] {
  const indices = data.classes.map((name) => classes.indexOf(name));
  const unknown = data.classes.find((_, i) => (indices[i] ?? -1) < 0 && (data.counts[i] ?? 0) > 0);
  if (unknown !== undefined) throw new SeedbedError('ERR_DATASET', `Expected the classes ${classes.join(', ')} in ${data.name}, found '${unknown}'`);
  return data.labels.map((label) => indices[label] ?? 0);
}

async function toImageSet(data: Dataset, classes: readonly string[]): Promise<ImageSetHandle> {
  const labels = labelsFor(data, classes);
  const samples = await data.load();
  return native().createImageSet({ images: samples.map((sample) => sample.image), labels, classes: classes.length });
}

/** timm's `config.json`, so that `timm.create_model('local-dir:FOLDER')` loads the folder. */
function toConfig(info: NativeClassifierInfo, head: Head): object {
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

interface Saved {
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

async function readSaved(name: string): Promise<Saved> {
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

/** Loads a folder written by `Classifier.save`, or a shipped model by name. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_FORMAT`, `ERR_WEIGHTS`. */
export async function loadClassifier(folder: string): Promise<Classifier> {
  const saved = await readSaved(folder);
  const handle = native().createClassifier({ ...saved.model, classes: saved.head.classes.length, weights: saved.weights });
  return new Classifier(handle, saved.head);
}

/** Nothing is learnt from or chosen on test data, and no picture may be on both sides. */
function checkParts(train: Dataset, validate: Dataset | undefined): void {
  for (const [name, data] of [
    ['train', train],
    ['validate', validate],
  ] as const) {
    if (data?.role === 'test') throw new SeedbedError('ERR_DATA_LEAK', `Expected training or validation data for ${name}, received the test part of ${data.name}`);
    if (data?.length === 0) throw new SeedbedError('ERR_DATASET', `Expected at least one picture for ${name}, received none`);
  }
  if (train.classes.length < 2) throw new SeedbedError('ERR_DATASET', `Expected at least 2 classes for train, received ${train.classes.length}`);
}

/** The pictures themselves decide: the same pixels under two names are found too. */
function checkNoOverlap(train: readonly Sample[], validation: readonly Sample[]): void {
  const digest = ({ image }: Sample): string => `${image.width}x${image.height}:${Buffer.from(image.data.buffer, image.data.byteOffset, image.data.byteLength).toString('latin1')}`;
  const seen = new Map(train.map((sample) => [digest(sample), sample.key]));
  const twin = validation.find((sample) => seen.has(digest(sample)));
  if (twin !== undefined) throw new SeedbedError('ERR_DATA_LEAK', `Expected no picture in both train and validate, found '${twin.key}' and '${seen.get(digest(twin))}'`);
}

function toSet(samples: readonly Sample[], labels: readonly number[], classes: number): ImageSetHandle {
  return native().createImageSet({ images: samples.map((sample) => sample.image), labels, classes });
}

type TrainFields = z.output<z.ZodObject<typeof trainFields>>;

/** Options as the addon reads them: unions and pairs taken apart. */
export function nativeTrainOptions(options: TrainFields): Record<string, unknown> {
  const { signal: _, augment = {}, mixup, threads: requested, dropPath: __, ...rest } = options;
  const { scale = [], ratio = [], randAugment, randomErasing, ...flips } = augment;
  const switched = (value: boolean | object | undefined): object | undefined => (value === true ? {} : value === false ? undefined : value && defined(value as Record<string, unknown>));
  return defined({
    ...rest,
    threads: threads(requested),
    mixup: switched(mixup),
    augment: defined({ ...flips, minScale: scale[0], maxScale: scale[1], minRatio: ratio[0], maxRatio: ratio[1], randAugment: switched(randAugment), randomErasing: switched(randomErasing) }),
  });
}

interface NetworkOptions {
  model?: ModelName | ModelConfig | undefined;
  init?: string | Classifier | undefined;
}

/** Where a new network begins: random, or another's backbone with a new head. */
async function createNetwork(options: NetworkOptions, extra: Record<string, unknown>): Promise<{ handle: ClassifierHandle; name: string }> {
  const { model, init } = options;
  const numbers = (given: ModelName | ModelConfig): Record<string, unknown> => (typeof given === 'string' ? { name: given } : defined(given));
  if (init === undefined) return { handle: native().createClassifier({ ...numbers(model ?? 'vit_mini_patch4_32'), ...extra }), name: typeof model === 'string' ? model : 'vit' };
  if (init instanceof Classifier) return init.successor(extra);
  const saved = await readSaved(init);
  return { handle: native().createClassifier({ ...numbers(model ?? saved.model), ...extra, weights: saved.weights, newHead: true }), name: saved.head.name };
}

/** Trains a network in native memory on a native image set; for compositions such as pre-training. @internal */
export async function trainOnImageSet(
  set: ImageSetHandle,
  classes: readonly string[],
  options: TrainFields & NetworkOptions,
  context: JobContext<TrainEvent>,
  validation?: ImageSetHandle,
): Promise<Classifier> {
  const { model, init, ...fields } = options;
  const { handle, name } = await createNetwork({ model, init }, defined({ classes: classes.length, dropPath: fields.dropPath ?? 0, seed: fields.seed }));
  try {
    const call = { ...nativeTrainOptions(fields), train: set, ...(validation && { validation }) };
    const record = await runNative<TrainEvent, NativeTrainResult>((listener) => native().trainClassifier(handle, call, listener), context.signal, context.emit);
    return new Classifier(handle, { name, classes, mean: fields.mean ?? HALF, std: fields.std ?? HALF, cropShare: fields.cropShare ?? 1 }, record);
  } catch (error) {
    native().dispose(handle);
    throw error;
  }
}

/**
 * Trains an image classifier.
 *
 * @example
 * const data = (await openDataset('photos')).split({ validation: 0.2 });
 * using classifier = await trainClassifier({ init: 'fractal-vit-nano', train: data.train, validate: data.validation, steps: 500 });
 */
export function trainClassifier(options: TrainClassifierOptions): Job<TrainEvent, Classifier> {
  const { train, validate, ...rest } = checkOptions(trainSchema, options, 'trainClassifier');
  checkParts(train, validate);
  if (rest.keep === 'best' && validate === undefined) throw new ArgumentError("Expected validation data for keep: 'best', received none");
  return new Job<TrainEvent, Classifier>(async (context) => {
    const trainSamples = await train.load();
    const validationSamples = validate === undefined ? undefined : await validate.load();
    if (validationSamples !== undefined) checkNoOverlap(trainSamples, validationSamples);
    const sets: ImageSetHandle[] = [];
    try {
      sets.push(toSet(trainSamples, train.labels, train.classes.length));
      if (validate !== undefined && validationSamples !== undefined) sets.push(toSet(validationSamples, labelsFor(validate, train.classes), train.classes.length));
      return await trainOnImageSet(sets[0] as ImageSetHandle, train.classes, rest, context, sets[1]);
    } finally {
      for (const set of sets) native().dispose(set);
    }
  }, rest);
}
