import { z } from 'zod';
import { ArgumentError } from '../errors.js';
import { abortSignal, defined, positiveInt, seed } from '../options.js';
import { threads } from '../threads.js';

const WARM_UP = 100;

/** Options of every training run from nothing. */
export const updateFields = {
  /** Folder to write, new or empty; those above it are made. */
  out: z.string().min(1),
  /** Updates. */
  steps: positiveInt.max(100_000_000),
  /** Highest learning rate. Default 1e-3. */
  lr: z.number().min(0).max(1000).default(1e-3),
  /** After the warm-up. Default cosine, down to 0. */
  lrSchedule: z.enum(['cosine', 'constant']).default('cosine'),
  /** Updates in which the rate grows from 0. Default 100, at most a quarter of all. */
  warmupSteps: z.int().min(0).optional(),
  /** Of AdamW, on parameters with more than one dimension. Default 0.01. */
  weightDecay: z.number().min(0).max(10).default(0.01),
  /** Of AdamW. Default [0.9, 0.99]. */
  betas: z.tuple([z.number().min(0).max(0.999999), z.number().min(0).max(0.999999)]).default([0.9, 0.99]),
  /** Largest norm of the whole gradient; 0: any. Default 1. */
  clipNorm: z.number().min(0).default(1),
  /** The weights that are measured and written are a moving average, this share of which is kept at each update; 0: the last weights. Default 0.999. */
  averageDecay: z.number().min(0).max(0.9999999).default(0.999),
  /** Updates between evaluations on `validation`. Default 0: at the end only. */
  evaluateEvery: z.int().min(0).default(0),
  seed: seed.default(0),
  /** File that holds the state, written whole at times and when the run is stopped. Default none. */
  checkpoint: z.string().min(1).optional(),
  /** Updates between writings. Default 500. */
  checkpointEvery: positiveInt.default(500),
  /** Go on from `checkpoint` if it is there, bit for bit as an unbroken run. Default false. */
  resume: z.boolean().default(false),
  /** The result does not depend on it. Default: all cores. */
  threads: positiveInt.max(1024).optional(),
  signal: abortSignal.optional(),
};

/**
 * In what the linear layers multiply. `bfloat16` is several times faster on processors that have it (`seedbed doctor` measures): both factors are rounded to 8 bits
 * of precision, sums and all else stay float32. Default float32.
 */
export const precision = z.enum(['float32', 'bfloat16']).default('float32');

export type UpdateFields = z.output<z.ZodObject<typeof updateFields>> & { precision?: z.output<typeof precision> };

/** What the settings of a run say of its updates, with defaults filled in. */
export function updateSettings(o: UpdateFields): Record<string, unknown> {
  const warmupSteps = Math.min(o.warmupSteps ?? Math.min(WARM_UP, Math.floor(o.steps / 4)), o.steps);
  return { steps: o.steps, lr: o.lr, lrSchedule: o.lrSchedule, warmupSteps, weightDecay: o.weightDecay, betas: o.betas, clipNorm: o.clipNorm, averageDecay: o.averageDecay, evaluateEvery: o.evaluateEvery, seed: o.seed, ...(o.precision && { precision: o.precision }) };
}

/** The same as the addon reads it. */
export function nativeUpdates(o: UpdateFields): Record<string, unknown> {
  if (o.resume && o.checkpoint === undefined) throw new ArgumentError('Expected a checkpoint to resume from');
  const { lrSchedule, weightDecay: _, betas: __, ...settings } = updateSettings(o);
  return defined({
    ...settings,
    constantLr: lrSchedule === 'constant',
    warmupLr: 0,
    minLr: 0,
    optimizer: { weightDecay: o.weightDecay, beta1: o.betas[0], beta2: o.betas[1] },
    checkpoint: o.checkpoint,
    checkpointEvery: o.checkpointEvery,
    resume: o.resume,
    threads: threads(o.threads),
  });
}
