import { z } from 'zod';
import { Diffusion } from '../diffusion/diffusion.js';
import { generateSchema, image } from '../diffusion/generate-options.js';
import { partsOf } from '../diffusion/parts.js';
import type { WarningEvent } from '../diffusion/results.js';
import type { GenerationSettings } from '../diffusion/png-metadata.js';
import { trainedSide } from '../diffusion/size.js';
import type { ClipTokenizer } from '../diffusion/tokenizer.js';
import { ArgumentError } from '../errors.js';
import type { Image } from '../image.js';
import { Job, runNative } from '../job.js';
import { native, type LoraTrainEvent, type NativeLoraResult } from '../native.js';
import { abortSignal, checkOptions, defined, positiveInt, seed } from '../options.js';
import { resolveSampler } from '../scheduler-config.js';
import { threads } from '../threads.js';
import type { LoraFactors, LoraWeights } from './lora.js';
import { loadTrainingImages, type CaptionedImage } from './pictures.js';
import { writeLora, type WriteLoraOptions } from './write.js';

const UNET_TARGETS = ['to_q', 'to_k', 'to_v', 'to_out.0'];
const TEXT_TARGETS = ['q_proj', 'k_proj', 'v_proj', 'out_proj'];
const MOST_BATCH = 8;
const WARM_UP = 100;
const EPOCHS = 200;
/** From this side on (pixels) blocks are computed twice by default, since what they keep grows with its square. */
const RECOMPUTE_SIDE = 384;

export const pictures = z.union([z.string().min(1), z.array(image).min(1)], { error: 'a folder or a list of images' });
export const prompts = z.union([z.string(), z.array(z.string()).min(1)], { error: 'a text or a list of texts' });
const targets = z.array(z.string().min(1));

const { guidanceScale, sampler, width, height } = generateSchema.shape;
const SAMPLE_STEPS = 20;

const samplesSchema = z.strictObject({
  /** A picture of each. */
  prompts,
  negativePrompt: z.string().default(''),
  /** Updates between pictures; there are some after the last update too. Default 100. */
  every: positiveInt.default(100),
  /** Of the sampler. Default 20. */
  steps: positiveInt.max(1000).default(SAMPLE_STEPS),
  /** Picture i has the seed `seed + i`, the same at every update. Default 0. */
  seed: seed.default(0),
  guidanceScale,
  sampler,
  /** Default: the size that is trained at. */
  width,
  height,
});

const schema = z.strictObject({
  /** A folder of pictures, with captions in `name.txt` beside `name.png` or in `metadata.jsonl` if there are any, or pictures. */
  images: pictures,
  /** What the pictures show, for those without a caption: 'a photo of a sks dog'; or a text for each. */
  prompt: prompts.optional(),
  /** Inner width of the factors. Default 16. */
  rank: positiveInt.max(4096).default(16),
  /** Strength: the change is multiplied by alpha / rank, which must be given with it. Default: rank. */
  alpha: z.number().min(0).optional(),
  /** Ends of the names of the UNet's layers that get factors. Default: all projections of its attention. */
  unetTargets: targets.default(UNET_TARGETS),
  /** The same of the text encoder; [] leaves it as it is, which is faster. Default: all projections of its attention. */
  textEncoderTargets: targets.default(TEXT_TARGETS),
  /** `gaussian` as diffusers' scripts, `kaiming` as PEFT. Default gaussian. */
  init: z.enum(['gaussian', 'kaiming']).default('gaussian'),
  /** Updates. Default: as many as 200 passes over the pictures take. */
  steps: positiveInt.optional(),
  /** Pictures per update. Default 8, or as many as there are. */
  batchSize: positiveInt.max(1024).optional(),
  /** Batches whose mean gradient makes an update. Default 1. */
  accumulation: positiveInt.default(1),
  /** Pixels of a side of the square crops. Default: the size the model was trained at. */
  size: positiveInt.optional(),
  /** `random`: a square of each picture anew at every use; `center`: always the middle, whose latents are computed once. Default random. */
  crop: z.enum(['random', 'center']).default('random'),
  /** Half of the uses left-right. Default false. */
  flip: z.boolean().default(false),
  /** Default 1e-4. */
  lr: z.number().min(0).max(1000).default(1e-4),
  /** After the warm-up. Default cosine, down to 0. */
  lrSchedule: z.enum(['cosine', 'constant']).default('cosine'),
  /** Updates in which the rate grows from 0. Default 100, at most a quarter of all. */
  warmupSteps: z.int().min(0).optional(),
  weightDecay: z.number().min(0).default(0.01),
  /** Largest norm of the whole gradient; 0: any. Default 1. */
  clipNorm: z.number().min(0).default(1),
  /** Less weight for timesteps with little noise (arXiv 2303.09556); the paper takes 5. Default 0: equal weights. */
  minSnrGamma: z.number().min(0).default(0),
  /** Share of noise that is the same everywhere, for darker and lighter pictures; 0.05 to 0.1. Default 0. */
  noiseOffset: z.number().min(0).max(10).default(0),
  /** Pictures of the class in general, against forgetting it (DreamBooth): as many in each batch as own ones. Default none. */
  prior: z.strictObject({ images: pictures, prompt: prompts.optional(), weight: z.number().min(0).default(1) }).optional(),
  /** Compute blocks again for their gradients instead of keeping what they need: a third more time, much less memory. Default: from 384 pixels on. */
  recompute: z.boolean().optional(),
  seed: seed.default(0),
  /** Pictures made during training, with the adapter as it then is: events of the type `sample`. They change nothing of the run, but take their time. Default none. */
  samples: samplesSchema.optional(),
  /** File that holds the state, written whole at times and when the run is stopped. Default none. */
  checkpoint: z.string().min(1).optional(),
  /** Updates between writings. Default 100. */
  checkpointEvery: positiveInt.default(100),
  /** Go on from `checkpoint` if it is there, bit for bit as an unbroken run. Default false. */
  resume: z.boolean().default(false),
  threads: positiveInt.max(1024).optional(),
  signal: abortSignal.optional(),
});

