import { z } from 'zod';
import { augmentSchema, nativeAugment, switched } from './augment.js';
import { abortSignal, defined, positiveInt, seed, share, three } from './options.js';
import { threads } from './threads.js';

export { MODEL_NAMES, type ModelName } from './model-options.js';

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
    /** Default 0.9. */
    momentum: z.number().min(0).max(0.999999).optional(),
    /** Nesterov's form of momentum. Default true. */
    nesterov: z.boolean().optional(),
  }),
]);

/** Options of training, without the data. */
export const trainFields = {
  /** Optimiser steps. Default 1000. */
  steps: positiveInt.max(100_000_000).optional(),
  /** Pictures per step; may exceed the dataset. Default 64. */
  batchSize: positiveInt.max(65536).optional(),
  /**
   * Pictures whose gradient one thread computes at a time. Part of the result: equal seeds with another value differ by rounding, and a ResNet by
   * more, for its batch norms normalise each shard by itself. Default 16.
   */
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
  /** Stochastic depth of the last block (Huang et al. 2016), growing from 0 at the first. Default 0. */
  dropPath: z.number().min(0).max(0.99).optional(),
  /**
   * What stays as it is: the first so many blocks of a vision transformer, or stages of a ResNet (1 to 4), with all before them; or the whole
   * `backbone`, so that the head alone is trained (linear probing). Frozen parts run as in evaluation: batch norms by their running averages, no
   * stochastic depth, no gradients. Needs `init`; not with `adapters`. Default: nothing.
   */
  freeze: z.union([z.literal('backbone'), positiveInt.max(1024)]).optional(),
  /** Largest norm of the whole gradient, 0: no limit. Default 0. */
  clipNorm: z.number().min(0).optional(),
  /** In what the linear layers multiply; sums and all else stay float32. Default `float32`; `seedbed doctor` says which is faster here. */
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

export type TrainFields = z.output<z.ZodObject<typeof trainFields>>;

/** Options as the addon reads them: unions and pairs taken apart. */
export function nativeTrainOptions(options: TrainFields): Record<string, unknown> {
  const { signal: _, augment = {}, mixup, threads: requested, dropPath: __, freeze, ...rest } = options;
  return defined({
    ...rest,
    threads: threads(requested),
    frozenBackbone: freeze === 'backbone',
    frozenStages: typeof freeze === 'number' ? freeze : undefined,
    mixup: switched(mixup),
    augment: nativeAugment(augment),
  });
}
