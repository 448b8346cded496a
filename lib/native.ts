import { createRequire } from 'node:module';
import type { AttentionRecord } from './diffusion/attention.js';
import { errorFromNative, SeedbedError } from './errors.js';
import type { Image } from './image.js';
import type { AffineMap, ContourClass, FractalFamily, FractalSearch, Ifs } from './ifs.js';
import type { AutoencoderTrainEvent, ClipEncoding, ClipTrainEvent, DiffusionStep, DiffusionTrainEvent, ImageProgress, Level, LoadEvent, LoraInfo, LoraTrainEvent, NativeAttention, NativeAutoencoderResult, NativeClassifierInfo, NativeClipResult, NativeDiffusionInfo, NativeDiffusionResult, NativeFactors, NativeLoraResult, NativePlaceholder, NativeTrainResult, PartProgress, PredictQuestion, SystemInfo, SystemProgress, TrainEvent, WithGradients } from './native-values.js';
import type { Dtype, Tensor } from './tensor.js';
import { CUDA_LIBRARIES, findAddon, findLibtorch, LIBTORCH_LIBRARIES, type Libtorch } from './setup/find.js';
import { TORCH_VERSION } from './setup/manifest.js';

export type * from './native-values.js';

/** Native objects, opaque here. The brands keep them apart. */
export type ImageSetHandle = { readonly __imageSet: never };
export type ClassifierHandle = { readonly __classifier: never };
export type DiffusionHandle = { readonly __diffusion: never };
/** The adapters that calls see which were begun together. */
export type ActiveLorasHandle = { readonly __activeLoras: never };
/** A network that judges pictures. */
export type JudgeHandle = { readonly __judge: never };
export type ClipHandle = { readonly __clip: never };
export type ClipClassifierHandle = { readonly __clipClassifier: never };
export type NativeHandle = ImageSetHandle | ClassifierHandle | ClipHandle | ClipClassifierHandle | DiffusionHandle | ActiveLorasHandle | JudgeHandle;

/** A question of running work, to be answered with `answerJob`. */
export interface Ask<Question> {
  id: number;
  question: Question;
}

export type JobListener<Event, Result, Question = never> = (kind: 'event' | 'ask' | 'done' | 'error', value: Event | Ask<Question> | Result | { code: string; message: string }) => void;
type Options = Readonly<Record<string, unknown>>;

/** The only typed view of the addon: one member per row of the export table in `native/binding/addon.cpp`. */
export interface NativeBinding {
  systemInfo(): SystemInfo;
  nameTables(): { errorCodes: string[]; models: string[]; enums: Record<string, string[]> };
  measureMatmul(dtype: Dtype): number;
  cancelJob(job: number): void;
  stopJobs(): void;
  answerJob(job: number, ask: number, answer: Tensor): void;
  dispose(handle: NativeHandle): void;
  readSafetensors(path: string): { tensors: Record<string, Tensor>; metadata: Record<string, string> };
  writeSafetensors(path: string, tensors: Readonly<Record<string, Tensor>>, metadata?: Readonly<Record<string, string>>): void;

  sampleIfs(options: Options): Ifs;
  describeIfs(ifs: Options): { sigmaFactor: number; singularValues: [number, number][] };
  perturbIfs(ifs: Options, options: Options): Ifs;
  weighIfs(affine: readonly AffineMap[]): number[];
  mapSequence(options: Options): Tensor<'uint8'>;
  makeFamily(options: Options, listener: JobListener<ImageProgress, FractalFamily>): number;
  renderFractals(options: Options, listener: JobListener<ImageProgress, Tensor<'uint8'>>): number;
  fractalPictures(options: Options, listener: JobListener<ImageProgress, ImageSetHandle>): number;
  searchSystems(options: Options, listener: JobListener<SystemProgress, FractalSearch>): number;
  fractalInstances(ifs: Options, options: Options): { systems: Ifs[]; textureSeeds: bigint[] };
  drawContourClasses(options: Options): ContourClass[];
  drawContours(options: Options, listener: JobListener<ImageProgress, Tensor<'uint8'>>): number;
  drawImageCopy(options: Options, listener: JobListener<never, Image>): number;
  drawPicture(ifs: Options, options: Options, listener: JobListener<PartProgress, Tensor<'uint8'>>): number;