export type TrainLoraOptions = z.input<typeof schema>;

/** Pictures that show what an adapter has learnt so far. */
export interface LoraSampleEvent {
  type: 'sample';
  /** Finished updates. */
  step: number;
  steps: number;
  /** One for each prompt. */
  images: Image[];
  /** What made each picture. */
  settings: GenerationSettings[];
}

/** What a training run tells. */
export type LoraEvent = Exclude<LoraTrainEvent, { type: 'sample' }> | LoraSampleEvent | WarningEvent;

export interface LoraTraining {
  steps: number;
  samples: number;
  /** That were trained on, without those of `prior`. */
  pictures: number;
  /** Of each update. */
  losses: number[];
  /** What the run was told, with the defaults that were filled in. */
  settings: Record<string, unknown>;
}

/** A trained adapter. */
export class Lora {
  readonly weights: LoraWeights;
  readonly training: LoraTraining;

  /** @internal */
  constructor(weights: LoraWeights, training: LoraTraining) {
    this.weights = weights;
    this.training = training;
  }

  /** Writes it for diffusers, for ComfyUI and A1111 (`kohya`) or for PEFT; returns the paths. Default: diffusers. */
  save(path: string, options: Partial<WriteLoraOptions> = {}): Promise<string[]> {
    const settings = { 'seedbed.training': JSON.stringify(this.training.settings) };
    return writeLora(path, this.weights, { format: 'diffusers', ...options, metadata: { ...settings, ...options.metadata } });
  }
}

/**
 * Trains a LoRA adapter on a few pictures: noise prediction (or velocity, as the model's scheduler says) on noisy latents, with gradients for
 * the factors alone. Defaults: docs/papers of DataDream. The model is not changed; adapters that are active on it take no part.
 * `(await trainLora(sd, { images: 'dog/', prompt: 'a photo of a sks dog' })).save('dog.safetensors')`.
 * Throws `ERR_FILE_NOT_FOUND`, `ERR_IMAGE`, `ERR_INVALID_ARGUMENT`, `ERR_NOT_FINITE`; a run that diverges leaves its last checkpoint.
 */
