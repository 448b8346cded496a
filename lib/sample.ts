import { z } from 'zod';
import { Job, runNative } from './job.js';
import { native, type DiffusionStep, type Level, type PredictQuestion } from './native.js';
import { abortSignal, checkOptions, defined, positiveInt, seed, share } from './options.js';
import type { Sampler } from './sampler-options.js';
import { resolveSampler, type SchedulerConfig } from './scheduler-config.js';
import type { Tensor } from './tensor.js';

/** A network of the caller's: noise, velocity or x0 for x, as `schedulerConfig.prediction_type` says; a float32 tensor of x's shape. */
export type Predict = (question: PredictQuestion) => Tensor | Promise<Tensor>;

const callable = <T>(): z.ZodType<T, T> => z.custom<T>((value) => typeof value === 'function', 'a function');
const object = <T>(): z.ZodType<T, T> => z.custom<T>((value) => typeof value === 'object' && value !== null, 'an object');
const anything = <T>(): z.ZodType<T, T> => z.custom<T>(() => true);

const planFields = {
  /** A name, or `{ type, ...options }`. Default: the scheduler config's, else `ddim`. */
  sampler: anything<Sampler>().optional(),
  /** 1 to 10,000. Default 50 (4 for lcm); left out when the sampler has a list of timesteps or sigmas. */
  steps: positiveInt.max(10_000).optional(),
  /** The noise the network was trained with: a scheduler_config.json. Default: Stable Diffusion 1.x. */
  schedulerConfig: anything<SchedulerConfig>().optional(),
};

const planSchema = z.strictObject(planFields);

const sampleSchema = z
  .strictObject({
    ...planFields,
    predict: callable<Predict>(),
    /** Standard normal noise to begin with, float32 [batch, channels, height, width]. Default: drawn from `seed`. */
    latents: object<Tensor<'float32'>>().optional(),
    /** The shape of the noise, where `latents` and `init` are missing. */
    shape: z.array(positiveInt).length(4).readonly().optional(),
    /** Image i draws its noise, first and later, from `seed + i`, as torch.randn with a CPU generator. Default 0. */
    seed: seed.optional(),
    /** A clean image to change: noise is added to it and the run begins in its middle. */
    init: object<Tensor<'float32'>>().optional(),
    /** How much of the run is taken on `init`: 1 (default) begins at full noise, 0 does nothing. */
    strength: share.optional(),
    signal: abortSignal.optional(),
  })
  .refine((options) => options.latents !== undefined || options.shape !== undefined || options.init !== undefined, { message: 'latents, shape or init', path: [] })
  .refine((options) => options.strength === undefined || options.init !== undefined, { message: 'init', path: ['strength'] });

export type SampleOptions = z.input<typeof sampleSchema>;
export type PlanOptions = z.input<typeof planSchema>;

/** The way down of a sampler: the levels it visits, and the scale of the noise at the first. */
export interface SamplingPlan {
  /** Where each step begins. */
  levels: Level[];
  /** Where each step lands. */
  targets: Level[];
  /** x at the first level is `initScale` times standard normal noise. */
  initScale: number;
  /** alpha-bar of every timestep of training. */
  alphasCumprod: number[];
}

/** What a sampler would do, without doing it. */
export function planSampling(options: PlanOptions = {}): SamplingPlan {
  const { sampler, schedule } = resolveSampler(checkOptions(planSchema, options, 'planSampling'));
  return native().planSampling({ sampler, schedule });
}

/**
 * Runs a sampler on the caller's own predictor. `predict` is asked on the JavaScript thread, may be asynchronous and may use
 * other jobs of this package; what it throws is what the job rejects with.
 *
 * @example
 * const { latents } = await sample({ predict: async ({ x, timestep }) => model.run(x, timestep), sampler: 'dpmpp_2m', steps: 20, shape: [1, 4, 64, 64], seed: 7 });
 */
export function sample(options: SampleOptions): Job<DiffusionStep, { latents: Tensor<'float32'> }> {
  const { predict, signal, sampler: asked, steps, schedulerConfig, ...start } = checkOptions(sampleSchema, options, 'sample');
  const { sampler, schedule } = resolveSampler({ sampler: asked, steps, schedulerConfig });
  const call = defined({ ...start, sampler, schedule });
  return new Job((context) => runNative<DiffusionStep, { latents: Tensor<'float32'> }, PredictQuestion>((listener) => native().sampleLatents(call, listener), context.signal, context.emit, predict), { signal });
}