  createImageSet(options: { images: readonly Image[]; labels: readonly number[]; classes: number }): ImageSetHandle;
  imageSetInfo(set: ImageSetHandle): { length: number; classes: number; bytes: number };
  createClassifier(options: Options): ClassifierHandle;
  classifierInfo(classifier: ClassifierHandle): NativeClassifierInfo;
  classifierAdapter(classifier: ClassifierHandle): { factors: NativeFactors; head: Record<string, Tensor> } | undefined;
  classifierFingerprint(classifier: ClassifierHandle): string;
  classifierWeights(classifier: ClassifierHandle): Record<string, Tensor>;
  saveClassifier(classifier: ClassifierHandle, options: { path: string; dtype: Dtype }): void;
  trainClassifier(classifier: ClassifierHandle, options: Options, listener: JobListener<TrainEvent, NativeTrainResult>): number;
  predictClassifier(classifier: ClassifierHandle, options: Options, listener: JobListener<never, Tensor<'float32'>>): number;
  evaluateClassifier(classifier: ClassifierHandle, options: Options, listener: JobListener<never, { loss: number; predictions: number[] }>): number;

  createClip(options: Options): ClipHandle;
  clipInfo(clip: ClipHandle): { parameters: number; imageSize: number; projectionDim: number; logitScale: number };
  encodeClipTexts(clip: ClipHandle, options: Options, listener: JobListener<never, Tensor<'float32'>>): number;
  encodeClipImages(clip: ClipHandle, options: Options, listener: JobListener<never, Tensor<'float32'>>): number;
  createClipClassifier(clip: ClipHandle, options: Options): ClipClassifierHandle;
  clipClassifierFactors(classifier: ClipClassifierHandle): { text: NativeFactors; vision: NativeFactors };
  trainClipClassifier(classifier: ClipClassifierHandle, options: Options, listener: JobListener<TrainEvent, NativeTrainResult & { parameters: number }>): number;
  predictClipClassifier(classifier: ClipClassifierHandle, options: Options, listener: JobListener<never, Tensor<'float32'>>): number;

  loadDiffusion(options: Options, listener: JobListener<LoadEvent, DiffusionHandle>): number;
  diffusionInfo(model: DiffusionHandle): NativeDiffusionInfo;
  diffusionWeights(model: DiffusionHandle, part: 'unet' | 'vae' | 'textEncoder' | 'imageEncoder'): Record<string, Tensor>;
  saveDiffusion(model: DiffusionHandle, options: Options, listener: JobListener<never, undefined>): number;
  encodeText(model: DiffusionHandle, options: Options, listener: JobListener<never, ClipEncoding>): number;
  encodeVision(model: DiffusionHandle, options: Options, listener: JobListener<never, ClipEncoding>): number;
  predictNoise(model: DiffusionHandle, options: Options, listener: JobListener<never, { noise: Tensor<'float32'>; attention: AttentionRecord[] }>): number;
  encodePixels(model: DiffusionHandle, options: Options, listener: JobListener<never, { mean: Tensor<'float32'>; logVariance: Tensor<'float32'> }>): number;
  decodeLatents(model: DiffusionHandle, options: Options, listener: JobListener<never, Tensor<'float32'>>): number;

  addLora(model: DiffusionHandle, options: Options): void;
  changeLora(model: DiffusionHandle, options: { name: string; scale?: number; merged?: boolean }): void;
  removeLora(model: DiffusionHandle, name: string): void;
  listLoras(model: DiffusionHandle): LoraInfo[];
  activeLoras(model: DiffusionHandle, options: { scales: { name: string; scale: number }[] }): ActiveLorasHandle;
  loraPlaceholders(active: ActiveLorasHandle): NativePlaceholder[];

  trainLora(model: DiffusionHandle, options: Options, listener: JobListener<LoraTrainEvent, NativeLoraResult>): number;
  loraLayers(model: DiffusionHandle): { unet: { name: string; shape: number[] }[]; textEncoder: { name: string; shape: number[] }[] };

  loadJudge(options: { path: string }): JudgeHandle;
  judgePictures(judge: JudgeHandle, options: Options, listener: JobListener<ImageProgress, { features: Tensor<'float32'>; logits: Tensor<'float32'> }>): number;
  frechetDistance(options: Options, listener: JobListener<never, number>): number;
  kernelDistance(options: Options, listener: JobListener<never, { distance: number; standardError: number }>): number;
  precisionRecall(options: Options, listener: JobListener<never, { precision: number; recall: number }>): number;
  nearestRows(options: Options, listener: JobListener<never, { places: Tensor<'int64'>; distances: Tensor<'float64'> }>): number;
  rankRows(options: Options, listener: JobListener<never, Tensor<'int64'>>): number;

  trainAutoencoder(options: Options, listener: JobListener<AutoencoderTrainEvent, NativeAutoencoderResult>): number;
  trainDiffusion(options: Options, listener: JobListener<DiffusionTrainEvent, NativeDiffusionResult>): number;
  trainClip(options: Options, listener: JobListener<ClipTrainEvent, NativeClipResult>): number;

