import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { adaptersSchema, readAdapter, writeAdapter, type AdapterInfo, type ClassifierAdapters } from './classifier-adapter.js';
import type { Dataset } from './data/dataset.js';
import { ArgumentError, errorFromFile, SeedbedError } from './errors.js';
import { evaluationOf, predictionsOf, type ClassifierEvaluation, type Prediction } from './evaluation.js';
import { writeFileWhole } from './files.js';
import type { Image } from './image.js';
import { checkParts, heldImage, heldImages, labelsFor, withImageSets } from './image-sets.js';
import { Job, runNative, type JobContext } from './job.js';
import { MODEL_NAMES, modelSchema, type ModelConfig, type ModelName } from './model-options.js';
import { native, type ClassifierHandle, type ImageSetHandle, type NativeClassifierInfo, type NativeTrainResult, type TrainEvent } from './native.js';
import { checkOptions, defined, share, show } from './options.js';
import { readSaved, toConfig, type Head } from './saved-classifier.js';
import type { Tensor } from './tensor.js';
import { threads } from './threads.js';
import { nativeTrainOptions, trainFields, type TrainFields } from './train-options.js';

const trainSchema = z.strictObject({
  /** Architecture by name or numbers. Default: that of `init`, else `vit_mini_patch4_32`. */
  model: z.union([z.enum(MODEL_NAMES), modelSchema]).optional(),
  /** Weights to start from: a classifier, a folder written by `save`, or the name of a shipped one; its head is replaced. Default: random. */
  init: z.union([z.string().min(1), z.custom<Classifier>((value) => value instanceof Classifier, { error: 'a folder, a name or a classifier' })]).optional(),
  /** Train low-rank changes of some layers (LoRA, arXiv 2106.09685) and the head, and leave all else of `init` as it is. Default: train all. */
  adapters: adaptersSchema.optional(),
  train: z.custom<Dataset>((value) => isDataset(value), { error: 'a dataset' }),
  /** Data to watch the training on and to choose by; never the test part. */
  validate: z.custom<Dataset>((value) => isDataset(value), { error: 'a dataset' }).optional(),
  /** Generated pictures of the same classes: half of each batch is of them. Not with mixup. Default none. */
  synthetic: z.custom<Dataset>((value) => isDataset(value), { error: 'a dataset' }).optional(),
  /** With `synthetic`: weight of the real half in the loss, lambda (DataDream, arXiv 2407.10910); the other half has the rest. Default 0.8. */
  realWeight: share.optional(),
  ...trainFields,
});

export type TrainClassifierOptions = z.input<typeof trainSchema>;

function isDataset(value: unknown): value is Dataset {
  return typeof value === 'object' && value !== null && 'classes' in value && 'load' in value;
}

/** How a classifier was made. */
export type TrainingRecord = NativeTrainResult;

const HALF = [0.5, 0.5, 0.5] as const;

/** A trained (or new) image classifier. Holds native memory: `using` or `dispose()`. */
export class Classifier implements Disposable {
  readonly classes: readonly string[];
  readonly name: string;
  /** Set by `trainClassifier`. */
  readonly training: TrainingRecord | undefined;
  /** Set where low-rank changes were trained: `weights`, `save` and all answers have them in. */
  readonly adapter: AdapterInfo | undefined;
  readonly #handle: ClassifierHandle;
  readonly #head: Head;

  /** @internal */
  constructor(handle: ClassifierHandle, head: Head, training?: TrainingRecord, adapter?: AdapterInfo) {
    this.#handle = handle;
    this.#head = head;
    this.classes = head.classes;
    this.name = head.name;
    this.training = training;
    this.adapter = adapter;
  }