export function trainLora(sd: Diffusion, options: TrainLoraOptions): Job<LoraEvent, Lora> {
  const o = checkOptions(schema, options, 'trainLora');
  if (!(sd instanceof Diffusion)) throw new ArgumentError('Expected a loaded model for trainLora');
  const parts = partsOf(sd);
  const size = o.size ?? trainedSide(parts.config);
  if (o.alpha !== undefined && options.rank === undefined) throw new ArgumentError(`Expected rank with alpha, whose quotient is the strength, received alpha ${o.alpha} alone`);
  if (o.resume && o.checkpoint === undefined) throw new ArgumentError('Expected a checkpoint to resume from');
  const samples = o.samples && planSamples(sd, o.samples, size);
  return new Job<LoraEvent, Lora>(async ({ emit, signal }) => {
    const load = (source: string | Image[], prompt: string | string[] | undefined): Promise<CaptionedImage[]> => loadTrainingImages(source, prompt, { size, crop: o.crop });
    const own = await load(o.images, o.prompt);
    const prior = o.prior === undefined ? [] : await load(o.prior.images, o.prior.prompt);
    const batchSize = o.batchSize ?? Math.min(MOST_BATCH, own.length);
    const steps = o.steps ?? EPOCHS * Math.ceil(own.length / (batchSize * o.accumulation));
    const warmupSteps = Math.min(o.warmupSteps ?? Math.min(WARM_UP, Math.floor(steps / 4)), steps);
    const { alpha = o.rank, recompute = size >= RECOMPUTE_SIDE } = o;
    const { schedule } = resolveSampler({ schedulerConfig: parts.schedulerConfig, sampler: 'ddim' });
    const ids = (texts: readonly string[]) => tokens(parts.tokenizer, texts, (message) => emit({ type: 'warning', message }));
    const settings = {
      rank: o.rank, alpha, unetTargets: o.unetTargets, textEncoderTargets: o.textEncoderTargets, init: o.init, steps, batchSize, accumulation: o.accumulation, size, crop: o.crop, flip: o.flip,
      lr: o.lr, lrSchedule: o.lrSchedule, warmupSteps, weightDecay: o.weightDecay, clipNorm: o.clipNorm, minSnrGamma: o.minSnrGamma, noiseOffset: o.noiseOffset, seed: o.seed,
    };
    const { weightDecay, crop: _, lrSchedule, ...same } = settings;
    const call = defined({
      ...same,
      constantLr: lrSchedule === 'constant',
      warmupLr: 0,
      minLr: 0,
      optimizer: { weightDecay },
      recompute,
      schedule,
      images: own.map((one) => one.image),
      ids: ids(own.map(({ prompt }) => prompt)),
      priorImages: prior.length === 0 ? undefined : prior.map((one) => one.image),
      priorIds: prior.length === 0 ? undefined : ids(prior.map(({ prompt }) => prompt)),
      priorWeight: o.prior?.weight,
      samples: samples && { ...samples.call, promptIds: ids(samples.prompts), ...(samples.guided && { negativeIds: ids([samples.negativePrompt]) }) },
      checkpoint: o.checkpoint,
      checkpointEvery: o.checkpointEvery,
      resume: o.resume,
      threads: threads(o.threads ?? parts.threads),
    });
    const tell = (event: LoraTrainEvent): void => emit(event.type === 'sample' ? { ...event, settings: samples?.settings ?? [] } : event);
    const result = await runNative<LoraTrainEvent, NativeLoraResult>((listener) => native().trainLora(parts.handle, call, listener), signal, tell);
    const factors = (layers: NativeLoraResult['unet']): Record<string, LoraFactors> => Object.fromEntries(Object.entries(layers).map(([name, one]) => [name, { ...one, alpha }]));
    return new Lora(
      { unet: factors(result.unet), textEncoder: factors(result.textEncoder), embeddings: {} },
      { steps: result.steps, samples: result.samples, pictures: own.length, losses: result.losses, settings: { ...settings, model: parts.name, prompts: [...new Set(own.map(({ prompt }) => prompt))] } },
    );
  }, o);
}

/** What the pictures during training are, checked by `plan` as those of `generate`. */
function planSamples(sd: Diffusion, o: z.output<typeof samplesSchema>, size: number): { call: Record<string, unknown>; prompts: string[]; negativePrompt: string; guided: boolean; settings: GenerationSettings[] } {
  const { every, prompts, negativePrompt, guidanceScale, ...rest } = o;
  const texts = typeof prompts === 'string' ? [prompts] : prompts;
  const plan = sd.plan({ ...(defined({ width: size, height: size, ...rest }) as typeof rest), prompt: texts, negativePrompt, guidanceScale, batchSize: 1 });
  const { sampler, schedule } = resolveSampler({ schedulerConfig: partsOf(sd).schedulerConfig, sampler: rest.sampler, steps: rest.steps });
  const settings = plan.settings.map(({ loras: _, ...own }): GenerationSettings => own); // adapters that are active on the model take no part
  const call = { every, sampler, schedule, guidanceScale, seeds: plan.seeds, width: plan.width, height: plan.height, batchSize: 1 };
  return { call, prompts: texts, negativePrompt, guided: guidanceScale !== 1, settings };
}

/** Token ids of texts, [texts, tokens]. */
function tokens(tokenizer: ClipTokenizer, texts: readonly string[], warn: (message: string) => void): { data: BigInt64Array; shape: number[]; dtype: 'int64' } {
  const cut = new Set<string>();
  const ids = texts.flatMap((text) => {
    const { ids, truncated } = tokenizer.encode(text);
    if (truncated !== undefined) cut.add(truncated);
    return ids;
  });
  for (const text of cut) warn(`The text encoder reads ${tokenizer.length} tokens; this part of a prompt is lost: '${text}'`);
  return { data: BigInt64Array.from(ids, BigInt), shape: [texts.length, tokenizer.length], dtype: 'int64' };
}