  generate<Step>(model: DiffusionHandle, options: Options, listener: JobListener<Step, { latents: Tensor<'float32'>; images: Image[]; attention: AttentionRecord[] }>): number;
  invert<Step>(model: DiffusionHandle, options: Options, listener: JobListener<Step, { timesteps: number[]; latents: Tensor<'float32'>[]; noises: Tensor<'float32'>[] }>): number;
  replayInversion<Step>(model: DiffusionHandle, options: Options, listener: JobListener<Step, Tensor<'float32'>>): number;
  planSampling(options: Options): { levels: Level[]; targets: Level[]; initScale: number; alphasCumprod: number[] };
  sampleLatents(options: Options, listener: JobListener<DiffusionStep, { latents: Tensor<'float32'> }, PredictQuestion>): number;

  lrAt(schedule: Options, step: number): number;
  mixBatch(options: Options): { pixels: Tensor<'float32'>; targets: Tensor<'float32'> };
  applyAugmentOp(options: Options): Image;
  resizeImage(options: Options): Image;
  cannyEdges(options: Options, listener: JobListener<never, Image>): number;
  augmentImages(options: Options, listener: JobListener<never, Tensor<'float32'>>): number;

  vectorCodes(): string[];
  attention(options: Options): NativeAttention;
  groupNorm<O extends Options>(options: O): WithGradients<O>;
  geglu<O extends Options>(options: O): WithGradients<O>;
  changePrecision(options: Options): Tensor;
  trainedLinear<O extends Options>(options: O): WithGradients<O>;
  frozenConvolution<O extends Options>(options: O): WithGradients<O>;
  winogradConvolution<O extends Options>(options: O): WithGradients<O, Tensor<'float32'>>;
  winogradFilterGradient(options: Options): Tensor<'float32'>;
  lowRank(options: Options): Tensor[];
  trainedLowRank(options: Options): Record<'out' | 'gradX' | 'gradDown' | 'gradUp', Tensor<'float32'>>;
  emulateBlocks(options: Options): Tensor<'uint8'>;
}

const require = createRequire(import.meta.url);
let loaded: { binding: NativeBinding; libtorch: Libtorch; cudaError: string | undefined } | undefined;

/** The addon, loaded at first use. Throws `ERR_LIBTORCH` or `ERR_NATIVE` with what was tried and what to run. */
export function native(): NativeBinding {
  loaded ??= load();
  return loaded.binding;
}

/** Why there is no GPU to compute on, and what to do; undefined when there is one. */
export function missingCuda(): string | undefined {
  if (native().systemInfo().cuda || loaded === undefined) return undefined;
  const { libtorch, cudaError } = loaded;
  const found = `libtorch ${libtorch.version} in '${libtorch.folder}'`;
  if (!libtorch.cuda) return `Expected a libtorch with CUDA, ${found} has none: name the folder of one in SEEDBED_LIBTORCH, or set it to python for the one that python3 imports`;
  if (cudaError !== undefined) return `Expected ${found} to open its CUDA libraries, it does not (${cudaError}): install the packages that its wheel asks for`;
  return `Expected a GPU that ${found} can use, it finds none: see that nvidia-smi lists one and that the driver is new enough`;
}

/** Opens what computes on a GPU; without it all else works, so what fails is kept for who asks for a GPU. */
function openCuda(libtorch: Libtorch, openLibrary: (path: string) => void): string | undefined {
  if (!libtorch.cuda) return undefined;
  try {
    for (const library of CUDA_LIBRARIES) openLibrary(`${libtorch.folder}/lib/${library}`);
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n')[0] ?? '';
  }
}

function load(): NonNullable<typeof loaded> {
  const libtorch = findLibtorch();
  const addon = findAddon();
  try {
    const preload = require(addon.preload) as { openLibrary(path: string): void };
    for (const library of LIBTORCH_LIBRARIES) preload.openLibrary(`${libtorch.folder}/lib/${library}`);
    const cudaError = openCuda(libtorch, (path) => preload.openLibrary(path)); // before the addon: libtorch looks for CUDA once
    const binding = convertErrors(require(addon.main) as NativeBinding);
    process.once('exit', () => binding.stopJobs()); // exit() must not meet running threads
    return { binding, libtorch, cudaError };
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0] ?? '';
    throw new SeedbedError(
      'ERR_NATIVE',
      `The native addon '${addon.main}' does not load with libtorch ${libtorch.version} at '${libtorch.folder}' (${reason}). It was built for ${TORCH_VERSION}; run: npx seedbed setup --rebuild`,
      { cause: error },
    );
  }
}

/** Wraps each export so that what it throws is an error of ours with the caller's stack. */
function convertErrors(binding: NativeBinding): NativeBinding {
  const wrap = (call: (...args: unknown[]) => unknown) => (...args: unknown[]): unknown => {
    try {
      return call(...args);
    } catch (error) {
      throw errorFromNative(error as Error & { code?: string });
    }
  };
  return Object.fromEntries(Object.entries(binding).map(([name, call]) => [name, wrap(call as (...args: unknown[]) => unknown)])) as unknown as NativeBinding;
}