  /** Sizes of the network and its number of parameters. */
  get info(): NativeClassifierInfo {
    return native().classifierInfo(this.#handle);
  }

  /** Parameters by timm's names, and a ResNet's running averages, as copies. */
  weights(): Record<string, Tensor> {
    return native().classifierWeights(this.#handle);
  }

  /** Class scores before the softmax, float32 [pictures, classes]. Pictures are read where they lie: neither change nor transfer their bytes until it is done. */
  logits(images: readonly Image[], options: { threads?: number; signal?: AbortSignal } = {}): Job<never, Tensor<'float32'>> {
    const call = { images: images.map(heldImage), ...view(this.#head), threads: threads(options.threads) };
    return new Job<never, Tensor<'float32'>>((context) => runNative((listener) => native().predictClassifier(this.#handle, call, listener), context.signal), options);
  }

  /** Names what is in each picture; as `logits`. */
  async predict(images: readonly Image[], options: { threads?: number; signal?: AbortSignal } = {}): Promise<Prediction[]> {
    return predictionsOf(images, await this.logits(images, options), this.classes);
  }

  /** Measures on labelled pictures with the same classes. */
  evaluate(data: Dataset, options: { threads?: number; signal?: AbortSignal } = {}): Job<never, ClassifierEvaluation> {
    return new Job<never, ClassifierEvaluation>(async (context) => {
      const labels = labelsFor(data, this.classes);
      const set = native().createImageSet({ images: await heldImages(data), labels, classes: this.classes.length });
      try {
        const call = { data: set, ...view(this.#head), threads: threads(options.threads) };
        const answers = await runNative<never, { loss: number; predictions: number[] }>((listener) => native().evaluateClassifier(this.#handle, call, listener), context.signal);
        return evaluationOf(answers, labels, this.classes);
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

  /** Writes the adapter and the head alone: a small file for `loadClassifier(init, { adapter })`. Throws `ERR_INVALID_ARGUMENT` when there is none. */
  saveAdapter(path: string): void {
    if (this.adapter === undefined) throw new ArgumentError('Expected a classifier that was trained with adapters for saveAdapter');
    writeAdapter(path, this.#handle, this.adapter, this.#head);
  }

  /** A classifier of its own with the adapter in its weights: faster, and no more to be told apart. */
  merged(): Classifier {
    const { parameters: _, adapterParameters: __, ...sizes } = this.info;
    return new Classifier(native().createClassifier({ ...sizes, source: this.#handle }), this.#head, this.training);
  }

  /** A new network of the same sizes with this one's weights and a new head. @internal */
  successor(extra: Record<string, unknown>): { handle: ClassifierHandle; name: string } {
    const { parameters: _, adapterParameters: __, ...sizes } = this.info;
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

const loadSchema = z.strictObject({
  /** A file that `saveAdapter` wrote, of a classifier that was trained from this one. */
  adapter: z.string().min(1).optional(),
});

/**
 * Loads a folder written by `Classifier.save`, or a shipped model by name, perhaps with an adapter's changes and its head. Throws `ERR_FILE_NOT_FOUND`,
 * `ERR_FILE_FORMAT`, `ERR_WEIGHTS`, also for an adapter that was trained on other weights, `ERR_NOT_FINITE`.
 */
export async function loadClassifier(folder: string, options: z.input<typeof loadSchema> = {}): Promise<Classifier> {
  const { adapter: path } = checkOptions(loadSchema, options, 'loadClassifier');
  const saved = await readSaved(folder);
  if (path === undefined) return new Classifier(native().createClassifier({ ...saved.model, classes: saved.head.classes.length, weights: saved.weights }), saved.head);
  const { factors, weights, info, base, head } = readAdapter(path);
  const handle = native().createClassifier({ ...saved.model, classes: head.classes.length, weights: saved.weights, newHead: true, head: weights, adapter: factors });
  const own = native().classifierFingerprint(handle);
  if (own !== base) {
    native().dispose(handle);
    throw new SeedbedError('ERR_WEIGHTS', `The adapter '${path}' was trained on other weights (${base}) than those of '${folder}' (${own})`);
  }
  return new Classifier(handle, head, undefined, info);
}

interface NetworkOptions {
  model?: ModelName | ModelConfig | undefined;
  init?: string | Classifier | undefined;
}

/** Where a new network begins: random, or another's backbone with a new head. */
async function createNetwork(options: NetworkOptions, extra: Record<string, unknown>): Promise<{ handle: ClassifierHandle; name: string }> {
  const { model, init } = options;
  const numbers = (given: ModelName | ModelConfig): Record<string, unknown> => (typeof given === 'string' ? { name: given } : defined(given));
  if (init === undefined) return { handle: native().createClassifier({ ...numbers(model ?? 'vit_mini_patch4_32'), ...extra }), name: typeof model === 'string' ? model : (model?.type ?? 'vit') };
  if (init instanceof Classifier) return init.successor(extra);
  const saved = await readSaved(init);
  return { handle: native().createClassifier({ ...numbers(model ?? saved.model), ...extra, weights: saved.weights, newHead: true }), name: saved.head.name };
}

/** Trains a network in native memory on a native image set; for compositions such as pre-training. @internal */
export async function trainOnImageSet(
  set: ImageSetHandle,
  classes: readonly string[],
  options: TrainFields & NetworkOptions & { adapters?: ClassifierAdapters | undefined; realWeight?: number | undefined },
  context: JobContext<TrainEvent>,
  others: { synthetic?: ImageSetHandle | undefined; validation?: ImageSetHandle | undefined } = {},
): Promise<Classifier> {
  const { model, init, adapters: given, realWeight, ...fields } = options;
  const adapters = given && { ...given, alpha: given.alpha ?? given.rank };
  const { handle, name } = await createNetwork({ model, init }, defined({ classes: classes.length, dropPath: fields.dropPath ?? 0, seed: fields.seed }));
  try {
    const call = { ...nativeTrainOptions(fields), train: set, ...defined({ ...others, adapters, realWeight }) };
    const record = await runNative<TrainEvent, NativeTrainResult>((listener) => native().trainClassifier(handle, call, listener), context.signal, context.emit);
    return new Classifier(handle, { name, classes, mean: fields.mean ?? HALF, std: fields.std ?? HALF, cropShare: fields.cropShare ?? 1 }, record, adapters);
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
 * using classifier = await trainClassifier({ init: 'fractal-resnet-nano', train: data.train, validate: data.validation, steps: 500 });
 */
export function trainClassifier(options: TrainClassifierOptions): Job<TrainEvent, Classifier> {
  const { train, synthetic, validate, ...rest } = checkOptions(trainSchema, options, 'trainClassifier');
  checkParts({ train, synthetic, validate }, rest.realWeight);
  if (rest.adapters !== undefined && rest.init === undefined) throw new ArgumentError('Expected init, a trained classifier, with adapters');
  if (rest.adapters?.alpha !== undefined && options.adapters?.rank === undefined) throw new ArgumentError(`Expected adapters.rank with adapters.alpha, whose quotient is the strength, received alpha ${rest.adapters.alpha} alone`);
  if (rest.freeze !== undefined && rest.init === undefined) throw new ArgumentError(`Expected init, a trained classifier, with freeze: ${show(rest.freeze)}`);
  if (rest.freeze !== undefined && rest.adapters !== undefined) throw new ArgumentError('Expected either adapters, which leave the backbone as it is, or freeze, received both');
  if (rest.keep === 'best' && validate === undefined) throw new ArgumentError("Expected validation data for keep: 'best', received none");
  return new Job<TrainEvent, Classifier>((context) => withImageSets({ train, synthetic, validate }, ({ train: set, ...others }) => trainOnImageSet(set, train.classes, rest, context, others)), rest);
}
